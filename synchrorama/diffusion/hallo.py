"""Weights of Hallo (arXiv 2406.08801, MIT): their names in ours, one to one, and its schedule."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from synchrorama.diffusion.checkpoint import load_strictly
from synchrorama.diffusion.networks import DiffusionNetworks

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
