"""The UNet of ReferenceNet and denoising UNet: Stable Diffusion 1.5's, with widths and attentions to choose."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor, nn

from synchrorama.diffusion.blocks import AttentionConfig, Conditions, DownBlock, MidBlock, Place, UpBlock


class DeepFeatures:
    """What all but the last layer of a UNet say changes little from one step of denoising to the next, so it may be
    computed at every n-th step only (DeepCache, Ma et al. 2023, arXiv 2312.00858).

    One object serves one clip, and the calls of its passes that are made together.

    Args:
        every: n; at 1 all is computed at each step.
    """

    def __init__(self, every: int) -> None:
        self._every, self._calls = every, 0
        self._kept: tuple[Tensor, Place] | None = None

    def take(self) -> tuple[Tensor, Place] | None:
        """At the next step: the features to go on with and the place of the block that does; None to make new ones."""
        fresh = self._calls % self._every == 0
        self._calls += 1
        return None if fresh else self._kept

    def keep(self, features: Tensor, place: Place) -> None:
        if self._every > 1:
            self._kept = features, place


class UNetTrunk(ModelMixin, ConfigMixin):
    """Everything between the first and the last convolution.

    Args:
        widths: channels of each level, finest first.
        layers: residual blocks per level on the way down; one more on the way up.
        attention_levels: levels that have attentions; the middle always has.
        attention: what these are.
    """

    _supports_gradient_checkpointing = True

    def _build(
        self, widths: Sequence[int], layers: int, attention_levels: Sequence[int], attention: AttentionConfig
    ) -> None:
        time_width = 4 * widths[0]
        self.time_proj = Timesteps(widths[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(widths[0], time_width)
        self.gradient_checkpointing = False
        last = len(widths) - 1
        self.down_blocks = nn.ModuleList(
            DownBlock(before, width, layers, time_width, attention, attends=i in attention_levels, halves=i < last)
            for i, (before, width) in enumerate(zip([widths[0], *widths], widths, strict=False))
        )
        self.mid_block = MidBlock(widths[-1], time_width, attention)
        kept = [widths[0]]
        for i, width in enumerate(widths):
            kept += [width] * (layers + (i < last))
        self.up_blocks = nn.ModuleList()
        before = widths[-1]
        for i in reversed(range(len(widths))):
            skips = [kept.pop() for _ in range(layers + 1)]
            self.up_blocks.append(
                UpBlock(
                    before, widths[i], skips, time_width, attention,
                    attends=i in attention_levels, doubles=i > 0, audio_channels=widths[max(i - 1, 0)],
                )
            )  # fmt: skip
            before = widths[i]

    def _run(
        self, x: Tensor, timestep: Tensor, conditions: Conditions, deep: DeepFeatures | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """(N, C, H, W) after the first convolution → the same before the last one, and what self-attentions read.

        Where ``deep`` has features of an earlier step, only the last residual block and its attentions are run.
        """
        time = self.time_embedding(self.time_proj(timestep.reshape(-1).expand(len(x))).to(x.dtype))
        top = self.up_blocks[-1]
        final = len(top.resnets) - 1
        if deep is not None and (found := deep.take()) is not None:
            features, place = found
            return self._call(top, features, [x], time, place, conditions, final)
        last = len(self.down_blocks) - 1
        kept, reads = [x], []
        for level, block in enumerate(self.down_blocks):
            x, more, read = self._call(block, x, time, Place(level, len(reads)), conditions)
            kept += more
            reads += read
        x, read = self._call(self.mid_block, x, time, Place(last, len(reads)), conditions)
        reads += read
        for i, block in enumerate(self.up_blocks):
            place = Place(last - i, len(reads))
            count = len(block.resnets) if deep is None or block is not top else final
            kept, mine = kept[: len(kept) - count], kept[len(kept) - count :]
            x, read = self._call(block, x, mine[::-1], time, place, conditions)
            reads += read
        if deep is not None:
            deep.keep(x, place)
            x, read = self._call(top, x, kept, time, place, conditions, final)
            reads += read
        return x, reads

    def _call(self, block: Callable, *arguments: object) -> tuple:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(block, *arguments)
        return block(*arguments)
