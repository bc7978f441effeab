"""Batches of the diffusion stage: sequences of ``prepare pairs``, told in the terms of emotion and text, and varied.

What a batch holds depends on seed and number of the step alone, so that a run that was interrupted goes on as if it
had not been.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from synchrorama.diffusion.denoiser import ClipConditions
from synchrorama.emotion.categories import CIRCUMPLEX, EMOTION_INDEX
from synchrorama.emotion.embedding import EmotionTrack, with_neutral
from synchrorama.emotion.expressions import emotion_table
from synchrorama.errors import InputError
from synchrorama.motion import Motion
from synchrorama.scene import TextEncoder
from synchrorama.scene.text_encoder import TOKEN_CHANNELS
from synchrorama.training.datasets import mirrored
from synchrorama.training.motion_words import describe_motion, write_description

_SHIFT = 2  # cells, so that the place of the region teaches nothing
_EXPOSURE, _TINT, _CONTRAST = 0.2, 0.1, 0.25  # spread of the logarithm of brightness, of that of colours, and of gamma
_UNTOLD = 0.1  # share of clips without sound, and of those without text; half as many without emotion


@dataclass(frozen=True)
class PairBatch:
    """B sequences of F frames.

    Attributes:
        clip: what the networks may know.
        reference: (B, 3, 128, 128) in [-1, 1], the photo's face region.
        target: (B, F, 3, 128, 128) in [-1, 1], the real pictures.
        blendshapes: (B, F, 52), what these show.
    """

    clip: ClipConditions
    reference: Tensor
    target: Tensor
    blendshapes: Tensor


class PairSequences:
    """All pairs of a folder whose file names begin with ``split`` (and ``still_<split>``), in memory."""

    def __init__(self, folder: Path, split: str, text_encoder: TextEncoder) -> None:
        """
        Raises:
            InputError: there are none.
        """
        generator = np.random.default_rng(0)  # of the wordings
        self.people: dict[str, list[dict[str, np.ndarray]]] = {}
        self.stills: list[dict[str, np.ndarray]] = []
        for path in sorted(folder.glob("*.npz")):
            kind, identity = path.stem.split("__")[:2]
            if kind not in (split, f"still_{split}"):
                continue
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            shapes = arrays["blendshapes"].astype(np.float32)
            still = shapes.shape[1] == 1
            rest = np.zeros(shapes.shape[-1]) if still else np.median(shapes, axis=(0, 1))
            sequences = self.stills if still else self.people.setdefault(identity, [])
            for i in range(len(shapes)):
                sequence = {name: each[i] for name, each in arrays.items()}
                sequence["emotion"] = shown_emotion((shapes[i] - rest).mean(0))
                both = shapes[i] - rest, mirrored(shapes[i] - rest)
                sequence["text"] = np.stack([_text(each, text_encoder, generator) for each in both])
                sequences.append(sequence)
        if not self.people and not self.stills:
            raise InputError(f"{folder} holds no pairs of the split {split!r}; make them with `prepare pairs`.")

    @staticmethod
    def exist(folder: Path, split: str) -> bool:
        """Whether there are clips of a split."""
        return any(folder.glob(f"{split}__*.npz"))

    def draw(self, generator: np.random.Generator, frames: int, clips: int, stills: int) -> list[PairBatch]:
        """Varied sequences: one batch of ``clips`` clips of ``frames`` frames, one of ``stills`` single frames.

        Every person comes as often as every other, however much footage there is.
        """
        batches = []
        if clips and self.people:
            people = list(self.people.values())
            chosen = generator.integers(len(people), size=clips)
            drawn = [people[i][generator.integers(len(people[i]))] for i in chosen]
            batches.append(_batch([_varied(each, generator, frames) for each in drawn]))
        if stills and self.stills:
            drawn = [self.stills[i] for i in generator.integers(len(self.stills), size=stills)]
            batches.append(_batch([_varied(each, generator, 1) for each in drawn]))
        return batches

    def examples(self) -> Iterator[PairBatch]:
        """Each person's middle sequence, whole and as it is."""
        for sequences in self.people.values():
            yield unvaried(sequences[len(sequences) // 2])


def unvaried(sequence: dict[str, np.ndarray]) -> PairBatch:
    """One sequence as it is, whole."""
    return _batch([{**_floats(sequence), "text": sequence["text"][0]}])


def shown_emotion(blendshapes: np.ndarray) -> np.ndarray:
    """Z_emo (24,) of what a face shows, (52,) relative to its rest, by the table that also makes it act."""
    shares, _ = nnls(emotion_table().T.astype(np.float64), np.clip(blendshapes, 0, 1))
    shares[EMOTION_INDEX["neutral"]] = 0
    probabilities = with_neutral(shares / max(1.0, shares.sum()))[None]
    valence, arousal = (probabilities @ CIRCUMPLEX).T
    return EmotionTrack(probabilities, valence, arousal, np.ones(1, np.float32)).embedding[0]


def _text(blendshapes: np.ndarray, text_encoder: TextEncoder, generator: np.random.Generator) -> np.ndarray:
    """C_t (32,) of words for what the face does, zeros when it does nothing that stands out."""
    still = np.zeros((len(blendshapes), 3), np.float32)
    stage = describe_motion(Motion(blendshapes, still, still))
    if not stage:
        return np.zeros(TOKEN_CHANNELS, np.float32)
    return text_encoder.encode(write_description(stage, generator)).tokens[0]


def _floats(sequence: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Pictures to [-1, 1], channels first; the mouth to [0, 1]."""
    made = {name: sequence[name].astype(np.float32) for name in ("blendshapes", "mel", "emotion", "text")}
    for name in ("motion", "target", "reference"):
        made[name] = np.moveaxis(sequence[name], -1, -3).astype(np.float32) / 127.5 - 1
    return made | {"mouth": sequence["mouth"][:, None].astype(np.float32) / 255}


def _varied(sequence: dict[str, np.ndarray], generator: np.random.Generator, frames: int) -> dict[str, np.ndarray]:
    """Some of its frames, shifted, perhaps mirrored, in another light, and not always told everything."""
    first = generator.integers(len(sequence["motion"]) - frames + 1)
    chosen = slice(first, first + frames)
    made = {
        name: each[chosen] if name in ("motion", "target", "mouth", "blendshapes", "mel") else each
        for name, each in sequence.items()
    }
    made = _floats(made)
    mirror = int(generator.random() < 0.5)
    pixels = made["motion"].shape[-1] // made["mouth"].shape[-1]
    down, right, down_photo, right_photo = generator.integers(-_SHIFT, _SHIFT + 1, 4)
    gain = np.exp(generator.normal(0, _EXPOSURE) + generator.normal(0, _TINT, 3)).astype(np.float32)[:, None, None]
    gamma = np.float32(np.exp(generator.normal(0, _CONTRAST)))
    for name, rows, columns in (
        ("motion", pixels * down, pixels * right),
        ("target", pixels * down, pixels * right),
        ("mouth", down, right),
        ("reference", pixels // 2 * down_photo, pixels // 2 * right_photo),
    ):
        picture = made[name][..., ::-1] if mirror else made[name]
        picture = _shifted(picture, int(rows), int(columns))
        made[name] = picture if name == "mouth" else _relit(picture, gain, gamma)
    made["text"] = made["text"][mirror]
    if mirror:
        made["blendshapes"] = mirrored(made["blendshapes"])
    told = generator.random(3) > (_UNTOLD, _UNTOLD / 2, _UNTOLD)
    for name, tell in zip(("mel", "emotion", "text"), told, strict=True):
        made[name] = made[name] * np.float32(tell)
    return made


def _relit(picture: np.ndarray, gain: np.ndarray, gamma: np.float32) -> np.ndarray:
    """(…, 3, H, W) in [-1, 1] in another light; gamma darkens or lightens what is between black and white."""
    return (2 * ((picture + 1) / 2).clip(0, 1) ** gamma * gain - 1).clip(-1, 1)


def _shifted(picture: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """(…, H, W) moved; what comes in repeats the border."""
    height, width = picture.shape[-2:]
    y = (np.arange(height) + rows).clip(0, height - 1)
    x = (np.arange(width) + columns).clip(0, width - 1)
    return picture[..., y[:, None], x]


def _batch(sequences: list[dict[str, np.ndarray]]) -> PairBatch:
    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([each[name] for each in sequences]))

    def over_time(name: str) -> Tensor:
        return stacked(name)[:, None].expand(-1, len(sequences[0]["motion"]), -1)

    clip = ClipConditions(
        motion=stacked("motion"),
        mouth=stacked("mouth"),
        sound=stacked("mel"),
        emotion=over_time("emotion"),
        text=over_time("text"),
    )
    return PairBatch(clip, stacked("reference"), stacked("target"), stacked("blendshapes"))
