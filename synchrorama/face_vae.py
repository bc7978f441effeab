"""The parts of A2M that draw head, brows, lids and gaze from a latent: a conditional VAE with a VP-Flow prior.

As PortaSpeech (Ren et al. 2021) and GeneFace (Ye et al. 2023) use it; parts b and c of the paper's figure.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FACE_BLENDSHAPES = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekSquintLeft",
    "cheekSquintRight", "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "noseSneerLeft",
    "noseSneerRight",
)  # fmt: skip
FACE_CHANNELS = len(FACE_BLENDSHAPES) + 2 + 3 + 3
"""What the latent governs, per frame: 13 blendshapes, gaze (right, down), head rotation, head translation."""


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
