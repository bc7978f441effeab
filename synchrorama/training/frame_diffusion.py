"""Train the full networks: ``python -m synchrorama train diffusion --config configs/diffusion_full_stage1.json``.

Two stages, as in Hallo (arXiv 2406.08801): the first learns on single frames what a person looks like and where motion
frames put her, the second learns on clips what sound, emotion and text do and how frames follow each other, while the
first's networks stay as they are. Velocity prediction (Salimans & Ho 2022) on the schedule that a generation samples
with, which ends in pure noise (Lin et al. 2024), weighted by signal-to-noise ratio (Hang et al. 2023).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from diffusers import DDIMScheduler
from diffusers.training_utils import compute_snr
from torch import Tensor, nn

from synchrorama.diffusion import DiffusionNetworks
from synchrorama.diffusion.frame_denoiser import FrameDenoiser, Pass
from synchrorama.diffusion.hallo import SCHEDULER
from synchrorama.errors import InputError
from synchrorama.training.frame_batches import FrameBatch, PieceClips
from synchrorama.training.frame_config import FrameRunConfig
from synchrorama.training.full_checkpoint import Data, write_checkpoint
from synchrorama.training.loop import processor, run
from synchrorama.training.starting_weights import choose_trained, start_from


def train(config: FrameRunConfig, resume: bool = False) -> dict[str, list[float]]:
    """Run, or go on with, a stage.

    Returns:
        Name of the loss → its value at each step that this call made.

    Raises:
        InputError: there is nothing to learn from, to start from or to go on with, the config does not describe the
            networks, or the losses are no longer finite.
    """
    torch.manual_seed(config.seed)
    networks = make_networks(config)
    face_width = networks.image_projection.config.width_in
    pieces = PieceClips(config.pieces, "train", face_width)
    with processor(config.threads), _ahead(config, pieces) as batch_of:

        def take_step(
            objective: nn.Module, generator: np.random.Generator, step: int, accelerator: Accelerator
        ) -> dict[str, float]:
            total = 0.0
            for part in range(config.accumulation):
                batch = batch_of(step, part, accelerator.process_index).to(accelerator.device)
                # Gradients of several processes are added up once, with the last.
                last = part + 1 == config.accumulation
                with nullcontext() if last else accelerator.no_sync(objective):
                    loss = objective(batch, *_drawn(batch, config, generator)) / config.accumulation
                    accelerator.backward(loss)
                total += loss.item()
            return {"denoising": total}

        history = run(config, networks, FrameObjective(networks, config), take_step, resume=resume)
    state = PartialState()
    if config.stage == 2 and history and state.is_main_process:
        folder = write_checkpoint(config, Data.of(pieces.people), history, state.num_processes)
        print(f"{folder} is a checkpoint; complete its model card before you give it to others.", flush=True)
    return history


def make_networks(config: FrameRunConfig) -> DiffusionNetworks:
    """The networks with the weights that the run begins with; those of its stage require gradients.

    Raises:
        InputError: see ``train``.
    """
    try:
        networks = DiffusionNetworks(config.networks)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        problem = str(error).splitlines()[0][:200]
        raise InputError(f"networks in the config does not describe the networks ({problem}).") from None
    given = start_from(networks, config.start)
    count = choose_trained(networks, config.stage)
    told = ", ".join(f"{number:,} from {folder}" for folder, number in given.items() if folder != "new")
    PartialState().print(f"tensors: {told or 'none'}, {given['new']:,} new; trained: {count:,} numbers", flush=True)
    if config.mixed_precision != "no":
        # Half the memory for matrices that stay as they are. Float16, as they are saved: bfloat16 would coarsen them.
        for each in networks.parameters():
            if not each.requires_grad and each.dim() > 1:
                each.data = each.data.half()
    return networks


class FrameObjective(nn.Module):
    """A batch → the loss of a stage."""

    def __init__(self, networks: DiffusionNetworks, config: FrameRunConfig) -> None:
        super().__init__()
        self.networks = networks
        self.denoiser = FrameDenoiser(networks, order="own", dtype=torch.float32)
        self.scheduler = DDIMScheduler(**SCHEDULER)
        self.min_snr = config.min_snr

    def forward(
        self, batch: FrameBatch, noise: Tensor, timesteps: Tensor, passes: list[Pass], guided: Tensor
    ) -> Tensor:
        """
        Args:
            batch: of B clips.
            noise: (B, C, F, H, W).
            timesteps: (B,) int64, 0 to 999.
            passes: what is told of each clip.
            guided: (B,) bool, whether motion frames are shown.

        Returns:
            () the mean over the batch of each clip's weighted squared error.
        """
        frames = noise.shape[2]
        noisy = self.scheduler.add_noise(batch.latents, noise, timesteps)
        # On a CPU PyTorch 2.13 crashes in the gradient of a group norm whose weight alone wants one.
        noisy.requires_grad_()
        velocity = self.scheduler.get_velocity(batch.latents, noise, timesteps)
        person = self.denoiser.person(batch.photo, batch.face)
        features = self.denoiser.features(person, batch.before, passes, frames)
        conditions = self.denoiser.conditions(batch.clip, person, features, passes, guided=guided)
        predicted = self.denoiser.predict(noisy, timesteps.repeat_interleave(frames), conditions)
        error = (predicted - velocity).square().mean((1, 2, 3, 4))
        # With one added, as velocity prediction wants it, pure noise counts too, where sampling begins.
        ratio = compute_snr(self.scheduler, timesteps) + 1
        return (error * ratio.clamp(max=self.min_snr) / ratio).mean()


def _drawn(
    batch: FrameBatch, config: FrameRunConfig, generator: np.random.Generator
) -> tuple[Tensor, Tensor, list[Pass], Tensor]:
    """What ``FrameObjective`` is given besides the batch."""
    count, channels = batch.latents.shape[:2]
    noise = generator.standard_normal(batch.latents.shape, np.float32)
    noise += config.noise_offset * generator.standard_normal((count, channels, 1, 1, 1), np.float32)
    timesteps = generator.integers(DDIMScheduler(**SCHEDULER).config.num_train_timesteps, size=count)
    missing = generator.random((count, 4)) < (
        config.without_image, config.without_sound, config.without_emotion, config.without_guide
    )  # fmt: skip
    passes = [Pass(face=not a, sound=not b, meaning=not (b or c)) for a, b, c, _ in missing.tolist()]
    device = batch.latents.device
    return (
        torch.from_numpy(noise).to(device),
        torch.from_numpy(timesteps).to(device),
        passes,
        torch.from_numpy(~missing[:, 3]).to(device),
    )


@contextmanager
def _ahead(config: FrameRunConfig, pieces: PieceClips) -> Iterator:
    """A function of step, part and process → its batch; the next is read by a thread meanwhile."""

    def read(step: int, part: int, process: int) -> FrameBatch:
        generator = np.random.default_rng((config.seed, step, process, part, 1))
        return pieces.draw(
            generator, config.clips_per_step, config.clip_frames, config.frames_before, config.beginnings
        )

    with ThreadPoolExecutor(1) as thread:
        waiting: dict = {}

        def batch_of(step: int, part: int, process: int) -> FrameBatch:
            number = step * config.accumulation + part + 1
            following = (*divmod(number, config.accumulation), process)
            batch = waiting.pop((step, part, process), None) or thread.submit(read, step, part, process)
            if following[0] < config.steps:
                waiting[following] = thread.submit(read, *following)
            return batch.result()

        yield batch_of
