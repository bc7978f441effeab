"""The networks compute what Hallo's own modules computed with the same weights, at small widths.

tests/data/hallo_reference.safetensors holds inputs and outputs of the original modules; weights follow from the names
of the tensors. hallo_net_keys.json holds the names and shapes of the published checkpoint.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from safetensors import safe_open

from synchrorama.diffusion.hallo import SCHEDULER, load_hallo, our_name, reference_features
from synchrorama.diffusion.networks import DiffusionNetworks

DATA = Path(__file__).parent / "data"
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def names() -> dict[str, list[int]]:
    return json.loads((DATA / "hallo_net_keys.json").read_text())


@pytest.fixture(scope="module")
def reference() -> dict[str, torch.Tensor]:
    with safe_open(DATA / "hallo_reference.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it cannot be iterated itself
        return tensors | {"metadata": file.metadata()}


@pytest.fixture(scope="module")
def networks(names: dict[str, list[int]], reference: dict) -> DiffusionNetworks:
    small = _small(reference["metadata"])
    load_hallo(small, _tensors(small, names, int(reference["metadata"]["salt"])))
    return small.eval()


def _small(metadata: dict[str, str]) -> DiffusionNetworks:
    widths = json.loads(metadata["block_out_channels"])
    image, audio = int(metadata["cross_attention_dim"]), int(metadata["audio_attention_dim"])
    unet = {"block_out_channels": widths, "image_width": image}
    return DiffusionNetworks(
        {
            "reference_net": unet,
            "denoising_unet": unet | {"audio_width": audio},
            "image_projection": {"width": image},
            "audio_projection": {"width_in": 5 * 12 * audio, "hidden": 64, "width": audio},
            "face_locator": {"channels": widths[0]},
        }
    )


def _tensors(small: DiffusionNetworks, names: dict[str, list[int]], salt: int) -> dict[str, torch.Tensor]:
    """Tensors under Hallo's names, each made from its name."""
    theirs = {our_name(name): name for name in names}
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


def _told(networks: DiffusionNetworks, reference: dict) -> dict:
    """Everything the denoising UNet is told, unconditional and conditional."""
    frames = int(reference["metadata"]["frames"])
    tokens = networks.image_projection(reference["in.face_embedding"])
    nothing = networks.image_projection(torch.zeros_like(reference["in.face_embedding"]))
    audio = networks.audio_projection(reference["in.wav2vec"])
    guide = _guide(networks, reference)
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


def _guide(networks: DiffusionNetworks, reference: dict) -> torch.Tensor:
    mask = reference["in.face_mask"][0].float()
    frames = int(reference["metadata"]["frames"])
    return networks.face_locator(mask.expand(frames, 3, -1, -1)).transpose(0, 1)[None]


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


def test_names_and_shapes_of_the_published_checkpoint(names: dict[str, list[int]]) -> None:
    with torch.device("meta"):
        full = DiffusionNetworks()
    own = {name: list(tensor.shape) for name, tensor in full.state_dict().items()}
    assert len(names) == 2656
    assert {our_name(name): shape for name, shape in names.items()} == own
    assert sum(tensor.numel() for tensor in full.state_dict().values()) == 2_424_802_964


@torch.no_grad()
def test_projections(networks: DiffusionNetworks, reference: dict) -> None:
    tokens = networks.image_projection(reference["in.face_embedding"])
    nothing = networks.image_projection(torch.zeros(1, 512))
    assert _difference(tokens, reference["out.face_tokens"]) <= TOLERANCE
    assert _difference(nothing, reference["out.face_tokens_uncond"]) <= TOLERANCE
    assert _difference(networks.audio_projection(reference["in.wav2vec"]), reference["out.audio_tokens"]) <= TOLERANCE
    assert _difference(_guide(networks, reference), reference["out.face_locator"]) <= TOLERANCE


@torch.no_grad()
def test_denoising(networks: DiffusionNetworks, reference: dict) -> None:
    noise = reference["in.noise"].repeat(2, 1, 1, 1, 1)
    denoised = networks.denoising_unet(noise, torch.tensor(499), **_told(networks, reference))
    assert _difference(denoised, reference["out.denoised_t499"]) <= TOLERANCE


