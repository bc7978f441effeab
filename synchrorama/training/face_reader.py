"""A small network that reads the lower face off a picture, so that losses can ask what a picture shows.

    python -m synchrorama train face_reader --pairs prepared/pairs

MediaPipe, which tracks faces here, has no gradients. This network learns on real faces and on motion frames what the
tracker saw in them: coefficients, the emotion that they amount to, and C_t of words for them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from synchrorama.blendshapes import BLENDSHAPE_NAMES, columns_of
from synchrorama.emotion.categories import EMOTIONS
from synchrorama.scene import TextEncoder
from synchrorama.scene.text_encoder import TOKEN_CHANNELS
from synchrorama.training.pair_batches import PairBatch, PairSequences, unvaried

_GRAIN = 0.02  # of training pictures, so that grain is not taken for a sign


class FaceReader(ModelMixin, ConfigMixin):
    """The face region of a picture → what it shows."""

    @register_to_config
    def __init__(self, widths: tuple[int, ...] = (16, 24, 32, 48, 64), groups: int = 8) -> None:
        super().__init__()
        layers, channels = [], 3
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, 2, 1), nn.GroupNorm(groups, width), nn.SiLU()]
            layers += [_Residual(width, groups)]
            channels = width
        self.trunk = nn.Sequential(*layers)
        flat = channels * 16  # 4 x 4 places: where something is tells as much as that it is there
        self.coefficients = nn.Linear(flat, len(BLENDSHAPE_NAMES))
        self.emotion = nn.Linear(flat, len(EMOTIONS))
        self.scene = nn.Linear(flat, TOKEN_CHANNELS)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """
        Args:
            pictures: (N, 3, 128, 128) in [-1, 1].

        Returns:
            ``coefficients`` (N, 52), ``emotion`` (N, 8) logits and ``scene`` (N, 32), like C_t.
        """
        x = F.adaptive_avg_pool2d(self.trunk(pictures), 4).flatten(1)
        return {"coefficients": self.coefficients(x), "emotion": self.emotion(x), "scene": self.scene(x)}


class _Residual(nn.Module):
    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.GroupNorm(groups, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.norm(self.conv1(x))))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m synchrorama train face_reader", description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True, help="folder made by `prepare pairs`")
    parser.add_argument("--output", type=Path, default=Path("checkpoints/mini/face_reader"))
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints/mini"), help="with scene_encoder/")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    text_encoder = TextEncoder.from_pretrained(options.checkpoints / "scene_encoder").eval()
    sequences = PairSequences(options.pairs, "train", text_encoder)
    reader = train(sequences, options.steps, options.seed)
    reader.save_pretrained(options.output)
    if PairSequences.exist(options.pairs, "dev"):
        print(json.dumps(measure(reader, PairSequences(options.pairs, "dev", text_encoder))))


def train(sequences: PairSequences, steps: int, seed: int) -> FaceReader:
    """A reader that has learnt from real pictures and from motion frames in equal shares."""
    torch.manual_seed(seed)
    reader = FaceReader().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(reader.parameters(), 2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, steps, pct_start=0.1)
    sums: dict[str, float] = {}
    for step in range(steps):
        # Two frames of many people a step rather than many frames of few.
        batches = sequences.draw(np.random.default_rng((seed, step)), frames=2, clips=10, stills=6)
        terms: dict[str, Tensor] = {}
        for batch in batches:
            for name, term in _terms(reader, batch).items():
                terms[name] = terms.get(name, 0) + term / len(batches)
        optimiser.zero_grad()
        sum(terms.values()).backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + term.item()
        if (step + 1) % 250 == 0:
            print(step + 1, " ".join(f"{name} {value / 250:.4f}" for name, value in sums.items()), flush=True)
            sums = {}
    return reader.eval()


def _terms(reader: FaceReader, batch: PairBatch) -> dict[str, Tensor]:
    pictures = torch.cat([batch.target, batch.clip.motion]).flatten(0, 1)
    pictures = (pictures + _GRAIN * torch.randn_like(pictures)).to(memory_format=torch.channels_last)
    read = reader(pictures)
    shown, emotion, text = (
        torch.cat([each, each]).flatten(0, 1)
        for each in (batch.blendshapes, batch.clip.emotion[..., : len(EMOTIONS)], batch.clip.text)
    )
    felt, done = emotion.sum(-1) > 0, text.abs().sum(-1) > 0
    terms = {"coefficients": 20 * F.smooth_l1_loss(read["coefficients"], shown, beta=0.05)}
    if felt.any():
        terms["emotion"] = 0.3 * F.cross_entropy(read["emotion"][felt], emotion[felt])
    if done.any():
        terms["scene"] = 0.3 * (1 - F.cosine_similarity(read["scene"][done], text[done], dim=-1)).mean()
    return terms


@torch.no_grad()
def measure(reader: FaceReader, sequences: PairSequences) -> dict[str, float]:
    """On real pictures: correlation of some coefficients, how often the emotion agrees, and the cosine of C_t."""
    shown: dict[str, list[Tensor]] = {"coefficients": [], "emotion": [], "scene": []}
    read: dict[str, list[Tensor]] = {name: [] for name in shown}
    for batch in map(unvaried, (each for person in sequences.people.values() for each in person)):
        true = {
            "coefficients": batch.blendshapes,
            "emotion": batch.clip.emotion[..., : len(EMOTIONS)],
            "scene": batch.clip.text,
        }
        for name, found in reader(batch.target.flatten(0, 1)).items():
            read[name].append(found)
            shown[name].append(true[name].flatten(0, 1))
    found, true = ({name: torch.cat(each) for name, each in part.items()} for part in (read, shown))
    figures = {}
    for name in ("jawOpen", "mouthSmile", "mouthPucker"):
        means = [part["coefficients"][:, columns_of(name)].mean(1) for part in (found, true)]
        figures[f"r_{name}"] = float(np.corrcoef(*means)[0, 1])
    figures["emotion"] = float((found["emotion"].argmax(1) == true["emotion"].argmax(1)).float().mean())
    done = true["scene"].abs().sum(1) > 0
    if done.any():
        figures["scene"] = float(F.cosine_similarity(found["scene"][done], true["scene"][done]).mean())
    return figures
