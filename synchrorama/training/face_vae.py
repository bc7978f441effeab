"""Train what the latent of A2M governs: head, brows, lids and gaze, under Z_emo and C_t.

A conditional VAE with a VP-Flow prior on the tracked clips, with the lips' audio features held fixed. What a clip's
voice sounds like is heard by the speech emotion network, and what its face does is measured and put into words. Sound,
emotion and scene are left out independently of each other, so that the network also knows the face without them and
emotion can be guided.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from synchrorama.a2m import A2M, normalised_mel
from synchrorama.audio import HOPS_PER_FRAME
from synchrorama.emotion.embedding import emotions_at, fuse
from synchrorama.emotion.speech import SpeechEmotion
from synchrorama.motion import Motion
from synchrorama.scene import TextEncoder
from synchrorama.training.datasets import Sequence, face_channels, mirrored
from synchrorama.training.motion_words import describe_motion, write_description

_SIGMA = 0.5  # spread that the face decoder leaves unexplained, in normalised units
_WINDOW, _STRIDE = 128, 32  # frames of a training window, and from one described window to the next
_WORDINGS = 4  # of every window
_RATE, _CONDITION_RATE = 1e-3, 1e-2
_LEVEL = 1.0  # weight of the level error
_NO_SOUND, _NO_EMOTION, _NO_SCENE = 0.3, 0.3, 0.3  # how often a condition is left out


@dataclass
class Conditions:
    """The networks whose answers condition the face."""

    speech_emotion: SpeechEmotion
    text_encoder: TextEncoder

    @classmethod
    def from_pretrained(cls, folder: Path) -> Conditions:
        kinds = ((SpeechEmotion, "speech_emotion"), (TextEncoder, "scene_encoder"))
        return cls(*(kind.from_pretrained(folder / name, low_cpu_mem_usage=False).eval() for kind, name in kinds))

    def emotion(self, clip: Sequence) -> np.ndarray:
        """(T, 24) Z_emo of a clip's voice."""
        loud = np.ones(len(clip)) if clip.loudness is None else clip.loudness
        voice = self.speech_emotion.read_mel(clip.mel, loud)
        sources = {"voice": voice.probabilities, "valence_arousal": emotions_at(voice.valence, voice.arousal)}
        return fuse(sources, {"valence_arousal": 0.5}, voice.valence, voice.arousal).embedding

    def scene(self, motion: Motion, generator: np.random.Generator) -> np.ndarray:
        """(W, 32) tokens of C_t: what a motion does, in several wordings."""
        texts = [write_description(describe_motion(motion), generator) for _ in range(_WORDINGS)]
        return np.stack([self.text_encoder.encode(text).tokens[0] for text in texts])


@dataclass
class Take:
    """A clip, or its mirror image, as the face stage sees it."""

    face: np.ndarray  # (T, 21) normalised
    features: np.ndarray  # (T, C) what the lip decoder hears
    emotion: np.ndarray  # (T, 24)
    scenes: np.ndarray  # (G, W, 32): for the windows that begin at 0, 32, 64, …

    def __len__(self) -> int:
        return len(self.face)


def train_face(
    network: A2M,
    clips: list[Sequence],
    development: list[Sequence],
    conditions: Conditions,
    steps: int,
    seed: int,
) -> None:
    """Train posterior, VP-Flow prior and face decoder by the evidence lower bound; the lip decoder stays as it is."""
    channels = np.concatenate([face_channels(clip.motion) for clip in clips])
    network.face_mean.copy_(torch.from_numpy(channels.mean(0)))
    network.face_std.copy_(torch.from_numpy(channels.std(0) + 1e-3))
    network.eval()
    generator = np.random.default_rng(seed)
    known, held_out = (
        [take for clip in group for take in takes(network, clip, conditions, generator)]
        for group in (clips, development)
    )
    parts = (network.audio_features, network.posterior, network.prior, network.face)
    groups = [
        {"params": [parameter for part in parts for parameter in part.parameters()], "lr": _RATE},
        # These two start at zero, and little of the data says much about them.
        {"params": [network.emotion.weight, network.scene.weight], "lr": _CONDITION_RATE},
    ]
    parameters = [parameter for group in groups for parameter in group["params"]]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.02)
    rates = [group["lr"] for group in groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, steps, pct_start=0.1)
    started, sums = time.time(), np.zeros(3)
    network.train()
    for step in range(1, steps + 1):
        batch = left_out(face_batch(known, generator, 12))
        reconstruction, divergence = face_bound(network, batch)
        level = level_error(network, batch)
        # The divergence is phased in, or the decoder would learn to do without the latent.
        loss = reconstruction + min(1.0, step / 500) * divergence + _LEVEL * level
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        sums += (reconstruction.item(), divergence.item(), level.item())
        if step % 250 == 0:
            bounds = _measured(network, held_out)
            print(f"face {step} {time.time() - started:.0f}s {(sums / 250).round(3)} | dev {bounds}", flush=True)
            sums[:] = 0


