"""What the networks hear: the frame clock, log-mel features, loudness and voice activity of a recording."""

from __future__ import annotations

import functools

import numpy as np

from synchrorama.motion import FPS

SAMPLE_RATE = 16_000
MEL_BANDS = 80
HOP = SAMPLE_RATE // 100  # 10 ms
HOPS_PER_FRAME = SAMPLE_RATE // FPS // HOP  # 4 mel columns for one video frame
_WINDOW, _FFT = 400, 512
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
    import librosa

    frames = frame_count(len(speech) / SAMPLE_RATE)
    speech = np.asarray(speech, np.float32)
    level = max(np.percentile(np.abs(speech), 99) if len(speech) else 0.0, _QUIETEST_LEVEL)
    wanted = frames * HOPS_PER_FRAME * HOP
    speech = np.pad(speech * np.float32(_LEVEL / level), (_FFT // 2, max(0, wanted - len(speech)) + _FFT // 2))
    # A hop of 10 ms whose window is centred on it; not librosa.feature.melspectrogram, whose filter bank it rebuilds
    # at every call.
    spectrum = librosa.stft(speech, n_fft=_FFT, hop_length=HOP, win_length=_WINDOW, center=False)
    power = np.abs(spectrum[:, : frames * HOPS_PER_FRAME]) ** 2
    mel = np.log(_mel_filters() @ power + _FLOOR).T
    return np.ascontiguousarray(mel, dtype=np.float32)


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
def _mel_filters() -> np.ndarray:
    import librosa

    return librosa.filters.mel(sr=SAMPLE_RATE, n_fft=_FFT, n_mels=MEL_BANDS, fmin=50, fmax=8000)
