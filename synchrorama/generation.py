"""One generation: what goes along with it, its motion, and its frames as they are asked for."""

from __future__ import annotations

import os
import tempfile
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d

from .errors import Cancelled
from .estimate import Speed
from .motion import FPS, Motion
from .settings import GenerationSettings

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

    from .acting import Acting
    from .diffusion_stage import AfterStep, DiffusionStage, Told
    from .emotion.embedding import EmotionTrack
    from .face import PasteBack, Portrait
    from .media import Speech
    from .motion_frames import MotionFrame, MotionFrameRenderer
    from .scene import SceneText
    from .visible_mark import VisibleMark

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total): the stage in words for the user, and how much of it is done."""

AfterFrame = Callable[[int, np.ndarray], None]
"""Called as after_frame(done, frame) with each frame of a video as it is made, ``done`` counting from 1."""

_MOMENT_FRAMES = 6.0  # over which a moment is judged: a single strong frame is a blink


@dataclass
class Work:
    """What goes along with one run: who hears of progress, who may stop it, with what profile, what it took and what
    was odd."""

    progress: Progress | None = None
    should_stop: Callable[[], bool] | None = None
    after_step: AfterStep | None = None
    speed: Speed = field(default_factory=Speed)
    profile: str = ""
    timings: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def report(self, stage: str, done: int, total: int) -> None:
        """Tell the progress; raises Cancelled if the caller wants to stop."""
        self.check()
        if self.progress is not None:
            self.progress(stage, done, total)

    def check(self) -> None:
        """Raises Cancelled if the caller wants to stop."""
        if self.should_stop is not None and self.should_stop():
            raise Cancelled("The generation was stopped.")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.report(name, 0, 1)
        start = time.perf_counter()
        yield
        self.timings[name] = time.perf_counter() - start
        self.report(name, 1, 1)


@dataclass
class Result:
    """One generation: its motion, and its frames as they are asked for.

    Attributes:
        portrait: the photo with the face that was found in it.
        audio: the recording, or None for a silent video.
        motion: what the face does, T frames at 25 a second.
        settings: the controls, with the seed that was used.
        emotion: what the face expresses, T frames.
        acting: what emotion and scene added to the motion; None where the motion was given.
        scene: what the description says, as C_t and as a plan.
        diffusion: what paints the motion frames; None where they are shown as they are.
        start: the frame of the recording with which this begins.
    """

    portrait: Portrait
    audio: Speech | None
    motion: Motion
    settings: GenerationSettings
    emotion: EmotionTrack
    acting: Acting | None
    scene: SceneText = field(repr=False)
    renderer: MotionFrameRenderer = field(repr=False)
    diffusion: DiffusionStage | None = field(repr=False)
    work: Work = field(repr=False)
    start: int = 0

    @property
    def timings(self) -> dict[str, float]:
        """Seconds of wall time per stage; complete after ``save``."""
        return self.work.timings

    @property
    def warnings(self) -> list[str]:
        """Sentences for the user about what was odd but not wrong."""
        return self.work.warnings

    @cached_property
    def paste_back(self) -> PasteBack | None:
        """Puts a frame back into the whole photo; None when the crop is shown."""
        from .face import PasteBack

        return PasteBack(self.portrait) if self.settings.framing == "full_picture" else None

    @cached_property
    def _mark(self) -> VisibleMark | None:
        from .visible_mark import VisibleMark

        return None if self.settings.mark == "none" else VisibleMark(*self.size, self.settings.mark)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the frames in pixels, both even."""
        picture = self.paste_back or self.renderer
        shrink = 2 if self.settings.preview else 1
        return picture.width // (2 * shrink) * 2, picture.height // (2 * shrink) * 2

    @cached_property
    def moment(self) -> int:
        """The frame in which emotion and actions show most; the middle where there are none."""
        if self.acting is None:
            return len(self) // 2
        shown = np.abs(self.acting.blendshapes).sum(1) + 4 * np.abs(self.acting.rotation).sum(1)
        shown = gaussian_filter1d(shown[: len(self)], _MOMENT_FRAMES, mode="nearest")
        return int(shown.argmax()) if shown.max() > 0 else len(self) // 2

    def excerpt(self, start: int, frames: int) -> Result:
        """A quick look at ``frames`` frames from ``start`` on, with their sound, at half the size."""
        start = max(0, min(start, len(self) - frames))
        settings = replace(self.settings, preview=True)
        motion = self.motion[start : start + frames]
        return replace(self, motion=motion, settings=settings, diffusion=None, start=self.start + start)

    def __len__(self) -> int:
        return len(self.motion)

    def frame(self, index: int) -> np.ndarray:
        """One motion frame, (height, width, 3) uint8 RGB, without those before it and without diffusion."""
        return self._framed(next(self._rendered(range(index, index + 1))).image)

    @property
    def frames(self) -> Iterator[np.ndarray]:
        """The T frames, (height, width, 3) uint8 RGB, each made when it is asked for; every use starts anew.

        Raises Cancelled between frames if the caller of the pipeline wants to stop.
        """
        rendered = self._rendered(range(len(self)))
        if self.diffusion is None:
            pictures = (frame.image for frame in rendered)
        else:
            photo = self.renderer.photo_frame
            pictures = self.diffusion(rendered, photo, self._told(), self.settings, self._between_steps)
        with closing(pictures):  # it may work ahead in a thread of its own
            yield from map(self._framed, pictures)
        self.work.report("Rendering", len(self), len(self))

    def _rendered(self, indices: range) -> Iterator[MotionFrame]:
        motion = self.motion
        for done, t in enumerate(indices):
            self.work.report("Rendering", done, len(indices))
            with _linear_algebra().limit(limits=1, user_api="blas"):
                frame = self.renderer.frame(motion.blendshapes[t], motion.rotation[t], motion.translation[t])
            yield frame

    def _told(self) -> Told:
        """What the diffusion stage is told besides pictures."""
        from .diffusion_stage import Told

        samples = None if self.audio is None else self.audio.samples
        text = self.scene.over_time(len(self))
        return Told(samples, self.emotion.embedding[: len(self)], text, self.settings.description)

    def _between_steps(self, done: int, steps: int, look: Callable[[], np.ndarray]) -> None:
        """Diffusion can be watched, and stopped, after every step."""
        self.work.check()
        if self.work.after_step is not None:
            self.work.after_step(done, steps, look)

    def _framed(self, frame: np.ndarray) -> np.ndarray:
        """A frame of the crop in the framing and size that were asked for."""
        import cv2

        if self.paste_back is not None:
            frame = self.paste_back(frame)
        if self.settings.preview:
            frame = cv2.resize(frame, self.size, interpolation=cv2.INTER_AREA)
        return frame if self._mark is None else self._mark(frame)

    def save(self, path: str | os.PathLike[str], after_frame: AfterFrame | None = None) -> Path:
        """Render every frame into an mp4 (H.264 + AAC, 25 frames a second) with the recording as its sound.

        The file appears under its name when it is complete; memory does not grow with its length. It carries Content
        Credentials if the environment says how to sign, see ``credentials.signer_from_environment``.

        Raises:
            InputError: the file cannot be written there, or what is to sign it cannot do so.
            Cancelled: the caller of the pipeline wants to stop; nothing is left behind.
        """
        from .credentials import signer_from_environment
        from .video_writer import VideoWriter

        start = time.perf_counter()
        width, height = self.size
        metadata, signer = self.metadata(), signer_from_environment()
        finish = None if signer is None else partial(signer.sign, metadata=metadata)
        with (
            tempfile.TemporaryDirectory(prefix="synchrorama-") as folder,
            VideoWriter(path, width, height, self._sound_track(Path(folder)), metadata, finish) as writer,
        ):
            for frame in self.frames:
                writer.write(frame)
                if after_frame is not None:
                    after_frame(writer.frames_written, frame)
        self.timings["Rendering"] = time.perf_counter() - start
        self.work.speed.learn(len(self) / FPS, self.settings, self.timings["Rendering"])
        return Path(path)

    def _sound_track(self, folder: Path) -> Speech:
        """The recording as it is; for a preview that part of it, for a silent video silence, written to ``folder``."""
        from .media import SPEECH_SAMPLE_RATE, Speech

        if self.audio is not None and self.audio.frame_count == len(self):
            return self.audio
        samples = np.zeros(len(self) * SPEECH_SAMPLE_RATE // FPS, np.float32)
        if self.audio is not None:
            samples = self.audio.samples[self.start * SPEECH_SAMPLE_RATE // FPS :][: len(samples)]
        path = folder / "sound.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, SPEECH_SAMPLE_RATE, 0, "NONE", ""))
            file.writeframes((samples * 32767).astype("<i2").tobytes())
        return Speech(samples, len(samples) / SPEECH_SAMPLE_RATE, path)

    def metadata(self) -> dict[str, str]:
        """What the file says about itself: that it is synthetic, and the settings that made it."""
        from . import __version__
        from .provenance import container_metadata

        return container_metadata(self.settings.to_dict(), self.settings.seed, __version__, self.work.profile)


@cache
def _linear_algebra() -> ThreadpoolController:
    """Sets how many threads numpy uses. Its matrices are small here: more than one only wait for each other, and
    where the encoder has the other core, that makes a frame three to eight times slower."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
