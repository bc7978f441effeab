"""Valence and arousal of a voice by a wav2vec 2.0 with a regression head (Wagner et al. 2023, arXiv 2203.07378).

The tensor names and the order of the outputs are those of audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim, whose
weights may not be used commercially (CC BY-NC-SA 4.0).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model, Wav2Vec2PreTrainedModel

from synchrorama.audio import SAMPLE_RATE
from synchrorama.backends.loading import load_companion, load_network
from synchrorama.backends.voice_windows import heard_over_time
from synchrorama.errors import InputError

_PART = "the valence-arousal network"
_OUTPUTS = ("arousal", "dominance", "valence")


class _RegressionHead(nn.Module):
    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.out_proj(torch.tanh(self.dense(pooled)))


class _DimensionsNetwork(Wav2Vec2PreTrainedModel):
    """Samples (B, N), normalised → (B, labels) in about [0, 1], from the mean over time of the last layer."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__(config)
        self.wav2vec2 = Wav2Vec2Model(config)
        self.classifier = _RegressionHead(config)
        self.post_init()

    def forward(self, input_values: Tensor) -> Tensor:
        return self.classifier(self.wav2vec2(input_values).last_hidden_state.mean(1))


class VoiceDimensions:
    """How pleasant and how excited a voice sounds, in windows of three seconds."""

    def __init__(self, network: _DimensionsNetwork, extractor: Wav2Vec2FeatureExtractor) -> None:
        self.network, self.extractor = network, extractor
        labels = [str(network.config.id2label[i]).lower() for i in range(network.config.num_labels)]
        if not {"valence", "arousal"} <= set(labels):
            if len(labels) != len(_OUTPUTS):
                raise InputError(f"{_PART.capitalize()} has {len(labels)} outputs; use one that has {len(_OUTPUTS)}.")
            labels = list(_OUTPUTS)
        self._places = [labels.index("valence"), labels.index("arousal")]

    @classmethod
    def from_pretrained(
        cls, folder: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> VoiceDimensions:
        """From a folder as the model above. Raises InputError if it cannot be used."""
        extractor = load_companion(Wav2Vec2FeatureExtractor, folder, _PART)
        return cls(load_network(_DimensionsNetwork, folder, _PART, device=device, dtype=dtype), extractor)

    def read(self, samples: np.ndarray, check: Callable[[], None] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Hear a recording: (n,) float32 mono at 16 kHz, any length → valence (T,) and arousal (T,) in [-1, 1].

        Both are 0 where nobody speaks for long. ``check`` is called every few windows; what it raises ends the reading.
        """
        plane, _ = heard_over_time(samples, self._hear, check)
        valence, arousal = np.clip(plane, -1, 1).astype(np.float32).T
        return valence, arousal

    @torch.inference_mode()
    def _hear(self, windows: list[np.ndarray]) -> np.ndarray:
        """(B, 2) valence and arousal, -1 to 1: the outputs are 0 to 1, and 0.5 is neither."""
        inputs = self.extractor(windows, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_values
        outputs = self.network(inputs.to(self.network.device, self.network.dtype)).float().cpu().numpy()
        return np.clip(2 * outputs[:, self._places] - 1, -1, 1)
