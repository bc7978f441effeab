"""Z_emo: what words, voice, valence-arousal and the photo say about emotion, fused over time (the paper's ⊗).

Four sources each give a distribution over the eight emotions for every frame. An emotion shows if any source supports
it (noisy-or, Pearl 1988): sources that agree strengthen each other but never beyond certainty, one that hears nothing
takes nothing away from the others, and a source of weight 0 is as if absent. The embedding is the outer product of
the fused distribution with (1, valence, arousal).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter1d

from synchrorama.emotion.categories import CIRCUMPLEX, EMOTION_INDEX, EMOTIONS
from synchrorama.emotion.direction import Keyframe, Mix
from synchrorama.motion import FPS

SOURCES: tuple[str, ...] = ("text", "voice", "valence_arousal", "photo")
EMBEDDING_CHANNELS = 3 * len(EMOTIONS)
_SMOOTHING = 0.3  # seconds: feelings change more slowly than frames
_PLANE_SPREAD = 0.2  # how far from its place in the valence-arousal plane an emotion is still meant


@dataclass(frozen=True)
class EmotionTrack:
    """What the face is to express, 25 times a second.

    Attributes:
        probabilities: (T, 8) over ``EMOTIONS``; rows add up to 1.
        valence, arousal: (T,) in [-1, 1].
        strength: (T,) 0 to 2, how strongly keyframes want it shown; 1 elsewhere.
        sources: what each source of ``SOURCES`` said, before weighting: name → (T, 8); empty when the user chose.
    """

    probabilities: np.ndarray
    valence: np.ndarray
    arousal: np.ndarray
    strength: np.ndarray
    sources: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.probabilities)

    @property
    def embedding(self) -> np.ndarray:
        """Z_emo: (T, 24) float32, the probabilities times 1, times valence and times arousal."""
        factors = np.stack([np.ones_like(self.valence), self.valence, self.arousal], axis=1)
        return (factors[:, :, None] * self.probabilities[:, None, :]).reshape(len(self), -1).astype(np.float32)

    @property
    def prevailing(self) -> str:
        """The emotion, neutral included, that has the largest share of the time."""
        return EMOTIONS[int(self.probabilities.mean(axis=0).argmax())]


def fuse(
    sources: Mapping[str, np.ndarray], weights: Mapping[str, float], valence: np.ndarray, arousal: np.ndarray
) -> EmotionTrack:
    """Join the sources.

    Args:
        sources: name of ``SOURCES`` → (T, 8) probabilities.
        weights: name → 0 to 1, how much of what the source says counts; missing ones count fully.
        valence, arousal: (T,) of the voice, in [-1, 1].
    """
    missed = np.ones_like(next(iter(sources.values())), dtype=np.float64)
    for name, probabilities in sources.items():
        missed *= 1 - weights.get(name, 1.0) * probabilities
    felt = 1 - missed
    felt[:, EMOTION_INDEX["neutral"]] = 0
    felt /= np.maximum(felt.sum(axis=1, keepdims=True), 1)
    probabilities = with_neutral(_smooth(felt))
    share = weights.get("valence_arousal", 1.0) / (1 + weights.get("valence_arousal", 1.0))
    expected = probabilities @ CIRCUMPLEX
    plane = (1 - share) * expected + share * np.stack([_smooth(valence), _smooth(arousal)], axis=1)
    plane = np.clip(plane, -1, 1).astype(np.float32)
    return EmotionTrack(probabilities, plane[:, 0], plane[:, 1], np.ones(len(plane), np.float32), dict(sources))


def chosen(mix: Mix, frames: int) -> EmotionTrack:
    """One emotion or a mix throughout."""
    return _constant(mix_probabilities(mix), frames)


def chosen_point(valence: float, arousal: float, frames: int) -> EmotionTrack:
    """A point in the valence-arousal plane throughout; the emotions near it share the face."""
    track = _constant(emotions_at(np.array([valence]), np.array([arousal]))[0], frames)
    ones = np.ones(frames, np.float32)
    return EmotionTrack(track.probabilities, ones * valence, ones * arousal, ones)


def blended(keyframes: Sequence[Keyframe], frames: int) -> EmotionTrack:
    """Keyframes, each blending smoothly into the next; before the first and after the last the face holds theirs."""
    times = np.array([keyframe.time for keyframe in keyframes])
    clock = (np.arange(frames) + 0.5) / FPS
    mixes = np.array([mix_probabilities(dict(keyframe.mix)) for keyframe in keyframes])
    strengths = np.array([keyframe.strength for keyframe in keyframes])
    after = np.clip(np.searchsorted(times, clock), 1, max(1, len(times) - 1))
    if len(times) == 1:
        share, before, after = np.zeros(frames), np.zeros(frames, int), np.zeros(frames, int)
    else:
        before = after - 1
        share = np.clip((clock - times[before]) / (times[after] - times[before]), 0, 1)
    share = (share * share * (3 - 2 * share))[:, None]
    probabilities = (mixes[before] * (1 - share) + mixes[after] * share).astype(np.float32)
    strength = strengths[before] * (1 - share[:, 0]) + strengths[after] * share[:, 0]
    plane = probabilities @ CIRCUMPLEX
    return EmotionTrack(probabilities, plane[:, 0], plane[:, 1], strength.astype(np.float32))


def emotions_at(valence: np.ndarray, arousal: np.ndarray) -> np.ndarray:
    """(T,) valence and arousal → (T, 8) probabilities: the nearer an emotion's place in the plane, the more likely."""
    offset = np.stack([valence, arousal], axis=-1)[:, None] - CIRCUMPLEX
    closeness = np.exp(-(offset**2).sum(-1) / (2 * _PLANE_SPREAD**2)) + 1e-9
    return (closeness / closeness.sum(1, keepdims=True)).astype(np.float32)


def mix_probabilities(mix: Mix) -> np.ndarray:
    """(8,) probabilities of a mix; what it leaves is neutral."""
    felt = np.zeros(len(EMOTIONS), np.float32)
    for name, share in mix.items():
        felt[EMOTION_INDEX[name]] += share
    return with_neutral(felt)


def with_neutral(felt: np.ndarray) -> np.ndarray:
    """(…, 8) shares of the emotions → probabilities in which neutral has what they leave."""
    probabilities = np.clip(felt, 0, 1).astype(np.float32)
    neutral = EMOTION_INDEX["neutral"]
    probabilities[..., neutral] = 0
    probabilities[..., neutral] = np.clip(1 - probabilities.sum(-1), 0, 1)
    return probabilities


def _constant(probabilities: np.ndarray, frames: int) -> EmotionTrack:
    valence, arousal = probabilities @ CIRCUMPLEX
    ones = np.ones(frames, np.float32)
    return EmotionTrack(np.tile(probabilities, (frames, 1)), ones * valence, ones * arousal, ones)


def _smooth(track: np.ndarray) -> np.ndarray:
    return gaussian_filter1d(np.asarray(track, np.float64), _SMOOTHING * FPS, axis=0, mode="nearest")
