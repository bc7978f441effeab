"""Networks that judge a few seconds of a voice at a time, as tracks on the frame clock."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from synchrorama.audio import SAMPLE_RATE, SAMPLES_PER_FRAME, frame_count, loudness
from synchrorama.emotion.speech import WINDOW, settled, voicing

_STEP = 12  # frames from one window to the next: half a second, for these networks are large
_BATCH = 8  # windows that are heard at once: memory does not grow with the length of the recording
_SHORTEST = SAMPLE_RATE // 4  # samples; less is followed by silence, for convolutions need something to see


def heard_over_time(
    samples: np.ndarray, hear: Callable[[list[np.ndarray]], np.ndarray], check: Callable[[], None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """
    Args:
        samples: (n,) float32 mono at 16 kHz.
        hear: windows of equal length, (m,) float32 each → (windows, K), what each sounds like. A recording of less than
            three seconds is one window.
        check: called before each few windows; what it raises ends the hearing.

    Returns:
        (T, K) tracks that glide, outlast the voice a little and fade to 0 where nobody speaks, as those of
        ``SpeechEmotion`` do; (T,) in [0, 1] how much of a voice there is, by loudness alone.
    """
    samples = np.asarray(samples, np.float32)
    frames = frame_count(len(samples) / SAMPLE_RATE)
    last = max(0, frames - WINDOW)
    starts = np.unique(np.r_[np.arange(0, last, _STEP), last])
    length = max(_SHORTEST, min(len(samples), WINDOW * SAMPLES_PER_FRAME))
    padded = np.pad(samples, (0, max(0, last * SAMPLES_PER_FRAME + length - len(samples))))
    heard = []
    for i in range(0, len(starts), _BATCH):
        if check is not None:
            check()
        begun = starts[i : i + _BATCH] * SAMPLES_PER_FRAME
        heard.append(hear([padded[start : start + length] for start in begun]))
    centres = starts + min(WINDOW, frames) / 2
    tracks = np.stack([np.interp(np.arange(frames), centres, column) for column in np.concatenate(heard).T], 1)
    voiced = voicing(loudness(samples)[:frames])
    return settled(tracks, voiced), voiced