@torch.no_grad()
def test_three_steps_with_guidance(networks: DiffusionNetworks, reference: dict) -> None:
    told, latents = _told(networks, reference), reference["in.noise"]
    scheduler = DDIMScheduler(**SCHEDULER)
    scheduler.set_timesteps(3)
    for timestep in scheduler.timesteps:
        without, given = networks.denoising_unet(latents.repeat(2, 1, 1, 1, 1), timestep, **told).chunk(2)
        latents = scheduler.step(without + 3.5 * (given - without), timestep, latents, eta=0.0).prev_sample
    assert _difference(latents, reference["out.latents_3_ddim_steps_cfg_3_5"]) <= TOLERANCE


def test_unused_temporal_modules_change_nothing(networks: DiffusionNetworks, reference: dict) -> None:
    """Hallo never runs the temporal modules of levels without attention."""
    idle = [networks.denoising_unet.down_blocks[3].motion_modules, networks.denoising_unet.up_blocks[0].motion_modules]
    told = _told(networks, reference)
    noise = reference["in.noise"].repeat(2, 1, 1, 1, 1)
    with torch.no_grad():
        before = networks.denoising_unet(noise, torch.tensor(499), **told)
        for modules in idle:
            for parameter in modules.parameters():
                parameter.add_(1)
        after = networks.denoising_unet(noise, torch.tensor(499), **told)
        for modules in idle:
            for parameter in modules.parameters():
                parameter.sub_(1)
    assert torch.equal(before, after)


def test_no_behaviour_depends_on_training_mode(networks: DiffusionNetworks, reference: dict) -> None:
    told = _told(networks, reference)
    noise = reference["in.noise"].repeat(2, 1, 1, 1, 1)
    with torch.no_grad():
        resting = networks.denoising_unet(noise, torch.tensor(499), **told)
        training = networks.train().denoising_unet(noise, torch.tensor(499), **told)
    networks.eval()
    torch.testing.assert_close(resting, training, rtol=0, atol=1e-5)


def test_gradient_checkpointing_gives_the_same_gradients(networks: DiffusionNetworks, reference: dict) -> None:
    with torch.no_grad():
        told = _told(networks, reference)
    noise = reference["in.noise"].repeat(2, 1, 1, 1, 1)
    parameter = networks.denoising_unet.down_blocks[1].audio_modules[0].proj_in.weight

    def gradient() -> torch.Tensor:
        loss = networks.denoising_unet(noise, torch.tensor(499), **told).square().mean()
        return torch.autograd.grad(loss, parameter)[0]

    plain = gradient()
    networks.denoising_unet.enable_gradient_checkpointing()
    try:
        saving = gradient()
    finally:
        networks.denoising_unet.disable_gradient_checkpointing()
    torch.testing.assert_close(plain, saving)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda tensors: tensors.pop("denoising_unet.conv_out.bias"), "lacks denoising_unet.conv_out.bias"),
        (lambda tensors: tensors.update({"imageproj.extra": torch.zeros(1)}), "too many image_projection.extra"),
        (
            lambda tensors: tensors.update({"denoising_unet.conv_out.bias": torch.zeros(5)}),
            r"another shape for denoising_unet.conv_out.bias \(5,\) instead of \(4,\)",
        ),
        (
            lambda tensors: tensors.update({"denoising_unet.conv_out.bias": torch.full((4,), torch.nan)}),
            "not finite in denoising_unet.conv_out.bias",
        ),
    ],
    ids=["missing", "left over", "shape", "nan"],
)
def test_damaged_checkpoint_is_named_and_nothing_is_loaded(
    names: dict[str, list[int]], reference: dict, damage: object, named: str
) -> None:
    small = _small(reference["metadata"])
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    tensors = _tensors(small, names, 1)
    damage(tensors)
    with pytest.raises(ValueError, match=named):
        load_hallo(small, tensors)
    assert all(torch.equal(tensor, before[name]) for name, tensor in small.state_dict().items())
