"""What the diffusion stage is trained to make small: each is lower for what was meant than for something else.

All but the first judge x0, the latents that a prediction at any noise level amounts to, or the pictures that they
decode to, as a ``FaceReader`` reads them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synchrorama.audio import HOPS_PER_FRAME, SOUND_CONTEXT
from synchrorama.blendshapes import MOUTH_AND_JAW, MotionSpace
from synchrorama.diffusion.autoencoder import LogGain
from synchrorama.evaluation.sync import SHORTEST, SyncNet
from synchrorama.face_topology import LIPS

_HOLE, _NEAR, _FACE, _ELSEWHERE = 6.0, 1.0, 0.05, 0.01  # weights of cells
_NEAR_REACH = 11  # cells
_TO_LUMA_CHROMA = ((0.299, 0.587, 0.114), (-0.1687, -0.3313, 0.5), (0.5, -0.4187, -0.0813))  # JFIF, after ITU-R BT.601


def cell_weights(mouth: Tensor) -> Tensor:
    """How much each cell counts: above all those between the lips, then those around them, then the lower face.

    Args:
        mouth: (B, F, 1, H, W) in [0, 1].

    Returns:
        (B, 1, F, H, W).
    """
    flat = mouth.flatten(0, 1)
    hole = F.max_pool2d(flat, 3, 1, 1)
    near = F.max_pool2d(flat, _NEAR_REACH, 1, _NEAR_REACH // 2)
    rows, columns = (torch.linspace(-1, 1, length, device=mouth.device) for length in mouth.shape[-2:])
    face = ((1 - (rows[:, None].square() + columns.square()) * 1.5) * 3).clamp(0, 1)
    weights = _HOLE * hole + _NEAR * near + _FACE * face + _ELSEWHERE
    return weights.unflatten(0, mouth.shape[:2]).transpose(1, 2)


def denoising_loss(predicted: Tensor, flow: Tensor, weights: Tensor) -> Tensor:
    """Mean weighted squared error of the flow (Lipman et al. 2023, arXiv 2210.02747); (B, C, F, H, W) each."""
    return ((predicted - flow).square() * weights).mean()


def reconstruction_loss(codec: LogGain, latents: Tensor, target: Tensor, motion: Tensor, weights: Tensor) -> Tensor:
    """Mean weighted absolute error of the cells' luminance and chroma: what the eye sees of an error in latents.

    Args:
        latents: (B, 3, F, H, W) predicted x0.
        target: (B, F, 3, P·H, P·W) in [-1, 1], the real pictures.
        motion: the motion frames, likewise.
        weights: (B, 1, F, H, W).
    """
    real, given = (_by_clip(F.avg_pool2d(x.flatten(0, 1), codec.pixels), len(x)) for x in (target, motion))
    painted = codec.brightened(given, codec.gain(latents))
    return (luma_chroma(painted - real).abs() * weights).mean()


def luma_chroma(pictures: Tensor) -> Tensor:
    """(N, 3, …) red, green and blue → the same shape: luminance, blue and red chroma; linear, so of differences too."""
    return torch.einsum("dc,nc...->nd...", pictures.new_tensor(_TO_LUMA_CHROMA), pictures)


def action_unit_loss(read: Tensor, shown: Tensor) -> Tensor:
    """AULoss: smooth L1 distance of the coefficients (N, 52) that a face reader sees from those that should show.

    ARKit's coefficients stand for FACS action units here, as they do in ``emotion.expressions``; those of mouth and jaw
    count, the rest of the face being hardly in the picture.
    """
    columns = list(MOUTH_AND_JAW)
    return F.smooth_l1_loss(read[:, columns], shown[:, columns], beta=0.05)


def emotion_loss(logits: Tensor, told: Tensor) -> Tensor:
    """EmoLoss: cross-entropy of the emotion read, logits (N, 8), with the one told, (N, 8), the first third of Z_emo.

    Rows of zeros, where no emotion was told, do not count.
    """
    return -(told * logits.log_softmax(-1)).sum(-1).mean()


def attribute_action_loss(read: Tensor, told: Tensor) -> Tensor:
    """One minus the cosine of what a face reader says of the scene with C_t, (N, 32) both; zeros do not count."""
    given = (told.square().sum(-1) > 0).to(read.dtype)
    return ((1 - F.cosine_similarity(read, told, dim=-1)) * given).mean()


class SyncLoss(nn.Module):
    """The sync network's judgement of lips that a face reader read off pictures.

    Only codecs whose latents can move a lip can learn from it: a gain of brightness hardly does.

    Args:
        sync: the network, e.g. of `train sync`.
        space: what turns coefficients into lip points.
    """

    def __init__(self, sync: SyncNet, space: MotionSpace) -> None:
        super().__init__()
        self.sync = sync.eval().requires_grad_(False)
        points = space.basis[:, list(LIPS), :2]
        self.register_buffer("points", torch.tensor(points.reshape(len(points), -1), dtype=torch.float32))
        self.register_buffer("neutral", torch.tensor(space.neutral[list(LIPS), :2], dtype=torch.float32))

    def forward(self, read: Tensor, sound: Tensor) -> Tensor:
        """
        Args:
            read: (B, F, 52) coefficients, F of at least 25.
            sound: (B, F, 20, 80), as in ``ClipConditions``.

        Raises:
            ValueError: the clips are too short for the network to judge.
        """
        if read.shape[1] < SHORTEST:
            raise ValueError(f"SyncLoss needs clips of {SHORTEST} frames, not {read.shape[1]}")
        lips = self.neutral + (read @ self.points).unflatten(-1, (-1, 2))
        own = slice(SOUND_CONTEXT * HOPS_PER_FRAME, (SOUND_CONTEXT + 1) * HOPS_PER_FRAME)
        return self.sync.sync_loss(lips, sound[:, :, own].flatten(1, 2))


def _by_clip(x: Tensor, clips: int) -> Tensor:
    """(B·F, C, H, W) → (B, C, F, H, W)."""
    return x.unflatten(0, (clips, -1)).transpose(1, 2)
