"""The denoising UNet: spatial, audio, condition and temporal attention over a clip of latents (paper, stage two)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from synchrorama.diffusion.blocks import AttentionConfig, Conditions
from synchrorama.diffusion.reference_net import ReferenceFeatures
from synchrorama.diffusion.unet import DeepFeatures, UNetTrunk

FACE_REGIONS = ("full", "face", "lip")


class DenoisingUNet(UNetTrunk):
    """Noisy latents of a clip → noise, velocity or flow, as the scheduler wants it.

    The default configuration is Hallo's: Stable Diffusion 1.5 with audio attention in three regions and AnimateDiff's
    temporal attention. ``condition_widths`` adds cross-attentions to further tokens, such as those of Z_emo and C_t.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 4,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        attention_levels: tuple[int, ...] = (0, 1, 2),
        heads: int = 8,
        groups: int = 32,
        image_width: int | None = 768,
        audio_width: int | None = 768,
        audio_regions: tuple[str, ...] = FACE_REGIONS,
        condition_widths: dict[str, int] | None = None,
        max_frames: int = 32,
        stored_temporal: bool = True,
    ) -> None:
        super().__init__()
        attention = AttentionConfig(
            heads, groups, image_width, audio_width, tuple(audio_regions), condition_widths or {}, max_frames,
            stored_temporal,
        )  # fmt: skip
        self.conv_in = nn.Conv2d(in_channels, block_out_channels[0], 3, padding=1)
        self._build(block_out_channels, layers_per_block, attention_levels, attention)
        self.conv_norm_out = nn.GroupNorm(groups, block_out_channels[0], eps=1e-5)
        self.conv_out = nn.Conv2d(block_out_channels[0], out_channels, 3, padding=1)

    def forward(
        self,
        latents: Tensor,
        timestep: Tensor,
        *,
        features: ReferenceFeatures | None = None,
        sees_reference: Sequence[bool] | None = None,
        image_tokens: Tensor | None = None,
        audio_tokens: Tensor | None = None,
        masks: dict[str, list[Tensor]] | None = None,
        region_weights: dict[str, float] | None = None,
        tokens: dict[str, Tensor] | None = None,
        guide: Tensor | None = None,
        deep: DeepFeatures | None = None,
    ) -> Tensor:
        """
        Args:
            latents: (B, C, F, H, W).
            timestep: () or (B·F,).
            features: of ReferenceNet, for the B clips.
            sees_reference: of each of the B clips: False denoises it without the reference, as guidance needs; None is
                True for all.
            image_tokens: (B, n, image_width).
            audio_tokens: (B, F, n, audio_width).
            masks: region → per level (B, F, H·W) in [0, 1] (see ``region_masks``).
            region_weights: region → factor on what is heard there; 1 where missing.
            tokens: condition → (B, F, n, width).
            guide: (B, block_out_channels[0], F, H, W), a map added after the first convolution.
            deep: saves most of the work at some of the steps of a clip; the same object at each of them.

        Returns:
            (B, out_channels, F, H, W).
        """
        batch, _, frames = latents.shape[:3]

        def per_frame(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.repeat_interleave(frames, 0)

        conditions = Conditions(
            frames=frames,
            image=per_frame(image_tokens),
            audio=None if audio_tokens is None else audio_tokens.flatten(0, 1),
            masks={region: [mask.flatten(0, 1) for mask in levels] for region, levels in (masks or {}).items()},
            region_weights=region_weights or {},
            tokens={name: each.flatten(0, 1) for name, each in (tokens or {}).items()},
        )
        if features is not None:
            conditions.reference, conditions.motion = features.reference, features.motion
            conditions.sees = features.seen(batch, frames, sees_reference)
        x = self.conv_in(_by_frame(latents))
        if guide is not None:
            x = x + _by_frame(guide)
        x, _ = self._run(x, timestep, conditions, deep)
        x = self.conv_out(F.silu(self.conv_norm_out(x)))
        return x.unflatten(0, (batch, frames)).transpose(1, 2)


def region_masks(masks: dict[str, Tensor], levels: int) -> dict[str, list[Tensor]]:
    """Region → (B, F, H, W) in [0, 1] → per level, coarser by two each, (B, F, H·W)."""
    return {
        region: [F.avg_pool2d(mask, 2**level).flatten(2) if level else mask.flatten(2) for level in range(levels)]
        for region, mask in masks.items()
    }


def _by_frame(x: Tensor) -> Tensor:
    """(B, C, F, H, W) → (B·F, C, H, W)."""
    return x.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
