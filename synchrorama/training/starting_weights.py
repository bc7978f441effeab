"""What a run of the full networks begins with: the weights of others, as far as they fit, and which it trains."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from synchrorama.diffusion import DiffusionNetworks
from synchrorama.diffusion.networks import PARTS
from synchrorama.errors import InputError

_WHOLE = "diffusion_pytorch_model.safetensors"
_OF_CLIPS = r"(audio_modules|motion_modules|condition_modules)\."
TRAINED: dict[int, str] = {
    1: rf"(reference_net|denoising_unet|image_projection|face_locator|motion_guide)\.(?!.*{_OF_CLIPS})",
    2: rf"denoising_unet\..*{_OF_CLIPS}|(audio|emotion|text)_projection\.",
}
"""Stage → the beginning of the names of what it trains: first appearance and place, then sound, time and conditions,
as Hallo (arXiv 2406.08801, section 3.3) divides it."""


def choose_trained(networks: DiffusionNetworks, stage: int) -> int:
    """Let the parameters of a stage learn and no others; how many numbers these are.

    What no forward pass runs or reads is left out: the temporal modules of levels without attentions, and what
    ReferenceNet does after its last self-attention has been read.
    """
    idle = {id(each) for module in _idle(networks) for each in module.parameters()}
    count = 0
    for name, each in networks.named_parameters():
        trained = re.match(TRAINED[stage], name) is not None and id(each) not in idle
        each.requires_grad_(trained)
        count += each.numel() if trained else 0
    return count


def _idle(networks: DiffusionNetworks) -> Iterator[nn.Module]:
    unet, reference = networks.denoising_unet, networks.reference_net
    for block in (*unet.down_blocks, *unet.up_blocks):
        if not block.attends and hasattr(block, "motion_modules"):
            yield block.motion_modules
    attending = [
        block for block in (*reference.down_blocks, reference.mid_block, *reference.up_blocks) if block.attends
    ]
    last = attending[-1].attentions[-1]
    after = list(reference.up_blocks)
    if attending[-1] in after:
        yield from after[after.index(attending[-1]) + 1 :]
        yield attending[-1].upsamplers
    block = last.transformer_blocks[0]
    yield from (each for name, each in block.named_children() if name != "norm1")
    yield last.proj_out
    if hasattr(attending[-1], "condition_modules"):
        yield from (modules[-1] for modules in attending[-1].condition_modules.values())


def start_from(networks: DiffusionNetworks, folders: tuple[Path, ...]) -> dict[str, int]:
    """Load what the folders have of the networks' tensors, later ones over earlier ones.

    A folder is one that `train diffusion` or `convert hallo` has made, or Stable Diffusion 1.5 in diffusers' layout,
    whose ``unet`` goes into both UNets. Tensors that the networks do not have are passed over, so that the first stage
    can begin with Hallo's, and the second with those of the first. The guide of motion frames, which no published
    weights have, begins at zero, so that published weights do at first what they did.

    Returns:
        Folder → number of tensors that it gave; "new" → those that nobody gave.

    Raises:
        InputError: a folder gives nothing, or a tensor of another shape, or is damaged.
    """
    if networks.motion_guide is not None:
        nn.init.zeros_(networks.motion_guide.conv_out.weight)
        nn.init.zeros_(networks.motion_guide.conv_out.bias)
    own = networks.state_dict()
    given: dict[str, set[str]] = {}
    for folder in folders:
        names = given.setdefault(str(folder), set())
        for name, tensor in _tensors(folder):
            if name not in own:
                continue
            if own[name].shape != tensor.shape:
                raise InputError(
                    f"{name} in {folder} has the shape {tuple(tensor.shape)} instead of {tuple(own[name].shape)}; "
                    "let networks in the config fit, or start from other weights."
                )
            own[name].copy_(tensor)  # into the network itself
            names.add(name)
        if not names:
            raise InputError(
                f"{folder} holds no weights of these networks; give a folder of safetensors to start from."
            )
    return {folder: len(names) for folder, names in given.items()} | {"new": len(set(own).difference(*given.values()))}


def _tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Names as in ``DiffusionNetworks``, and tensors, one at a time."""
    files = [(file, ("",)) for file in [folder / _WHOLE] if file.is_file()]
    for part in PARTS:
        files += [(file, (f"{part}.",)) for file in sorted((folder / part).glob("*.safetensors"))]
    unet = folder / "unet" / _WHOLE
    files += [(unet, ("reference_net.", "denoising_unet."))] if unet.is_file() else []
    for file, prefixes in files:
        yield from _read(file, prefixes)


def _read(file: Path, prefixes: tuple[str, ...]) -> Iterator[tuple[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                tensor = tensors.get_tensor(name)
                if not torch.isfinite(tensor).all():
                    raise InputError(f"{name} in {file.parent.name} is not finite; fetch or make the weights again.")
                yield from ((prefix + name, tensor) for prefix in prefixes)
    except (SafetensorError, OSError):
        raise InputError(f"The file {file.name} in {file.parent} is damaged; fetch or make it again.") from None
