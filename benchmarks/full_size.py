"""The full profile without its weights: networks of full size, moving pictures, and what is told about them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from synchrorama.diffusion import DiffusionNetworks
from synchrorama.diffusion_stage import Told
from synchrorama.face_topology import FACE_OVAL, LANDMARKS, OUTER_LIPS
from synchrorama.frame_stage import FrameStage
from synchrorama.motion_frames import MotionFrame
from synchrorama.placement import Placement

# https://huggingface.co/stabilityai/sd-vae-ft-mse/blob/main/config.json
AUTOENCODER = {
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4, "sample_size": 256,
}  # fmt: skip


def stage(placement: Placement, **options: Any) -> FrameStage:
    """Hallo's networks and Stable Diffusion's autoencoder with random weights, or on the meta device without any."""
    with torch.device("meta"):
        networks, autoencoder = DiffusionNetworks(), AutoencoderKL(**AUTOENCODER)
    if placement.device.type != "meta":
        for network in (networks, autoencoder):
            _fill(nn.Module.to(network, placement.dtype).to_empty(device="cpu"))
    return FrameStage(networks, autoencoder, audio_features, None, None, placement, **options)


def _fill(network: nn.Module) -> None:
    """Weights that keep the size of what passes through, so that nothing becomes slow by being tiny."""
    generator = torch.Generator().manual_seed(0)
    for key, tensor in network.state_dict().items():
        if tensor.dim() > 1:
            reach = tensor[0].numel() ** -0.5
            tensor.uniform_(-reach, reach, generator=generator)
        else:
            tensor.fill_(1 if key.endswith("weight") else 0)


def audio_features(samples: np.ndarray, frames: int) -> Tensor:
    return torch.randn(frames, 5, 12, 768, generator=torch.Generator().manual_seed(1))


def frame(t: int, size: int) -> MotionFrame:
    """A smooth picture whose face, most of it, moves to the right by a pixel a frame."""
    rows, columns = np.mgrid[0:size, 0:size] * (512 / size)
    image = np.dstack([128 + 90 * np.sin((columns - t) / 70), rows / 2, (rows + columns) / 4]).astype(np.uint8)
    landmarks = np.full((LANDMARKS, 2), size / 2)
    for indices, width, height, down in ((FACE_OVAL, 0.25, 0.33, 0), (OUTER_LIPS, 0.08, 0.04, 0.15)):
        angle = np.arange(len(indices)) * 2 * np.pi / len(indices)
        landmarks[list(indices)] += size * np.stack([width * np.cos(angle), height * np.sin(angle) + down], 1)
    landmarks[:, 0] += t * size / 512
    return MotionFrame(image, landmarks[list(OUTER_LIPS)].astype(np.float32), landmarks.mean(0), size / 20, landmarks)


def told(frames: int) -> Told:
    samples = np.random.default_rng(0).normal(0, 0.1, frames * 640).astype(np.float32)
    return Told(samples, np.zeros((frames, 24), np.float32), np.zeros((frames, 32), np.float32))
