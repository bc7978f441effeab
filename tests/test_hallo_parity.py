"""The networks compute what Hallo's own modules computed with the same weights, at small widths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from hallo_reference import (
    TOLERANCE,
    difference,
    face_guide,
    named_tensors,
    published_names,
    read_reference,
    small_parts,
    told_about,
)

from synchrorama.diffusion.hallo import SCHEDULER, load_hallo, our_name
from synchrorama.diffusion.networks import DiffusionNetworks


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return read_reference()


@pytest.fixture(scope="module")
def networks() -> DiffusionNetworks:
    small = DiffusionNetworks(small_parts())
    load_hallo(small, named_tensors(small))
    return small.eval()


def test_names_and_shapes_of_the_published_checkpoint() -> None:
    names = published_names()
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
    assert difference(tokens, reference["out.face_tokens"]) <= TOLERANCE
    assert difference(nothing, reference["out.face_tokens_uncond"]) <= TOLERANCE
    assert difference(networks.audio_projection(reference["in.wav2vec"]), reference["out.audio_tokens"]) <= TOLERANCE
    assert difference(face_guide(networks, reference), reference["out.face_locator"]) <= TOLERANCE


@torch.no_grad()
def test_denoising(networks: DiffusionNetworks, reference: dict) -> None:
    noise = reference["in.noise"].repeat(2, 1, 1, 1, 1)
    denoised = networks.denoising_unet(noise, torch.tensor(499), **told_about(networks, reference))
    assert difference(denoised, reference["out.denoised_t499"]) <= TOLERANCE


@torch.no_grad()
def test_three_steps_with_guidance(networks: DiffusionNetworks, reference: dict) -> None:
    told, latents = told_about(networks, reference), reference["in.noise"]
    scheduler = DDIMScheduler(**SCHEDULER)
    scheduler.set_timesteps(3)
    for timestep in scheduler.timesteps:
        without, given = networks.denoising_unet(latents.repeat(2, 1, 1, 1, 1), timestep, **told).chunk(2)
        latents = scheduler.step(without + 3.5 * (given - without), timestep, latents, eta=0.0).prev_sample
    assert difference(latents, reference["out.latents_3_ddim_steps_cfg_3_5"]) <= TOLERANCE


def test_unused_temporal_modules_change_nothing(networks: DiffusionNetworks, reference: dict) -> None:
    """Hallo never runs the temporal modules of levels without attention."""
    idle = [networks.denoising_unet.down_blocks[3].motion_modules, networks.denoising_unet.up_blocks[0].motion_modules]
    told = told_about(networks, reference)
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
    told = told_about(networks, reference)
    noise = reference["in.noise"].repeat(2, 1, 1, 1, 1)
    with torch.no_grad():
        resting = networks.denoising_unet(noise, torch.tensor(499), **told)
        training = networks.train().denoising_unet(noise, torch.tensor(499), **told)
    networks.eval()
    torch.testing.assert_close(resting, training, rtol=0, atol=1e-5)


def test_gradient_checkpointing_gives_the_same_gradients(networks: DiffusionNetworks, reference: dict) -> None:
    with torch.no_grad():
        told = told_about(networks, reference)
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
    damage: Callable[[dict[str, torch.Tensor]], object], named: str
) -> None:
    small = DiffusionNetworks(small_parts())
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    tensors = named_tensors(small)
    damage(tensors)
    with pytest.raises(ValueError, match=named):
        load_hallo(small, tensors)
    assert all(torch.equal(tensor, before[name]) for name, tensor in small.state_dict().items())
