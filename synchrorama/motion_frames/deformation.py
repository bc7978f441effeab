"""52 coefficients → the shape of this person's face, with lips and lids exactly as far open as intended.

Blendshape displacements fitted on other people open a given mouth or shut a given eye only roughly. So they shape
the face, and afterwards lips and lids are moved by the few millimetres that are missing.
"""

from __future__ import annotations

import numpy as np

from synchrorama.blendshapes import BLENDSHAPE_INDEX, BLENDSHAPE_NAMES, MOUTH_AND_JAW, MotionSpace
from synchrorama.face_topology import (
    LEFT_EYELID_PAIRS,
    LEFT_UPPER_LID_ROWS,
    LIP_COLUMNS,
    MOUTH_CORNERS,
    RIGHT_EYELID_PAIRS,
    RIGHT_UPPER_LID_ROWS,
)
from synchrorama.motion_frames.drawing import smoothstep

UPPER_LIP_SHARE = 0.35  # of a missing lip opening; the lower lip takes the rest
UPPER_LID_SHARE = 0.86
LID_ROW_SHARE = (0.55, 0.16)  # how far the two rows of skin above the upper lid come along
LIP_RING_SHARE = (1.0, 0.95, 0.85, 0.72)  # inner rim → outer rim
UPPER_LIP_REACH = 0.9  # cm of skin above the upper lip that gives way
LOWER_LIP_REACH = 2.6  # cm of skin below the lower lip that gives way
SHUT_LIPS_OVERLAP = -0.02  # cm: shut lips press on each other, which leaves no crack between them
PARTED_JAW = 0.3  # jawOpen at which lips are clearly apart
SUBNASALE = 2  # the landmark under the nose, which speech does not move

# The photo's own mouth expression that stays while the person speaks.
KEPT_EXPRESSION = ("mouthSmile", "mouthFrown", "mouthDimple", "mouthLeft", "mouthRight")
ROUNDING = ("mouthPucker", "mouthFunnel")
ROUNDING_SOFTENS = 0.6  # share of the kept expression that goes when the mouth is fully rounded
ROUND_FROM, ROUND_AT = 0.25, 1.1  # sum of the rounding coefficients where this starts and is complete
CLOSING_SOFTENS = 0.15  # share of a broad, open smile that goes when the lips shut
MAX_COEFFICIENT = 1.1  # of the spoken and the kept expression together
SHUT_BELOW, OPEN_ABOVE = 0.12, 0.3  # cm of lip gap: what counts as shut in a photo, and as surely open


class FaceDeformer:
    """Moves the face of one photo.

    Args:
        shape: (468, 3) canonical shape of the person as photographed, in cm.
        coefficients: (52,) the expression in the photo.
        space: the motion space that gave both.
    """

    def __init__(self, shape: np.ndarray, coefficients: np.ndarray, space: MotionSpace) -> None:
        self.shape = shape
        right, left = 33, 263
        self.size = float(np.linalg.norm(shape[right] - shape[left]) / space.interocular)
        self._basis = space.basis * self.size
        # Lids are moved by their geometry, so the blink shapes of other people must not act as well.
        for name in ("eyeBlinkLeft", "eyeBlinkRight"):
            self._basis[BLENDSHAPE_INDEX[name]] = 0
        # Shapes fitted to tracked faces carry a trace of what brows and upper lids did meanwhile.
        eyes = shape[[right, left], 1].mean()
        self._basis[list(MOUTH_AND_JAW)] *= smoothstep((eyes + 0.2 - shape[:, 1]) / 1.5)[None, :, None]
        self._basis = self._basis.reshape(len(BLENDSHAPE_NAMES), -1)

        self._photo = np.zeros(len(BLENDSHAPE_NAMES))
        mouth = list(MOUTH_AND_JAW)
        self._photo[mouth] = np.asarray(coefficients)[mouth]
        expressive = np.array([name.startswith(KEPT_EXPRESSION) for name in BLENDSHAPE_NAMES])
        rims = np.array([[upper[0], lower[0]] for upper, lower in LIP_COLUMNS])
        self._upper_rim, self._lower_rim = rims.T
        photo_gaps = shape[self._upper_rim, 1] - shape[self._lower_rim, 1]
        self.photo_opening = float(photo_gaps.max())
        """cm between the lips in the photo."""
        self.photo_shut = 1 - float(smoothstep((self.photo_opening - SHUT_BELOW) / (OPEN_ABOVE - SHUT_BELOW)))
        """0 when the lips are open in the photo … 1 when they are shut."""
        # Lips that are shut in the photo also show how this person's relaxed mouth looks, pressed or crooked.
        self.kept_expression = np.where(expressive, self._photo, 0)
        """(52,) what stays of the photo's expression while the mouth speaks."""
        self._relaxed = np.where(expressive, 0, self._photo) * self.photo_shut
        self._shut_gaps = SHUT_LIPS_OVERLAP + self.photo_shut * (photo_gaps - SHUT_LIPS_OVERLAP)
        self._gap_basis = self.size * (space.basis[:, self._upper_rim, 1] - space.basis[:, self._lower_rim, 1])
        self._lip_field = _lip_field(shape)
        relaxed = np.zeros(len(BLENDSHAPE_NAMES))
        self.rest = self(relaxed)
        """(468, 3) cm: the relaxed face with shut lips."""
        relaxed[BLENDSHAPE_INDEX["jawOpen"]] = PARTED_JAW
        self.parted = self(relaxed)
        """(468, 3) cm: the relaxed face with lips apart."""

    def intended_lip_gaps(self, blendshapes: np.ndarray) -> np.ndarray:
        """(9,) cm between the inner rims of the lips at the nine columns across the mouth."""
        return np.maximum(blendshapes @ self._gap_basis, 0)

    def __call__(self, blendshapes: np.ndarray) -> np.ndarray:
        """(52,) coefficients → (468, 3) canonical shape in cm."""
        blendshapes = np.asarray(blendshapes, np.float64)
        gaps = self.intended_lip_gaps(blendshapes)
        rounding = sum(max(0.0, blendshapes[BLENDSHAPE_INDEX[name]]) for name in ROUNDING)
        rounding = float(smoothstep((rounding - ROUND_FROM) / (ROUND_AT - ROUND_FROM)))
        shut = 1 - float(smoothstep(gaps.max() / OPEN_ABOVE))
        softened = (1 - ROUNDING_SOFTENS * rounding) * (1 - CLOSING_SOFTENS * shut * (1 - self.photo_shut))
        own = softened * self.kept_expression + (1 - rounding) * shut * self._relaxed
        wanted = np.minimum(blendshapes + own, np.maximum(blendshapes, MAX_COEFFICIENT))
        shape = self.shape + ((wanted - self._photo) @ self._basis).reshape(-1, 3)

        intended = gaps + self._shut_gaps * (1 - smoothstep(gaps / OPEN_ABOVE))
        missing = intended - (shape[self._upper_rim, 1] - shape[self._lower_rim, 1])
        shape[:, 1] += self._lip_field @ missing
        for side, pairs, rows in (
            ("Left", LEFT_EYELID_PAIRS, LEFT_UPPER_LID_ROWS),
            ("Right", RIGHT_EYELID_PAIRS, RIGHT_UPPER_LID_ROWS),
        ):
            _close_lids(shape, pairs, rows, float(np.clip(blendshapes[BLENDSHAPE_INDEX["eyeBlink" + side]], 0, 1)))
        return shape


