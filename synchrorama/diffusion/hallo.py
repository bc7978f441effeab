"""Weights of Hallo (arXiv 2406.08801, MIT): their names in ours, one to one, and its way to call the networks."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from synchrorama.diffusion.checkpoint import load_strictly
from synchrorama.diffusion.networks import DiffusionNetworks
from synchrorama.diffusion.reference_net import ReferenceFeatures, ReferenceNet

RENAMES: tuple[tuple[str, str], ...] = (
    (r"^reference_unet\.", "reference_net."),
    (r"^imageproj\.", "image_projection."),
    (r"^audioproj\.", "audio_projection."),
    (r"\.attn2_0\.", ".region_attention.full."),
    (r"\.attn2_1\.", ".region_attention.face."),
    (r"\.attn2_2\.", ".region_attention.lip."),
    (r"\.zero_conv_(full|face|lip)\.", r".region_output.\1."),
    (r"\.temporal_transformer\.", "."),
)
"""Regular expressions over Hallo's names, applied in this order; every other part of a name is the same."""

SCHEDULER = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "linear", "clip_sample": False, "steps_offset": 1,
    "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
}  # fmt: skip
"""Of ``DDIMScheduler``, as Hallo samples."""


def our_name(name: str) -> str:
    """The name of a tensor of ``net.pth`` in ``DiffusionNetworks``."""
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def load_hallo(networks: DiffusionNetworks, tensors: Mapping[str, Tensor]) -> None:
    """Load the tensors of Hallo's ``net.pth`` strictly.

    Raises:
        ValueError: tensors are missing, left over, of another shape or not finite; nothing is loaded then.
    """
    load_strictly(networks, {our_name(name): tensor for name, tensor in tensors.items()})


def reference_features(
    reference_net: ReferenceNet, reference: Tensor, motion: Tensor, tokens: Tensor, no_tokens: Tensor, frames: int
) -> ReferenceFeatures:
    """What Hallo's networks read for one clip: unconditional first, then conditional.

    Hallo repeats pictures, tokens and frames in different orders. So its motion frames are read with the tokens of the
    other half in turn, and every other frame sees the reference as read without a face. Its weights were trained that
    way and want it so.

    Args:
        reference: (1, C, H, W) latents of the photo.
        motion: (1, M, C, H, W) latents of the preceding frames.
        tokens, no_tokens: (1, n, width) image tokens of the face and of a zero embedding.
        frames: F, even.
    """
    count = motion.shape[1] + 1
    both = torch.cat([no_tokens, tokens])
    in_turn = both.repeat(count, 1, 1).unflatten(0, (2, count))  # what each picture of each half is read with
    features = reference_net(reference.repeat(2, 1, 1, 1), in_turn[:, 0], motion.repeat(2, 1, 1, 1, 1), in_turn[:, 1:])
    return ReferenceFeatures([each.repeat(frames, 1, 1) for each in features.reference], features.motion)
