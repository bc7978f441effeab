"""The phonetic teacher: phone times → mouth coefficients, with coarticulation and hard closures.

Each phone has a target shape. Phones compete for the mouth with dominance functions (Cohen and Massaro 1993,
"Modeling coarticulation in synthetic visual speech"): c(t) = Σ D_i(t) T_i / Σ D_i(t). Then p, b, m shut the lips and
f, v bring the lower lip to the teeth, whatever the neighbours want. Little video and much speech make a good network:
the teacher labels speech without limit, tracked clips bring realism.
"""

from __future__ import annotations

import numpy as np

from synchrorama.blendshapes import BLENDSHAPE_INDEX
from synchrorama.motion import FPS
from synchrorama.training.phones import PHONE_INDEX, PHONES
from synchrorama.visemes import shut_lips, touch_teeth

LEAD_SECONDS = 0.03  # the mouth is there before the sound

# Per phone: j jawOpen, d mouthLowerDown, u mouthUpperUp, f mouthFunnel, p mouthPucker, s mouthStretch, m mouthSmile,
# x mouthPress, k mouthRollLower. Hand-made from articulatory descriptions, then half replaced by a fit to clips.
_TABLE = """
aa j.35 d.35 u.1 s.1   | ae j.31 d.4 u.15 s.25   | ah j.24 d.3 u.08       | ao j.31 d.25 f.25 p.35
aw j.29 d.25 f.2 p.25  | ay j.31 d.35 u.1 s.2    | eh j.24 d.38 u.12 s.25 | er j.16 d.3 u.1 f.2 p.35
ey j.2 d.38 u.12 s.35  | ih j.17 d.35 u.1 s.25   | iy j.14 d.35 u.12 s.4 m.1 | ow j.2 d.2 f.28 p.55
oy j.2 d.22 f.25 p.5   | uh j.15 d.25 f.2 p.45   | uw j.1 d.2 f.25 p.75   | w j.07 d.1 f.18 p.85
y j.13 d.33 u.1 s.35   | r j.13 d.25 u.05 f.25 p.4 | l j.16 d.33 u.1 s.15 | m j.02 x.25 k.1
b j.02 x.25 k.1        | p j.02 x.3 k.1          | f j.06 k.45 u.15       | v j.06 k.45 u.15
th j.14 d.35 u.08      | dh j.14 d.35 u.08       | t j.13 d.33 u.08 s.12  | d j.13 d.33 u.08 s.12
n j.13 d.33 u.08 s.12  | s j.08 d.4 u.12 s.25    | z j.08 d.4 u.12 s.25   | sh j.09 d.35 u.1 f.4 p.35
zh j.09 d.35 u.1 f.4 p.35 | ch j.09 d.35 u.1 f.4 p.35 | jh j.09 d.35 u.1 f.4 p.35 | k j.16 d.3 u.06 s.1
g j.16 d.3 u.06 s.1    | ng j.16 d.3 u.06 s.1    | hh j.19 d.3 u.08       | sil x.03
"""
_LETTERS: dict[str, tuple[str, ...]] = {
    "j": ("jawOpen",),
    "d": ("mouthLowerDownLeft", "mouthLowerDownRight"),
    "u": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "f": ("mouthFunnel",),
    "p": ("mouthPucker",),
    "s": ("mouthStretchLeft", "mouthStretchRight"),
    "m": ("mouthSmileLeft", "mouthSmileRight"),
    "x": ("mouthPressLeft", "mouthPressRight"),
    "k": ("mouthRollLower",),
}
_STRETCH_SCALE = 0.7

# How strongly a phone insists on its own shape against its neighbours.
_DOMINANCE = {
    **dict.fromkeys(("m", "b", "p"), 1.8), **dict.fromkeys(("f", "v", "w"), 1.5),
    **dict.fromkeys(("t", "d", "n", "th", "dh", "l", "y", "r", "s", "z"), 0.6),
    **dict.fromkeys(("k", "g", "ng"), 0.4), "hh": 0.15, "sil": 1.2,
}  # fmt: skip


def viseme_table() -> np.ndarray:
    """(40, 52) the hand-made target shape of every phone."""
    table = np.zeros((len(PHONES), 52))
    for entry in _TABLE.replace("\n", "|").split("|"):
        phone, *values = entry.split() or [""]
        for value in values:
            for name in _LETTERS[value[0]]:
                scale = _STRETCH_SCALE if value[0] == "s" else 1.0
                table[PHONE_INDEX[phone], BLENDSHAPE_INDEX[name]] = float(value[1:]) * scale
    return table


