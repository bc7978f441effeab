"""Train the diffusion stage: ``python -m synchrorama train diffusion --config configs/diffusion_mini.json``.

Flow matching on the latents of real pictures, given the motion frames that should have looked like them. The run can
be stopped at any time and goes on with ``--resume`` as if it had not been: what a step sees depends on its number.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from synchrorama.blendshapes import MotionSpace
from synchrorama.diffusion import DiffusionNetworks
from synchrorama.diffusion.denoiser import Denoiser
from synchrorama.diffusion.region import painted
from synchrorama.diffusion.sampling import Sampler
from synchrorama.evaluation.sync import SyncNet
from synchrorama.scene import TextEncoder
from synchrorama.training.face_reader import FaceReader
from synchrorama.training.loop import processor, run
from synchrorama.training.losses import (
    SyncLoss,
    action_unit_loss,
    attribute_action_loss,
    cell_weights,
    denoising_loss,
    emotion_loss,
    reconstruction_loss,
)
from synchrorama.training.pair_batches import PairBatch, PairSequences
from synchrorama.training.run_config import READING_LOSSES, RunConfig, read_json

_LATE = (0.5, 1.3)  # mean and spread of the logit of t: most training where much is left to paint


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m synchrorama train diffusion", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON file with the settings of the run")
    parser.add_argument("--resume", action="store_true", help="go on where the run of this config stopped")
    options = parser.parse_args(argv)
    given = read_json(options.config)
    if "stage" in given:
        from synchrorama.training import frame_diffusion
        from synchrorama.training.frame_config import FrameRunConfig

        frame_diffusion.train(FrameRunConfig.from_dict(given, options.config.name), options.resume)
    else:
        train(RunConfig.from_dict(given, options.config.name), options.resume)


def train(config: RunConfig, resume: bool = False) -> dict[str, list[float]]:
    """Run, or go on with, a training.

    Returns:
        Name of the loss → its value at each step that this call made.

    Raises:
        InputError: there is nothing to learn from, nothing to go on with, or the losses are no longer finite.
    """
    with processor(config.threads):
        return _train(config, resume)


def _train(config: RunConfig, resume: bool) -> dict[str, list[float]]:
    torch.manual_seed(config.seed)
    text_encoder = TextEncoder.from_pretrained(config.checkpoints / "scene_encoder").eval()
    sequences = PairSequences(config.pairs, "train", text_encoder)
    shown = _development(config, text_encoder)
    networks = DiffusionNetworks(config.networks)

    def take_step(
        objective: nn.Module, generator: np.random.Generator, step: int, accelerator: Accelerator
    ) -> dict[str, float]:
        return _step(config, objective, sequences, generator, step, accelerator)

    def pictures(step: int, device: torch.device) -> np.ndarray | None:
        due = shown and (step % config.pictures_every == 0 or step == config.steps)
        return contact_sheet(networks, shown, device) if due else None

    return run(config, networks, Objective(networks, config), take_step, resume=resume, pictures=pictures)


class Objective(nn.Module):
    """A batch → the weighted losses that the config asks for."""

    def __init__(self, networks: DiffusionNetworks, config: RunConfig) -> None:
        super().__init__()
        self.networks = networks
        self.denoiser = Denoiser(networks)
        self.codec = self.denoiser.codec
        self.weights = {name: weight for name, weight in config.losses.items() if weight}
        self.reader = self.sync = None
        if set(self.weights) & set(READING_LOSSES):
            self.reader = FaceReader.from_pretrained(config.checkpoints / "face_reader").eval().requires_grad_(False)
        if "sync" in self.weights:
            space = MotionSpace.from_pretrained(config.checkpoints / "motion_space")
            self.sync = SyncLoss(SyncNet.from_pretrained(config.checkpoints / "sync_loss"), space)

    def forward(self, batch: PairBatch, noise: Tensor, t: Tensor, guided: Tensor) -> dict[str, Tensor]:
        """
        Args:
            batch: of B clips of F frames.
            noise: (B, 3, F, H, W), standard normal.
            t: (B,) in [0, 1], how much of the noise there is.
            guided: (B,) bool, whether the guide shows motion frames and mouth.
        """
        clip = batch.clip
        frames = clip.motion.shape[1]
        clean = self.codec.encode(batch.target.flatten(0, 1), clip.motion.flatten(0, 1))
        clean = clean.unflatten(0, (-1, frames)).transpose(1, 2)
        at = t[:, None, None, None, None]
        noisy = (1 - at) * clean + at * noise
        timestep = (1000 * t).repeat_interleave(frames)
        conditions = self.denoiser.conditions(clip, self.denoiser.features(batch.reference), guided=guided)
        flow = self.denoiser.predict(noisy, timestep, conditions).float()
        found = noisy - at * flow
        weights = cell_weights(clip.mouth)
        terms = {
            "denoising": lambda: denoising_loss(flow, noise - clean, weights),
            "reconstruction": lambda: reconstruction_loss(self.codec, found, batch.target, clip.motion, weights),
        }
        if self.reader is not None:
            terms |= self._reading_losses(found, batch)
        return {name: weight * terms[name]() for name, weight in self.weights.items() if name in terms}

    def _reading_losses(self, found: Tensor, batch: PairBatch) -> dict[str, Callable[[], Tensor]]:
        """Of the pictures that x0 (B, 3, F, H, W) decodes to. A single frame cannot be out of time with its sound."""
        clip = batch.clip
        flat = found.transpose(1, 2).flatten(0, 1)
        read = self.reader(self.codec.decode(flat, clip.motion.flatten(0, 1)))
        emotion = clip.emotion.flatten(0, 1)[:, : read["emotion"].shape[1]]
        terms = {
            "action_units": lambda: action_unit_loss(read["coefficients"], batch.blendshapes.flatten(0, 1)),
            "emotion": lambda: emotion_loss(read["emotion"], emotion),
            "attribute_action": lambda: attribute_action_loss(read["scene"], clip.text.flatten(0, 1)),
        }
        if found.shape[2] > 1:
            coefficients = read["coefficients"].unflatten(0, clip.motion.shape[:2])
            terms["sync"] = lambda: self.sync(coefficients, clip.sound)
        return terms


@torch.no_grad()
def paint(
    networks: DiffusionNetworks, batch: PairBatch, steps: int = 1, strength: float = 1.0, seed: int = 0
) -> Tensor:
    """What a generation would make of the motion frames of one sequence: (F, 3, 128, 128) in [-1, 1].

    ``strength`` is the share of it that is shown.
    """
    denoiser, clip = Denoiser(networks), batch.clip
    conditions = denoiser.conditions(clip, denoiser.features(batch.reference))
    frames, (height, width) = clip.motion.shape[1], clip.mouth.shape[-2:]
    noise = torch.randn((1, 3, 1, height, width), generator=torch.Generator().manual_seed(seed))
    noise = noise.expand(-1, -1, frames, -1, -1).to(clip.motion)
    sampler = Sampler(FlowMatchEulerDiscreteScheduler(), steps)
    latents = sampler(lambda x, t: denoiser.predict(x, t, conditions), noise, torch.zeros_like(noise))
    latents = latents[0].transpose(0, 1) * painted(clip.mouth[0])
    return denoiser.codec.decode(strength * latents, clip.motion[0])


def contact_sheet(
    networks: DiffusionNetworks, examples: list[PairBatch], device: torch.device, strength: float = 1.0
) -> np.ndarray:
    """Photo | motion frame | result | real picture, a row for each example, in its frame with the widest mouth.

    Returns:
        (height, width, 3) uint8.
    """
    rows = []
    for batch in examples:
        batch = _on(batch, device)
        widest = int(batch.clip.mouth[0].sum((1, 2, 3)).argmax())
        result = paint(networks, batch, strength=strength)[widest]
        rows.append(torch.cat([batch.reference[0], batch.clip.motion[0, widest], result, batch.target[0, widest]], 2))
    sheet = torch.cat(rows, 1).movedim(0, -1)
    return ((sheet + 1) * 127.5).clamp(0, 255).byte().cpu().numpy()


def _step(
    config: RunConfig,
    objective: nn.Module,
    sequences: PairSequences,
    generator: np.random.Generator,
    step: int,
    accelerator: Accelerator,
) -> dict[str, float]:
    """Gradients of one step; the losses, averaged over its frames."""
    frames = config.clip_frames[step % len(config.clip_frames)]
    batches = sequences.draw(generator, frames, config.frames_per_step // frames, config.stills_per_step)
    counts = [batch.clip.motion.shape[0] * batch.clip.motion.shape[1] for batch in batches]
    sums: dict[str, float] = {}
    for batch, count in zip(batches, counts, strict=True):
        batch = _on(batch, accelerator.device)
        noise, t = _noise(batch.clip.mouth.shape, generator, config)
        guided = torch.from_numpy(generator.random(len(t)) >= config.unguided)
        terms = objective(batch, *(each.to(accelerator.device) for each in (noise, t, guided)))
        share = count / sum(counts)
        accelerator.backward(sum(terms.values()) * share)
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + term.item() * share
    return sums


def _noise(mouth: tuple[int, ...], generator: np.random.Generator, config: RunConfig) -> tuple[Tensor, Tensor]:
    """Noise (B, 3, F, H, W), partly common to the frames of a clip, and t (B,)."""
    batch, frames, _, height, width = mouth
    shared = generator.standard_normal((batch, 3, 1, height, width), np.float32)
    own = generator.standard_normal((batch, 3, frames, height, width), np.float32)
    noise = config.shared_noise**0.5 * shared + (1 - config.shared_noise) ** 0.5 * own
    t = 1 / (1 + np.exp(-generator.normal(*_LATE, batch)))
    t[generator.random(batch) < config.noise_only] = 1
    return torch.from_numpy(noise), torch.from_numpy(t.astype(np.float32))


def _on(batch: PairBatch, device: torch.device) -> PairBatch:
    clip = type(batch.clip)(**{name: each.to(device) for name, each in vars(batch.clip).items()})
    return PairBatch(clip, *(each.to(device) for each in (batch.reference, batch.target, batch.blendshapes)))


def _development(config: RunConfig, text_encoder: TextEncoder) -> list[PairBatch]:
    """What the pictures of the run show: a sequence of each person of the split dev, where there is one."""
    if not PairSequences.exist(config.pairs, "dev"):
        return []
    return list(PairSequences(config.pairs, "dev", text_encoder).examples())
