"""Where somebody may be speaking, in pieces that a recogniser can take one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from synchrorama.audio import SAMPLES_PER_FRAME, loudness

_SPOKEN = 0.25  # of audio.loudness: 26 dB below the loud parts
_PAUSE = 5  # frames that are not spoken
_MARGIN = 6  # frames of a pause that stay with the speech beside it
_SHORT, _LONGEST = 40, 250  # frames of a stretch: context for the language model, bounded time and memory


def stretches_of_speech(samples: np.ndarray) -> list[slice]:
    """Cut a recording at its pauses and leave long pauses out.

    Args:
        samples: (n,) float32 mono at 16 kHz.

    Returns:
        Slices of samples, in order, without overlap, of 10 s at most; none where all is silent.
    """
    loud = loudness(samples)
    return [
        slice(start * SAMPLES_PER_FRAME, stop * SAMPLES_PER_FRAME)
        for long_start, long_stop in _parted(_spoken_runs(loud))
        for start, stop in _cut_where_quiet(loud, long_start, long_stop)
    ]


def _spoken_runs(loud: np.ndarray) -> list[tuple[int, int]]:
    """(T,) loudness → frames [start, stop) between pauses, with margins that may overlap the neighbours'."""
    spoken = np.flatnonzero(loud > _SPOKEN)
    if not len(spoken):
        return []
    pauses = np.flatnonzero(np.diff(spoken) > _PAUSE)
    firsts, lasts = spoken[np.r_[0, pauses + 1]], spoken[np.r_[pauses, len(spoken) - 1]]
    return [
        (max(0, int(first) - _MARGIN), min(len(loud), int(last) + 1 + _MARGIN))
        for first, last in zip(firsts, lasts, strict=True)
    ]


def _parted(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """A short run takes in what follows soon; other runs that overlap part in the middle of their pause."""
    parted: list[tuple[int, int]] = []
    for start, stop in runs:
        before_start, before_stop = parted[-1] if parted else (-_LONGEST, -_LONGEST + _SHORT)  # none: far away
        if before_stop - before_start < _SHORT and start - before_stop < 2 * _PAUSE:
            parted[-1] = (before_start, stop)
        elif start < before_stop:
            middle = (start + before_stop) // 2
            parted[-1] = (before_start, middle)
            parted.append((middle, stop))
        else:
            parted.append((start, stop))
    return parted


def _cut_where_quiet(loud: np.ndarray, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Parts of at most ``_LONGEST`` frames: speech without a pause, or music, is cut at its quietest frames."""
    while stop - start > _LONGEST:
        middle = start + _LONGEST // 2
        cut = middle + int(np.argmin(loud[middle : start + _LONGEST]))
        yield start, cut
        start = cut
    yield start, stop
