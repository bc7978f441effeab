"""Train the A2M (``python -m synchrorama train a2m``): first the lips, then what the latent governs.

Lips: a phonetic teacher on much speech gives closures and full amplitude, tracked clips give realism; both are shown
in every batch, because a network that no longer sees the teacher forgets closures. Face: see ``face_vae``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, IterableDataset

from synchrorama.a2m import A2M, LipDecoder, normalised_mel, raw_mel
from synchrorama.blendshapes import MOUTH_AND_JAW, MotionSpace, lip_gap, mouth_width
from synchrorama.evaluation.sync import SyncNet
from synchrorama.face_topology import LIPS
from synchrorama.training import teacher
from synchrorama.training.datasets import Noises, Sequence, Variation, load_clips, load_phonetic
from synchrorama.training.face_vae import Conditions, train_face
from synchrorama.visemes import lip_gap_gain

_AVERAGE_DECAY = 0.998
_GUESSED_SYNC = 4.0  # how much more the SyncLoss counts where phones are only guessed
_FITTED_TABLE_GAIN = 1.12  # ridge regression shrinks; this restores the tracked amplitude


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m synchrorama train a2m", description=__doc__)
    parser.add_argument("--clips", type=Path, required=True, help="folder made by `prepare track`")
    parser.add_argument("--speech", type=Path, required=True, help="folder made by `prepare speech`")
    parser.add_argument("--offsets", type=Path, help="JSON of clip offsets made by `train sync`")
    parser.add_argument("--sync-loss", type=Path, help="sync network whose judgement is a loss, e.g. of `train sync`")
    parser.add_argument("--sync-weight", type=float, default=0.3)
    parser.add_argument("--motion-space", type=Path, default=Path("checkpoints/mini/motion_space"))
    parser.add_argument(
        "--checkpoints", type=Path, default=Path("checkpoints/mini"),
        help="folder with speech_emotion/ and scene_encoder/, whose answers condition the face",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("checkpoints/mini/a2m"))
    parser.add_argument("--teacher-steps", type=int, default=1500, help="steps on the phonetic teacher alone")
    parser.add_argument("--joint-steps", type=int, default=3500, help="steps on teacher and clips")
    parser.add_argument("--face-steps", type=int, default=2500, help="steps of the VAE and its prior")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--noise-sounds", type=int, default=100, help="synthetic noises, and as many pieces of music")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resume", type=Path, help="start from this folder instead of from scratch")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)

    space = MotionSpace.from_pretrained(options.motion_space)
    clips = load_clips(options.clips, space, options.offsets, ("train", "generated"))
    development = load_clips(options.clips, space, options.offsets, ("dev",))
    print(f"{len(clips)} clips, {sum(map(len, clips)) / 1500:.1f} min", flush=True)
    network = A2M.from_pretrained(options.resume) if options.resume else A2M()
    network.register_to_config(_name_or_path="")  # where training went on from is nobody's business
    network.lip_gap_gain.copy_(torch.from_numpy(lip_gap_gain(space)))
    if options.teacher_steps or options.joint_steps:
        _lip_stages(options, network, clips, development, space)
    if options.face_steps:
        conditions = Conditions.from_pretrained(options.checkpoints)
        train_face(network, clips, development, conditions, options.face_steps, options.seed)
    network.eval().save_pretrained(options.output)
    print(json.dumps(measure_lips(network.lips, development, space)))


def _lip_stages(
    options: argparse.Namespace, network: A2M, clips: list[Sequence], development: list[Sequence], space: MotionSpace
) -> None:
    """First the phonetic teacher alone, then teacher and clips in equal shares."""
    phonetic = load_phonetic(options.speech, space, viseme_table(clips, space))
    print(f"{len(phonetic)} utterances, {sum(map(len, phonetic)) / 1500:.1f} min", flush=True)
    noises = Noises(np.random.default_rng(options.seed), options.noise_sounds)
    sync = SyncNet.from_pretrained(options.sync_loss) if options.sync_loss else None
    losses = LipLosses(space, sync, options.sync_weight)
    stages = (
        ("teacher", options.teacher_steps, 1.5e-3, (phonetic,)),
        ("joint", options.joint_steps, 1.0e-3, (clips, phonetic)),
    )
    for stage, (name, steps, rate, sources) in enumerate(stages):
        if steps:
            variations = [Variation(source, noises) for source in sources]
            batches = _Batches(variations, options.batch_size // len(sources), options.seed + stage)
            loader = iter(DataLoader(batches, None, num_workers=1, prefetch_factor=8))
            train_lips(network, losses, loader, steps, rate, name, development, space)
            network.save_pretrained(options.output)


def viseme_table(clips: list[Sequence], space: MotionSpace) -> np.ndarray:
    """(40, 52) target shapes: the hand-made table, half replaced by a fit to the clips whose phones are known."""
    prior = teacher.viseme_table()
    known = [
        (clip.spoken[0], clip.spoken[1], clip.loudness, clip.mouth)
        for clip in clips
        if clip.spoken is not None and clip.split == "train"
    ]
    if not known:
        return prior
    fitted = teacher.fit_table(known, prior) * _FITTED_TABLE_GAIN
    return 0.5 * prior + 0.5 * np.clip(fitted, 0, 1)


@dataclass
class LipLosses:
    """Losses on lip geometry through the basis; a millimetre at the lips counts, a coefficient as such hardly does.

    With a sync network, lips must also be found in time with the sound: the one teacher that needs no labels, and the
    surest for languages whose phones are only guessed.
    """

    space: MotionSpace
    sync: SyncNet | None = None
    sync_weight: float = 0.3

    def __post_init__(self) -> None:
        columns = list(MOUTH_AND_JAW)
        basis = self.space.basis[columns]
        self.points = torch.tensor(basis[:, list(LIPS), :2].reshape(len(columns), -1), dtype=torch.float32)
        self.gap = torch.tensor(lip_gap(basis), dtype=torch.float32)
        self.width = torch.tensor(mouth_width(basis), dtype=torch.float32)
        self.neutral = torch.tensor(self.space.neutral[list(LIPS), :2], dtype=torch.float32)
        if self.sync is not None:
            self.sync.eval().requires_grad_(False)

    def __call__(self, output: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Output of the lip decoder and a batch of ``Variation`` → weighted terms, whose sum is minimised."""
        predicted, true = output["coefficients"], batch["mouth"][..., list(MOUTH_AND_JAW)]
        closures = batch["closures"]
        gap, true_gap = predicted @ self.gap, true @ self.gap
        width, true_width = predicted @ self.width, true @ self.width
        # Shut frames are few; without weight they are averaged away.
        weight = 1 + 14 * (closures[..., 0] > 0.9) + 7 * (closures[..., 1] > 0.9) + 3 * (true_gap < 0.06)
        # What is guessed is a hint, no more.
        weight = weight * (1 - 0.7 * batch["guessed"].float())[:, None]
        offset = (predicted - true) @ self.points
        terms = {
            "lips": 20 * (offset.square().mean(-1) * weight).mean(),
            "gap": 1.5 * (F.smooth_l1_loss(gap, true_gap, reduction="none", beta=0.1) * weight).mean(),
            "velocity": 20 * offset.diff(dim=1).square().mean()
            + F.smooth_l1_loss(gap.diff(dim=1), true_gap.diff(dim=1), beta=0.1),
            "coefficients": 1.5 * (predicted - true).abs().mean(),
            # Regression to the mean halves the amplitude at the same correlation; a spread that falls short costs.
            "spread": 6 * (true_gap.std(1) - gap.std(1)).clamp(min=0).square().mean()
            + 6 * (true_width.std(1) - width.std(1)).clamp(min=0).square().mean(),
        }
        known = closures[..., 0] >= 0
        if known.any():
            terms["closures"] = F.binary_cross_entropy_with_logits(
                output["closures"][known], closures[known].clamp(0, 1), pos_weight=torch.tensor([1.6, 2.0])
            )
        if (batch["phones"] >= 0).any():
            terms["phones"] = 0.15 * F.cross_entropy(
                output["phones"].flatten(0, 1), batch["phones"].flatten(), ignore_index=-1
            )
        if self.sync is not None:
            lips = self.neutral + (predicted @ self.points).unflatten(-1, (-1, 2))
            speaking = true.abs().amax((1, 2)) > 0
            terms["sync"] = self.sync_weight * self._sync(lips, batch["mel"], speaking)
            terms["guessed"] = _GUESSED_SYNC * self.sync_weight * self._sync(
                lips, batch["mel"], speaking & batch["guessed"]
            )
        return terms

    def _sync(self, lips: Tensor, mel: Tensor, chosen: Tensor) -> Tensor:
        """SyncLoss of the chosen items, weighted by their share of the batch."""
        if not chosen.any():
            return lips.new_zeros(())
        return self.sync.sync_loss(lips[chosen], raw_mel(mel[chosen])) * chosen.float().mean()


