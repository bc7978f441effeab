"""Sound features of wav2vec 2.0 (Baevski et al. 2020), all layers, as Hallo (arXiv 2406.08801) feeds them to its UNet.

Hallo takes one pass over the whole recording. So does this up to a minute; longer recordings are taken in pieces, so
that memory does not grow with attention over everything. The convolutions give the same numbers in pieces, the
transformer nearly: there a frame attends to what is up to ten seconds beyond its piece of forty instead of to all.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

from synchrorama.audio import SAMPLE_RATE, SAMPLES_PER_FRAME
from synchrorama.backends.loading import load_companion, load_network
from synchrorama.motion import FPS

_PART = "the sound features (wav2vec 2.0)"
_REACH = 2  # frames before and after one that are given with it
_ONE_PASS = 60 * FPS  # frames
_PIECE, _CONTEXT = 40 * FPS, 10 * FPS  # frames of a longer recording that are kept of a pass, and heard on each side


class Wav2Vec2Features:
    """Recording → features of every layer for each video frame and its neighbours."""

    def __init__(self, network: Wav2Vec2Model, extractor: Wav2Vec2FeatureExtractor) -> None:
        self.network, self.extractor = network, extractor

    @classmethod
    def from_pretrained(
        cls, folder: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> Wav2Vec2Features:
        """From a folder as facebook/wav2vec2-base-960h. Raises InputError if it cannot be used."""
        extractor = load_companion(Wav2Vec2FeatureExtractor, folder, _PART)
        return cls(load_network(Wav2Vec2Model, folder, _PART, device=device, dtype=dtype), extractor)

    @torch.inference_mode()
    def __call__(self, samples: np.ndarray, frames: int) -> Tensor:
        """
        Args:
            samples: (N,) float32 mono at 16 kHz.
            frames: T, video frames at 25 fps. More than the recording has are filled with silence, as Hallo fills its
                last clip of 16.

        Returns:
            (T, 5, layers, width) float32 on the network's device, for frame t those of t - 2 … t + 2; at the ends the
            first and the last frame are repeated. It is a view: the five share memory with those of other frames.
        """
        features = self._convolved(self._prepared(samples, frames))
        features = F.interpolate(features.mT, size=frames, mode="linear", align_corners=True).mT
        if frames <= _ONE_PASS:
            layers = self._encoded(features)
        else:
            layers = torch.cat([self._encoded_piece(features, start) for start in range(0, frames, _PIECE)])
        padded = torch.cat([layers[:1]] * _REACH + [layers] + [layers[-1:]] * _REACH)
        return padded.unfold(0, 2 * _REACH + 1, 1).permute(0, 3, 1, 2)

    def _prepared(self, samples: np.ndarray, frames: int) -> Tensor:
        """(N,) → (1, N') normalised over the recording, then filled or cut to its frames."""
        samples = np.asarray(samples, np.float32)
        if len(samples):
            samples = self.extractor(samples, sampling_rate=SAMPLE_RATE, return_tensors="np").input_values[0]
        own_frames = math.ceil(len(samples) / SAMPLES_PER_FRAME)
        if frames > own_frames:
            samples = np.pad(samples, (0, (frames - own_frames) * SAMPLES_PER_FRAME))
        elif frames < own_frames:
            samples = samples[: frames * SAMPLES_PER_FRAME]
        shortest, _ = self._receptive_field
        samples = np.pad(samples, (0, max(0, shortest - len(samples))))
        return torch.from_numpy(samples)[None].to(self.network.device, self.network.dtype)

    @property
    def _receptive_field(self) -> tuple[int, int]:
        """Samples that one output of the convolutions sees, and samples from one output to the next: 400 and 320."""
        sees, step = 1, 1
        for kernel, stride in zip(self.network.config.conv_kernel, self.network.config.conv_stride, strict=True):
            sees += (kernel - 1) * step
            step *= stride
        return sees, step

    def _convolved(self, samples: Tensor) -> Tensor:
        """(1, N) → (1, M, channels), 50 a second."""
        layers = self.network.feature_extractor.conv_layers
        if samples.shape[1] <= _ONE_PASS * SAMPLES_PER_FRAME:
            return self.network.feature_extractor(samples).mT
        sees, step = self._receptive_field
        count, piece = (samples.shape[1] - sees) // step + 1, _PIECE * SAMPLES_PER_FRAME // step
        norm = getattr(layers[0], "layer_norm", None)
        # The published base model normalises its first layer over the whole recording.
        spread = _statistics(layers[0].conv, samples) if isinstance(norm, nn.GroupNorm) else None
        parts = []
        for start in range(0, count, piece):
            stop = min(start + piece, count)
            x = samples[:, None, start * step : (stop - 1) * step + sees]
            if spread is None:
                x = layers[0](x)
            else:
                mean, variance = (each.to(x.dtype)[:, None] for each in spread)
                x = (layers[0].conv(x) - mean) / (variance + norm.eps).sqrt()
                x = layers[0].activation(x * norm.weight[:, None] + norm.bias[:, None])
            for layer in layers[1:]:
                x = layer(x)
            parts.append(x)
        return torch.cat(parts, dim=2).mT

    def _encoded_piece(self, features: Tensor, start: int) -> Tensor:
        """Layers of the frames from ``start``, ``_PIECE`` of them or what there is, heard with what is around them."""
        first = max(0, start - _CONTEXT)
        layers = self._encoded(features[:, first : start + _PIECE + _CONTEXT])
        return layers[start - first :][:_PIECE].clone()

    def _encoded(self, features: Tensor) -> Tensor:
        """(1, T, channels) → (T, layers, width) float32: the output of every layer of the transformer."""
        encoder = self.network.encoder
        hidden, _ = self.network.feature_projection(features)
        hidden = hidden + encoder.pos_conv_embed(hidden)
        last_is_normalised = self.network.config.do_stable_layer_norm
        if not last_is_normalised:
            hidden = encoder.layer_norm(hidden)
        outputs = []
        for layer in encoder.layers:
            hidden = layer(hidden)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
            outputs.append(hidden)
        if last_is_normalised:
            outputs[-1] = encoder.layer_norm(hidden)
        return torch.cat(outputs).transpose(0, 1).float()


def _statistics(convolution: nn.Conv1d, samples: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (channels,) of a convolution's output over the whole of ``samples`` (1, N)."""
    kernel, stride = convolution.kernel_size[0], convolution.stride[0]
    count, piece = (samples.shape[1] - kernel) // stride + 1, _PIECE * SAMPLES_PER_FRAME // stride
    total, squares = 0.0, 0.0
    for start in range(0, count, piece):
        stop = min(start + piece, count)
        x = convolution(samples[:, None, start * stride : (stop - 1) * stride + kernel])[0].double()
        total, squares = total + x.sum(1), squares + x.square().sum(1)
    mean = total / count
    return mean, squares / count - mean.square()
