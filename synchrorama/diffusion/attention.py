"""The four attentions of the denoising UNet: spatial (with the reference), audio, condition and temporal.

Every one keeps the shape (N, C, H, W) of its input, N = batch · frames, and adds what it read. Widths, groups and
normalisations are those of Stable Diffusion 1.5, Hallo (arXiv 2406.08801) and AnimateDiff v2 (arXiv 2307.04725), so
that their weights fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn


class Seeing(NamedTuple):
    """Frames ``start`` to ``stop`` and which of the references each of them sees; None where they see none."""

    start: int
    stop: int
    rows: tuple[int, ...] | None


def who_sees_what(rows: Sequence[int | None]) -> tuple[Seeing, ...]:
    """For each frame which reference it sees, or None → the same of neighbours that see, or do not, together.

    These are known before a network runs: to ask a tensor on a GPU would wait for the GPU.
    """
    groups, start = [], 0
    for blind, group in groupby(rows, lambda row: row is None):
        seen = tuple(group)
        groups.append(Seeing(start, start + len(seen), None if blind else seen))
        start += len(seen)
    return tuple(groups)


def to_tokens(x: Tensor) -> Tensor:
    """(N, C, H, W) → (N, H·W, C)."""
    return x.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """(N, H·W, C) → (N, C, H, W)."""
    return tokens.transpose(1, 2).unflatten(2, (height, width))


class SpatialTransformer(nn.Module):
    """Self-attention over the places of a frame, which also sees those of the reference; then image tokens.

    Names and shapes are those of Stable Diffusion's ``Transformer2DModel`` with one block.

    Args:
        channels: C.
        heads: their number; C must divide by it.
        token_width: width of the image tokens; None leaves the cross-attention out.
        groups: of the group normalisation.
    """

    def __init__(self, channels: int, heads: int, token_width: int | None, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([_SpatialBlock(channels, heads, token_width)])
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(
        self,
        x: Tensor,
        tokens: Tensor | None = None,
        reference: Tensor | None = None,
        sees: tuple[Seeing, ...] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            x: (N, C, H, W).
            tokens: (N, n, token_width) image tokens.
            reference: (R, H·W, C) what ReferenceNet wrote here.
            sees: which of the references each of the N frames sees; left out, each has one of its own.

        Returns:
            (N, C, H, W), and (N, H·W, C) what the self-attention read: this is what ReferenceNet writes.
        """
        height, width = x.shape[2:]
        hidden, read = self.transformer_blocks[0](to_tokens(self.proj_in(self.norm(x))), tokens, reference, sees)
        return x + self.proj_out(to_map(hidden, height, width)), read


class _SpatialBlock(nn.Module):
    def __init__(self, channels: int, heads: int, token_width: int | None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = Attention(channels, heads=heads, dim_head=channels // heads)
        self.attn2 = None
        if token_width is not None:
            self.norm2 = nn.LayerNorm(channels)
            self.attn2 = Attention(channels, token_width, heads=heads, dim_head=channels // heads)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels)

    def forward(
        self, hidden: Tensor, tokens: Tensor | None, reference: Tensor | None, sees: tuple[Seeing, ...] | None
    ) -> tuple[Tensor, Tensor]:
        read = self.norm1(hidden)
        hidden = hidden + self._self_attention(read, reference, sees)
        if self.attn2 is not None:
            hidden = hidden + self.attn2(self.norm2(hidden), encoder_hidden_states=tokens)
        return hidden + self.ff(self.norm3(hidden)), read

    def _self_attention(self, read: Tensor, reference: Tensor | None, sees: tuple[Seeing, ...] | None) -> Tensor:
        if reference is None:
            return self.attn1(read)
        if sees is None:
            return self.attn1(read, encoder_hidden_states=torch.cat([read, reference.to(read.dtype)], 1))
        attended = []
        for start, stop, rows in sees:
            part = read[start:stop]
            both = None if rows is None else torch.cat([part, reference[list(rows)].to(part.dtype)], 1)
            attended.append(self.attn1(part, encoder_hidden_states=both))
        return attended[0] if len(attended) == 1 else torch.cat(attended)


class AudioTransformer(nn.Module):
    """Reads the sound of each frame, once per region of the face, each region under its mask (Hallo §3.2).

    Args:
        channels: C.
        inner: width inside.
        heads: their number.
        token_width: of the audio tokens.
        regions: names of the regions, in the order of the weights.
        groups: of the group normalisation.
    """

    def __init__(
        self, channels: int, inner: int, heads: int, token_width: int, regions: Sequence[str], groups: int
    ) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, inner, 1)
        self.transformer_blocks = nn.ModuleList([_AudioBlock(inner, heads, token_width, regions)])
        self.proj_out = nn.Conv2d(inner, channels, 1)

    def forward(
        self, x: Tensor, tokens: Tensor, masks: dict[str, Tensor], weights: dict[str, float] | None = None
    ) -> Tensor:
        """
        Args:
            x: (N, C, H, W).
            tokens: (N, n, token_width) audio tokens of each frame.
            masks: region → (N, H·W) in [0, 1].
            weights: region → factor on what it reads; 1 where missing.
        """
        height, width = x.shape[2:]
        hidden = to_tokens(self.proj_in(self.norm(x)))
        hidden = self.transformer_blocks[0](hidden, tokens, masks, weights or {}, (height, width))
        return x + self.proj_out(to_map(hidden, height, width))


class _AudioBlock(nn.Module):
    def __init__(self, channels: int, heads: int, token_width: int, regions: Sequence[str]) -> None:
        super().__init__()
        size = channels // heads
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))
        self.attn1 = Attention(channels, heads=heads, dim_head=size)
        self.region_attention = nn.ModuleDict(
            {region: Attention(channels, token_width, heads=heads, dim_head=size) for region in regions}
        )
        self.region_output = nn.ModuleDict({region: _zero(nn.Conv2d(channels, channels, 1)) for region in regions})
        self.ff = FeedForward(channels)

    def forward(
        self, hidden: Tensor, tokens: Tensor, masks: dict[str, Tensor], weights: dict[str, float], size: tuple[int, int]
    ) -> Tensor:
        hidden = hidden + self.attn1(self.norm1(hidden))
        query = self.norm2(hidden)
        for region, attention in self.region_attention.items():
            heard = attention(query, encoder_hidden_states=tokens) * masks[region][..., None].to(query.dtype)
            # The mask comes before the convolution, whose bias therefore acts everywhere: so the weights were trained.
            heard = to_tokens(self.region_output[region](to_map(heard, *size)))
            hidden = hidden + weights.get(region, 1.0) * heard
        return hidden + self.ff(self.norm3(hidden))


