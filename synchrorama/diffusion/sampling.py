"""From noise to latents with any diffusers scheduler: guided, in few steps, clips that overlap.

No network is known here: they come in as a function of latents, timestep and what it is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

Predict = Callable[[Tensor, Tensor, str], Tensor]
"""Latents (B, C, F, H, W), timestep () and what is told (``guidance``) → the prediction that the scheduler expects."""


def guided(predict: Predict, latents: Tensor, timestep: Tensor, passes: dict[str, float]) -> Tensor:
    """The weighted sum of the passes."""
    return sum(weight * predict(latents, timestep, told) for told, weight in passes.items())


def make_noise(shape: tuple[int, int, int, int], generator: torch.Generator, shared: float) -> Iterator[Tensor]:
    """Noise (C, 1, H, W) of frame after frame, always the same for a generator, however many are taken at once.

    Args:
        shape: (C, 1, H, W).
        generator: on the CPU.
        shared: share of the variance that all frames have in common (Ge et al. 2023, "Preserve your own correlation");
            it keeps what is left to chance from flickering.
    """
    common = torch.randn(shape, generator=generator)
    while True:
        own = torch.randn(shape, generator=generator)
        yield shared**0.5 * common + (1 - shared) ** 0.5 * own


@dataclass(frozen=True)
class Sampler:
    """How to get from noise to latents.

    Attributes:
        scheduler: of diffusers, with latents of unit variance (DDIM, DPM++, UniPC, flow matching); a new one is made
            of its configuration for each clip, since schedulers keep state.
        steps: inference steps, 1 to 50.
        strength: how much of the way is noised and denoised again, in (0, 1]: 1 starts from noise alone, less keeps
            more of the motion frames (SDEdit, Meng et al. 2022). 0 leaves them as they are.
    """

    scheduler: Any
    steps: int
    strength: float = 1.0

    def __call__(
        self,
        predict: Callable[[Tensor, Tensor], Tensor],
        noise: Tensor,
        motion: Tensor,
        after_step: Callable[[int, int, Tensor], None] | None = None,
    ) -> Tensor:
        """One clip.

        Args:
            predict: latents and timestep → prediction, guidance included.
            noise: like ``motion``.
            motion: (B, C, F, H, W) latents of the motion frames.
            after_step: called with steps done, steps in all and the latents; may raise to stop.
        """
        if self.strength == 0:
            return motion
        scheduler = type(self.scheduler).from_config(self.scheduler.config)
        if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
            scheduler.set_timesteps(sigmas=[self.strength * (1 - i / self.steps) for i in range(self.steps)])
            timesteps = scheduler.timesteps
            latents = scheduler.scale_noise(motion, timesteps[:1], noise)
        else:
            # These divide the whole way evenly; the part of it that is gone is the longest that ``strength`` allows.
            scheduler.set_timesteps(math.ceil(self.steps / self.strength - 1e-6))
            timesteps = scheduler.timesteps[-self.steps :]
            latents = scheduler.add_noise(motion, noise, timesteps[:1]) if self.strength < 1 else noise
            if hasattr(scheduler, "set_begin_index"):
                scheduler.set_begin_index(len(scheduler.timesteps) - len(timesteps))
        for done, timestep in enumerate(timesteps, 1):
            latents = scheduler.step(predict(latents, timestep), timestep, latents).prev_sample
            if after_step is not None:
                after_step(done, len(timesteps), latents)
        return latents


def overlapping(frames: int, length: int, overlap: int) -> list[range]:
    """Clips of ``length`` frames that cover ``frames``, each sharing ``overlap`` with the one before.

    The last one is as long as the others where there are enough frames, so it may share more.
    """
    if frames <= length:
        return [range(frames)]
    starts = [*range(0, frames - length, length - overlap), frames - length]
    return [range(start, start + length) for start in starts]


def blend(clips: Iterator[tuple[range, Tensor]]) -> Iterator[Tensor]:
    """Overlapping clips (C, F, H, W), in order → the latents (C, H, W) of frame after frame.

    Where two clips share frames, one fades into the other. No more than one clip is held.
    """
    held: Tensor | None = None
    start = 0
    for span, latents in clips:
        if held is not None:
            shared = start + held.shape[1] - span.start
            yield from held[:, : held.shape[1] - shared].unbind(1)
            share = (torch.arange(shared, dtype=latents.dtype) + 1) / (shared + 1)
            share = share.to(latents.device)[None, :, None, None]
            faded = held[:, held.shape[1] - shared :] * (1 - share) + latents[:, :shared] * share
            latents = torch.cat([faded, latents[:, shared:]], 1)
        held, start = latents, span.start
    if held is not None:
        yield from held.unbind(1)
