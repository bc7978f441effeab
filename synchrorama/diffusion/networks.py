"""All networks of the diffusion stage as one model: what a checkpoint folder holds."""

from __future__ import annotations

from typing import Any

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from synchrorama.diffusion.denoising_unet import DenoisingUNet
from synchrorama.diffusion.projections import (
    AudioProjection,
    ConditionProjection,
    FaceLocator,
    ImageProjection,
    MotionFrameGuide,
)
from synchrorama.diffusion.reference_net import ReferenceNet

PARTS: dict[str, type[nn.Module]] = {
    "reference_net": ReferenceNet,
    "denoising_unet": DenoisingUNet,
    "image_projection": ImageProjection,  # face embedding → image tokens
    "audio_projection": AudioProjection,  # sound → audio tokens
    "face_locator": FaceLocator,  # picture of the place of the face → guide
    "motion_guide": MotionFrameGuide,  # motion frame and its mouth → guide
    "emotion_projection": ConditionProjection,  # Z_emo → tokens of the condition "emotion"
    "text_projection": ConditionProjection,  # C_t → tokens of the condition "text"
}
HALLO_PARTS = ("reference_net", "denoising_unet", "image_projection", "audio_projection", "face_locator")


class DiffusionNetworks(ModelMixin, ConfigMixin):
    """ReferenceNet, the denoising UNet and the projections of what they are told, by the names of ``PARTS``.

    A profile is a configuration: ``parts`` holds the arguments of each part that there is. By default these are the
    networks of Hallo at the scale of Stable Diffusion 1.5. A part that is left out is None.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(self, parts: dict[str, dict[str, Any]] | None = None) -> None:
        super().__init__()
        parts = {name: {} for name in HALLO_PARTS} if parts is None else parts
        unknown = sorted(set(parts) - set(PARTS))
        if unknown or not {"reference_net", "denoising_unet"} <= set(parts):
            raise ValueError(f"parts are {sorted(parts)}; the two UNets are needed, and known are {sorted(PARTS)}")
        for name, kind in PARTS.items():
            setattr(self, name, kind(**parts[name]) if name in parts else None)
