"""Lips that must touch: shutting the mouth for p, b, m and bringing the lower lip to the teeth for f, v.

A network that is trained to be right on average leaves lips a little open where they should close. These two act on
the coefficients afterwards, exactly, and keep what they need not change (spread or rounded lips).
"""

from __future__ import annotations

import numpy as np

from synchrorama.blendshapes import BLENDSHAPE_INDEX, MAX_COEFFICIENTS, MotionSpace, lip_gap

LABIODENTAL_GAP_CM = 0.14  # opening between the inner lips while the lower lip touches the upper teeth

_OPENING = (
    "jawOpen", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight", "mouthFunnel",
    "mouthShrugUpper",
)  # fmt: skip
_LOWERING = ("mouthLowerDownLeft", "mouthLowerDownRight")
_PRESSING = ("mouthPressLeft", "mouthPressRight")


def lip_gap_gain(space: MotionSpace) -> np.ndarray:
    """(52,) cm by which one unit of each coefficient opens the lips; coefficients of zero are shut lips."""
    return lip_gap(space.basis)


def shut_lips(blendshapes: np.ndarray, amount: np.ndarray, gap_gain: np.ndarray) -> np.ndarray:
    """Blend towards shut lips.

    Args:
        blendshapes: (T, 52) coefficients.
        amount: (T,) in [0, 1]; at 1 the lip gap of the result is zero.
        gap_gain: (52,) from ``lip_gap_gain``.
    """
    target = blendshapes.copy()
    for name, kept in [(name, 0.12) for name in _OPENING] + [("mouthPucker", 0.8)]:
        target[:, BLENDSHAPE_INDEX[name]] *= kept
    for name in _PRESSING:
        column = BLENDSHAPE_INDEX[name]
        target[:, column] = np.maximum(target[:, column], 0.2)
    _close(target, 0.0, gap_gain)
    amount = amount[:, None]
    return blendshapes * (1 - amount) + target * amount


def touch_teeth(blendshapes: np.ndarray, amount: np.ndarray, gap_gain: np.ndarray) -> np.ndarray:
    """Blend towards the lower lip tucked under the upper teeth; arguments as for ``shut_lips``."""
    target = blendshapes.copy()
    target[:, BLENDSHAPE_INDEX["jawOpen"]] *= 0.3
    for name in _LOWERING:
        target[:, BLENDSHAPE_INDEX[name]] *= 0.2
    for name, least in (("mouthRollLower", 0.45), ("mouthUpperUpLeft", 0.15), ("mouthUpperUpRight", 0.15)):
        column = BLENDSHAPE_INDEX[name]
        target[:, column] = np.maximum(target[:, column], least)
    _close(target, LABIODENTAL_GAP_CM, gap_gain)
    amount = amount[:, None]
    return blendshapes * (1 - amount) + target * amount


def add_with_same_gap(blendshapes: np.ndarray, added: np.ndarray, gap_gain: np.ndarray) -> np.ndarray:
    """Add an expression to a speaking mouth, (T, 52) each, without opening or shutting the lips: speech does that."""
    together = np.minimum(blendshapes + added, np.maximum(blendshapes, MAX_COEFFICIENTS))
    change = (together - blendshapes) @ gap_gain
    close, jaw = BLENDSHAPE_INDEX["mouthClose"], BLENDSHAPE_INDEX["jawOpen"]
    together[:, close] += np.maximum(change, 0) / -gap_gain[close]
    together[:, jaw] += np.maximum(-change, 0) / gap_gain[jaw]
    return together


def _close(blendshapes: np.ndarray, gap: float, gap_gain: np.ndarray) -> None:
    """Raise mouthClose, in place, until the lips are no further apart than ``gap`` cm."""
    column = BLENDSHAPE_INDEX["mouthClose"]
    excess = np.clip(blendshapes @ gap_gain - gap, 0, None)
    blendshapes[:, column] = np.clip(blendshapes[:, column] + excess / -gap_gain[column], 0, 1)
