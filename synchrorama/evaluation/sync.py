"""How well lips and sound belong together in time: a small network that hears and reads lips.

Two encoders bring 0.44 s of lip motion and 0.44 s of sound to the same unit sphere, frame by frame, as in SyncNet
(Chung and Zisserman, "Out of time", 2016), but from landmarks and log-mel, so that it costs milliseconds and does not
judge the picture. Trained by ``synchrorama.training.sync``. One such network measures finished videos, another one,
of another seed and other people, is the SyncLoss that trains the audio-to-motion network.

**Sign of an offset:** positive means that the sound is late, in other words that the picture leads: the lips of frame
t belong to the sound of frame t + offset.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from synchrorama.audio import HOPS_PER_FRAME, MEL_BANDS
from synchrorama.blendshapes import MotionSpace
from synchrorama.face_topology import LIPS, MOUTH_CORNERS

LIP_POINTS = len(LIPS)  # 40
MOUTH_WIDTH_CM = 5.0  # every mouth is scaled to this mean width
EDGE_FRAMES = 6  # the encoders see past the ends of a clip there, which would favour an offset of zero
SHORTEST = 25  # frames: below a second nothing reliable can be said
_CORNERS = [LIPS.index(corner) for corner in MOUTH_CORNERS]


@dataclass(frozen=True)
class SyncResult:
    """What ``SyncNet.measure`` found.

    Attributes:
        offset: frames at 25 a second; positive when the sound is late (the picture leads).
        confidence: median minus smallest distance over all shifts. Real talking faces reach about 0.35, swapped
            sound about 0.1, a still face about 0.
        distance: mean distance of the unit vectors of lips and sound at ``offset``: 0 same … 1.41 unrelated … 2.
    """

    offset: int
    confidence: float
    distance: float


def lip_points(landmarks: np.ndarray, space: MotionSpace) -> np.ndarray:
    """(T, ≥468, 3) landmarks in pixels → (T, 40, 2) float32 lip points in cm, head pose removed, in LIPS order."""
    return space.canonicalize(landmarks).shapes[:, list(LIPS), :2].astype(np.float32)


def normalize_lips(lips: Tensor) -> Tensor:
    """(B, T, 40, 2) lip points in cm → the same around their mean over time, for a mean mouth width of 5 cm."""
    right, left = _CORNERS
    width = (lips[:, :, left, 0] - lips[:, :, right, 0]).mean(1).abs().clamp_min(1.0)
    return (lips - lips.mean(1, keepdim=True)) * (MOUTH_WIDTH_CM / width.detach())[:, None, None, None]


class SyncNet(ModelMixin, ConfigMixin):
    """Lip points and log-mel → 64-d unit vectors per frame that agree where lips and sound do.

    All methods that return tensors are differentiable in the lips.
    """

    @register_to_config
    def __init__(self, channels: int = 112, embedding: int = 64, blocks: int = 4, dropout: float = 0.15) -> None:
        """
        Args:
            channels: width of both encoders.
            embedding: size of the unit vectors.
            blocks: residual blocks, each of which sees one frame further to both sides.
            dropout: only while the network is trained.
        """
        super().__init__()
        self.lip_encoder = nn.Sequential(
            nn.Conv1d(2 * LIP_POINTS, channels, 3, padding=1),
            *(_Residual(channels, dropout) for _ in range(blocks)),
            nn.Conv1d(channels, embedding, 1),
        )
        # kernel 4, stride 2: output frames stay centred on their own four columns of mel
        self.sound_encoder = nn.Sequential(
            nn.Conv1d(MEL_BANDS, channels, 4, stride=2, padding=1),
            _FrameNorm(channels),
            nn.GELU(),
            nn.Conv1d(channels, channels, 4, stride=2, padding=1),
            *(_Residual(channels, dropout) for _ in range(blocks)),
            nn.Conv1d(channels, embedding, 1),
        )
        self.log_sharpness = nn.Parameter(torch.tensor(2.3))

    def encode_lips(self, lips: Tensor) -> Tensor:
        """(B, T, 40, 2) normalised lip points (see ``normalize_lips``) → (B, T, 64) unit vectors."""
        return F.normalize(self.lip_encoder(lips.flatten(2).transpose(1, 2)), dim=1).transpose(1, 2)

    def encode_sound(self, mel: Tensor) -> Tensor:
        """(B, 4T, 80) log-mel of ``synchrorama.audio.log_mel`` → (B, T, 64) unit vectors."""
        return F.normalize(self.sound_encoder((mel.transpose(1, 2) + 4) / 4), dim=1).transpose(1, 2)

    def forward(self, lips: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, 40, 2) lip points in cm, (B, 4T, 80) log-mel → two (B, T, 64) of unit vectors."""
        return self.encode_lips(normalize_lips(lips)), self.encode_sound(mel)

    def sync_loss(self, lips: Tensor, mel: Tensor) -> Tensor:
        """How badly lips that should be in time with the sound are out of it: the SyncLoss of other networks.

        The cross-entropy of finding each frame's own sound among all times of the clip, and the reverse.

        Args:
            lips: (B, T, 40, 2) lip points in cm in LIPS order; gradients flow into them.
            mel: (B, 4T, 80) log-mel; T of at least ``SHORTEST`` frames.

        Returns:
            Scalar; 0 is perfect, log(T - 12) is chance.
        """
        seen, heard = self(lips, mel)
        inner = slice(EDGE_FRAMES, seen.shape[1] - EDGE_FRAMES)
        return contrast_in_time(seen[:, inner], heard[:, inner], self.log_sharpness.exp())

    @torch.no_grad()
    def distances(self, lips: np.ndarray, mel: np.ndarray, max_shift: int = 15) -> np.ndarray:
        """(2S + 1,) mean distance of lips and sound for every offset from -S to S.

        Args:
            lips: (T, 40, 2) lip points in cm.
            mel: (4T, 80) log-mel.
            max_shift: the largest offset tried, in frames; S is smaller in clips shorter than three times as much.

        Raises:
            ValueError: fewer than ``SHORTEST`` frames, or lips and mel of different lengths.
        """
        frames = len(lips)
        if frames < SHORTEST or len(mel) != HOPS_PER_FRAME * frames:
            raise ValueError(f"{frames} frames of lips and {len(mel)} columns of mel cannot be compared")
        seen, heard = self(
            torch.as_tensor(lips, dtype=torch.float32)[None], torch.as_tensor(mel, dtype=torch.float32)[None]
        )
        inner = slice(EDGE_FRAMES, frames - EDGE_FRAMES)
        table = (2 - 2 * seen[0, inner] @ heard[0, inner].T).clamp_min(0).sqrt().numpy()
        shifts = min(max_shift, len(table) // 3)
        return np.array([np.diagonal(table, shift).mean() for shift in range(-shifts, shifts + 1)])

    def measure(self, lips: np.ndarray, mel: np.ndarray, max_shift: int = 15) -> SyncResult:
        """Offset and confidence of one clip; arguments and errors as in ``distances``."""
        return result_of(self.distances(lips, mel, max_shift))


def result_of(distances: np.ndarray) -> SyncResult:
    """(2S + 1,) distances for the offsets -S … S → the offset of the smallest one, with its confidence."""
    best = int(distances.argmin())
    return SyncResult(
        offset=best - len(distances) // 2,
        confidence=float(np.median(distances) - distances[best]),
        distance=float(distances[best]),
    )


def contrast_in_time(seen: Tensor, heard: Tensor, sharpness: Tensor | float) -> Tensor:
    """InfoNCE between the times of each clip, both ways: (B, T, D), (B, T, D) unit vectors → scalar.

    Direct neighbours count neither as right nor as wrong, because 40 ms are within what tracking can tell.
    """
    logits = sharpness * seen @ heard.transpose(1, 2)
    times = torch.arange(logits.shape[1])
    logits = logits.masked_fill(((times[:, None] - times) ** 2 == 1).to(logits.device), -1e4)
    own = times.to(logits.device).expand(len(logits), -1)
    return 0.5 * (F.cross_entropy(logits.transpose(1, 2), own) + F.cross_entropy(logits, own))


class _FrameNorm(nn.LayerNorm):
    """Layer normalisation of each frame of (B, C, T)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class _Residual(nn.Module):
    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.norm = _FrameNorm(channels)
        self.conv = nn.Conv1d(channels, channels, 3, padding=1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.conv(F.gelu(self.norm(x))))
