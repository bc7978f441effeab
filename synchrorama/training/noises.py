"""Sounds that are not speech: noise, hum and simple music, to teach the mouth to stay shut.

Everything is synthesised here, at 16 kHz; the tests of the finished network use other recordings.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import butter, sosfilt

from synchrorama.audio import SAMPLE_RATE


def noise(generator: np.random.Generator, seconds: float) -> np.ndarray:
    """Coloured noise, sometimes band-limited, sometimes swelling and fading, sometimes in bursts."""
    count = int(seconds * SAMPLE_RATE)
    spectrum = np.fft.rfft(generator.normal(size=count))
    frequency = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    colour = generator.choice([0.0, 0.0, 0.5, 0.5, 1.0, generator.uniform(-0.5, 1.2)])  # white, pink, brown, …
    sound = np.fft.irfft(spectrum / np.maximum(frequency, 20) ** colour, count)
    if generator.random() < 0.35:
        low = generator.uniform(60, 3000)
        high = min(low * generator.uniform(1.5, 8), 7800)
        sound = sosfilt(butter(2, [low, high], "bandpass", fs=SAMPLE_RATE, output="sos"), sound)
    kind = generator.random()
    clock = np.arange(count) / SAMPLE_RATE
    if kind < 0.25:
        sound *= 1 + generator.uniform(0.3, 0.95) * np.sin(
            2 * np.pi * generator.uniform(0.2, 8) * clock + generator.uniform(0, 6)
        )
    elif kind < 0.4:
        sound *= np.repeat(generator.random(count // 800 + 1) < generator.uniform(0.1, 0.6), 800)[:count]
    if generator.random() < 0.25:  # mains hum or an engine
        base = generator.uniform(40, 160)
        for k in range(1, 8):
            sound += 0.5 * sound.std() * generator.random() * np.sin(2 * np.pi * base * k * clock)
    return _normalised(sound)


def music(generator: np.random.Generator, seconds: float) -> np.ndarray:
    """Chords, a melody and drums with random timbres, tempo and key."""
    count = int(seconds * SAMPLE_RATE)
    sound = np.zeros(count)
    beat = 60 / generator.uniform(60, 160)
    root = generator.uniform(80, 260)
    scale = 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16]) / 12)
    partials = generator.random(8) * np.arange(1, 9) ** -generator.uniform(0.5, 2.0)
    decay, vibrato = generator.uniform(0.5, 8), generator.uniform(0, 0.01)
    chords, melody, drums = generator.random(3) < (0.8, 0.7, 0.6)
    at = 0.0
    while at < seconds:
        length = beat * generator.choice([0.5, 1, 1, 2, 4])
        pitches = []
        if chords:
            degree = generator.integers(0, 5)
            pitches += [root * scale[degree + step] for step in (0, 2, 4)]
        if melody or not (chords or drums):
            pitches.append(2 * root * generator.choice(scale))
        for pitch in pitches:
            _add(sound, at, _note(pitch, length * 1.1, partials, decay, vibrato), generator.uniform(0.3, 1))
        if drums:
            for k in range(round(length / beat * 2)):
                hit = generator.normal(size=1600) * np.exp(-np.arange(1600) / generator.uniform(80, 600))
                _add(sound, at + k * beat / 2, hit, generator.uniform(0.1, 0.8))
        at += length
    return _normalised(sound)


def _note(pitch: float, seconds: float, partials: np.ndarray, decay: float, vibrato: float) -> np.ndarray:
    clock = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * np.pi * pitch * (clock + vibrato * np.sin(2 * np.pi * 5 * clock) / 5)
    sound = sum(level * np.sin(k * phase) for k, level in enumerate(partials, 1) if k * pitch < 0.45 * SAMPLE_RATE)
    envelope = np.minimum(clock / 0.02, 1) * np.exp(-decay * clock) * np.minimum((seconds - clock) / 0.03, 1)
    return sound * envelope


def _add(sound: np.ndarray, at: float, part: np.ndarray, level: float) -> None:
    start = int(at * SAMPLE_RATE)
    part = part[: max(0, len(sound) - start)]
    sound[start : start + len(part)] += level * part


def _normalised(sound: np.ndarray) -> np.ndarray:
    return (0.3 * sound / (np.abs(sound).max() + 1e-9)).astype(np.float32)