def train_lips(
    network: A2M,
    losses: LipLosses,
    batches: Iterator[dict[str, Tensor]],
    steps: int,
    rate: float,
    name: str,
    development: list[Sequence],
    space: MotionSpace,
) -> None:
    """Train the lip decoder for ``steps`` with a one-cycle learning rate that peaks at ``rate``.

    What is measured and kept is the moving average of the weights, which generalises better than the last ones.
    """
    average = AveragedModel(network.lips, multi_avg_fn=get_ema_multi_avg_fn(_AVERAGE_DECAY))
    optimiser = torch.optim.AdamW(network.lips.parameters(), rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps, pct_start=0.08)
    started, sums = time.time(), {}
    for step in range(1, steps + 1):
        batch = next(batches)
        network.lips.train()
        terms = losses(network.lips(batch["mel"], batch["style"]), batch)
        loss = sum(terms.values())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.lips.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.update_parameters(network.lips)
        for key, term in terms.items():
            sums[key] = sums.get(key, 0.0) + term.item()
        if step % 250 == 0 or step == steps:
            means = " ".join(f"{key} {value / 250:.3f}" for key, value in sums.items())
            quality = measure_lips(average.module.eval(), development, space)
            quality = " ".join(f"{key} {value:.3f}" for key, value in quality.items())
            print(f"{name} {step} {time.time() - started:.0f}s {means} | {quality}", flush=True)
            sums = {}
    network.lips.load_state_dict(average.module.state_dict())


