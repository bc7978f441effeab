"""Numbers about a finished video or a motion: lips against sound, closures, blinks, head motion, picture quality.

Everything here is a function of arrays, at 25 frames a second; ``report`` reads the video and puts them together.
Nothing knows how the video was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from synchrorama.audio import loudness
from synchrorama.blendshapes import MotionSpace, lip_gap, mouth_width
from synchrorama.motion import FPS, Motion

SHUT_BAR = 0.15
"""Lips count as shut below this part of the 90th percentile of the video's own lip gap."""
VOWELS = frozenset(
    ("aa", "ae", "ah", "ao", "aw", "ax", "axr", "ay", "eh", "er", "ey", "ih", "ix", "iy", "ow", "oy", "uh", "uw", "ux")
)
BILABIALS = frozenset(("p", "b", "m", "em"))
SHORTEST_VOWEL = 0.05  # seconds: shorter ones are swallowed by their neighbours in real speech too
SILENCE, SPEECH = 0.25, 0.5  # of audio.loudness
_SILENCE_MARGIN = 3  # frames next to speech that do not count as silence: lips prepare and settle there

_BLINK_DEPTH = 0.7  # lids closer than this part of their usual distance, and …
_BLINK_LONGEST = 15  # frames: … for no longer than this are a blink
_BLINK_WINDOW = 3 * FPS

SHARPNESS_SIZE = 256  # pixels: side of the face picture that sharpness and flicker are measured on
PSNR_LIMIT = 100.0  # dB, for identical pictures

Phones = Sequence[tuple[str, float, float]]
"""(phone in ARPABET or flite's lower-case spelling, start, end in seconds)."""


# ------------------------------------------------------------------------------------------------ lips


@dataclass(frozen=True)
class LipStatistics:
    """How the lips move and whether they follow the sound.

    Attributes:
        loudness_correlation: Pearson's r of lip gap and loudness; None where either is constant.
        silence_opening: mean lip gap in silence over that in speech; None without speech or without 0.2 s of silence.
        gap_spread: standard deviation of the lip gap in cm (of a face of standard size).
        gap_90: 90th percentile of the lip gap in cm.
    """

    loudness_correlation: float | None
    silence_opening: float | None
    gap_spread: float
    gap_90: float


def lip_statistics(gap: np.ndarray, speech: np.ndarray) -> LipStatistics:
    """Lip gap (T,) in cm against the sound (n,) at 16 kHz of the same video. Lengths may differ at the end."""
    loud = loudness(speech)
    frames = min(len(gap), len(loud))
    gap, loud = np.maximum(gap[:frames], 0), loud[:frames]
    silent = shrunk(loud < SILENCE, _SILENCE_MARGIN)
    opening = None
    if silent.sum() >= 5 and (loud > SPEECH).any():
        opening = float(gap[silent].mean() / max(gap[loud > SPEECH].mean(), 1e-6))
    return LipStatistics(
        loudness_correlation=correlation(gap, loud),
        silence_opening=opening,
        gap_spread=float(gap.std()),
        gap_90=float(np.percentile(gap, 90)),
    )


def motion_lips(motion: Motion, space: MotionSpace) -> tuple[np.ndarray, np.ndarray]:
    """Lip gap (T,) and mouth width (T,) in cm that a motion gives the neutral face, without rendering it."""
    shapes = space.apply(motion.blendshapes)
    return lip_gap(shapes), mouth_width(shapes)


def correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Pearson's r of two (T,) tracks; None if one of them is constant."""
    if len(a) < 2 or np.std(a) < 1e-9 or np.std(b) < 1e-9:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def shrunk(mask: np.ndarray, frames: int) -> np.ndarray:
    """(T,) bool → only what is at least ``frames`` away from every False; the ends of the mask do not count."""
    kernel = np.ones(2 * frames + 1)
    return np.convolve(np.pad(mask, frames, constant_values=True), kernel, "valid") > 2 * frames + 0.5


@dataclass(frozen=True)
class Closures:
    """Do lips shut where they must, and stay open where they must?

    Attributes:
        bilabials: number of p, b and m; shut: share of them during which the lips are shut in at least one frame.
        vowels: number of vowels longer than 50 ms; falsely_shut: share of them with a shut frame of
            their own.
    Shares are None where there is nothing to count.
    """

    bilabials: int
    shut: float | None
    vowels: int
    falsely_shut: float | None


