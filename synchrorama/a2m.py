"""A2M: audio to motion (the paper's figure, parts b and c).

A conditional variational autoencoder over ``Motion`` with a volume-preserving normalising flow (VP-Flow) as its prior,
as PortaSpeech (Ren et al. 2021) and GeneFace (Ye et al. 2023) use it. Lips follow the sound nearly deterministically;
the stochastic latent governs what the sound leaves open: head pose, brows, lids, gaze, and a slow style of speaking.
A latent that could also move the lips from frame to frame would cost lip sync.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from synchrorama.audio import HOPS_PER_FRAME, MEL_BANDS, log_mel
from synchrorama.blendshapes import BLENDSHAPE_INDEX, MOUTH_AND_JAW
from synchrorama.blinks import blink_track
from synchrorama.motion import Motion, set_gaze
from synchrorama.visemes import shut_lips, touch_teeth

FACE_BLENDSHAPES = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekSquintLeft",
    "cheekSquintRight", "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "noseSneerLeft",
    "noseSneerRight",
)  # fmt: skip
FACE_CHANNELS = len(FACE_BLENDSHAPES) + 2 + 3 + 3
"""What the latent governs, per frame: 13 blendshapes, gaze (right, down), head rotation, head translation."""

STYLE_NAMES = ("amplitude", "opening", "width", "rounding", "smile", "tracked")
"""The style code: statistics of how somebody speaks, in units of their spread over people; last, the articulation:
0 crisp as the phonetic teacher, 1 as people do on video."""

MAX_ROTATION = np.radians([10.0, 15.0, 10.0])  # pitch, yaw, roll that a single photo bears
MAX_TRANSLATION = 0.06  # face heights
_STYLE_SPREAD = np.array([0.0, 0.0, 0.35, 0.25, 0.35, 0.0], np.float32)  # what motion diversity may vary
# Columns of the phone head (see training.phones.PHONES): m b p, f v, silence.
_PHONE_COUNT, _BILABIALS, _LABIODENTALS, _SILENCE = 40, (19, 20, 21), (22, 23), 39
_AMPLITUDE = 0.95  # closures widen the spread of the lip gap; this brings it back to that of the development clips
_HEAD = 0.7  # head motion of 1: brings the speed of the head from that of the training clips to the development clips
_HEAD_SMOOTHING = 1.5  # frames
_PEAK = (0.25, 0.16)  # a closure heard more surely than this shuts the lips: at articulation 0, and times that at 1


class FrameNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (B, C, T), for each frame alone: any length gives the same result."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class ResidualBlock(nn.Module):
    """Dilated convolution over time with a conditioning vector, added to its input (B, C, T)."""

    def __init__(self, channels: int, dilation: int, condition: int = 0, dropout: float = 0.1) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.norm = FrameNorm(channels)
        self.condition = nn.Linear(condition, channels) if condition else None
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        y = self.norm(self.convolution(x))
        if self.condition is not None:
            y = y + self.condition(condition)[:, :, None]
        return x + self.dropout(F.gelu(y))


class LipDecoder(nn.Module):
    """Log-mel and style → mouth coefficients, closures, phones; its hidden features condition the rest of the face."""

    def __init__(self, channels: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.input = nn.Conv1d(HOPS_PER_FRAME * MEL_BANDS, channels, 3, padding=1)
        self.norm = FrameNorm(channels)
        self.blocks = nn.ModuleList(ResidualBlock(channels, d, len(STYLE_NAMES)) for d in dilations)
        self.coefficients = nn.Conv1d(channels, len(MOUTH_AND_JAW), 1)
        self.closures = nn.Conv1d(channels, 2, 1)
        self.phones = nn.Conv1d(channels, _PHONE_COUNT, 1)
        nn.init.constant_(self.coefficients.bias, -2.0)

    def forward(self, mel: Tensor, style: Tensor) -> dict[str, Tensor]:
        """(B, 4T, 80) normalised log-mel, (B, 6) style → coefficients (B, T, 27) in [0, 1]; closure logits (B, T, 2)
        for shut lips and lip at the teeth; phone logits (B, T, 40); features (B, C, T)."""
        frames = mel.reshape(mel.shape[0], -1, HOPS_PER_FRAME * MEL_BANDS).transpose(1, 2)
        x = F.gelu(self.norm(self.input(frames)))
        for block in self.blocks:
            x = block(x, style)
        return {
            "coefficients": torch.sigmoid(self.coefficients(x)).transpose(1, 2),
            "closures": self.closures(x).transpose(1, 2),
            "phones": self.phones(x).transpose(1, 2),
            "features": x,
        }


class PosteriorEncoder(nn.Module):
    """q(z | motion, audio): face channels (B, 21, T) and audio features (B, C, T) → mean and log-variance at T/8."""

    def __init__(self, audio_channels: int, channels: int, latent_channels: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv1d(FACE_CHANNELS + audio_channels, channels, 5, padding=2),
            nn.GELU(),
            *(
                layer
                for _ in range(3)
                for layer in (nn.Conv1d(channels, channels, 5, stride=2, padding=2), FrameNorm(channels), nn.GELU())
            ),
            nn.Conv1d(channels, 2 * latent_channels, 1),
        )

    def forward(self, face: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.network(torch.cat([face, audio], 1)).chunk(2, 1)
        return mean, log_variance.clamp(-6, 2)


class VPFlow(nn.Module):
    """Volume-preserving flow: N × (residual coupling with a shift only, then a flip of the channels).

    Shifts do not change volume, so log p(z) is that of a standard normal at the transformed point. Conditioned on audio
    features at the latents' rate; dilated convolutions let one latent see seconds around it.
    """

    def __init__(self, latent_channels: int, audio_channels: int, channels: int, layers: int) -> None:
        super().__init__()
        half = latent_channels // 2
        self.shifts = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(half + audio_channels, channels, 5, padding=2),
                nn.GELU(),
                nn.Conv1d(channels, channels, 3, padding=2, dilation=2),
                FrameNorm(channels),
                nn.GELU(),
                nn.Conv1d(channels, half, 1),
            )
            for _ in range(layers)
        )
        for shift in self.shifts:  # starts as the identity
            nn.init.zeros_(shift[-1].weight)
            nn.init.zeros_(shift[-1].bias)

    def forward(self, z: Tensor, audio: Tensor) -> Tensor:
        """Posterior latents (B, L, N) → points under the standard normal (B, L, N)."""
        for shift in self.shifts:
            first, second = z.chunk(2, 1)
            z = torch.cat([first, second + shift(torch.cat([first, audio], 1))], 1).flip(1)
        return z

    def inverse(self, u: Tensor, audio: Tensor) -> Tensor:
        """Samples of the standard normal (B, L, N) → samples of the prior (B, L, N)."""
        for shift in reversed(self.shifts):
            first, second = u.flip(1).chunk(2, 1)
            u = torch.cat([first, second - shift(torch.cat([first, audio], 1))], 1)
        return u


class FaceDecoder(nn.Module):
    """p(face | z, audio): latents (B, L, T/8) and audio features (B, C, T) → face channels (B, 21, T), normalised."""

    def __init__(self, latent_channels: int, audio_channels: int, channels: int) -> None:
        super().__init__()
        self.latent = nn.Conv1d(latent_channels, channels, 1)
        self.audio = nn.Conv1d(audio_channels, channels, 1)
        self.blocks = nn.ModuleList(ResidualBlock(channels, d) for d in (1, 2, 4))
        self.output = nn.Conv1d(channels, FACE_CHANNELS, 1)

    def forward(self, z: Tensor, audio: Tensor) -> Tensor:
        x = F.interpolate(self.latent(z), size=audio.shape[-1], mode="linear", align_corners=False)
        x = x + self.audio(audio)
        for block in self.blocks:
            x = block(x)
        return self.output(x)


class A2M(ModelMixin, ConfigMixin):
    """Audio to motion. ``generate`` makes a ``Motion`` from a recording; the parts above are trained together."""

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        channels: int = 160,
        dilations: tuple[int, ...] = (1, 2, 3, 3, 2, 1),
        face_channels: int = 96,
        latent_channels: int = 16,
        latent_stride: int = 8,
        flow_layers: int = 4,
        audio_channels: int = 32,
    ) -> None:
        super().__init__()
        self.lips = LipDecoder(channels, tuple(dilations))
        self.audio_features = nn.Conv1d(channels, audio_channels, 1)
        self.posterior = PosteriorEncoder(audio_channels, face_channels, latent_channels)
        self.prior = VPFlow(latent_channels, audio_channels, face_channels, flow_layers)
        self.face = FaceDecoder(latent_channels, audio_channels, face_channels)
        self.register_buffer("lip_gap_gain", torch.zeros(52))  # cm per unit, from the motion space
        self.register_buffer("face_mean", torch.zeros(FACE_CHANNELS))
        self.register_buffer("face_std", torch.ones(FACE_CHANNELS))

    def pooled_audio(self, context: Tensor) -> Tensor:
        """Audio context (B, C, T) at the latents' rate, (B, C, ceil(T/8))."""
        stride = self.config.latent_stride
        padding = -context.shape[-1] % stride
        return F.avg_pool1d(F.pad(context, (0, padding), mode="replicate"), stride)

    @torch.no_grad()
    def generate(
        self,
        speech: np.ndarray,
        *,
        seed: int = 0,
        motion_diversity: float = 1.0,
        head_motion: float = 1.0,
        blink_rate: float = 15.0,
        expressiveness: float = 1.0,
        articulation: float = 0.5,
    ) -> Motion:
        """Motion for a recording of any length in one pass; the same seed gives the same motion.

        Args:
            speech: (n,) float32 mono at 16 kHz.
            motion_diversity: temperature of the latent; 0 gives the most likely motion for every seed.
            head_motion: scale of head rotation and translation; 0 keeps the head still.
            blink_rate: blinks a minute on average; 0 for none.
            expressiveness: how far the mouth opens; 0 keeps it shut, 1 as people do, 2 exaggerated.
            articulation: 0 as mumbled as people are on video, 1 every consonant shown.
        """
        random = torch.Generator().manual_seed(int(seed))
        mel = torch.from_numpy(normalised_mel(log_mel(speech)))[None].to(self.device, self.dtype)
        frames = mel.shape[1] // HOPS_PER_FRAME
        spread = torch.from_numpy(_STYLE_SPREAD * motion_diversity)
        style = torch.randn(1, len(STYLE_NAMES), generator=random).clamp(-1.5, 1.5) * spread
        style[:, 0] = float(np.log(np.clip(expressiveness, 0.5, 1.6)))
        style[:, -1] = 1.0 - 0.5 * articulation
        # Heard a second time as the crisp teacher hears, which tells p from a pause in loudness far more surely.
        crisp = style * torch.tensor([[1.0] * (len(STYLE_NAMES) - 1) + [0.0]])
        lips = self.lips(mel.expand(2, -1, -1), torch.cat([style, crisp]).to(mel))
        context = self.audio_features(lips["features"][:1])
        pooled = self.pooled_audio(context)
        noise = torch.randn(1, self.config.latent_channels, pooled.shape[-1], generator=random) * motion_diversity
        face = self.face(self.prior.inverse(noise.to(mel), pooled), context)[0].T
        face = _without_tremor((face * self.face_std + self.face_mean).float().cpu().numpy())

        silence = _smoothed(lips["phones"][0].softmax(-1)[:, _SILENCE].float().cpu().numpy())
        blendshapes = self._mouth(lips, expressiveness, articulation)
        for name, column in zip(FACE_BLENDSHAPES, face.T, strict=False):
            limit = 0.6 if name.startswith("eyeWide") else 1.0
            blendshapes[:, BLENDSHAPE_INDEX[name]] = np.clip(column, -0.5, limit)
        right, down = face[:, len(FACE_BLENDSHAPES)], face[:, len(FACE_BLENDSHAPES) + 1]
        set_gaze(blendshapes, np.clip(right, -0.5, 0.5), np.clip(down, -0.4, 0.4))
        blinks = blink_track(frames, blink_rate, np.random.default_rng(seed), silence)
        for name in ("eyeBlinkLeft", "eyeBlinkRight"):
            blendshapes[:, BLENDSHAPE_INDEX[name]] = blinks
        rotation, translation = face[:, -6:-3] * (_HEAD * head_motion), face[:, -3:] * (_HEAD * head_motion)
        return Motion(
            blendshapes,
            MAX_ROTATION * np.tanh(rotation / MAX_ROTATION),
            MAX_TRANSLATION * np.tanh(translation / MAX_TRANSLATION),
        )

    def _mouth(self, lips: dict[str, Tensor], expressiveness: float, articulation: float) -> np.ndarray:
        """The lip decoder's answer, shut where it must be: (T, 52) with mouth and jaw filled in.

        It needs no gate for silence and noise, through which the decoder has learned to stay at rest; a gate cuts into
        soft speech and costs lip sync.
        """
        coefficients = lips["coefficients"][0].float().cpu().numpy()
        blendshapes = np.zeros((len(coefficients), 52), np.float32)
        # Within 0.5…1.6 the network's own style changes the amplitude; beyond, and a little within, a plain gain does.
        gain = expressiveness / np.clip(expressiveness, 0.5, 1.6) * np.clip(expressiveness, 0.5, 1.6) ** 0.5
        blendshapes[:, MOUTH_AND_JAW] = np.clip(coefficients * (_AMPLITUDE * gain), 0, 1)
        phones = lips["phones"][1].softmax(-1)
        heard = torch.stack([phones[:, list(group)].sum(1) for group in (_BILABIALS, _LABIODENTALS)], 1)
        score = (torch.sigmoid(lips["closures"][1]) * heard).sqrt().float().cpu().numpy()
        shut, teeth = (closure_amount(column, _PEAK[1] ** articulation * _PEAK[0]) for column in score.T)
        gap_gain = self.lip_gap_gain.float().cpu().numpy()
        blendshapes = touch_teeth(blendshapes, teeth * (1 - shut), gap_gain)
        return np.clip(shut_lips(blendshapes, shut, gap_gain), 0, 1)


