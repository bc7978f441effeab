"""One level of a UNet: residual blocks, each followed by the attentions that its configuration gives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from synchrorama.diffusion.attention import (
    AudioTransformer,
    ConditionTransformer,
    Seeing,
    SpatialTransformer,
    TemporalTransformer,
)


@dataclass(frozen=True)
class AttentionConfig:
    """What the attentions of a level are.

    Attributes:
        heads: of every attention.
        groups: of every group normalisation.
        image_width: of image tokens; None without.
        audio_width: of audio tokens; None without audio attention.
        audio_regions: regions of the face that hear apart.
        condition_widths: condition → width of its tokens.
        max_frames: longest sequence of temporal attention; 0 without.
        stored_temporal: levels without attentions carry temporal modules too, as Hallo's weights do, although neither
            their training nor their inference runs them.
    """

    heads: int = 8
    groups: int = 32
    image_width: int | None = 768
    audio_width: int | None = None
    audio_regions: tuple[str, ...] = ()
    condition_widths: dict[str, int] = field(default_factory=dict)
    max_frames: int = 0
    stored_temporal: bool = False


@dataclass
class Conditions:
    """What the attentions of one forward pass read; N = batch · frames, whatever is None is not there.

    Attributes:
        frames: F.
        image: (N, n, width) image tokens.
        audio: (N, n, width) audio tokens.
        masks: region → per level, coarser by two each, (N, H·W).
        region_weights: region → factor on what is heard there.
        tokens: condition (emotion, text) → (N, n, width).
        reference: per attention, in the order of execution, (R, H·W, C) from ReferenceNet; empty without.
        sees: which of the R each of the N frames sees.
        motion: likewise (B, M, C, H, W), features of the preceding frames from ReferenceNet; empty without.
    """

    frames: int = 1
    image: Tensor | None = None
    audio: Tensor | None = None
    masks: dict[str, list[Tensor]] = field(default_factory=dict)
    region_weights: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, Tensor] = field(default_factory=dict)
    reference: list[Tensor] = field(default_factory=list)
    sees: tuple[Seeing, ...] | None = None
    motion: list[Tensor] = field(default_factory=list)


class Place(NamedTuple):
    """Where in the UNet a block stands: its level, 0 the finest, and how many self-attentions came before it."""

    level: int
    first_attention: int


class Attentions(nn.Module):
    """The attentions of one level, as lists beside each other (``attentions.j``, ``audio_modules.j``, …)."""

    attends: bool
    """Whether there are any."""

    def _add_attentions(
        self, channels: int, audio_channels: Sequence[int], config: AttentionConfig, *, attends: bool
    ) -> None:
        """Give this level its attentions.

        Args:
            channels: C of the level.
            audio_channels: inner width of the audio attention after each residual block.
            config: what they are.
            attends: whether the level has any.
        """
        self.attends = attends
        count = len(audio_channels)
        if config.max_frames and (attends or config.stored_temporal):
            self.motion_modules = nn.ModuleList(
                TemporalTransformer(channels, config.heads, config.max_frames, config.groups) for _ in range(count)
            )
        if not attends:
            return
        self.attentions = nn.ModuleList(
            SpatialTransformer(channels, config.heads, config.image_width, config.groups) for _ in range(count)
        )
        if config.audio_width is not None:
            self.audio_modules = nn.ModuleList(
                AudioTransformer(channels, inner, config.heads, config.audio_width, config.audio_regions, config.groups)
                for inner in audio_channels
            )
        self.condition_modules = nn.ModuleDict(
            {
                name: nn.ModuleList(ConditionTransformer(channels, config.heads, width) for _ in range(count))
                for name, width in config.condition_widths.items()
            }
        )

    def _attend(self, j: int, x: Tensor, place: Place, conditions: Conditions) -> tuple[Tensor, list[Tensor]]:
        """Attention ``j`` of this level: x (N, C, H, W) → the same, and what self-attention read, if there is any."""
        if not self.attends:
            return x, []
        i = place.first_attention + j
        reference = conditions.reference[i] if conditions.reference else None
        x, read = self.attentions[j](x, conditions.image, reference, conditions.sees)
        if conditions.audio is not None:
            masks = {region: levels[place.level] for region, levels in conditions.masks.items()}
            x = self.audio_modules[j](x, conditions.audio, masks, conditions.region_weights)
        for name, tokens in conditions.tokens.items():
            x = self.condition_modules[name][j](x, tokens)
        if hasattr(self, "motion_modules"):
            x = self.motion_modules[j](x, conditions.frames, conditions.motion[i] if conditions.motion else None)
        return x, [read]


class DownBlock(Attentions):
    """Residual blocks with their attentions, then half the resolution.

    Args:
        channels_in, channels: width before and in the level.
        layers: number of residual blocks.
        time_width: of the time embedding.
        config: what its attentions are.
        attends: whether it has any.
        halves: whether the level ends with half the resolution.
    """

    def __init__(
        self,
        channels_in: int,
        channels: int,
        layers: int,
        time_width: int,
        config: AttentionConfig,
        *,
        attends: bool,
        halves: bool,
    ) -> None:
        super().__init__()
        widths = [channels_in] + [channels] * (layers - 1)
        self.resnets = nn.ModuleList(_residual(width, channels, time_width, config.groups) for width in widths)
        self._add_attentions(channels, widths, config, attends=attends)
        self.downsamplers = nn.ModuleList([Downsample2D(channels, use_conv=True, name="op")] if halves else [])

    def forward(
        self, x: Tensor, time: Tensor, place: Place, conditions: Conditions
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """→ x, what goes to the other side of the UNet, and what the self-attentions read."""
        kept, reads = [], []
        for j, resnet in enumerate(self.resnets):
            x, read = self._attend(j, resnet(x, time), place, conditions)
            kept.append(x)
            reads += read
        for downsampler in self.downsamplers:
            x = downsampler(x)
            kept.append(x)
        return x, kept, reads


class MidBlock(Attentions):
    """Residual block, attentions, residual block, at the lowest resolution."""

    def __init__(self, channels: int, time_width: int, config: AttentionConfig) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(_residual(channels, channels, time_width, config.groups) for _ in range(2))
        self._add_attentions(channels, [channels], config, attends=True)

    def forward(self, x: Tensor, time: Tensor, place: Place, conditions: Conditions) -> tuple[Tensor, list[Tensor]]:
        x, read = self._attend(0, self.resnets[0](x, time), place, conditions)
        return self.resnets[1](x, time), read


class UpBlock(Attentions):
    """Residual blocks that also see the other side of the UNet, with their attentions, then twice the resolution.

    Args as in ``DownBlock``; ``skips`` are the widths that come from the other side, ``audio_channels`` the inner
    width of the audio attentions; ``doubles`` ends the level with twice the resolution.
    """

    def __init__(
        self,
        channels_in: int,
        channels: int,
        skips: Sequence[int],
        time_width: int,
        config: AttentionConfig,
        *,
        attends: bool,
        doubles: bool,
        audio_channels: int,
    ) -> None:
        super().__init__()
        widths = [channels_in] + [channels] * (len(skips) - 1)
        self.resnets = nn.ModuleList(
            _residual(width + skip, channels, time_width, config.groups)
            for width, skip in zip(widths, skips, strict=True)
        )
        self._add_attentions(channels, [audio_channels] * len(skips), config, attends=attends)
        self.upsamplers = nn.ModuleList([Upsample2D(channels, use_conv=True)] if doubles else [])

    def forward(
        self,
        x: Tensor,
        kept: list[Tensor],
        time: Tensor,
        place: Place,
        conditions: Conditions,
        first: int = 0,
    ) -> tuple[Tensor, list[Tensor]]:
        """→ x, and what the self-attentions read.

        Args:
            kept: for each residual block that is to run what comes from the other side, last first.
            first: the number of the first of them. Twice the resolution follows the last that there is.
        """
        reads = []
        for j, other in enumerate(kept, first):
            x, read = self._attend(j, self.resnets[j](torch.cat([x, other], 1), time), place, conditions)
            reads += read
        if first + len(kept) == len(self.resnets):
            for upsampler in self.upsamplers:
                x = upsampler(x)
        return x, reads


def _residual(channels_in: int, channels: int, time_width: int, groups: int) -> ResnetBlock2D:
    return ResnetBlock2D(
        in_channels=channels_in, out_channels=channels, temb_channels=time_width, groups=groups, eps=1e-5
    )