def closures(gap: np.ndarray, phones: Phones, bar: float = SHUT_BAR) -> Closures:
    """Count shut lips during phones with known times.

    Lips are shut in a frame whose gap is below ``bar`` times the 90th percentile of all frames' gaps. Every frame
    belongs to one phone at most: a bilabial owns all that it touches, a vowel those of the others whose middle lies in
    it. Without that, lips that move exactly as the phones say would be blamed for every fifth vowel, next to a p or m.

    Args:
        gap: (T,) lip gap of the video, any unit.
        phones: all phones with their times in seconds.
        bar: see above.
    """
    shut = gap < bar * np.percentile(gap, 90)
    named = [(phone.lower().rstrip("012"), start, end) for phone, start, end in phones]
    bilabials = [_touched(start, end) for name, start, end in named if name in BILABIALS]
    free = np.ones(len(shut), bool)
    for frames in bilabials:
        free[frames] = False
    bilabial = [shut[frames].any() for frames in bilabials if len(shut[frames])]
    vowel = []
    for name, start, end in named:
        if name in VOWELS and end - start > SHORTEST_VOWEL:
            frames = slice(int(np.ceil(start * FPS - 0.5)), int(np.ceil(end * FPS - 0.5)))
            if free[frames].any():
                vowel.append((shut & free)[frames].any())
    return Closures(
        bilabials=len(bilabial),
        shut=float(np.mean(bilabial)) if bilabial else None,
        vowels=len(vowel),
        falsely_shut=float(np.mean(vowel)) if vowel else None,
    )


def _touched(start: float, end: float) -> slice:
    """The frames that a stretch of time in seconds touches, at least one."""
    first = int(start * FPS + 1e-6)
    return slice(first, max(int(np.ceil(end * FPS - 1e-6)), first + 1))


# ------------------------------------------------------------------------------------------------ eyes and head


def blink_frames(opening: np.ndarray) -> list[int]:
    """Eye opening (T,) or (T, 2), any unit → the frame in which each blink is deepest.

    A blink is a stretch of at most 0.6 s in which the mean opening of both eyes falls below 70 % of its median over
    three seconds; slower closures are a glance down or shut eyes.
    """
    opening = np.asarray(opening, np.float64)
    opening = opening.mean(1) if opening.ndim == 2 else opening
    half = _BLINK_WINDOW // 2
    usual = np.array([np.median(opening[max(0, t - half) : t + half + 1]) for t in range(len(opening))])
    low = opening < _BLINK_DEPTH * usual
    edges = np.flatnonzero(np.diff(np.r_[False, low, False].astype(int)))
    blinks: list[int] = []
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start > _BLINK_LONGEST:
            continue
        deepest = int(start + opening[start:end].argmin())
        if not blinks or deepest - blinks[-1] > 4:  # a lid that trembles blinks once
            blinks.append(deepest)
    return blinks


def blinks_per_minute(opening: np.ndarray) -> float:
    """Blinks of ``blink_frames`` per minute."""
    return len(blink_frames(opening)) * 60 * FPS / len(opening)


def head_range(rotation: np.ndarray) -> tuple[float, float, float]:
    """(T, 3) radians → the range of pitch, yaw and roll in degrees, from the 2.5th to the 97.5th percentile."""
    low, high = np.percentile(np.rad2deg(rotation), [2.5, 97.5], axis=0)
    return tuple(float(value) for value in high - low)


def head_speed(rotation: np.ndarray) -> float:
    """(T, 3) radians → mean speed of the head's rotation in degrees per second, the tremor of tracking smoothed out."""
    rotation = _without_tremor(rotation)
    if len(rotation) < 2:
        return 0.0
    return float(np.linalg.norm(np.diff(np.rad2deg(rotation), axis=0), axis=1).mean() * FPS)


def jerk(rotation: np.ndarray) -> float:
    """(T, 3) radians → how jerky the head turns: third over first temporal difference (root mean squares).

    The tracks are smoothed over five frames first, because tracking alone trembles by a fifth of a degree even on a
    still picture, which would hide everything else. Free of units, and of how much the head moves: about 0.1 for a
    slow sway, 0.4 to 0.8 for real heads, 1.2 for independent noise (which is all that a still head shows).
    """
    rotation = _without_tremor(rotation)
    if len(rotation) < 4:
        return 0.0
    first, third = np.diff(rotation, axis=0), np.diff(rotation, 3, axis=0)
    speed = np.sqrt((first**2).mean())
    return float(np.sqrt((third**2).mean()) / speed) if speed > 1e-9 else 0.0


