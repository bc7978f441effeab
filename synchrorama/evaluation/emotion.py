"""Which emotion does a face in a video show? A plain rule on action units that are measured as distances.

The rule, in whole:

1. Ten distances are taken from the tracked landmarks of every frame, in cm of a face of standard size with the head
   pose removed, and averaged over the video (``DISTANCES``). How far the eyes are open is the 60th percentile instead,
   which blinks do not move.
2. The same distances of the person's neutral face are subtracted: those of a video in which the person says the same
   without emotion, less what the photo itself raises or lowers the mouth corners (a photo that smiles is not neutral).
   Each difference is divided by ``UNIT``, the change that is clearly visible.
3. The emotion is the one whose EMFACS prototype (Friesen & Ekman 1983), written as signs of these differences
   (``PROTOTYPES``), has the smallest angle to what was measured; a face that has moved by less than ``VISIBLE``
   units is neutral.

It says what a face shows, not what anybody feels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synchrorama.blendshapes import BLENDSHAPE_INDEX, MotionSpace, eye_opening
from synchrorama.emotion.categories import EMOTIONS
from synchrorama.face_topology import MOUTH_CORNERS
from synchrorama.tracking import LandmarkTrack

DISTANCES: tuple[str, ...] = (
    "inner brows up", "outer brows up", "brows together", "eyes open", "lower lids up", "nose wrinkled",
    "mouth corners up", "mouth wide", "left corner higher", "lips pressed",
)  # fmt: skip
UNIT = np.array([0.25, 0.25, 0.10, 0.10, 0.08, 0.20, 0.25, 0.35, 0.20, 0.10])
"""(10,) cm: what counts as one clearly visible step of each distance."""

PROTOTYPES: dict[str, tuple[float, ...]] = {
    #            inner outer together open lids nose corners wide left pressed
    "happy":     (0,    0,    0,      -0.5, 1,   0,   1,     0.5,  0,   0),
    "sad":       (1,    0.3,  0,       0,   0,   0,  -1,     0,    0,   0),
    "angry":     (-1,  -1,    1,      -0.5, 0.5, 0,   0,     0,    0,   0.5),
    "fearful":   (1,    0.7,  0,       1,   0,   0,   0,     1,    0,   0),
    "disgusted": (-0.5, 0,    0,      -0.3, 0.3, 1,  -0.5,    0,    0,   0),
    "surprised": (1,    1,    0,       1,   0,   0,   0,     0,    0,   0),
    "contempt":  (0,    0,    0,       0,   0,   0,   0.5,   0.3,  1,   0),
}  # fmt: skip
"""The AUs of EMFACS as signs of the distances: 1 + 2 raise inner and outer brows, 4 lowers and draws them together,
5 opens the eyes, 6 and 7 raise the lower lids, 9 draws up the sides of the nose, 12 raises the mouth corners and
widens the mouth, 15 lowers them, 14 with 12 on one side lifts that corner, 20 stretches the mouth, 23 presses."""
VISIBLE = 0.7

_RIGHT_INNER_BROW, _LEFT_INNER_BROW = (55, 107), (285, 336)
_RIGHT_OUTER_BROW, _LEFT_OUTER_BROW = (70, 63), (300, 293)
_EYE_CORNERS = (33, 133, 362, 263)
_LOWER_LIDS = (144, 145, 153, 373, 374, 380)
_NOSE_SIDES = (49, 279, 129, 358)
_LIP_MIDDLE = (0, 17)
_OUTER_LIPS, _INNER_LIPS = (0, 17), (13, 14)


@dataclass(frozen=True)
class ShownEmotion:
    """What was read from a video.

    Attributes:
        emotion: of ``EMOTIONS``.
        units: (10,) by how many visible steps each of ``DISTANCES`` differs from the neutral face.
        similarity: emotion → cosine of the angle between its prototype and ``units``.
    """

    emotion: str
    units: np.ndarray
    similarity: dict[str, float]


def distances(track: LandmarkTrack, space: MotionSpace) -> np.ndarray:
    """(10,) the mean ``DISTANCES`` of a video in cm."""
    shapes = space.canonicalize(track.landmarks).shapes
    eyes = _height(shapes, _EYE_CORNERS)
    right, left = MOUTH_CORNERS
    corners = shapes[:, (right, left), 1]
    middle = _height(shapes, _LIP_MIDDLE)
    lips = np.abs(np.diff(shapes[:, _OUTER_LIPS, 1]))[:, 0] - np.abs(np.diff(shapes[:, _INNER_LIPS, 1]))[:, 0]
    tracks = (
        _height(shapes, _RIGHT_INNER_BROW + _LEFT_INNER_BROW) - eyes,
        _height(shapes, _RIGHT_OUTER_BROW + _LEFT_OUTER_BROW) - eyes,
        -np.abs(shapes[:, _RIGHT_INNER_BROW, 0].mean(1) - shapes[:, _LEFT_INNER_BROW, 0].mean(1)),
        eye_opening(shapes).mean(1),
        _height(shapes, _LOWER_LIDS) - eyes,
        _height(shapes, _NOSE_SIDES) - eyes,
        corners.mean(1) - middle,
        shapes[:, left, 0] - shapes[:, right, 0],
        corners[:, 1] - corners[:, 0],
        -lips,
    )
    means = np.array([track.mean() for track in tracks])
    means[3] = np.percentile(tracks[3], 60)
    return means


def photo_smile(photo: np.ndarray, space: MotionSpace) -> np.ndarray:
    """(52,) the photo's own expression → (10,) cm by which its smile or frown lifts or lowers the mouth corners."""
    own = np.zeros(len(photo))
    for name in ("mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight"):
        own[BLENDSHAPE_INDEX[name]] = photo[BLENDSHAPE_INDEX[name]]
    neutral, shown = (
        shape[list(MOUTH_CORNERS), 1].mean() - shape[list(_LIP_MIDDLE), 1].mean()
        for shape in (space.neutral, space.apply(own))
    )
    change = np.zeros(len(DISTANCES))
    change[DISTANCES.index("mouth corners up")] = shown - neutral
    return change


def read_emotion(shown: np.ndarray, neutral: np.ndarray) -> ShownEmotion:
    """The rule above, from the ``distances`` of a video and of the person's neutral face."""
    units = (shown - neutral) / UNIT
    similarity = {name: projection(units, name) / max(float(np.linalg.norm(units)), 1e-9) for name in PROTOTYPES}
    emotion = max(similarity, key=similarity.get)
    return ShownEmotion(emotion if np.linalg.norm(units) >= VISIBLE else EMOTIONS[0], units, similarity)


def projection(units: np.ndarray, emotion: str) -> float:
    """How far the face has moved towards an emotion's prototype, in visible steps."""
    prototype = np.array(PROTOTYPES[emotion], float)
    return float(units @ prototype / np.linalg.norm(prototype))


def _height(shapes: np.ndarray, points: tuple[int, ...]) -> np.ndarray:
    return shapes[:, points, 1].mean(1)