class ConditionTransformer(nn.Module):
    """Cross-attention to the tokens of one more condition (Z_emo or C_t); its output is zero before training.

    So weights that were trained without the condition give what they gave before. Zero tokens mean no condition.
    """

    def __init__(self, channels: int, heads: int, token_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attention = Attention(channels, token_width, heads=heads, dim_head=channels // heads, out_bias=False)
        _zero(self.attention.to_out[0])

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """(N, C, H, W) and tokens (N, n, token_width)."""
        height, width = x.shape[2:]
        read = self.attention(self.norm(to_tokens(x)), encoder_hidden_states=tokens)
        return x + to_map(read, height, width)


class TemporalTransformer(nn.Module):
    """Self-attention over time at every place (AnimateDiff v2): motion frames come first and are only read.

    Args:
        channels: C.
        heads: their number.
        max_frames: longest sequence, motion frames included.
        groups: of the group normalisation.
    """

    def __init__(self, channels: int, heads: int, max_frames: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([_TemporalBlock(channels, heads, max_frames)])
        self.proj_out = _zero(nn.Linear(channels, channels))

    def forward(self, x: Tensor, frames: int, before: Tensor | None = None) -> Tensor:
        """
        Args:
            x: (B·F, C, H, W).
            frames: F.
            before: (B, M, C, H, W) features of the frames that precede these.
        """
        height, width = x.shape[2:]
        clip = x.unflatten(0, (-1, frames))
        if before is not None:
            clip = torch.cat([before.to(x.dtype), clip], 1)
        length = clip.shape[1]
        hidden = self.norm(clip.flatten(0, 1)).unflatten(0, (-1, length))
        hidden = hidden.permute(0, 3, 4, 1, 2).flatten(0, 2)  # (B·H·W, M + F, C)
        hidden = self.proj_out(self.transformer_blocks[0](self.proj_in(hidden)))
        hidden = hidden.unflatten(0, (-1, height, width)).permute(0, 3, 4, 1, 2)
        return x + hidden[:, length - frames :].flatten(0, 1)


class _TemporalBlock(nn.Module):
    def __init__(self, channels: int, heads: int, max_frames: int) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList(_TimedAttention(channels, heads, max_frames) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.ff = FeedForward(channels)
        self.ff_norm = nn.LayerNorm(channels)

    def forward(self, hidden: Tensor) -> Tensor:
        for attention, norm in zip(self.attention_blocks, self.norms, strict=True):
            hidden = hidden + attention(norm(hidden))
        return hidden + self.ff(self.ff_norm(hidden))


class _TimedAttention(Attention):
    """Attention whose queries, keys and values know when they are."""

    def __init__(self, channels: int, heads: int, max_frames: int) -> None:
        super().__init__(channels, heads=heads, dim_head=channels // heads)
        self.pos_encoder = _Positions(channels, max_frames)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return super().forward(hidden_states + self.pos_encoder.pe[:, : hidden_states.shape[1]])


class _Positions(nn.Module):
    """Sines and cosines of falling frequency (Vaswani et al. 2017), kept in the weights as AnimateDiff does."""

    def __init__(self, channels: int, length: int) -> None:
        super().__init__()
        place = torch.arange(length)[:, None]
        rates = torch.exp(torch.arange(0, channels, 2) * (-math.log(10000.0) / channels))
        encoding = torch.zeros(1, length, channels)
        encoding[0, :, 0::2] = torch.sin(place * rates)
        encoding[0, :, 1::2] = torch.cos(place * rates)
        self.register_buffer("pe", encoding)


def _zero(module: nn.Module) -> nn.Module:
    """The module with all parameters zero."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
