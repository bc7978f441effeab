"""What the networks hear: the frame clock, log-mel features, loudness and voice activity of a recording."""

from __future__ import annotations

import functools

import numpy as np

from synchrorama.motion import FPS

SAMPLE_RATE = 16_000
MEL_BANDS = 80
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
HOP = SAMPLE_RATE // 100  # 10 ms
HOPS_PER_FRAME = SAMPLES_PER_FRAME // HOP  # 4 mel columns for one video frame
SOUND_CONTEXT = 2  # frames before and after one whose sound the diffusion stage hears with it
SOUND_COLUMNS = (2 * SOUND_CONTEXT + 1) * HOPS_PER_FRAME
_WINDOW, _FFT = 400, 512
_PIECE = 2000  # hops that are transformed at once: memory does not grow with the length of the recording
_LEVEL = 0.3  # the 99th percentile of |sample| after normalisation
_FLOOR = 1e-4
_QUIETEST_LEVEL = 2e-3  # do not raise the noise of an empty recording to the level of speech


def frame_count(seconds: float) -> int:
    """Video frames of a recording: round(25 · seconds), at least one."""
    return max(1, round(seconds * FPS))


def log_mel(speech: np.ndarray) -> np.ndarray:
    """Level-normalised log-mel spectrogram on the video's frame clock.

    Args:
        speech: (n,) float32 mono at 16 kHz in [-1, 1].

    Returns:
        (4T, 80) float32, natural logarithms between about -9.2 and 5; columns 4t…4t+3 belong to video frame t.
    """
    frames = frame_count(len(speech) / SAMPLE_RATE)
    speech = np.asarray(speech, np.float32)
    level = max(np.percentile(np.abs(speech), 99) if len(speech) else 0.0, _QUIETEST_LEVEL)
    wanted = frames * HOPS_PER_FRAME * HOP
    speech = np.pad(speech * np.float32(_LEVEL / level), (_FFT // 2, max(0, wanted - len(speech)) + _FFT // 2))
    mel = np.empty((frames * HOPS_PER_FRAME, MEL_BANDS), np.float32)
    for start in range(0, len(mel), _PIECE):
        stop = min(start + _PIECE, len(mel))
        windows = np.lib.stride_tricks.sliding_window_view(speech[start * HOP : (stop - 1) * HOP + _FFT], _FFT)[::HOP]
        power = np.abs(np.fft.rfft(windows * _window())) ** 2
        mel[start:stop] = np.log(power @ _mel_filters().T + _FLOOR)
    return mel


def sound_around(mel: np.ndarray, frames: range) -> np.ndarray:
    """(4T, 80) log-mel → (len(frames), 20, 80): the columns of each frame and of its neighbours, silence beyond."""
    first = (np.array(frames) - SOUND_CONTEXT) * HOPS_PER_FRAME
    columns = first[:, None] + np.arange(SOUND_COLUMNS)
    inside = (columns >= 0) & (columns < len(mel))
    if inside.all():
        return mel[columns]
    floor = mel.min() if len(mel) else 0
    return np.where(inside[..., None], mel[columns * inside], mel.dtype.type(floor))


def loudness(speech: np.ndarray) -> np.ndarray:
    """(n,) samples at 16 kHz → (T,) how loud each video frame is: 0 = 35 dB below the loud parts, 1 = loud parts."""
    frames = frame_count(len(speech) / SAMPLE_RATE)
    padded = np.zeros(frames * (SAMPLE_RATE // FPS), np.float32)
    padded[: len(speech)] = speech[: len(padded)]
    energy = np.sqrt((padded.reshape(frames, -1) ** 2).mean(1))
    decibels = 20 * np.log10(energy + 1e-5)
    loud = max(np.percentile(decibels, 95), 20 * np.log10(_QUIETEST_LEVEL))
    return np.clip((decibels - loud + 35) / 35, 0, 1.1).astype(np.float32)


@functools.cache
def _window() -> np.ndarray:
    """(512,) a Hann window of 25 ms in the middle of the transform's 32 ms."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    return np.pad(hann, (_FFT - _WINDOW) // 2).astype(np.float32)


@functools.cache
def _mel_filters() -> np.ndarray:
    """(80, 257) triangles from 50 Hz to 8 kHz, evenly spaced on Slaney's mel scale and of equal area.

    The scale is linear below 1 kHz (15 mel) and logarithmic above (27 mel for a factor of 6.4), as in his Auditory
    Toolbox (1998). Computed here because the libraries that offer it take two seconds to import.
    """
    linear, top = 200 / 3, np.log(6.4) / 27
    lowest, highest = 50 / linear, 15 + np.log(8000 / 1000) / top
    mel = np.linspace(lowest, highest, MEL_BANDS + 2)
    edges = np.where(mel < 15, mel * linear, 1000 * np.exp((mel - 15) * top))[:, None]
    bins = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])
