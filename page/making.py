"""One generation as a row of steps that can be shown and stopped; the part that a GPU does stands alone."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from synchrorama import GenerationSettings, SynchroRaMaPipeline
from synchrorama.estimate import rendering_seconds

_SHOWN_EVERY = 0.5  # seconds between two looks at the newest frame
_SHOWN_SIZE = 320  # pixels
_PATIENCE = 60.0  # seconds for work that was stopped; it looks for that several times a second
_GPU_START = 6.0  # seconds to reach a GPU of the hub and to load onto it
_LONGEST_GPU = 120.0  # seconds; a longer request would be refused to visitors without a subscription


@dataclass(frozen=True)
class Step:
    """Where a generation is: ``done`` of ``total`` of its stage, seconds left, and the newest frame, small."""

    stage: str
    done: int = 0
    total: int = 1
    left: float | None = None
    frame: np.ndarray | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Made:
    """A finished generation: its files and what is said about it."""

    video: Path
    motion: Path
    settings_file: Path
    settings: GenerationSettings
    seconds: float
    timings: dict[str, float]
    warnings: list[str]


class Maker:
    """Makes videos with a pipeline.

    Args:
        wait: called first; returns when the pipeline may be used.
    """

    def __init__(self, pipeline: SynchroRaMaPipeline, wait: Callable[[], Any] = lambda: None) -> None:
        self.pipeline, self._wait = pipeline, wait
        self._painted = on_gpu(self._paint, self.gpu_seconds)

    def make(
        self, photo: str, recording: str, settings: GenerationSettings, folder: Path, check: Callable[[], None]
    ) -> Iterator[Step | Made]:
        """Steps, then what was made, in ``folder``. ``check`` is called between steps; what it raises ends the work.

        Raises InputError like the pipeline.
        """
        settings = settings.with_seed()
        for steps in (self._heard(photo, recording, settings), self._painted(photo, recording, settings, folder)):
            with contextlib.closing(steps):
                for step in steps:
                    check()
                    yield step

    def _heard(self, photo: str, recording: str, settings: GenerationSettings) -> Iterator[Step]:
        """All that needs no GPU; the pipeline remembers it, so that painting begins at once."""

        def work(tell: Callable[[Any], None], stopped: Callable[[], bool]) -> None:
            self._wait()
            self.pipeline(photo, recording, settings, progress=_teller(tell), should_stop=stopped)

        yield Step("Starting")
        yield from _watched(work)

    def _paint(
        self, photo: str, recording: str, settings: GenerationSettings, folder: Path
    ) -> Iterator[Step | Made]:
        """The frames, into a file. Its arguments and what it yields can be sent to another process."""

        def work(tell: Callable[[Any], None], stopped: Callable[[], bool]) -> Made:
            result = self.pipeline(photo, recording, settings, should_stop=stopped)
            begun = shown = time.monotonic()

            def seen(done: int, frame: np.ndarray) -> None:
                nonlocal shown
                now = time.monotonic()
                if now - shown >= _SHOWN_EVERY or done == 1:
                    shown = now
                    left = (now - begun) / done * (len(result) - done)
                    tell(Step("Painting", done, len(result), left, small(frame)))

            result.save(folder / "synchrorama.mp4", seen)
            result.motion.save(folder / "motion.csv")
            (folder / "settings.json").write_text(result.settings.to_json(), encoding="utf-8")
            files = (folder / name for name in ("synchrorama.mp4", "motion.csv", "settings.json"))
            return Made(*files, result.settings, len(result) / 25, dict(result.timings), list(result.warnings))

        yield from _watched(work)

    def gpu_seconds(self, photo: str, recording: str, settings: GenerationSettings, folder: Path) -> float:
        """How long a GPU is asked for: a tight estimate, because shorter requests wait less."""
        seconds = self.pipeline.look(None, recording, settings).recording.seconds
        return min(_LONGEST_GPU, _GPU_START + rendering_seconds(seconds, settings))


def on_gpu(function: Callable[..., Iterator[Any]], duration: Callable[..., float]) -> Callable[..., Iterator[Any]]:
    """The function as ZeroGPU wants it, on a Space that has that; the function itself anywhere else."""
    if not os.environ.get("SPACES_ZERO_GPU"):
        return function
    import spaces

    return spaces.GPU(duration=duration)(function)


def small(frame: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3) at a size that can be sent several times a second."""
    scale = _SHOWN_SIZE / max(frame.shape[:2])
    return cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _teller(tell: Callable[[Any], None]) -> Callable[[str, int, int], None]:
    return lambda stage, done, total: tell(Step(stage, done, total))


def _watched(work: Callable[[Callable[[Any], None], Callable[[], bool]], Any]) -> Iterator[Any]:
    """What ``work(tell, stopped)`` tells, the newest first where it tells more than is asked for; then its result.

    It runs in a thread of its own, so that whoever watches is asked at least ten times a second whether to go on:
    closing this iterator has ``stopped`` say True, and waits until the work has cleaned up.
    """
    told: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    stop = threading.Event()

    def run() -> None:
        try:
            told.put(("result", work(lambda step: told.put(("step", step)), stop.is_set)))
        except BaseException as error:
            told.put(("error", error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    step: Any = None
    try:
        while True:
            kind, news = "", None
            with contextlib.suppress(queue.Empty):
                kind, news = told.get(timeout=0.1)
                while kind == "step":
                    step = news
                    kind, news = told.get_nowait()
            if kind == "error":
                raise news
            if step is not None:
                yield step
            if kind == "result":
                if news is not None:
                    yield news
                return
    finally:
        stop.set()
        thread.join(_PATIENCE)