@torch.no_grad()
def _measured(network: A2M, held_out: list[Take]) -> str:
    """The bound on held-out takes; then their level error with all conditions, without emotion, and without scene."""
    batch = face_batch(held_out, np.random.default_rng(0), 48)
    measured = [sum(term.item() for term in face_bound(network, batch))]
    for missing in (None, "emotion", "scene"):
        given = {key: value * 0 if key == missing else value for key, value in batch.items()}
        measured.append(level_error(network, given).item())
    return " ".join(f"{value:.3f}" for value in measured)


def context_of(network: A2M, batch: dict[str, Tensor]) -> Tensor:
    """The conditions of a batch (B, C, N); in windows without sound, emotion and scene alone."""
    return network.condition(batch["features"] * batch["heard"], batch["emotion"], batch["scene"])


def level_error(network: A2M, batch: dict[str, Tensor]) -> Tensor:
    """How far the mean of the most likely motion is from the true mean of each window.

    A latent can tell everything about a window, so that a decoder could do without the conditions. The mean over
    seconds, such as a head turned to the left, is to be known from them alone.
    """
    context = context_of(network, batch)
    pooled = network.pooled_audio(context)
    middle = torch.zeros(len(context), network.config.latent_channels, pooled.shape[-1])
    likeliest = network.face(network.prior.inverse(middle, pooled), context)
    return (likeliest.mean(-1) - batch["face"].mean(-1)).square().mean() / (2 * _SIGMA**2)


def face_bound(network: A2M, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Negative evidence lower bound per face channel and frame: reconstruction and divergence from the prior.

    Args:
        batch: see ``face_batch``; the length of its windows is a multiple of the latent stride.
    """
    face = batch["face"]
    context = context_of(network, batch)
    mean, log_variance = network.posterior(face, context)
    noise = torch.randn_like(mean)
    z = mean + noise * (0.5 * log_variance).exp()
    prior = network.prior(z, network.pooled_audio(context))
    reconstruction = (network.face(z, context) - face).square().mean() / (2 * _SIGMA**2)
    log_posterior = -0.5 * (log_variance + noise.square())
    log_prior = -0.5 * prior.square()
    divergence = (log_posterior - log_prior).sum(1).mean() / (network.config.latent_stride * face.shape[1])
    return reconstruction, divergence


def left_out(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch with sound, emotion and scene each missing in some of its items."""
    shares = {"heard": _NO_SOUND, "emotion": _NO_EMOTION, "scene": _NO_SCENE}
    size = len(batch["face"])
    return {
        key: value * (torch.rand(size, 1, 1) >= shares[key]) if key in shares else value for key, value in batch.items()
    }


@torch.no_grad()
def takes(network: A2M, clip: Sequence, conditions: Conditions, generator: np.random.Generator) -> list[Take]:
    """A clip and its mirror image."""
    motion = clip.motion
    mirror = Motion(mirrored(motion.blendshapes), motion.rotation * (1, -1, -1), motion.translation * (-1, 1, 1))
    mean, std = network.face_mean.numpy(), network.face_std.numpy()
    style = torch.zeros(1, 6)
    style[:, -1] = 1
    mel = clip.mel[: len(clip) * HOPS_PER_FRAME]
    features = network.lips(torch.from_numpy(normalised_mel(mel))[None].float(), style)["features"][0].T.numpy()
    emotion = conditions.emotion(clip)
    starts = range(0, max(1, len(clip) - _WINDOW + 1), _STRIDE)
    return [
        Take(
            (face_channels(m) - mean) / std,
            features,
            emotion,
            np.stack([conditions.scene(m[start : start + _WINDOW], generator) for start in starts]),
        )
        for m in (motion, mirror)
    ]


def face_batch(known: list[Take], generator: np.random.Generator, size: int) -> dict[str, Tensor]:
    """Described windows: face (B, 21, N), features (B, C, N), emotion (B, 24, N), scene (B, 32, N), heard (B, 1, N).

    Short takes go on backwards from their end.
    """
    weights = np.sqrt([len(take) for take in known])
    rows: dict[str, list[np.ndarray]] = {"face": [], "features": [], "emotion": [], "scene": []}
    for i in generator.choice(len(known), size, p=weights / weights.sum()):
        take = known[i]
        grid = generator.integers(len(take.scenes))
        length = len(take)
        frames = np.arange(_WINDOW) + grid * _STRIDE
        frames = frames % (2 * length - 2)
        frames = np.where(frames < length, frames, 2 * length - 2 - frames)
        for key in ("face", "features", "emotion"):
            rows[key].append(getattr(take, key)[frames].T)
        token = take.scenes[grid, generator.integers(_WORDINGS)]
        rows["scene"].append(np.repeat(token[:, None], _WINDOW, axis=1))
    batch = {key: torch.from_numpy(np.stack(row)).float() for key, row in rows.items()}
    return batch | {"heard": torch.ones(size, 1, _WINDOW)}
