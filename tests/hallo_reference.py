"""What Hallo's own modules computed at small widths, and networks of ours with the same weights.

data/hallo_reference.safetensors holds inputs and outputs of the original modules; weights follow from the names of the
tensors. data/hallo_net_keys.json holds the names and shapes of the published checkpoint.
"""

from __future__ import annotations

import functools
import json
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from synchrorama.diffusion.hallo import our_name
from synchrorama.diffusion.networks import DiffusionNetworks
from synchrorama.diffusion.reference_net import ReferenceFeatures, ReferenceNet

DATA = Path(__file__).parent / "data"
TOLERANCE = 1e-4


@functools.cache
def published_names() -> dict[str, list[int]]:
    return json.loads((DATA / "hallo_net_keys.json").read_text())


@functools.cache
def read_reference() -> dict[str, Any]:
    with safe_open(DATA / "hallo_reference.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it cannot be iterated itself
        return tensors | {"metadata": file.metadata()}


def small_parts() -> dict[str, dict[str, Any]]:
    """The configuration of ``DiffusionNetworks`` at the widths of the reference."""
    metadata = read_reference()["metadata"]
    widths = json.loads(metadata["block_out_channels"])
    image, audio = int(metadata["cross_attention_dim"]), int(metadata["audio_attention_dim"])
    unet = {"block_out_channels": widths, "image_width": image}
    return {
        "reference_net": unet,
        "denoising_unet": unet | {"audio_width": audio},
        "image_projection": {"width": image},
        "audio_projection": {"width_in": 5 * 12 * audio, "hidden": 64, "width": audio},
        "face_locator": {"channels": widths[0]},
    }


def named_tensors(small: DiffusionNetworks) -> dict[str, torch.Tensor]:
    """Tensors under Hallo's names, each made from its name."""
    salt = int(read_reference()["metadata"]["salt"])
    theirs = {our_name(name): name for name in published_names()}
    tensors = {}
    for ours, tensor in small.state_dict().items():
        name = theirs[ours]
        if not name.endswith(".pe"):
            seed = (zlib.crc32(name.encode()) + salt) % 2**31
            random = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed))
            if tensor.dim() > 1:
                tensor = random * 0.7 / tensor[0].numel() ** 0.5
            else:
                tensor = 0.1 * random + (1 if name.endswith("weight") else 0)
        tensors[name] = tensor
    return tensors


def reference_features(
    reference_net: ReferenceNet,
    reference: torch.Tensor,
    motion: torch.Tensor,
    tokens: torch.Tensor,
    no_tokens: torch.Tensor,
    frames: int,
) -> ReferenceFeatures:
    """What Hallo's networks read for one clip: unconditional first, then conditional.

    Hallo repeats pictures, tokens and frames in different orders. So its motion frames are read with the tokens of the
    other half in turn, and every other frame sees the reference as read without a face. Its weights were trained that
    way and want it so.

    Args:
        reference: (1, C, H, W) latents of the photo.
        motion: (1, M, C, H, W) latents of the preceding frames.
        tokens, no_tokens: (1, n, width) image tokens of the face and of a zero embedding.
        frames: F, even.
    """
    count = motion.shape[1] + 1
    both = torch.cat([no_tokens, tokens])
    in_turn = both.repeat(count, 1, 1).unflatten(0, (2, count))  # what each picture of each half is read with
    features = reference_net(reference.repeat(2, 1, 1, 1), in_turn[:, 0], motion.repeat(2, 1, 1, 1, 1), in_turn[:, 1:])
    return ReferenceFeatures([each.repeat(frames, 1, 1) for each in features.reference], features.motion)


def told_about(networks: DiffusionNetworks, reference: dict[str, Any]) -> dict[str, Any]:
    """Everything the denoising UNet is told, unconditional and conditional."""
    frames = int(reference["metadata"]["frames"])
    tokens = networks.image_projection(reference["in.face_embedding"])
    nothing = networks.image_projection(torch.zeros_like(reference["in.face_embedding"]))
    audio = networks.audio_projection(reference["in.wav2vec"])
    guide = face_guide(networks, reference)
    return {
        "features": reference_features(
            networks.reference_net,
            reference["in.reference_latents"],
            reference["in.motion_latents"][None],
            tokens,
            nothing,
            frames,
        ),
        "sees_reference": torch.tensor([False, True]),
        "image_tokens": torch.cat([nothing, tokens]),
        "audio_tokens": torch.cat([torch.zeros_like(audio), audio]),
        "masks": {
            region: [reference[f"in.{region}_mask_{level}"].expand(2, -1, -1) for level in range(4)]
            for region in ("full", "face", "lip")
        },
        "region_weights": dict(
            zip(("full", "face", "lip"), json.loads(reference["metadata"]["motion_scale"]), strict=True)
        ),
        "guide": torch.cat([torch.zeros_like(guide), guide]),
    }


def face_guide(networks: DiffusionNetworks, reference: dict[str, Any]) -> torch.Tensor:
    mask = reference["in.face_mask"][0].float()
    frames = int(reference["metadata"]["frames"])
    return networks.face_locator(mask.expand(frames, 3, -1, -1)).transpose(0, 1)[None]


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())
