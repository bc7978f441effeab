"""Emotions in a voice by any audio classifier of the transformers library whose labels name emotions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from synchrorama.audio import SAMPLE_RATE
from synchrorama.backends.loading import load_companion, load_network
from synchrorama.backends.voice_windows import heard_over_time
from synchrorama.emotion.categories import CIRCUMPLEX, EMOTION_INDEX, EMOTIONS
from synchrorama.emotion.direction import SYNONYMS
from synchrorama.emotion.embedding import with_neutral
from synchrorama.emotion.speech import VoiceReading
from synchrorama.errors import InputError

_PART = "the voice emotion classifier"
# What published classifiers call the emotions, beside our own names and their nouns.
_LABELS = {
    "neu": "neutral", "hap": "happy", "happily": "happy", "joyful": "happy", "excited": "happy", "exc": "happy",
    "ang": "angry", "anger": "angry", "frustrated": "angry", "fru": "angry", "fea": "fearful", "scared": "fearful",
    "anxious": "fearful", "dis": "disgusted", "disgusting": "disgusted", "sur": "surprised", "ps": "surprised",
    "surprising": "surprised", "bored": "neutral", "boredom": "neutral",
}  # fmt: skip


class VoiceEmotionClassifier:
    """Speech emotion recognition in windows of three seconds, read as ``emotion.speech.SpeechEmotion`` is."""

    def __init__(self, network: nn.Module, extractor: Any) -> None:
        self.network, self.extractor = network, extractor
        self._to_emotions = label_matrix(network.config.id2label)

    @classmethod
    def from_pretrained(
        cls, folder: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> VoiceEmotionClassifier:
        """From a folder as superb/wav2vec2-base-superb-er.

        Raises InputError if it cannot be used, or its labels name fewer than two emotions.
        """
        extractor = load_companion(AutoFeatureExtractor, folder, _PART)
        return cls(load_network(AutoModelForAudioClassification, folder, _PART, device=device, dtype=dtype), extractor)

    def read(self, samples: np.ndarray, check: Callable[[], None] | None = None) -> VoiceReading:
        """Hear a recording: (n,) float32 mono at 16 kHz, any length → a reading on the frame clock.

        Valence and arousal are those of the emotions' places in the plane. ``check`` is called every few windows; what
        it raises ends the reading.
        """
        felt, voiced = heard_over_time(samples, self._hear, check)
        probabilities = with_neutral(felt)
        valence, arousal = (probabilities @ CIRCUMPLEX).astype(np.float32).T
        return VoiceReading(probabilities, valence, arousal, voiced)

    @torch.inference_mode()
    def _hear(self, windows: list[np.ndarray]) -> np.ndarray:
        """(B, 8) probabilities over EMOTIONS."""
        inputs = self.extractor(windows, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        inputs = {name: inputs[name] for name in self.extractor.model_input_names[:1]}  # all are of one length: no mask
        inputs = {name: each.to(self.network.device, self.network.dtype) for name, each in inputs.items()}
        labels = self.network(**inputs).logits.float().softmax(-1).cpu().numpy()
        named = labels @ self._to_emotions
        return named / np.maximum(named.sum(1, keepdims=True), 1e-6)


def label_matrix(id2label: Mapping[int, str]) -> np.ndarray:
    """(labels, 8) of 0 and 1: the emotion that each label names; rows of 0 for those that name none of ours.

    Raises:
        InputError: fewer than two of the eight emotions are named.
    """
    matrix = np.zeros((len(id2label), len(EMOTIONS)), np.float32)
    for i, label in id2label.items():
        emotion = emotion_of_label(label)
        if emotion is not None:
            matrix[int(i), EMOTION_INDEX[emotion]] = 1
    if matrix.any(0).sum() < 2:
        labels = ", ".join(map(str, list(id2label.values())[:6]))
        raise InputError(
            f"The labels of {_PART} ({labels}) name fewer than two emotions; use one with labels such as happy and sad."
        )
    return matrix


def emotion_of_label(label: str) -> str | None:
    """The emotion of EMOTIONS that a label such as "Happy", "hap" or "female_happy" names; None for others."""
    for word in re.split(r"[^a-z]+", str(label).lower()):
        name = SYNONYMS.get(word, _LABELS.get(word, word))
        if name in EMOTION_INDEX:
            return name
    return None