def closure_amount(score: np.ndarray, peak: float) -> np.ndarray:
    """How far lips close, from how surely the network hears a closure, (T,) → (T,) in [0, 1].

    A closure of 50 ms is one frame long and never sure, so every peak above ``peak`` closes fully; elsewhere only what
    is very likely does, lest the vowels beside it shut as well.
    """
    before, after = np.r_[0, score[:-1]], np.r_[score[1:], 0]
    peaks = (score >= before) & (score > after) & (score > peak)
    return np.maximum(peaks, _ramp(score, 0.6, 0.9))


def _without_tremor(face: np.ndarray) -> np.ndarray:
    """Smooth brows, lids and head over time: the trembling of the tracker is in the clips that taught the network.

    Gaze stays as it is, since eyes do jump.
    """
    smooth = gaussian_filter1d(face, _HEAD_SMOOTHING, axis=0, mode="nearest")
    gaze = slice(len(FACE_BLENDSHAPES), len(FACE_BLENDSHAPES) + 2)
    smooth[:, gaze] = face[:, gaze]
    return smooth


def normalised_mel(mel: np.ndarray) -> np.ndarray:
    """Log-mel as the networks take it: about zero mean and unit spread on speech."""
    return (np.maximum(mel, -9.2) + 4.0) / 4.0


def raw_mel(normalised: Tensor) -> Tensor:
    """The inverse of ``normalised_mel``."""
    return normalised * 4.0 - 4.0


def _ramp(x: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((x - low) / (high - low), 0, 1)


def _smoothed(x: np.ndarray) -> np.ndarray:
    """A short average over time, so that a single doubtful frame neither opens nor shuts the mouth."""
    return np.convolve(np.pad(x, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
