"""ReferenceNet: what the person looks like, for the self-attentions of the denoising UNet (paper, stage one)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from synchrorama.diffusion.attention import Seeing, who_sees_what
from synchrorama.diffusion.blocks import AttentionConfig, Conditions
from synchrorama.diffusion.unet import UNetTrunk


@dataclass
class ReferenceFeatures:
    """What ReferenceNet wrote, once per clip; one entry per self-attention in the order of execution.

    Attributes:
        reference: each (R, H·W, C), of the reference image: one for each of the B clips, or for each of their B·F
            frames, or any number of them with ``rows``.
        motion: each (B, M, C, H, W), of the frames that precede the clip; empty without any.
        rows: for each of the B·F frames which of the R it sees.
    """

    reference: list[Tensor]
    motion: list[Tensor]
    rows: Sequence[int] | None = None

    def seen(self, batch: int, frames: int, sees_reference: Sequence[bool] | None = None) -> tuple[Seeing, ...]:
        """For each of ``batch`` clips' frames which of the R it sees; none in clips for which that is False."""
        rows = self.rows
        if rows is None:
            each = 1 if len(self.reference[0]) == batch * frames else frames
            rows = [frame // each for frame in range(batch * frames)]
        sees = [True] * batch if sees_reference is None else [bool(each) for each in sees_reference]
        return who_sees_what([row if sees[frame // frames] else None for frame, row in enumerate(rows)])


class ReferenceNet(UNetTrunk):
    """A UNet without time and without output, whose self-attentions write down what they read.

    With the default configuration it takes the tensors of Stable Diffusion 1.5's UNet but for its output head.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 4,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        attention_levels: tuple[int, ...] = (0, 1, 2),
        heads: int = 8,
        groups: int = 32,
        image_width: int | None = 768,
        condition_widths: dict[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, block_out_channels[0], 3, padding=1)
        attention = AttentionConfig(heads, groups, image_width, condition_widths=condition_widths or {})
        self._build(block_out_channels, layers_per_block, attention_levels, attention)

    def forward(
        self,
        reference: Tensor,
        image_tokens: Tensor | None = None,
        motion: Tensor | None = None,
        motion_tokens: Tensor | None = None,
        tokens: dict[str, Tensor] | None = None,
    ) -> ReferenceFeatures:
        """
        Args:
            reference: (B, C, H, W) as the autoencoder encodes a photo.
            image_tokens: (B, n, image_width).
            motion: (B, M, C, H, W) the frames that precede the clip, encoded alike.
            motion_tokens: (B, M, n, image_width) image tokens for these.
            tokens: condition → (B, n, width), of the reference.
        """
        batch, height, width = len(reference), *reference.shape[2:]
        pictures, image = reference, image_tokens
        if motion is not None:
            pictures = torch.cat([reference, motion.flatten(0, 1)])
            if motion_tokens is not None:
                image = torch.cat([image_tokens, motion_tokens.flatten(0, 1)])
        conditions = Conditions(image=image, tokens=tokens or {})
        time = torch.zeros(1, device=reference.device)
        _, reads = self._run(self.conv_in(pictures), time, conditions)
        if motion is None:
            return ReferenceFeatures(reads, [])
        return ReferenceFeatures(
            [read[:batch] for read in reads],
            [as_maps(read[batch:], height, width).unflatten(0, (batch, -1)) for read in reads],
        )


def as_maps(read: Tensor, height: int, width: int) -> Tensor:
    """(N, h·w, C) → (N, C, h, w), where h : w is as height : width."""
    shrink = round((height * width / read.shape[1]) ** 0.5)
    return read.transpose(1, 2).unflatten(2, (height // shrink, width // shrink))
