"""How a face shows an emotion: action units after EMFACS, as ARKit coefficients over time.

The prototypes are those of EMFACS (Friesen & Ekman 1983, "EMFACS-7: Emotional Facial Action Coding System"). ARKit's
names for the action units follow Apple's documentation of ARFaceAnchor.BlendShapeLocation; how strong each unit is at
a natural strength is our choice, made by looking.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from synchrorama.blendshapes import BLENDSHAPE_INDEX, BLENDSHAPE_NAMES, MAX_COEFFICIENTS, columns_of
from synchrorama.emotion.categories import EMOTION_INDEX, EMOTIONS
from synchrorama.emotion.embedding import EmotionTrack, with_neutral
from synchrorama.motion import FPS

ACTION_UNITS: dict[int, dict[str, float]] = {
    1: {"browInnerUp": 1.0},
    2: {"browOuterUp": 1.0},
    4: {"browDown": 1.0},
    5: {"eyeWide": 1.0},
    6: {"cheekSquint": 1.0, "eyeSquint": 0.35},
    7: {"eyeSquint": 1.0},
    9: {"noseSneer": 1.0},
    12: {"mouthSmile": 1.0},
    14: {"mouthDimple": 1.0},
    15: {"mouthFrown": 1.0},
    16: {"mouthLowerDown": 1.0},
    17: {"mouthShrugLower": 1.0},
    20: {"mouthStretch": 1.0},
    23: {"mouthPress": 1.0},
    26: {"jawOpen": 1.0},
}
"""Action unit → ARKit shapes; names without a side stand for both."""

EMFACS: dict[str, dict[int, float]] = {
    "happy": {6: 0.7, 12: 0.8},
    "sad": {1: 0.95, 4: 0.25, 15: 0.7, 17: 0.2},
    "angry": {4: 1.25, 5: 0.1, 7: 0.5, 23: 0.3},
    "fearful": {1: 0.9, 2: 0.5, 4: 0.3, 5: 0.42, 20: 0.8, 26: 0.06},
    "disgusted": {9: 0.9, 15: 0.5, 16: 0.1},
    "surprised": {1: 0.85, 2: 0.9, 5: 0.42, 26: 0.15},
    "contempt": {12: 0.55, 14: 0.4},
}
"""Emotion → its action units and their intensity at strength 1. Contempt is one-sided."""

ONE_SIDED = ("contempt",)
KEPT = ("mouthSmile", "mouthFrown", "mouthDimple")  # of the photo's expression, what stays while it speaks
# How much of the photo's own smile, frown or dimple goes at strength 1; a surprised or scornful face may still smile.
_OWN_MOUTH_GOES = {
    "happy": 1.0, "sad": 1.0, "angry": 0.8, "fearful": 0.7, "disgusted": 0.3, "surprised": 0.2, "contempt": 0.2,
}  # fmt: skip
_STAYS_WIDE = 0.4  # mouthStretch for each unit of a smile that goes
_ONSET, _OFFSET = 0.25, 0.7  # seconds in which an expression comes and goes
_FIRST = 0.6  # share of the expression that is there in the very first frame
_ACCENT = 0.22  # how much more shows on a stressed syllable
_DRIFT, _DRIFT_SECONDS = 0.07, 0.8  # nobody holds an expression quite still
_KNEE = 0.75  # share of the reach up to which coefficients are as they are
_ASYMMETRY = 0.06  # spread of left against right


def emotion_table() -> np.ndarray:
    """(8, 52) coefficients of every emotion at strength 1; neutral is zero."""
    table = np.zeros((len(EMOTIONS), len(BLENDSHAPE_NAMES)), np.float32)
    for emotion, units in EMFACS.items():
        for unit, intensity in units.items():
            for shape, gain in ACTION_UNITS[unit].items():
                shown = columns_of(shape)[:1] if emotion in ONE_SIDED else columns_of(shape)
                table[EMOTION_INDEX[emotion], shown] += intensity * gain
    return table


def express(
    track: EmotionTrack,
    strength: float,
    photo: np.ndarray,
    loudness: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """What the emotion adds to the face's motion.

    Args:
        track: T frames of emotion.
        strength: 0 none, 1 natural, 2 exaggerated.
        photo: (52,) the photo's own expression, from ``MotionSpace.fit``. What it shows already is not shown twice,
            and a smile gives way to what cannot be felt with one.
        loudness: (T,) of the voice, see ``audio.loudness``; expressions peak on stressed syllables.
        generator: small variation of timing and sides.

    Returns:
        (T, 52) float32 to be added to coefficients; negative where the photo's own expression gives way. Its jawOpen
        is meant for a mouth that speaks: how much wider it opens.
    """
    felt = track.probabilities.astype(np.float64) * (strength * track.strength)[:, None]
    felt[:, EMOTION_INDEX["neutral"]] = 0
    felt = _eased(felt)
    lively = 1 + 0.15 * np.clip(track.arousal, -1, 1) + _ACCENT * accents(loudness) + _drift(len(track), generator)
    shown = (felt * lively[:, None]) @ (emotion_table() * _sides(generator))
    shown = _within_reach(shown)

    kept = kept_expression(photo)
    # Shown and kept join like independent chances, so that a smiling photo smiles more but never twice.
    shown = np.where(kept > 0, shown * (1 - kept), shown)
    # The corners of a photographed smile are dark; drawn together they would look like an open mouth. Sadness draws
    # them apart itself.
    drawn_together = felt * (np.arange(len(EMOTIONS)) != EMOTION_INDEX["sad"])
    narrower = _giving_way(drawn_together) * kept
    for side in ("Left", "Right"):
        stretch, smile = (BLENDSHAPE_INDEX[name + side] for name in ("mouthStretch", "mouthSmile"))
        shown[:, stretch] += _STAYS_WIDE * narrower[:, smile]
    return (shown - _giving_way(felt) * kept).astype(np.float32)


def photo_emotion(photo: np.ndarray) -> np.ndarray:
    """(52,) the photo's own expression → (8,) probabilities.

    Only the mouth is read: how high somebody's brows sit at rest says nothing about how they feel.
    """
    smile, frown = (float(np.mean([photo[c] for c in columns_of(name)])) for name in ("mouthSmile", "mouthFrown"))
    felt = np.zeros(len(EMOTIONS))
    felt[EMOTION_INDEX["happy"]] = 0.9 * np.clip((smile - 0.2) / 0.4, 0, 1)
    felt[EMOTION_INDEX["sad"]] = 0.5 * np.clip((frown - smile - 0.35) / 0.4, 0, 1)
    return with_neutral(felt)


def accents(loudness: np.ndarray) -> np.ndarray:
    """(T,) in [0, 1]: where syllables are stressed, as peaks of loudness over its neighbourhood."""
    peaks = gaussian_filter1d(loudness, 2.0, mode="nearest") - gaussian_filter1d(loudness, 12.0, mode="nearest")
    height = max(float(np.percentile(peaks, 95)), 0.05)
    return gaussian_filter1d(np.clip(peaks / height, 0, 1), 1.5, mode="nearest")


def _eased(felt: np.ndarray) -> np.ndarray:
    """Expressions come fast and go slowly, (T, 8) → (T, 8)."""
    rise, fall = (1 - np.exp(-1 / (seconds * FPS / 2)) for seconds in (_ONSET, _OFFSET))
    eased, state = np.empty_like(felt), _FIRST * felt[0] if len(felt) else 0
    for t, target in enumerate(felt):
        state = state + np.where(target > state, rise, fall) * (target - state)
        eased[t] = state
    return eased


def _drift(frames: int, generator: np.random.Generator) -> np.ndarray:
    noise = gaussian_filter1d(generator.normal(size=frames), _DRIFT_SECONDS * FPS, mode="wrap")
    return _DRIFT * np.clip(noise / max(noise.std(), 1e-9), -2, 2) if frames > 1 else np.zeros(frames)


def _sides(generator: np.random.Generator) -> np.ndarray:
    """(52,) gains: one side of a face always shows a little more."""
    left = 1 + _ASYMMETRY * float(np.clip(generator.normal(), -2, 2))
    return np.array([left if n.endswith("Left") else 2 - left if n.endswith("Right") else 1 for n in BLENDSHAPE_NAMES])


def _within_reach(shown: np.ndarray) -> np.ndarray:
    """(T, 52) coefficients that approach what the renderer bears but never reach it, so that more is always more."""
    most = 0.97 * MAX_COEFFICIENTS  # A2M adds a little of its own
    knee = _KNEE * most
    beyond = np.maximum(shown - knee, 0)
    return np.minimum(shown, knee) + (most - knee) * (1 - np.exp(-beyond / (most - knee)))


def kept_expression(photo: np.ndarray) -> np.ndarray:
    """(52,) what the renderer keeps of the photo's expression while the mouth speaks."""
    return np.where([name.startswith(KEPT) for name in BLENDSHAPE_NAMES], np.clip(photo, 0, 1), 0)


def _giving_way(felt: np.ndarray) -> np.ndarray:
    """(T, 8) → (T, 52) share of the photo's own smile, frown or dimple that goes, since another emotion is shown."""
    against = np.array([_OWN_MOUTH_GOES.get(name, 0.0) for name in EMOTIONS])[:, None]
    goes = np.where(emotion_table() > 0, 0, against) * [name.startswith(KEPT) for name in BLENDSHAPE_NAMES]
    return np.clip(felt @ goes, 0, 1)