def dominance(phones: np.ndarray, times: np.ndarray, frames: int, lead: float = LEAD_SECONDS) -> np.ndarray:
    """How much each phone shapes each frame.

    Args:
        phones: (n,) indices into PHONES.
        times: (n, 2) start and end in seconds.

    Returns:
        (frames, 40), rows that sum to about one.
    """
    clock = (np.arange(frames) + 0.5) / FPS + lead
    share = np.zeros((frames, len(PHONES)))
    for phone, (start, end) in zip(phones, times, strict=True):
        name = PHONES[phone]
        centre, half = (start + end) / 2, (end - start) / 2
        distance = np.abs(clock - centre)
        if name == "sil":
            curve = np.exp(-((np.maximum(distance - half + 0.04, 0) / 0.06) ** 1.2))
        else:
            curve = np.exp(-((np.maximum(distance - 0.35 * half, 0) / (0.045 + 0.45 * half)) ** 1.5))
        share[:, phone] += _DOMINANCE.get(name, 1.0) * curve
    return share / (share.sum(1, keepdims=True) + 1e-3)


def closures(phones: np.ndarray, times: np.ndarray, frames: int) -> np.ndarray:
    """(frames, 2) how far lips are shut (p, b, m) and how far the lower lip is at the teeth (f, v), in [0, 1].

    A frame that contains a fully shut instant is shut: at 25 frames a second a short p would vanish otherwise.
    """
    fine = 4
    clock = (np.arange(frames * fine) + 0.5) / (fine * FPS)
    curves = np.zeros((2, frames * fine))
    for phone, (start, end) in zip(phones, times, strict=True):
        name = PHONES[phone]
        if name in ("p", "b", "m"):
            kind, release = 0, 0.015 if name == "m" else 0.03  # a plosive opens before its burst has ended
        elif name in ("f", "v"):
            kind, release = 1, 0.02
        else:
            continue
        first = start + 0.01
        last = max(start + 0.03, end - release)
        outside = np.maximum(np.maximum(first - clock, clock - last), 0)
        curves[kind] = np.maximum(curves[kind], np.clip(1 - outside / 0.06, 0, 1))
    curves = (curves**2 * (3 - 2 * curves)).reshape(2, frames, fine)
    return np.where(curves.max(2) > 0.98, 1.0, curves.mean(2)).T


def speak(
    phones: np.ndarray, times: np.ndarray, loudness: np.ndarray, table: np.ndarray, gap_gain: np.ndarray
) -> np.ndarray:
    """The teacher's answer: (T, 52) mouth coefficients for phones with known times.

    Args:
        loudness: (T,) from ``audio.loudness``; loud vowels open wider.
        table: (40, 52) target shapes.
        gap_gain: (52,) from ``visemes.lip_gap_gain``.
    """
    frames = len(loudness)
    shapes = dominance(phones, times, frames) @ table * (0.55 + 0.52 * loudness[:, None])
    shut = closures(phones, times, frames)
    shapes = touch_teeth(shapes, shut[:, 1] * (1 - shut[:, 0]), gap_gain)
    return np.clip(shut_lips(shapes, shut[:, 0], gap_gain), 0, 1)


def fit_table(
    clips: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]], prior: np.ndarray, ridge: float = 100.0
) -> np.ndarray:
    """Ridge regression of tracked coefficients on dominance, shrunk towards the hand-made table.

    Args:
        clips: per clip phones (n,), times (n, 2), loudness (T,) and tracked coefficients (T, 52), in sync.
        prior: (40, 52).
    """
    gram, response = np.zeros((len(PHONES), len(PHONES))), np.zeros((len(PHONES), 52))
    for phones, times, loud, tracked in clips:
        share = dominance(phones, times, len(loud)) * (0.55 + 0.52 * loud[:, None])
        share = share - share.mean(0)
        gram += share.T @ share
        response += share.T @ (tracked - tracked.mean(0))
    fitted = np.linalg.solve(gram + ridge * np.eye(len(PHONES)), response + ridge * prior)
    return np.clip(fitted, 0, 1)
