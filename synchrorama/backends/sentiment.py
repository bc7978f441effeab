"""Sentiment of words in many languages, by a text classifier for negative, neutral and positive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from synchrorama.backends.loading import explained, load_companion, load_network
from synchrorama.backends.sentence_pieces import FILE, XlmRobertaPieces
from synchrorama.emotion.categories import EMOTIONS
from synchrorama.emotion.emotion_words import emotion_words
from synchrorama.emotion.sentiment import Sentiment, Utterance, confidence_of, emotions_of, over_time
from synchrorama.emotion.words import USABLE_CONFIDENCE, Transcript
from synchrorama.errors import InputError

Tokenizer = Callable[[list[str], int], Mapping[str, Tensor]]
"""Texts, and the most tokens of each → what the network takes, (texts, tokens) each."""

_PART = "the sentiment classifier"
_BATCH = 16  # utterances that are read at once
_LONGEST = 512  # tokens of an utterance that are read, unless the network bears fewer


class MultilingualSentiment:
    """Transcript → sentiment, as ``emotion.sentiment.read_sentiment`` gives it, in every language that was learned.

    The polarity of an utterance is P(positive) - P(negative). It becomes emotions as VADER's does; the words that tell
    kinds of negative sentiment apart are known in English only, so in other languages they share it out.
    """

    def __init__(self, network: nn.Module, tokenizer: Tokenizer) -> None:
        self.network, self.tokenizer = network, tokenizer
        self._signs = torch.tensor(label_signs(network.config.id2label))
        # RoBERTa's positions begin after that of padding, so two of them cannot be used.
        positions = getattr(network.config, "max_position_embeddings", _LONGEST + 2) - 2
        self._longest = min(_LONGEST, positions)

    @classmethod
    def from_pretrained(
        cls, folder: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> MultilingualSentiment:
        """From a folder as cardiffnlp/twitter-xlm-roberta-base-sentiment.

        Raises InputError if it cannot be used, or has no label for positive and for negative.
        """
        network = load_network(AutoModelForSequenceClassification, folder, _PART, device=device, dtype=dtype)
        return cls(network, _tokenizer(folder, network.config.model_type))

    def __call__(self, transcript: Transcript, frames: int) -> Sentiment:
        """
        Args:
            transcript: what is said, in any language; words that were not understood surely enough are not read.
            frames: T, the video frames of the recording at 25 fps.
        """
        sure = transcript.confidence >= USABLE_CONFIDENCE
        spoken = transcript.utterances if sure else ()
        texts = [" ".join(word.text for word in words) for words in spoken]
        utterances = []
        for words, text, polarity in zip(spoken, texts, self._polarities(texts), strict=True):
            named = emotion_words(text) if transcript.english else np.zeros(len(EMOTIONS), np.float32)
            utterances.append(
                Utterance(text, words[0].start, words[-1].end, polarity, emotions_of(polarity, named))
            )  # fmt: skip
        return over_time(utterances, [confidence_of(words) for words in spoken], frames)

    @torch.inference_mode()
    def _polarities(self, texts: list[str]) -> list[float]:
        """-1 … 1 for each text."""
        polarities: list[float] = []
        for i in range(0, len(texts), _BATCH):
            inputs = self.tokenizer(texts[i : i + _BATCH], self._longest)
            inputs = {name: each.to(self.network.device) for name, each in inputs.items()}
            probabilities = self.network(**inputs).logits.float().softmax(-1).cpu()
            polarities += (probabilities @ self._signs).tolist()
        return polarities


def _tokenizer(folder: Path, model_type: str) -> Tokenizer:
    pieces, newer = Path(folder) / FILE, Path(folder) / "tokenizer.json"
    if model_type == "xlm-roberta" and pieces.is_file() and not newer.is_file():
        with explained(_PART, "tokenizer"):
            return XlmRobertaPieces(pieces)
    loaded = load_companion(AutoTokenizer, folder, _PART)

    def tokenize(texts: list[str], max_length: int) -> Mapping[str, Tensor]:
        return loaded(texts, padding=True, truncation=True, max_length=max_length, return_tensors="pt")

    return tokenize


def label_signs(id2label: Mapping[int, str]) -> list[float]:
    """-1, 0 or 1 of each label, by its name. Raises InputError unless one is positive and one negative."""
    signs = [0.0] * len(id2label)
    for i, label in id2label.items():
        name = str(label).lower()
        signs[int(i)] = 1.0 if name.startswith("pos") else -1.0 if name.startswith("neg") else 0.0
    if min(signs) == 0 or max(signs) == 0:
        labels = ", ".join(map(str, list(id2label.values())[:6]))
        raise InputError(f"The labels of {_PART} ({labels}) are not negative and positive; use one whose labels are.")
    return signs