def _without_tremor(track: np.ndarray) -> np.ndarray:
    """(T, C) → (T - 4, C), smoothed by the binomial weights of five frames."""
    if len(track) < 5:
        return track[:0]
    return np.stack([np.convolve(column, np.array([1, 4, 6, 4, 1]) / 16, "valid") for column in track.T], axis=1)


# ------------------------------------------------------------------------------------------------ pictures


def face_box(landmarks: np.ndarray, width: int, height: int) -> tuple[int, int, int, int]:
    """(T, K, ≥2) pixels → left, top, right, bottom of a box that holds the face in all frames, inside the picture."""
    low = np.floor(landmarks[..., :2].reshape(-1, 2).min(0)).astype(int)
    high = np.ceil(landmarks[..., :2].reshape(-1, 2).max(0)).astype(int)
    left, top = np.clip(low, 0, [width - 2, height - 2])
    right, bottom = np.clip(high, [left + 2, top + 2], [width, height])
    return int(left), int(top), int(right), int(bottom)


def face_picture(frame: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """uint8 RGB frame → (256, 256) float32 grey picture of the box."""
    left, top, right, bottom = box
    grey = cv2.cvtColor(np.ascontiguousarray(frame[top:bottom, left:right]), cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (SHARPNESS_SIZE, SHARPNESS_SIZE), interpolation=cv2.INTER_AREA).astype(np.float32)


def sharpness(face: np.ndarray) -> float:
    """Variance of the Laplacian of a ``face_picture``."""
    return float(cv2.Laplacian(face, cv2.CV_32F).var())


@dataclass(frozen=True)
class PictureQuality:
    """Attributes:
    sharpness: median over the frames of the variance of the Laplacian of the face, over that of the first frame.
    flicker: mean absolute second over first temporal difference of the face's pixels: below 1 for smooth motion,
        1.1 to 1.3 in real videos with their grain, 1.73 for independent noise in every frame. 0 for a still picture.
    """

    sharpness: float
    flicker: float


def picture_quality(faces: Iterable[np.ndarray]) -> PictureQuality:
    """``face_picture`` of all frames in turn → sharpness and flicker; keeps three of them at a time."""
    sharp: list[float] = []
    first_difference = second_difference = 0.0
    before: np.ndarray | None = None
    change_before: np.ndarray | None = None
    for face in faces:
        sharp.append(sharpness(face))
        if before is not None:
            change = face - before
            first_difference += float(np.abs(change).mean())
            if change_before is not None:
                second_difference += float(np.abs(change - change_before).mean())
            change_before = change
        before = face
    steps = max(len(sharp) - 1, 1)
    # there is one second difference less
    mean_first, mean_second = first_difference / steps, second_difference / max(steps - 1, 1)
    return PictureQuality(
        sharpness=float(np.median(sharp) / max(sharp[0], 1e-6)) if sharp else 0.0,
        flicker=mean_second / mean_first if mean_first > 1e-3 else 0.0,
    )


def psnr(picture: np.ndarray, reference: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two uint8 pictures of one shape in dB; 100 for identical ones."""
    error = ((picture.astype(np.float64) - reference) ** 2).mean()
    return min(PSNR_LIMIT, float(10 * np.log10(255**2 / error))) if error > 0 else PSNR_LIMIT


def ssim(picture: np.ndarray, reference: np.ndarray) -> float:
    """Structural similarity of the luma of two uint8 RGB (or grey) pictures of one shape; 1 for identical ones.

    Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural similarity",
    2004: an 11 x 11 Gaussian window with a standard deviation of 1.5, K = (0.01, 0.03), windows inside the picture.
    """
    x, y = (_luma(image) for image in (picture, reference))

    def mean(image: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(image, (11, 11), 1.5)[5:-5, 5:-5]

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    return float((((2 * mx * my + c1) * (2 * cov + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))).mean())


def _luma(image: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    return grey.astype(np.float64)


def landmark_distance(landmarks: np.ndarray, reference: np.ndarray, interocular: np.ndarray) -> float:
    """Mean distance (T, K, ≥2) ↔ (T, K, ≥2) in the picture plane, in % of the interocular distance (T,) px."""
    distance = np.linalg.norm(landmarks[..., :2] - reference[..., :2], axis=-1).mean(-1)
    return float((100 * distance / interocular).mean())