def _close_lids(
    shape: np.ndarray,
    pairs: tuple[tuple[int, int], ...],
    rows: tuple[tuple[int, ...], ...],
    closure: float,
) -> None:
    """Bring the lids of one eye together in place; closure 1 leaves no opening."""
    upper, lower = (list(side) for side in zip(*pairs, strict=True))
    opening = shape[upper, 1] - shape[lower, 1]
    travel = opening - np.maximum(opening, 0) * (1 - closure)
    shape[upper, 1] -= UPPER_LID_SHARE * travel
    shape[lower, 1] += (1 - UPPER_LID_SHARE) * travel
    for row, share in zip(rows, LID_ROW_SHARE, strict=True):
        shape[list(row), 1] -= share * np.maximum(travel, 0)


def _lip_field(shape: np.ndarray) -> np.ndarray:
    """(468, 9): how far each vertex moves up per cm that the lips are to part more at each of the nine columns.

    The lips move nearly as a whole, and the skin between them and nose or chin gives way smoothly.
    """
    field = np.zeros((len(shape), len(LIP_COLUMNS)))
    lips = set()
    for j, (upper, lower) in enumerate(LIP_COLUMNS):
        for ring, share in enumerate(LIP_RING_SHARE):
            field[upper[ring], j] = UPPER_LIP_SHARE * share
            field[lower[ring], j] = -(1 - UPPER_LIP_SHARE) * share
            lips |= {upper[ring], lower[ring]}

    right, left = MOUTH_CORNERS
    margin = 0.25 * (shape[left, 0] - shape[right, 0])
    for side, share, reach in ((0, UPPER_LIP_SHARE, UPPER_LIP_REACH), (1, UPPER_LIP_SHARE - 1, LOWER_LIP_REACH)):
        rim = np.array([columns[side][-1] for columns in LIP_COLUMNS])
        order = np.argsort(shape[rim, 0])
        knots = np.r_[shape[right, 0] - margin, shape[rim[order], 0], shape[left, 0] + margin]
        heights = np.r_[shape[right, 1], shape[rim[order], 1], shape[left, 1]]
        for v in range(len(shape)):
            x, y, z = shape[v]
            beyond = (y - np.interp(x, knots, heights)) * (1 if side == 0 else -1)
            if v in lips or not 0 < beyond < reach or not knots[0] < x < knots[-1] or z < shape[right, 2] - 2:
                continue
            if side == 0:
                reach_here = min(reach, max(0.1, shape[SUBNASALE, 1] - np.interp(x, knots, heights)))
            else:
                reach_here = reach
            fade = LIP_RING_SHARE[-1] * (1 - smoothstep(beyond / reach_here))
            for j in range(len(order)):
                tent = np.interp(x, knots, np.eye(len(knots))[j + 1])
                field[v, order[j]] += share * fade * tent
    return field
