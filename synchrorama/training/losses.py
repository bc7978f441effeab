"""What the diffusion stage is trained to make small.

All losses but the first judge x0, the latents that a prediction at any noise level amounts to, or the pictures that
they decode to.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from synchrorama.diffusion.autoencoder import LogGain

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
    means = [F.avg_pool2d(x.flatten(0, 1), codec.pixels).unflatten(0, x.shape[:2]).transpose(1, 2) for x in (target, motion)]
    painted = (means[1] + codec.LIFT) * codec.gain(latents).exp() - codec.LIFT
    change = torch.einsum("dc,bcfhw->bdfhw", painted.new_tensor(_TO_LUMA_CHROMA), painted - means[0])
    return (change.abs() * weights).mean()
