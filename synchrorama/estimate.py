"""How long a generation takes: measured on two cores of a laptop to begin with, then learnt from each one made."""

from __future__ import annotations

import threading

from .settings import GenerationSettings

PREVIEW_SECONDS = 5
_START, _ANALYSIS = 1.0, 0.12  # seconds; seconds a second of speech
_CROP, _FULL_PICTURE, _PASS = 0.45, 1.05, 0.35  # seconds a second of video; a pass is one look of the denoising UNet
_SHORTEST_LESSON = 1.0  # seconds of video; what is shorter measures little but the start
_FORGETTING = 0.5  # how much the newest measurement counts
_SLOWEST, _FASTEST = 50.0, 0.02


class Speed:
    """Estimates the wall time of a generation after start-up, and learns how fast this machine is.

    Safe for threads.
    """

    def __init__(self) -> None:
        self._factor = 1.0
        self._lock = threading.Lock()

    def seconds(self, recording: float, settings: GenerationSettings) -> float:
        """Wall time of everything, for a recording of so many seconds."""
        with self._lock:
            return self._factor * (_START + recording * _ANALYSIS + rendering_seconds(recording, settings))

    def learn(self, video: float, settings: GenerationSettings, took: float) -> None:
        """``video`` seconds of video took so long to render. A preview teaches nothing: its start is most of it."""
        if video < _SHORTEST_LESSON or settings.preview:
            return
        measured = took / rendering_seconds(video, settings)
        with self._lock:
            self._factor = min(_SLOWEST, max(_FASTEST, (1 - _FORGETTING) * self._factor + _FORGETTING * measured))


def rendering_seconds(recording: float, settings: GenerationSettings) -> float:
    """Wall time of painting and encoding alone, on two cores of a laptop (benchmarks/realtime.py)."""
    rate = _CROP if settings.framing == "crop" else _FULL_PICTURE
    if settings.preview:
        recording, rate = min(recording, PREVIEW_SECONDS), rate / 2
    if settings.diffuses:
        from .diffusion.sampling import guidance_passes

        passes = guidance_passes(settings.guidance_scale, settings.emotion_strength)
        rate += _PASS * settings.inference_steps * len(passes)
    return recording * rate
