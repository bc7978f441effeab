"""Blinks: when the lids close and how.

Blinking is a point process that a regression over frames would average away, so its times and its shape are drawn
explicitly. Gaps between blinks are roughly log-normal and people blink more readily where they pause (Bentivoglio et
al. 1997, "Analysis of blink rate patterns in normal subjects": 17 a minute at rest, 26 in conversation); a lid closes
in about 0.1 s and opens more slowly (VanderWerf et al. 2003, "Eyelid movements").
"""

from __future__ import annotations

import numpy as np

from synchrorama.motion import FPS

_GAP_SPREAD = 0.6  # standard deviation of the logarithm of the gaps
_SHORTEST_GAP = 0.5  # seconds
_PAUSE_SEARCH = 0.8  # seconds around its time within which a blink moves to a pause
# Lid closure at 25 frames a second: shut in two to three frames, open again in five.
_SHAPES = (
    np.array([0.25, 0.8, 1.0, 0.85, 0.5, 0.22, 0.07]),
    np.array([0.45, 1.0, 0.95, 0.6, 0.28, 0.1]),
    np.array([0.2, 0.65, 1.0, 1.0, 0.75, 0.42, 0.2, 0.07]),
)


def blink_track(
    frames: int, per_minute: float | np.ndarray, generator: np.random.Generator, silence: np.ndarray | None = None
) -> np.ndarray:
    """(frames,) float32 closure of both lids: 0 as open as in the photo, 1 shut.

    Args:
        per_minute: mean rate, or (frames,) rates over time; 0 for no blinks.
        silence: (frames,) probability that nobody speaks; blinks prefer pauses.
    """
    closure = np.zeros(frames, np.float32)
    rates = np.broadcast_to(np.asarray(per_minute, np.float64), (frames,))
    mean_rate = float(rates.mean())
    if mean_rate <= 0:
        return closure
    mean_gap = 60.0 / mean_rate
    # Blinks are drawn at the mean rate in a time that runs faster where the rate is higher.
    clock = np.concatenate([[0.0], np.cumsum(rates / mean_rate)]) / FPS
    # The mean of a log-normal is exp(mu + sigma² / 2); the shortest gap is added on top.
    location = np.log(max(mean_gap - _SHORTEST_GAP, 0.05)) - _GAP_SPREAD**2 / 2
    at = generator.uniform(0.2, 1.0) * min(mean_gap, frames / FPS)  # the first gap began before the video
    while at * FPS < frames:
        shape = _SHAPES[generator.integers(len(_SHAPES))]
        start = _towards_pause(round(float(np.interp(at, clock, np.arange(frames + 1)))), silence, generator)
        part = shape[: max(0, frames - start)]
        if len(part) and rates[start] > 0:
            closure[start : start + len(part)] = np.maximum(closure[start : start + len(part)], part)
        at += _SHORTEST_GAP + generator.lognormal(location, _GAP_SPREAD)
    return closure


def _towards_pause(frame: int, silence: np.ndarray | None, generator: np.random.Generator) -> int:
    if silence is None or generator.random() < 0.25:
        return frame
    reach = round(_PAUSE_SEARCH * FPS)
    first = max(0, frame - reach)
    window = silence[first : frame + reach]
    return first + int(window.argmax()) if len(window) and window.max() > 0.5 else frame
