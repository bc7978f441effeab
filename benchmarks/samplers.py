"""How near few steps come to many, by solver: python benchmarks/samplers.py.

Without trained weights there is no picture to judge, but there are distributions whose velocity prediction is known
exactly: here a mixture of Gaussians, under Hallo's schedule and with guidance between the whole mixture (without) and
a few of its components (given), through the same solvers and settings as the full profile. What is printed is the
distance of the result from that of DDIM through all 1000 steps, as a share of the distribution's spread. It says how
well the solvers follow the equation; it does not say how good the pictures of a network are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from synchrorama.diffusion.hallo import SCHEDULER
from synchrorama.diffusion.sampling import Sampler
from synchrorama.frame_stage import SAMPLERS

STEPS = (4, 6, 8, 12, 20, 40)
SAMPLES, WIDTH, COMPONENTS, GIVEN = 256, 64, 32, 4
DECAY = 1.5  # variance of the n-th direction is proportional to n to the power of minus this, as in pictures
WITHIN = 0.3  # share of the variance that lies within a component
SCHEDULE = DDIMScheduler(**SCHEDULER).alphas_cumprod.double()


class Mixture:
    """Gaussians of equal weight and equal covariance, which is diagonal."""

    def __init__(self, means: Tensor, variance: Tensor) -> None:
        self.means, self.variance = means, variance

    def velocity(self, latents: Tensor, timestep: int) -> Tensor:
        """The expectation of α·noise - σ·clean, given noisy latents (N, WIDTH)."""
        alpha, sigma = SCHEDULE[timestep].sqrt(), (1 - SCHEDULE[timestep]).sqrt()
        if alpha == 0:
            return -self.means.mean(0).expand_as(latents)
        spread = alpha**2 * self.variance + sigma**2
        away = latents[:, None] - alpha * self.means
        share = torch.softmax(-0.5 * (away.square() / spread).sum(2), 1)
        clean = self.means + alpha * self.variance / spread * away
        clean = (share[..., None] * clean).sum(1)
        return (alpha * latents - clean) / sigma


def setting(guidance: float) -> tuple[Callable[[Tensor, int], Tensor], Tensor, Tensor]:
    """A guided prediction, noise, and latents from which a motion frame would have it start."""
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.arange(1, WIDTH + 1, dtype=torch.float64) ** -DECAY
    spectrum = spectrum / spectrum.mean()
    means = torch.randn(COMPONENTS, WIDTH, generator=generator, dtype=torch.float64)
    means = means * (spectrum * (1 - WITHIN)).sqrt()
    whole, given = (Mixture(each, WITHIN * spectrum) for each in (means, means[:GIVEN]))
    noise = torch.randn(SAMPLES, WIDTH, generator=generator, dtype=torch.float64)
    start = means[torch.randint(GIVEN, (SAMPLES,), generator=generator)]
    start = start + torch.randn(SAMPLES, WIDTH, generator=generator, dtype=torch.float64) * (spectrum * WITHIN).sqrt()

    def predict(latents: Tensor, timestep: int) -> Tensor:
        without = whole.velocity(latents, timestep)
        return without + guidance * (given.velocity(latents, timestep) - without)

    return predict, noise, start


@cache
def exact(guidance: float, strength: float, timestep: int) -> Tensor:
    """DDIM through every timestep from this one on, from noise or from noised motion frames."""
    predict, noise, start = setting(guidance)
    alpha, sigma = SCHEDULE[timestep].sqrt(), (1 - SCHEDULE[timestep]).sqrt()
    latents = alpha * start + sigma * noise if strength < 1 else noise
    for t in range(timestep, -1, -1):
        alpha, sigma = SCHEDULE[t].sqrt(), (1 - SCHEDULE[t]).sqrt()
        after = SCHEDULE[t - 1] if t else torch.ones((), dtype=torch.float64)
        velocity = predict(latents, t)
        clean, remaining = alpha * latents - sigma * velocity, sigma * latents + alpha * velocity
        latents = after.sqrt() * clean + (1 - after).sqrt() * remaining
    return latents


def distance(name: str, steps: int, strength: float, guidance: float) -> float:
    """Root of the mean square, as a share of the spread of the results."""
    predict, noise, start = setting(guidance)
    asked: list[int] = []

    def at(latents: Tensor, timestep: Tensor) -> Tensor:
        asked.append(int(timestep))
        return predict(latents, asked[-1])

    few = Sampler(SAMPLERS[name](), steps, strength)(at, noise, start)
    many = exact(guidance, strength, asked[0])
    return float((few - many).square().mean().sqrt() / many.std())


def main() -> None:
    print("| from | guidance | solver | " + " | ".join(f"{steps} steps" for steps in STEPS) + " |")
    print("|---" * (3 + len(STEPS)) + "|")
    for origin, strength in (("noise", 1.0), ("motion frames, strength 0.5", 0.5)):
        for guidance in (1.0, 3.5):
            for name in SAMPLERS:
                shares = [distance(name, steps, strength, guidance) for steps in STEPS]
                shown = " | ".join(f"{share:.1%}" for share in shares)
                print(f"| {origin} | {guidance} | {name} | {shown} |")


if __name__ == "__main__":
    main()
