"""The tokenizer of XLM-RoBERTa from its SentencePiece file alone, as older repositories have it.

The transformers library would convert the file, but needs a newer protobuf for that than mediapipe bears.
"""

from __future__ import annotations

from pathlib import Path

import sentencepiece
import torch
from torch import Tensor

FILE = "sentencepiece.bpe.model"
# fairseq, where XLM-RoBERTa comes from, begins with four numbers of its own; the pieces after SentencePiece's three
# follow, so that each number is greater by one. https://github.com/facebookresearch/fairseq, examples/xlmr
_BEGIN, _PADDING, _END, _UNKNOWN = range(4)
_SHIFT = 1


class XlmRobertaPieces:
    """Texts → token numbers."""

    def __init__(self, path: Path) -> None:
        """Raises what sentencepiece does (OSError, RuntimeError) for a file that is not one."""
        self._pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def __call__(self, texts: list[str], max_length: int) -> dict[str, Tensor]:
        """``input_ids`` and ``attention_mask`` (B, n), cut to ``max_length`` and padded to the longest."""
        unknown = self._pieces.unk_id()
        rows = []
        for pieces in self._pieces.encode(texts):
            numbers = [_UNKNOWN if piece == unknown else piece + _SHIFT for piece in pieces]
            rows.append(torch.tensor([_BEGIN, *numbers[: max_length - 2], _END]))
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=_PADDING)
        lengths = torch.tensor([len(row) for row in rows])
        return {"input_ids": tokens, "attention_mask": (torch.arange(tokens.shape[1]) < lengths[:, None]).long()}
