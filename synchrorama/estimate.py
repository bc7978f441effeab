"""How long a generation takes: what is known beforehand of a kind of diffusion, then learnt from each video made."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any

from .guidance import guidance_passes
from .placement import on_zero_gpu
from .settings import GenerationSettings

PREVIEW_SECONDS = 5
_SHORTEST_LESSON = 1.0  # seconds of video; what is shorter measures little but the start
_FORGETTING = 0.5  # how much the newest measurement counts
_CACHED = 0.12  # what a step that reuses features costs of one that does not: of mini measured, of full computed
_SLOWEST, _FASTEST = 50.0, 0.02


@dataclass(frozen=True)
class Rates:
    """Wall time of the parts of a generation.

    Attributes:
        start: seconds, once.
        analysis: seconds per second of speech.
        crop, full_picture: seconds per second of video, for motion frames and their encoding in these framings.
        each_pass: seconds per second of video, for one look of the denoising UNet.
        around: seconds per second of video, for what diffusion does besides: encoding, ReferenceNet, decoding.
    """

    start: float = 1.0
    analysis: float = 0.12
    crop: float = 0.45
    full_picture: float = 1.05
    each_pass: float = 0.35
    around: float = 0.0

    def rendering_seconds(self, recording: float, settings: GenerationSettings) -> float:
        """Painting and encoding alone, for a recording of so many seconds."""
        rate = self.crop if settings.framing == "crop" else self.full_picture
        if settings.preview:
            recording, rate = min(recording, PREVIEW_SECONDS), rate / 2
        if settings.diffuses:
            passes = guidance_passes(settings.guidance_scale, settings.emotion_strength)
            whole = math.ceil(settings.inference_steps / settings.feature_caching)
            steps = whole + _CACHED * (settings.inference_steps - whole)
            rate += self.around + self.each_pass * steps * len(passes)
        return recording * rate


MOUTH = Rates()
"""The shipped weights: measured on two cores of a laptop (benchmarks/realtime.py)."""


def _on_a_gpu(sustained: float) -> Rates:
    """Frames of full size on a GPU that does ``sustained`` TFLOP a second, by arithmetic (docs/full.md), not measured:
    for a second of video a pass takes 44 TFLOP, the autoencoder and ReferenceNet 71."""
    return Rates(start=2.0, analysis=0.2, each_pass=44 / sustained, around=71 / sustained)


FRAME = _on_a_gpu(40)
"""What half-precision networks often get out of cards such as A10G, L4 or RTX 3090."""
FRAME_ON_ZERO_GPU = _on_a_gpu(80)
"""Likewise, of half an RTX PRO 6000."""

# One step of 16 frames in bfloat16 took 418 s and their decoding 325 s; float32, which is used there, 5 times that.
FRAME_ON_CPU = Rates(start=60.0, analysis=1.0, each_pass=5 * 418 * 25 / 14, around=5 * 380 * 25 / 16)
"""Frames of full size on two cores of a server CPU (docs/full.md)."""


def rates_of(backend: str) -> Rates:
    """Those of a backend of the component diffusion, on this machine."""
    if backend != "frame":
        return MOUTH
    if on_zero_gpu():
        return FRAME_ON_ZERO_GPU
    import torch

    return FRAME if torch.cuda.is_available() else FRAME_ON_CPU


class Speed:
    """Estimates the wall time of a generation after start-up, and learns how fast this machine is.

    Safe for threads; can be sent to other processes.

    Args:
        rates: to begin with.
    """

    def __init__(self, rates: Rates = MOUTH) -> None:
        self.rates = rates
        self.has_learnt = False
        self._factor = 1.0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def seconds(self, recording: float, settings: GenerationSettings) -> float:
        """Wall time of everything, for a recording of so many seconds."""
        before = self.rates.start + recording * self.rates.analysis
        return self._factor * before + self.rendering_seconds(recording, settings)

    def rendering_seconds(self, recording: float, settings: GenerationSettings) -> float:
        """Wall time of painting and encoding alone."""
        return self._factor * self.rates.rendering_seconds(recording, settings)

    def learn(self, video: float, settings: GenerationSettings, took: float) -> None:
        """``video`` seconds of video took so long to render. A preview teaches nothing: its start is most of it."""
        if video < _SHORTEST_LESSON or settings.preview:
            return
        measured = took / self.rates.rendering_seconds(video, settings)
        with self._lock:
            # what was worked out without a measurement is worth nothing beside one
            kept = 1 - _FORGETTING if self.has_learnt or self.rates is MOUTH else 0.0
            self._factor = min(_SLOWEST, max(_FASTEST, kept * self._factor + (1 - kept) * measured))
            self.has_learnt = True
