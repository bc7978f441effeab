"""Sampling, without trained weights: what a perfect prediction, guidance, strength and overlap must give."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from synchrorama.diffusion.hallo import SCHEDULER
from synchrorama.diffusion.sampling import Sampler, blend, guided, make_noise, overlapping
from synchrorama.guidance import AUDIO, FULL, WITHOUT, guidance_passes

SHAPE = (1, 3, 4, 8, 8)
_VELOCITY = {name: value for name, value in SCHEDULER.items() if name not in ("clip_sample", "steps_offset")}
SCHEDULERS = {
    "flow": FlowMatchEulerDiscreteScheduler(),
    "ddim": DDIMScheduler(**SCHEDULER),
    "dpm++": DPMSolverMultistepScheduler(**_VELOCITY),
    "unipc": UniPCMultistepScheduler(**_VELOCITY),
}


def noise(seed: int = 0) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


class Painter:
    """Predicts, for every latents and timestep, that the clean latents are ``clean``; counts what it was asked."""

    def __init__(self, clean: Tensor, scheduler: object) -> None:
        self.clean, self.scheduler, self.asked = clean, scheduler, 0

    def __call__(self, latents: Tensor, timestep: Tensor) -> Tensor:
        self.asked += 1
        if isinstance(self.scheduler, FlowMatchEulerDiscreteScheduler):
            return (latents - self.clean) / (timestep / 1000)
        alpha = self.scheduler.alphas_cumprod[int(timestep)]
        pure = (latents - alpha.sqrt() * self.clean) / (1 - alpha).sqrt()
        return alpha.sqrt() * pure - (1 - alpha).sqrt() * self.clean


@pytest.mark.parametrize(
    ("a", "s", "expected"),
    [
        (1, 1, {FULL: 1}),
        (1, 0, {AUDIO: 1}),
        (3.5, 1, {WITHOUT: -2.5, FULL: 3.5}),
        (3.5, 0, {WITHOUT: -2.5, AUDIO: 3.5}),
        (1, 1.5, {AUDIO: -0.5, FULL: 1.5}),
        (2, 0.5, {WITHOUT: -1, AUDIO: 1, FULL: 1}),
        (0, 1, {WITHOUT: 1}),
    ],
)
def test_guidance_pays_only_for_passes_that_count(a: float, s: float, expected: dict[str, float]) -> None:
    assert guidance_passes(a, s) == pytest.approx(expected)


@pytest.mark.parametrize("a", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("s", [0.0, 0.3, 1.0, 2.0])
def test_guidance_is_the_nested_sum(a: float, s: float) -> None:
    told = {name: noise(i) for i, name in enumerate((WITHOUT, AUDIO, FULL))}
    result = guided(lambda latents, timestep, name: told[name], noise(9), torch.tensor(1), guidance_passes(a, s))
    nothing, audio, full = told.values()
    torch.testing.assert_close(result, nothing + a * (audio - nothing) + s * a * (full - audio), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 4, 10])
def test_perfect_predictions_lead_to_clean_latents(name: str, steps: int) -> None:
    clean, scheduler = noise(1), SCHEDULERS[name]
    painter = Painter(clean, scheduler)
    result = Sampler(scheduler, steps)(painter, noise(2), torch.zeros(SHAPE))
    assert painter.asked == steps
    torch.testing.assert_close(result, clean, rtol=0, atol=2e-2)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_strength_starts_from_the_motion_frames(name: str) -> None:
    """A prediction that takes everything for noise around zero shows how much of the motion frames was kept."""
    scheduler, motion = SCHEDULERS[name], torch.full(SHAPE, 3.0)
    starts = []
    for strength in (0.2, 0.5, 0.8, 1.0):
        seen = []

        def predict(latents: Tensor, timestep: Tensor, seen: list[Tensor] = seen) -> Tensor:
            seen.append(latents)
            return torch.zeros_like(latents)

        Sampler(scheduler, 2, strength)(predict, noise(3), motion)
        assert len(seen) == 2
        starts.append(float(seen[0].mean()))
    assert starts[0] > starts[1] > starts[2] > starts[3]
    assert abs(starts[3]) < 0.2


def test_strength_zero_is_the_motion_frames() -> None:
    motion = noise(4)
    painter = Painter(noise(1), SCHEDULERS["flow"])
    assert torch.equal(Sampler(SCHEDULERS["flow"], 4, 0.0)(painter, noise(2), motion), motion)
    assert painter.asked == 0


def test_sampling_can_be_watched_and_stopped() -> None:
    class Stop(Exception):  # noqa: N818 - not an error
        pass

    seen = []

    def after_step(done: int, total: int, latents: Tensor) -> None:
        seen.append((done, total, latents.shape))
        if done == 2:
            raise Stop

    scheduler = SCHEDULERS["flow"]
    with pytest.raises(Stop):
        Sampler(scheduler, 5)(Painter(noise(1), scheduler), noise(2), torch.zeros(SHAPE), after_step)
    assert seen == [(1, 5, SHAPE), (2, 5, SHAPE)]


def test_noise_depends_on_the_seed_and_the_frame_alone() -> None:
    def first(count: int, seed: int = 5) -> Tensor:
        return torch.cat(list(islice(make_noise((3, 1, 8, 8), torch.Generator().manual_seed(seed), 0.7), count)), 1)

    assert torch.equal(first(3), first(9)[:, :3])
    assert not torch.equal(first(3), first(3, seed=6))


@pytest.mark.parametrize("shared", [0.0, 0.7, 1.0])
def test_shared_noise_is_correlated_over_frames_and_of_unit_variance(shared: float) -> None:
    frames = torch.stack(list(islice(make_noise((3, 1, 64, 64), torch.Generator().manual_seed(0), shared), 6)))
    assert float(frames.var()) == pytest.approx(1, abs=0.05)
    correlation = torch.corrcoef(frames.flatten(1))[0, 1:].mean()
    assert float(correlation) == pytest.approx(shared, abs=0.05)


@pytest.mark.parametrize("frames", [1, 7, 16, 17, 28, 29, 100])
def test_clips_cover_every_frame_and_overlap(frames: int) -> None:
    clips = overlapping(frames, 16, 4)
    assert sorted({t for clip in clips for t in clip}) == list(range(frames))
    for one, other in pairwise(clips):
        assert len(one) == len(other) == 16
        assert one.stop - other.start >= 4


@pytest.mark.parametrize("frames", [5, 16, 17, 45])
def test_blending_clips_that_agree_gives_them_back(frames: int) -> None:
    latents = torch.randn(3, frames, 2, 2, generator=torch.Generator().manual_seed(0))
    clips = ((clip, latents[:, clip.start : clip.stop]) for clip in overlapping(frames, 16, 4))
    torch.testing.assert_close(torch.stack(list(blend(clips)), 1), latents)


def test_blending_fades_without_a_jump() -> None:
    clips = ((clip, torch.full((1, 16, 1, 1), float(i))) for i, clip in enumerate(overlapping(28, 16, 4)))
    values = torch.stack(list(blend(clips))).flatten()
    assert len(values) == 28
    assert float(values[0]) == 0
    assert float(values[-1]) == 1
    assert float(values.diff().abs().max()) <= 0.21
