"""A full profile that is tiny: networks of its kinds with random weights, and motion frames of 64 pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from synchrorama.diffusion import DiffusionNetworks
from synchrorama.diffusion_stage import Told
from synchrorama.face_topology import FACE_OVAL, LANDMARKS, OUTER_LIPS
from synchrorama.frame_stage import FrameStage
from synchrorama.motion_frames import MotionFrame
from synchrorama.placement import MemoryPlan, Placement

SIZE, CELLS = 64, 8
_UNET = {"block_out_channels": [16, 16], "attention_levels": [0], "heads": 2, "groups": 4, "image_width": 8}
_HALLO = {
    "reference_net": _UNET,
    "denoising_unet": {**_UNET, "audio_width": 8, "stored_temporal": False},
    "image_projection": {"width_in": 6, "tokens": 2, "width": 8},
    "audio_projection": {"width_in": 5 * 2 * 3, "hidden": 8, "tokens": 2, "width": 8},
}
_OURS = {
    "denoising_unet": {**_HALLO["denoising_unet"], "condition_widths": {"emotion": 8, "text": 8}},
    "motion_guide": {"channels": 16, "pixels": 8},
    "emotion_projection": {"width_in": 24, "width": 8},
    "text_projection": {"width_in": 32, "width": 8},
}


def networks(*, ours: bool = False, halvings: int = 3) -> DiffusionNetworks:
    """Hallo's parts, and what this project adds to them; no weight is zero, so that everything has an effect."""
    torch.manual_seed(3)
    locator = {"channels": 16, "widths": [4] * halvings + [8]}
    made = DiffusionNetworks({**_HALLO, "face_locator": locator, **(_OURS if ours else {})})
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.8 / parameter[0].numel() ** 0.5)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.1)
    return made.eval()


def autoencoder(halvings: int = 3) -> AutoencoderKL:
    """Eight pixels of a side for each of the latents', or another power of two."""
    torch.manual_seed(4)
    levels = halvings + 1
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(4,) * levels, layers_per_block=1, norm_num_groups=2, latent_channels=4, sample_size=SIZE,
    ).eval()  # fmt: skip


def audio_features(samples: np.ndarray, frames: int) -> Tensor:
    """(frames, 5, 2, 3): the loudness of each frame, and as many numbers that depend on it."""
    loud = np.abs(np.resize(samples, frames * 640)).reshape(frames, 640).mean(1)
    return torch.from_numpy(np.sin(loud[:, None] * 50 + np.arange(30))).float().unflatten(1, (5, 2, 3))


def face_embedding(picture: np.ndarray, landmarks: np.ndarray) -> Tensor:
    assert picture.dtype == np.uint8 and picture.shape[2] == 3 and landmarks.shape == (LANDMARKS, 2)
    return torch.linspace(-1, 1, 6) * float(picture.mean()) / 100


def stage(
    *, ours: bool = False, plan: MemoryPlan = MemoryPlan.RESIDENT, halvings: int = 3, **options: Any
) -> FrameStage:
    placement = Placement(device=torch.device("cpu"), dtype=torch.float32, plan=plan)
    parts = {"audio_features": audio_features, "face_embedding": face_embedding, "text_encoder": None, **options}
    made = networks(ours=ours, halvings=halvings)
    return FrameStage(made, autoencoder(halvings), placement=placement, **parts)


def frame(t: int) -> MotionFrame:
    """A smooth picture whose face moves to the right by half a pixel a frame."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    image = np.dstack([128 + 90 * np.sin((columns - 0.5 * t) / 9), 2 * rows + columns, 3 * rows]).astype(np.uint8)
    landmarks = np.full((LANDMARKS, 2), SIZE / 2)
    for indices, width, height, down in ((FACE_OVAL, 16, 22, 0), (OUTER_LIPS, 6, 3, 10)):
        angle = np.arange(len(indices)) * 2 * np.pi / len(indices)
        landmarks[list(indices)] += np.stack([width * np.cos(angle), height * np.sin(angle) + down], 1)
    landmarks[:, 0] += 0.5 * t
    mouth = landmarks[list(OUTER_LIPS)].astype(np.float32)
    return MotionFrame(image, mouth, landmarks.mean(0), 1.5, landmarks if t == 0 else landmarks[:468])


def told(frames: int, description: str | None = None) -> Told:
    generator = np.random.default_rng(0)
    samples = generator.normal(0, 0.1, frames * 640).astype(np.float32)
    emotion = np.tile(np.linspace(-1, 1, 24, dtype=np.float32), (frames, 1))
    return Told(samples, emotion, np.full((frames, 32), 0.5, np.float32), description)
