"""What the networks hear: the frame clock, the spectrogram, loudness."""

from __future__ import annotations

import numpy as np
import pytest

from synchrorama import audio


@pytest.mark.parametrize(("seconds", "frames"), [(1.0, 25), (0.3, 8), (0.001, 1), (12.36, 309), (2.018, 50)])
def test_frames_are_25_a_second_rounded(seconds, frames):
    assert audio.frame_count(seconds) == frames
    samples = np.zeros(round(seconds * audio.SAMPLE_RATE), np.float32)
    assert audio.log_mel(samples).shape == (4 * frames, 80)
    assert audio.loudness(samples).shape == (frames,)


def test_the_spectrogram_is_that_of_librosa(speech_samples):
    librosa = pytest.importorskip("librosa")
    scaled = speech_samples * (0.3 / np.percentile(np.abs(speech_samples), 99))
    mel = librosa.feature.melspectrogram(
        y=scaled, sr=16_000, n_fft=512, win_length=400, hop_length=160, pad_mode="constant",
        n_mels=80, fmin=50, fmax=8000,
    )  # fmt: skip
    expected = np.log(mel + 1e-4).T[: 4 * audio.frame_count(len(scaled) / 16_000)]
    assert np.abs(audio.log_mel(speech_samples) - expected).max() < 1e-4


def test_long_recordings_are_heard_like_short_ones(speech_samples):
    """The pieces in which the transform is computed leave no seams."""
    long = np.tile(speech_samples, 11)
    mel, once = audio.log_mel(long), audio.log_mel(speech_samples)
    for repeat in range(1, 10):
        assert np.abs(mel[repeat * 400 + 4 : repeat * 400 + 396] - once[4:396]).max() < 1e-3


def test_level_makes_no_difference_until_it_is_all_noise(speech_samples):
    loud, quiet = audio.log_mel(speech_samples), audio.log_mel(speech_samples * 0.05)
    assert np.abs(loud - quiet).max() < 1e-3
    assert audio.log_mel(speech_samples * 1e-5).max() < loud.max() - 4


def test_a_tone_lights_up_its_own_band():
    time = np.arange(16_000) / 16_000
    bands = [audio.log_mel(np.sin(2 * np.pi * hertz * time))[50].argmax() for hertz in (200, 1000, 4000)]
    assert bands == sorted(bands) and len(set(bands)) == 3


def test_loudness_is_one_where_it_is_loud_and_zero_in_silence(speech_samples):
    padded = np.concatenate([np.zeros(16_000, np.float32), speech_samples])
    loudness = audio.loudness(padded)
    assert loudness[:24].max() == 0 and 0.9 < np.percentile(loudness, 95) <= 1.1


def test_the_sound_around_a_frame_is_its_own_and_its_neighbours():
    mel = np.arange(40.0)[:, None] + np.zeros((40, audio.MEL_BANDS))  # ten frames of four columns
    sound = audio.sound_around(mel, range(3, 6))
    assert sound.shape == (3, audio.SOUND_COLUMNS, audio.MEL_BANDS)
    assert np.array_equal(sound[0, :, 0], np.arange(4 * 1, 4 * 6))
    ends = audio.sound_around(mel, range(10))
    assert np.array_equal(ends[0, :8, 0], np.zeros(8)) and np.array_equal(ends[9, -8:, 0], np.zeros(8))  # the quietest
    assert np.array_equal(ends[4], audio.sound_around(mel, range(4, 5))[0])
