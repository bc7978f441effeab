"""The networks of the diffusion stage at toy width, with random weights: what must hold whatever was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from synchrorama.diffusion import DiffusionNetworks
from synchrorama.diffusion.denoising_unet import region_masks
from synchrorama.diffusion.reference_net import ReferenceFeatures

UNET = {
    "block_out_channels": (16, 16, 32), "layers_per_block": 1, "attention_levels": (1,), "heads": 2, "groups": 8,
    "image_width": None,
}  # fmt: skip
PARTS = {
    "reference_net": UNET | {"in_channels": 48},
    "denoising_unet": UNET
    | {
        "in_channels": 3, "out_channels": 3, "audio_width": 12, "audio_regions": ("lip",), "max_frames": 16,
        "condition_widths": {"emotion": 10, "text": 6}, "stored_temporal": False,
    },
    "audio_projection": {"width_in": 40, "hidden": 16, "tokens": 2, "width": 12},
    "motion_guide": {"channels": 16},
    "emotion_projection": {"width_in": 24, "tokens": 2, "width": 10},
    "text_projection": {"width_in": 32, "width": 6},
}  # fmt: skip
B, T, SIZE = 2, 4, 8


def networks(seed: int = 0) -> DiffusionNetworks:
    """With every tensor random: zero-initialised outputs would hide what they are told."""
    torch.manual_seed(seed)
    made = DiffusionNetworks(PARTS)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if not parameter.any() and "condition_modules" not in name:
                parameter.normal_(0, 0.1)
    return made.eval()


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def told(made: DiffusionNetworks, **changes: int) -> dict:
    """What the denoising UNet is told; ``changes`` gives parts of it another seed."""

    def seed(name: str) -> int:
        return changes.get(name, 0)

    motion = random(B * T, 3, 4 * SIZE, 4 * SIZE, seed=seed("motion")).clamp(-1, 1)
    guide = made.motion_guide(motion, torch.zeros(B * T, 1, SIZE, SIZE)).unflatten(0, (B, T)).transpose(1, 2)
    return {
        "features": made.reference_net(random(B, 48, SIZE, SIZE, seed=seed("reference"))),
        "audio_tokens": made.audio_projection(random(B, T, 40, seed=seed("audio"))),
        "masks": region_masks({"lip": torch.ones(B, T, SIZE, SIZE)}, 3),
        "tokens": {
            "emotion": made.emotion_projection(random(B, T, 24, seed=seed("emotion"))),
            "text": made.text_projection(random(B, T, 4, 32, seed=seed("text"))).flatten(2, 3),
        },
        "guide": guide,
    }


def denoise(made: DiffusionNetworks, conditions: dict, latents: Tensor | None = None) -> Tensor:
    latents = random(B, 3, T, SIZE, SIZE, seed=7) if latents is None else latents
    with torch.no_grad():
        return made.denoising_unet(latents, torch.tensor(500.0), **conditions)


def train_conditions(made: DiffusionNetworks) -> None:
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "condition_modules" in name and "to_out" in name:
                parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))


def test_output_has_the_shape_of_the_latents() -> None:
    made = networks()
    assert denoise(made, told(made)).shape == (B, 3, T, SIZE, SIZE)


@pytest.mark.parametrize("condition", ["motion", "reference", "audio"])
def test_what_is_told_acts(condition: str) -> None:
    made = networks()
    assert not torch.allclose(denoise(made, told(made)), denoise(made, told(made, **{condition: 5})), atol=1e-5)


@pytest.mark.parametrize("condition", ["emotion", "text"])
def test_new_conditions_are_silent_until_trained_and_act_then(condition: str) -> None:
    made = networks()
    without = told(made) | {"tokens": {}}
    assert torch.equal(denoise(made, told(made)), denoise(made, without))
    train_conditions(made)
    assert not torch.allclose(denoise(made, told(made)), denoise(made, told(made, **{condition: 5})), atol=1e-5)


def test_zeros_mean_that_a_condition_is_not_given() -> None:
    made = networks()
    train_conditions(made)
    nothing = {
        "emotion": made.emotion_projection(torch.zeros(B, T, 24)),
        "text": made.text_projection(torch.zeros(B, T, 4, 32)).flatten(2, 3),
    }
    torch.testing.assert_close(
        denoise(made, told(made) | {"tokens": nothing}), denoise(made, told(made) | {"tokens": {}})
    )


def test_a_condition_that_is_not_given_leaves_finite_gradients() -> None:
    made = networks()
    train_conditions(made)
    made.emotion_projection(torch.zeros(B, T, 24)).sum().backward()
    assert torch.isfinite(made.emotion_projection.proj.weight.grad).all()


def test_a_clip_that_does_not_see_the_reference_is_denoised_without_it() -> None:
    made = networks()
    both = denoise(made, told(made) | {"sees_reference": torch.tensor([False, True])})
    torch.testing.assert_close(both[0], denoise(made, told(made) | {"features": None})[0])
    torch.testing.assert_close(both[1], denoise(made, told(made))[1])


def test_frames_hear_each_other_only_within_a_clip() -> None:
    made = networks()
    latents = random(B, 3, T, SIZE, SIZE, seed=7)
    changed = latents.clone()
    changed[0, :, 1] += 1
    before, after = denoise(made, told(made), latents), denoise(made, told(made), changed)
    assert not torch.allclose(before[0, :, 3], after[0, :, 3], atol=1e-6)
    torch.testing.assert_close(before[1], after[1])


def test_preceding_frames_are_read_and_not_returned() -> None:
    made = networks()
    conditions = told(made)
    reference = random(B, 48, SIZE, SIZE)
    with torch.no_grad():
        features = made.reference_net(reference, motion=random(B, 2, 48, SIZE, SIZE, seed=3))
    for one, other in zip(features.reference, conditions["features"].reference, strict=True):
        torch.testing.assert_close(one, other)
    result = denoise(made, conditions | {"features": features})
    assert result.shape == (B, 3, T, SIZE, SIZE)
    assert not torch.allclose(result, denoise(made, conditions), atol=1e-6)


def test_region_weight_of_zero_is_deaf_but_for_the_bias() -> None:
    made = networks()
    deaf = {"region_weights": {"lip": 0.0}}
    one, other = (denoise(made, told(made, audio=seed) | deaf) for seed in (0, 5))
    torch.testing.assert_close(one, other)


def test_a_folder_brings_back_the_same_networks(tmp_path: Path) -> None:
    made = networks()
    made.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    again = DiffusionNetworks.from_pretrained(tmp_path).eval()
    assert torch.equal(denoise(made, told(made)), denoise(again, told(again)))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision(kind: torch.dtype) -> None:
    made = networks()
    exact = denoise(made, told(made))
    made = made.to(kind)
    conditions = told(networks())
    features = ReferenceFeatures([each.to(kind) for each in conditions["features"].reference], [])

    def cast(value: object) -> object:
        if isinstance(value, Tensor):
            return value.to(kind)
        if isinstance(value, dict):
            return {name: cast(each) for name, each in value.items()}
        return [cast(each) for each in value]

    conditions = {name: cast(value) for name, value in conditions.items() if name != "features"}
    result = denoise(made, conditions | {"features": features}, random(B, 3, T, SIZE, SIZE, seed=7).to(kind))
    assert result.dtype == kind
    assert float((result.float() - exact).abs().max()) < 0.1 * float(exact.abs().max())


def test_gradients_reach_every_part() -> None:
    made = networks()
    train_conditions(made)
    loss = made.denoising_unet(random(B, 3, T, SIZE, SIZE), torch.tensor(500.0), **told(made)).square().mean()
    loss.backward()
    for name in ("reference_net", "denoising_unet", "audio_projection", "motion_guide", "emotion_projection"):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in getattr(made, name).parameters()), name


def test_masks_shrink_with_the_levels() -> None:
    mask = torch.zeros(1, 2, 8, 8)
    mask[:, :, 4:] = 1
    levels = region_masks({"lip": mask}, 3)["lip"]
    assert [level.shape for level in levels] == [(1, 2, 64), (1, 2, 16), (1, 2, 4)]
    assert levels[2][0, 0].tolist() == [0, 0, 1, 1]
    assert F.avg_pool2d(mask, 2).flatten(2).equal(levels[1])


@pytest.mark.parametrize("parts", [{}, {"reference_net": UNET}, PARTS | {"vae": {}}])
def test_wrong_parts_are_named(parts: dict) -> None:
    with pytest.raises(ValueError, match="parts are"):
        DiffusionNetworks(parts)
