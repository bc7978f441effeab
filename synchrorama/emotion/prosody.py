"""Melody, effort and rhythm of a few seconds of voice in numbers, computed from the log-mel spectrogram alone.

Such statistics (as the Geneva set of Eyben et al. 2016, here 135 of them) tell speakers less apart than a spectrogram
does, so what is learned from them carries over better to new voices.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synchrorama.audio import MEL_BANDS

PROSODY_FEATURES = 135
_PITCHES = 72  # from 70 Hz on, 24 an octave
_ACTIVE = 5.8  # nepers below the loudest column of a window, 25 dB in power, at which sound counts half
_SURE = 5.0  # salience of a pitch at which a column is as likely voiced as not
_MODULATION = ((2, 5), (5, 9), (9, 14), (14, 20), (20, 30), (30, 45))  # thirds of a hertz; syllables come at 3 to 7 Hz


def activity(mel: Tensor) -> Tensor:
    """(B, N, 80) → (B, N) in [0, 1]: columns near the loudest of a window count, silence does not."""
    loud = mel.amax(2)
    return torch.sigmoid((loud - loud.amax(1, keepdim=True) + _ACTIVE) * 1.5)


def pitch(mel: Tensor, active: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-mel (B, N, 80) → pitch in octaves from 160 Hz, salience of the best pitch, how surely voiced; each (B, N).

    On voiced columns half of the values lie within half a semitone of probabilistic YIN.
    """
    salience = mel @ _combs().T.to(mel)
    octaves = torch.linspace(-1.19, 1.77, _PITCHES).to(mel)
    best = salience.amax(2)
    return ((2 * salience).softmax(2) * octaves).sum(2), best, torch.sigmoid(best - _SURE) * active


def prosody(mel: Tensor, active: Tensor) -> Tensor:
    """Log-mel of windows (B, N, 80) and their ``activity`` → (B, 135) statistics that loudness does not change."""
    octaves, best, sure = pitch(mel, active)
    energy = mel.exp().sum(2).clamp(min=1e-3).log()
    energy = (energy - (energy * active).sum(1, keepdim=True) / active.sum(1, keepdim=True))[:, :, None]
    return torch.cat(
        [
            *_melody(octaves, sure),
            sure.sum(1, keepdim=True) / active.sum(1, keepdim=True),
            *(part / scale for part, scale in zip(_moments(best[:, :, None], active)[:2], (5, 1), strict=True)),
            *_rhythm(energy, active),
            *_spectrum(mel, active, sure),
            *_pitch_range(octaves, sure),
        ],
        1,
    )


def _melody(octaves: Tensor, sure: Tensor) -> list[Tensor]:
    """Mean, spread and skewness of pitch, how fast it moves, and whether it falls or rises over the window."""
    mean, spread, skewness = _moments(octaves[:, :, None], sure)
    change = F.pad(octaves.diff(dim=1), (1, 0)).clamp(-0.15, 0.15)
    both = torch.minimum(sure, F.pad(sure, (1, 0))[:, :-1])
    change_mean, change_spread, _ = _moments(torch.stack([change, change.abs()], 2), both)
    time = torch.linspace(-1, 1, octaves.shape[1]).to(octaves)[None, :, None].expand(len(octaves), -1, -1)
    time_mean, time_spread, _ = _moments(time, sure)
    weights = (sure / (sure.sum(1, keepdim=True) + 1e-3))[:, :, None]
    slope = ((time - time_mean[:, None]) * (octaves[:, :, None] - mean[:, None]) * weights).sum(1) / time_spread**2
    return [mean, spread, skewness, change_mean * 10, change_spread * 10, slope]


def _rhythm(energy: Tensor, active: Tensor) -> list[Tensor]:
    """How loudness (B, N, 1) spreads and moves, and how much of that at the rate of words and of syllables."""
    _, spread, skewness = _moments(energy, active)
    change = F.pad(energy.diff(dim=1), (0, 0, 1, 0)).clamp(-2, 2)
    mean, change_spread, _ = _moments(torch.cat([change, change.abs()], 2), active)
    swing = energy[:, :, 0].clamp(-6, 6) * active
    modulation = torch.fft.rfft(swing, dim=1).abs() / swing.norm(dim=1, keepdim=True).clamp(min=1)
    rates = torch.stack([modulation[:, low:high].mean(1) for low, high in _MODULATION], 1)
    return [spread, skewness, mean, change_spread * 2, rates]


