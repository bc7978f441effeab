"""One pass of the small profile's denoiser: what of a clip goes into which network, and what a pass may be told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from synchrorama.diffusion.autoencoder import LogGain
from synchrorama.diffusion.denoising_unet import region_masks
from synchrorama.diffusion.networks import DiffusionNetworks
from synchrorama.diffusion.reference_net import ReferenceFeatures
from synchrorama.diffusion.unet import DeepFeatures
from synchrorama.guidance import FULL, WITHOUT

# Mean and spread of speech in log-mel from the lowest to the highest band: without them what all sounds have in common
# drowns what tells them apart.
_SOUND_MEAN = np.interp(np.arange(80), [0, 20, 30, 79], [-4.5, -6.4, -7.2, -8.9])
_SOUND_SPREAD = np.linspace(3.2, 1.1, 80)
_LIP_REACH = 9  # cells around the mouth in which the sound is heard


@dataclass(frozen=True)
class ClipConditions:
    """What is known about B clips of F frames; P pixels are a cell. Zeros mean that something is not told.

    Attributes:
        motion: (B, F, 3, P·H, P·W) in [-1, 1], the face region of the motion frames.
        mouth: (B, F, 1, H, W) in [0, 1], how much of each cell lies between the lips.
        sound: (B, F, 20, 80), log-mel around each frame (``audio.sound_around``).
        emotion: (B, F, 24), Z_emo.
        text: (B, F, 32), C_t.
    """

    motion: Tensor
    mouth: Tensor
    sound: Tensor
    emotion: Tensor
    text: Tensor

    def told(self, told: str) -> ClipConditions:
        """As much of it as a pass of ``guidance_passes`` may know: the pictures always."""
        if told == FULL:
            return self
        silenced = replace(self, emotion=self.emotion * 0, text=self.text * 0)
        return replace(silenced, sound=self.sound * 0) if told == WITHOUT else silenced


class Denoiser:
    """The networks of a checkpoint and their codec, as functions of ``ClipConditions``.

    Args:
        networks: with audio, emotion and text projection and the motion frame guide.
    """

    def __init__(self, networks: DiffusionNetworks) -> None:
        self.networks = networks
        self.codec = LogGain(networks.motion_guide.pixels)
        self._levels = len(networks.denoising_unet.config.block_out_channels)

    def features(self, reference: Tensor) -> ReferenceFeatures:
        """What ReferenceNet reads off photos (B, 3, P·H, P·W); the same for all clips and steps."""
        return self.networks.reference_net(self.codec.encode_reference(reference))

    def conditions(
        self,
        clip: ClipConditions,
        features: ReferenceFeatures,
        told: str = FULL,
        guided: Tensor | None = None,
        *,
        deep_every: int = 1,
    ) -> dict[str, Any]:
        """What the denoising UNet is given besides latents and timestep: the same at every step.

        Where ``guided`` (B,) is False the guide is blank, so that training needs what else is told; None is nowhere.
        ``deep_every``: at every how many steps everything is computed anew (``DeepFeatures``).
        """
        clip, networks = clip.told(told), self.networks
        batch, frames = clip.motion.shape[:2]
        mouth = clip.mouth.flatten(0, 1)
        guide = networks.motion_guide(clip.motion.flatten(0, 1), mouth).unflatten(0, (batch, frames)).transpose(1, 2)
        if guided is not None:
            guide = guide * guided[:, None, None, None, None]
        lips = F.max_pool2d(mouth, _LIP_REACH, 1, _LIP_REACH // 2).unflatten(0, (batch, frames))[:, :, 0]
        return {
            "features": features,
            "audio_tokens": networks.audio_projection(_normalised(clip.sound)),
            "masks": region_masks({"lip": lips}, self._levels),
            "tokens": {
                "emotion": networks.emotion_projection(clip.emotion),
                "text": networks.text_projection(clip.text),
            },
            "guide": guide,
            "deep": DeepFeatures(deep_every),
        }

    def predict(self, latents: Tensor, timestep: Tensor, conditions: dict[str, Any]) -> Tensor:
        """Noisy latents (B, C, F, H, W) at timesteps () or (B·F,), of 0 to 1000 → the flow, noise minus latents."""
        return self.networks.denoising_unet(latents, timestep, **conditions)


def _normalised(sound: Tensor) -> Tensor:
    """Log-mel (B, F, 20, 80) around zero; what is not told, zeros throughout, stays zero."""
    told = sound.abs().amax((2, 3), keepdim=True) > 0
    return (sound - sound.new_tensor(_SOUND_MEAN)) / sound.new_tensor(_SOUND_SPREAD) * told
