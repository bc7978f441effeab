"""One generation as a row of steps that can be shown and stopped; the part that a GPU does stands alone."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from synchrorama import GenerationSettings, InputError
from synchrorama.generation import Result, Work
from synchrorama.motion import FPS
from synchrorama.placement import on_zero_gpu

from .profiles import MINI, Offer

_SHOWN_EVERY = 0.5  # seconds between two looks at the newest frame
_SHOWN_SIZE = 320  # pixels
_PATIENCE = 60.0  # seconds for work that was stopped; it looks for that several times a second
_GPU_START = 6.0  # seconds to reach a GPU of the hub and to load onto it
_GPU_MARGIN = 1.25  # times the estimate, because whoever asks for too little gets nothing
_LONGEST_GPU = 120.0  # seconds; a longer request would be refused to visitors without a subscription


@dataclass(frozen=True)
class Step:
    """Where a generation is: ``done`` of ``total`` of its stage, seconds left, and the newest frame, small.

    ``waits`` says that it waits for the server, and that this is not part of its own time.
    """

    stage: str
    done: int = 0
    total: int = 1
    left: float | None = None
    frame: np.ndarray | None = field(default=None, repr=False)
    waits: bool = False


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
    """Makes videos with a profile; with one that needs a GPU, one at a time.

    Args:
        wait: called first; returns when pipelines may be used.
        gpu: held while the GPU of this machine is used. One that is lent by the Hub belongs to its request.
    """

    def __init__(self, offer: Offer, wait: Callable[[], Any] = lambda: None, gpu: threading.Lock | None = None) -> None:
        self.offer, self.pipeline, self._wait = offer, offer.pipeline, wait
        self._gpu = gpu if offer.needs_gpu and not on_zero_gpu() else None
        self._painted = on_gpu(self._paint, self.gpu_seconds) if offer.needs_gpu else self._paint

    def make(
        self, photo: str, recording: str, settings: GenerationSettings, folder: Path, check: Callable[[], None]
    ) -> Iterator[Step | Made]:
        """Steps, then what was made, in ``folder``. ``check`` is called between steps; what it raises ends the work.

        Raises InputError like the pipeline.
        """
        with contextlib.closing(self._in_turn(photo, recording, settings.with_seed(), folder)) as steps:
            for step in steps:
                check()
                yield step

    def _in_turn(self, photo: str, recording: str, settings: GenerationSettings, folder: Path) -> Iterator[Step | Made]:
        yield Step("Starting")
        with contextlib.ExitStack() as turn:
            if self._gpu is not None:
                while not self._gpu.acquire(timeout=_SHOWN_EVERY):
                    yield Step("Waiting for the GPU", waits=True)
                turn.callback(self._gpu.release)
            if self.offer.needs_gpu and not self.offer.loaded.is_set():
                yield from _watched(self._load)
            steps = turn.enter_context(contextlib.closing(_watched(partial(self._hear, photo, recording, settings))))
            for step in steps:
                if isinstance(step, Step):
                    yield step
            heard = step
            for step in turn.enter_context(contextlib.closing(self._painted(heard, folder))):
                if isinstance(step, Made) and self.offer.needs_gpu and on_zero_gpu():  # what it learnt is not here
                    self.pipeline.speed.learn(step.seconds, step.settings, step.timings["Rendering"])
                yield step

    def _load(self, tell: Callable[[Any], None], _stopped: Callable[[], bool]) -> None:
        self._wait()
        tell(Step("Loading the networks", waits=True))
        self.offer.load()

    def _hear(
        self,
        photo: str,
        recording: str,
        settings: GenerationSettings,
        tell: Callable[[Any], None],
        stopped: Callable[[], bool],
    ) -> Result:
        """All that is done before the first frame; it needs no GPU of the Hub."""
        self._wait()
        result = self.pipeline(photo, recording, settings, progress=_teller(tell), should_stop=stopped)
        work = Work(timings=result.timings, warnings=result.warnings, profile=result.work.profile)
        return replace(result, diffusion=None, work=work)  # which can be sent to another process

    def _paint(self, heard: Result, folder: Path) -> Iterator[Step | Made]:
        """The frames, into a file. Its arguments and what it yields can be sent to another process."""

        def work(tell: Callable[[Any], None], stopped: Callable[[], bool]) -> Made:
            diffusion = self.pipeline.diffusion if heard.settings.diffuses else None
            own = replace(heard.work, should_stop=stopped, speed=self.pipeline.speed)
            result = replace(heard, diffusion=diffusion, work=own)
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
            return Made(*files, result.settings, len(result) / FPS, dict(result.timings), list(result.warnings))

        yield from _watched(work)

    def gpu_seconds(self, heard: Result, _folder: Path) -> float:
        """How long a GPU is asked for: a tight estimate, because shorter requests wait less."""
        return min(_LONGEST_GPU, self._wanted(len(heard) / FPS, heard.settings))

    def check_length(self, seconds: float, settings: GenerationSettings) -> None:
        """Raises InputError if so many seconds need a GPU for longer than the Hub lends one."""
        wanted = self._wanted(seconds, settings)
        if on_zero_gpu() and self.offer.needs_gpu and wanted > _LONGEST_GPU:
            raise InputError(
                f"This video would need a GPU for about {wanted:.0f} s, and one is lent for {_LONGEST_GPU:.0f} s at "
                f"most; please take a shorter recording, fewer inference steps or the profile {MINI}."
            )

    def _wanted(self, seconds: float, settings: GenerationSettings) -> float:
        return _GPU_START + _GPU_MARGIN * self.pipeline.speed.rendering_seconds(seconds, settings)


def on_gpu(function: Callable[..., Iterator[Any]], duration: Callable[..., float]) -> Callable[..., Iterator[Any]]:
    """The function as ZeroGPU wants it, on a Space that has that; the function itself anywhere else."""
    if not on_zero_gpu():
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