@torch.no_grad()
def measure_lips(lips: LipDecoder, clips: list[Sequence], space: MotionSpace) -> dict[str, float]:
    """Mean over clips of the correlation of lip gap and of mouth width, and the ratio of gap amplitudes."""
    gap_gain, width_gain = lip_gap_gain(space), mouth_width(space.basis)
    rows = []
    for clip in clips:
        mel = torch.from_numpy(normalised_mel(clip.mel))[None].float()
        style = torch.zeros(1, 6)
        style[:, -1] = 1
        mouth = np.zeros((len(clip), 52))
        mouth[:, MOUTH_AND_JAW] = lips(mel, style)["coefficients"][0].numpy()
        gap, width = mouth @ gap_gain, mouth @ width_gain
        rows.append(
            (np.corrcoef(gap, clip.gap)[0, 1], np.corrcoef(width, clip.width)[0, 1], gap.std() / clip.gap.std())
        )
    means = np.nanmean(rows, axis=0) if rows else np.full(3, np.nan)
    return dict(zip(("r_gap", "r_width", "amplitude"), map(float, means), strict=True))


class _Batches(IterableDataset):
    """Endless batches, each with the same share of every source; runs in a process of its own."""

    def __init__(self, sources: list[Variation], size: int, seed: int) -> None:
        self.sources, self.size, self.seed = sources, size, seed

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        torch.set_num_threads(1)
        generator = np.random.default_rng(self.seed)
        streams = [source.batches(generator, self.size) for source in self.sources]
        for parts in zip(*streams, strict=True):
            yield {key: torch.from_numpy(np.concatenate([part[key] for part in parts])) for key in parts[0]}