def _spectrum(mel: Tensor, active: Tensor, sure: Tensor) -> list[Tensor]:
    """Colour of the voice and how it changes: cepstrum, and sixteen bands relative to their mean."""
    cepstrum = mel @ _cosines().T.to(mel)
    mean, spread, _ = _moments(cepstrum, active)
    voiced_mean, voiced_spread, _ = _moments(cepstrum, sure)
    change = F.pad(cepstrum[:, 3:] - cepstrum[:, :-3], (0, 0, 1, 2))
    bands = mel.unflatten(2, (16, -1)).mean(3)
    bands = bands - (bands * active[:, :, None]).mean(2).sum(1)[:, None, None] / active.sum(1)[:, None, None]
    bands_mean, bands_spread, _ = _moments(bands, active)
    return [
        mean, spread, voiced_mean, voiced_spread, _moments(change, active)[1],
        bands_mean / 2, bands_spread, _moments(bands, sure)[0] / 2,
    ]  # fmt: skip


def _pitch_range(octaves: Tensor, sure: Tensor) -> list[Tensor]:
    """Low, middle and high pitch of the window, and how far low and high are apart."""
    voiced = torch.where(sure > 0.5, octaves, torch.nan)
    levels = torch.tensor([0.1, 0.5, 0.9]).to(octaves)
    low_to_high = torch.nanquantile(voiced, levels, dim=1).T.nan_to_num(0)
    return [low_to_high, low_to_high[:, 2:] - low_to_high[:, :1]]


def _moments(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted mean, standard deviation and skewness over time of (B, N, C), each (B, C)."""
    weights = (weights / (weights.sum(1, keepdim=True) + 1e-3))[:, :, None]
    mean = (x * weights).sum(1)
    offset = x - mean[:, None]
    spread = (offset.square() * weights).sum(1).clamp(min=1e-4).sqrt()
    return mean, spread, ((offset**3 * weights).sum(1) / spread**3).clamp(-4, 4)


@functools.cache
def _cosines() -> Tensor:
    """(12, 80) the first cosines after the constant one: log-mel → cepstrum."""
    bands = np.arange(MEL_BANDS) + 0.5
    return torch.tensor(np.cos(np.pi * np.arange(1, 13)[:, None] * bands / MEL_BANDS) / 40, dtype=torch.float32)


@functools.cache
def _combs() -> Tensor:
    """(72, 80) weights on log-mel bands that are large where a voice of 70 to 545 Hz (24 steps an octave) has its
    harmonics, and negative half-way between them, up to 1.3 kHz: where bands are 34 Hz apart, harmonics stand out."""
    step = (_mel_scale(8000.0) - _mel_scale(50.0)) / (MEL_BANDS + 1)
    combs = np.zeros((_PITCHES, MEL_BANDS))
    for row, tone in zip(combs, 70 * 2 ** (np.arange(_PITCHES) / 24), strict=True):
        for half in range(1, 18):
            if half * tone / 2 > 1300:
                break
            place = (_mel_scale(half * tone / 2) - _mel_scale(50.0)) / step - 1
            weight = (-1.0 if half % 2 else 1.0) / np.sqrt(max(half / 2, 1))
            row += weight * np.maximum(0, 1 - np.abs(np.arange(MEL_BANDS) - place))
        row -= (row != 0) * row.sum() / (row != 0).sum()
    return torch.tensor(combs / np.linalg.norm(combs, axis=1, keepdims=True), dtype=torch.float32)


def _mel_scale(frequency: float) -> float:
    """Slaney's mel scale, as in ``audio``: linear below 1 kHz, logarithmic above."""
    return frequency * 3 / 200 if frequency < 1000 else 15 + 27 * np.log(frequency / 1000) / np.log(6.4)
