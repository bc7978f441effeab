"""From what is known about a frame to the tokens and maps that the networks read.

Image and audio projection and face locator are those of Hallo (arXiv 2406.08801); its weights fit. Zeros in place of
the tokens, or of the map, mean "without": this is what guidance compares with.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn


class ImageProjection(ModelMixin, ConfigMixin):
    """A face embedding → tokens: (B, width_in) → (B, tokens, width)."""

    @register_to_config
    def __init__(self, width_in: int = 512, tokens: int = 4, width: int = 768) -> None:
        super().__init__()
        self.tokens = tokens
        self.proj = nn.Linear(width_in, tokens * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, embedding: Tensor) -> Tensor:
        return self.norm(self.proj(embedding).unflatten(-1, (self.tokens, -1)))


class AudioProjection(ModelMixin, ConfigMixin):
    """The sound around each frame → tokens: (B, F, …) with ``width_in`` numbers a frame → (B, F, tokens, width)."""

    @register_to_config
    def __init__(self, width_in: int = 5 * 12 * 768, hidden: int = 512, tokens: int = 32, width: int = 768) -> None:
        super().__init__()
        self.tokens = tokens
        self.proj1 = nn.Linear(width_in, hidden)
        self.proj2 = nn.Linear(hidden, hidden)
        self.proj3 = nn.Linear(hidden, tokens * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, sound: Tensor) -> Tensor:
        hidden = F.relu(self.proj2(F.relu(self.proj1(sound.flatten(2)))))
        return self.norm(self.proj3(hidden).unflatten(-1, (self.tokens, -1)))


class ConditionProjection(nn.Module):
    """Z_emo or C_t → tokens: (…, width_in) → (…, tokens, width); a vector of zeros gives tokens of zeros.

    Without bias and with a normalisation that only scales, "nothing given" stays nothing.
    """

    def __init__(self, width_in: int, tokens: int = 1, width: int = 64) -> None:
        super().__init__()
        self.tokens = tokens
        self.proj = nn.Linear(width_in, tokens * width, bias=False)
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, condition: Tensor) -> Tensor:
        tokens = self.proj(condition).unflatten(-1, (self.tokens, -1))
        size = (tokens.square().mean(-1, keepdim=True) + 1e-8).sqrt()  # a root has no slope at zero
        return tokens / (1 + size) * self.scale


class FaceLocator(ModelMixin, ConfigMixin):
    """A picture of where the face is → a map for the denoising UNet: (N, 3, 8H, 8W) in [0, 1] → (N, C, H, W)."""

    @register_to_config
    def __init__(self, channels: int = 320, widths: tuple[int, ...] = (16, 32, 64, 128)) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for width, wider in itertools.pairwise(widths):
            self.blocks.append(nn.Conv2d(width, width, 3, padding=1))
            self.blocks.append(nn.Conv2d(width, wider, 3, stride=2, padding=1))
        self.conv_out = nn.Conv2d(widths[-1], channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)

    def forward(self, picture: Tensor) -> Tensor:
        x = F.silu(self.conv_in(picture))
        for block in self.blocks:
            x = F.silu(block(x))
        return self.conv_out(x)


class MotionFrameGuide(nn.Module):
    """The motion frame itself and where its mouth is open → a map for the denoising UNet.

    (N, 3, P·H, P·W) in [-1, 1] and (N, 1, H, W) in [0, 1] → (N, C, H, W), with P pixels a cell.
    """

    def __init__(self, channels: int, pixels: int = 4) -> None:
        super().__init__()
        self.pixels = pixels
        self.conv_in = nn.Conv2d(3 * pixels**2 + 1, channels, 3, padding=1)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, motion: Tensor, mouth: Tensor) -> Tensor:
        x = torch.cat([F.pixel_unshuffle(motion, self.pixels), mouth], 1)
        return self.conv_out(F.silu(self.conv_in(x)))
