"""Pictures ↔ latents, given the motion frame: what diffusion paints on.

Two codecs share one interface. ``LogGain`` has no weights: its latents say by how much each small cell is brighter than
the motion frame, so zeros are the motion frame itself, and its sharpness stays whatever is painted. ``KLAutoencoder``
wraps Stable Diffusion's autoencoder, whose latents are the picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


class Codec(Protocol):
    """Pictures (N, 3, P·H, P·W) in [-1, 1] ↔ latents (N, C, H, W)."""

    def encode(self, pictures: Tensor, motion: Tensor) -> Tensor:
        """Latents of pictures whose motion frames are ``motion``, of the same shape."""

    def decode(self, latents: Tensor, motion: Tensor) -> Tensor:
        """The reverse."""

    def encode_reference(self, photo: Tensor) -> Tensor:
        """What ReferenceNet sees of a photo (N, 3, P·H, P·W)."""

    def preview(self, latents: Tensor, motion: Tensor) -> Tensor:
        """Small pictures (N, 3, H, W) in [-1, 1] that cost next to nothing, to be looked at between steps."""


class LogGain:
    """Logarithm of the brightness of cells relative to the motion frame, per colour.

    y = (w + e) · exp(up(g)) - e, with pictures w, y from -1 to 1 and e a little above 1, so that black can still be
    lightened; the latents are g times ``SCALE``, which brings them near unit variance.
    """

    LIFT = 1.06
    SCALE = 4.0
    LIMIT = 1.5  # of g: a factor of four and a half

    def __init__(self, pixels: int = 4) -> None:
        """``pixels``: side of a cell."""
        self.pixels = pixels

    def encode(self, pictures: Tensor, motion: Tensor) -> Tensor:
        there, here = (F.avg_pool2d(x, self.pixels) + self.LIFT for x in (pictures, motion))
        return torch.log(there / here).clamp(-self.LIMIT, self.LIMIT) * self.SCALE

    def decode(self, latents: Tensor, motion: Tensor) -> Tensor:
        gain = self.gain(latents)
        gain = F.interpolate(gain, scale_factor=self.pixels, mode="bicubic", align_corners=False)
        return self.brightened(motion, gain).clamp(-1, 1)

    def brightened(self, pictures: Tensor, gain: Tensor) -> Tensor:
        """Pictures with a gain g of each of their pixels; what comes out may leave [-1, 1]."""
        return (pictures + self.LIFT) * gain.exp() - self.LIFT

    def gain(self, latents: Tensor) -> Tensor:
        """Latents → g, which no sampler can drive beyond what training knew."""
        return (latents / self.SCALE).clamp(-self.LIMIT, self.LIMIT)

    def encode_reference(self, photo: Tensor) -> Tensor:
        """The pixels of each cell as channels."""
        return F.pixel_unshuffle(photo, self.pixels)

    def preview(self, latents: Tensor, motion: Tensor) -> Tensor:
        return self.brightened(F.avg_pool2d(motion, self.pixels), self.gain(latents)).clamp(-1, 1)


# What each of Stable Diffusion 1's four latent channels adds to red, green and blue (Kevin Turner, 2022, "Decoding
# latents to RGB without upscaling", discuss.huggingface.co/t/23204).
_LATENT_COLOURS = (
    (0.298, 0.207, 0.208), (0.187, 0.286, 0.173), (-0.158, 0.189, 0.264), (-0.184, -0.271, -0.473),
)  # fmt: skip


class KLAutoencoder:
    """diffusers' ``AutoencoderKL``; the motion frame plays no part in it. All results are float32.

    Args:
        autoencoder: such as sd-vae-ft-mse.
        at_once: how many pictures it takes together; decoding needs more memory than anything else.
    """

    def __init__(self, autoencoder: AutoencoderKL, at_once: int = 1) -> None:
        self.autoencoder, self._at_once = autoencoder, at_once
        self.pixels = 2 ** (len(autoencoder.config.block_out_channels) - 1)
        """Of a picture's side for each of its latents' side."""

    def encode(self, pictures: Tensor, motion: Tensor | None = None) -> Tensor:
        return self.encode_reference(pictures)

    def decode(self, latents: Tensor, motion: Tensor | None = None) -> Tensor:
        parts = (latents / self._scale).to(self.autoencoder.dtype).split(self._at_once)
        return torch.cat([self.autoencoder.decode(part).sample.float() for part in parts]).clamp(-1, 1)

    def encode_reference(self, photo: Tensor) -> Tensor:
        parts = photo.to(self.autoencoder.dtype).split(self._at_once)
        return torch.cat([self.autoencoder.encode(part).latent_dist.mode().float() for part in parts]) * self._scale

    def preview(self, latents: Tensor, motion: Tensor | None = None) -> Tensor:
        return torch.einsum("lc,nlhw->nchw", latents.new_tensor(_LATENT_COLOURS), latents).clamp(-1, 1)

    @property
    def _scale(self) -> float:
        return self.autoencoder.config.scaling_factor
