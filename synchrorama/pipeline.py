"""The whole system, top to bottom: photo + speech → motion → frames → video.

    photo ──── find_portrait ─────────────┐
                                          ├─ MotionFrameRenderer ── frames ── VideoWriter ── video
    speech ─── A2M (VAE + VP-Flow) ── Motion ┘                        │
                                                 diffusion will refine the motion frames here
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import Cancelled, InputError
from .motion import FPS, Motion
from .settings import GenerationSettings

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

    from .a2m import A2M
    from .blendshapes import MotionSpace
    from .face import PasteBack, Portrait
    from .media import Speech
    from .motion_frames import MotionFrameRenderer

DEFAULT_CHECKPOINT = "checkpoints/mini"
PREVIEW_SECONDS = 5
REPOSITORY = Path(__file__).resolve().parent.parent

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total): the stage in words for the user, and how much of it is done."""


class SynchroRaMaPipeline:
    """One face photo and one speech recording become a talking video.

    >>> pipe = SynchroRaMaPipeline.from_pretrained("checkpoints/mini")
    >>> pipe("portrait.jpg", "speech.wav", GenerationSettings(seed=7)).save("talking.mp4")

    Every network loads at first use and is then kept; ``load`` loads all at once. A pipeline holds no state of a
    request, so one serves many.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str] = DEFAULT_CHECKPOINT) -> SynchroRaMaPipeline:
        """A pipeline whose networks lie in ``folder``, one subfolder each.

        A relative folder is looked for in the working directory, then beside the package, so that scripts run from
        anywhere. Raises InputError when it is in neither.
        """
        for candidate in (Path(folder), REPOSITORY / folder):
            if candidate.is_dir():
                return cls(candidate)
        raise InputError(
            f"There is no folder of weights called {str(folder)!r}; "
            f"give one such as {DEFAULT_CHECKPOINT}, which comes with the repository."
        )

    @cached_property
    def motion_space(self) -> MotionSpace:
        from .blendshapes import MotionSpace

        return MotionSpace.from_pretrained(self._subfolder("motion_space"))

    @cached_property
    def a2m(self) -> A2M:
        from .a2m import A2M

        # False says what is so without the package accelerate anyway, and spares its advertisement
        return A2M.from_pretrained(self._subfolder("a2m"), low_cpu_mem_usage=False).eval()

    def _subfolder(self, name: str) -> Path:
        folder = self.folder / name
        if not folder.is_dir():
            raise InputError(f"The weights lack the folder {name!r}; fetch {self.folder.name} again.")
        return folder

    def load(self) -> SynchroRaMaPipeline:
        """Load everything now, for a server that wants its first visitor to wait no longer than the others."""
        collecting = gc.isenabled()
        gc.disable()  # thousands of modules are made and none of them is garbage: a fifth of the time
        try:
            from . import motion_frames  # noqa: F401 - importing it takes a while
            from .face_detection import find_faces

            find_faces(np.zeros((64, 64, 3), np.uint8))  # its networks load when it first looks
            _ = self.motion_space, self.a2m
        finally:
            if collecting:
                gc.enable()
        return self

    def __call__(
        self,
        photo: Any,
        speech: str | os.PathLike[str] | None = None,
        settings: GenerationSettings | None = None,
        *,
        motion: Motion | str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Result:
        """Everything up to the first frame; the frames themselves are made as they are asked for.

        Args:
            photo: path, PIL image or RGB array with a face.
            speech: path of a recording, or of a video whose sound is taken. None needs ``motion``; the video is
                silent then.
            settings: the controls; the defaults when None.
            motion: drive the face with this instead of the speech: a Motion, or an .npz or .csv file of one.
            progress: called while working, also later while frames are rendered.
            should_stop: asked between stages and frames; once it says True, Cancelled is raised.

        Raises:
            InputError: the photo, the recording or the motion cannot be used; its text is for the user.
            Cancelled: ``should_stop`` said so.
        """
        from .face import find_portrait
        from .media import read_photo, read_speech
        from .motion_frames import MotionFrameRenderer

        if speech is None and motion is None:
            raise InputError("There is nothing to say; give a recording or a motion file.")
        settings = (settings or GenerationSettings()).with_seed()
        work = Work(progress, should_stop)

        with work.stage("Finding the face"):
            portrait = find_portrait(read_photo(photo, work.warnings), face_index=settings.face_index)
            work.warnings.extend(portrait.warnings)
        recording = None
        if speech is not None:
            with work.stage("Reading the recording"):
                recording = read_speech(speech, max_seconds=settings.max_seconds)
                work.warnings.extend(recording.warnings)
        with work.stage("Composing the motion"):
            motion = self._motion(recording, motion, settings, work)
        if settings.preview:
            motion = motion[: PREVIEW_SECONDS * FPS]
        with work.stage("Preparing the portrait"):
            renderer = MotionFrameRenderer(portrait.crop, portrait.landmarks, self.motion_space)
        return Result(portrait, recording, motion, settings, renderer, work)

    def analyze(
        self,
        photo: Any,
        speech: str | os.PathLike[str] | None = None,
        settings: GenerationSettings | None = None,
    ) -> dict[str, Any]:
        """What a generation would see and hear, without making it; JSON-ready.

        Keys: width, height of the photo; faces, boxes (left, top, right, bottom) in its pixels, largest first;
        face_index, the one that would speak; warnings. With speech also seconds, frames and estimated_seconds, the
        wall time of a generation. Raises InputError like a generation.
        """
        from .face import find_portrait
        from .media import read_photo, read_speech

        settings = settings or GenerationSettings()
        warnings: list[str] = []
        portrait = find_portrait(read_photo(photo, warnings), face_index=settings.face_index)
        height, width = portrait.picture.shape[:2]
        seen = {
            "width": width,
            "height": height,
            "faces": [[float(edge) for edge in box] for box in portrait.faces],
            "face_index": portrait.face_index,
            "warnings": [*warnings, *portrait.warnings],
        }
        if speech is not None:
            recording = read_speech(speech, max_seconds=settings.max_seconds)
            seen["seconds"] = recording.seconds
            seen["frames"] = recording.frame_count
            seen["estimated_seconds"] = estimated_seconds(recording.seconds, settings)
            seen["warnings"] += recording.warnings
        return seen

    def _motion(
        self,
        recording: Speech | None,
        given: Motion | str | os.PathLike[str] | None,
        settings: GenerationSettings,
        work: Work,
    ) -> Motion:
        """The motion that the user gave, made as long as the recording; or else what A2M hears in the recording."""
        if given is None:
            return self.a2m.generate(
                recording.samples,
                seed=settings.seed,
                motion_diversity=settings.motion_diversity,
                head_motion=settings.head_motion,
                blink_rate=settings.blink_rate,
                expressiveness=settings.expressiveness,
                articulation=settings.articulation,
            )
        motion = given if isinstance(given, Motion) else load_motion(given)
        if recording is None:
            if len(motion) > settings.max_seconds * FPS:
                raise InputError(
                    f"The motion lasts {len(motion) / FPS:.0f} s; give one of at most {settings.max_seconds:.0f} s."
                )
            return motion
        return _fit_length(motion, recording.frame_count, work.warnings)


@cache
def _linear_algebra() -> ThreadpoolController:
    """Sets how many threads numpy uses. Its matrices are small here: more than one only wait for each other, and
    where the encoder has the other core, that makes a frame three to eight times slower."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def load_motion(path: str | os.PathLike[str]) -> Motion:
    """A motion file, ready to drive a photo: ours as it is, a face capture taken relative to its own rest.

    The CSV of a capture app lacks the columns of the head's place, HeadX and so on, that Motion.save writes.
    Raises InputError like Motion.load.
    """
    motion = Motion.load(path)
    if Path(path).suffix.lower() != ".csv":
        return motion
    with open(path, encoding="utf-8-sig") as file:
        columns = file.readline().lower()
    return motion if "headx" in columns else motion.relative_to_rest()


def estimated_seconds(seconds: float, settings: GenerationSettings) -> float:
    """Wall time of a generation after start-up, as measured on two cores of a laptop (benchmarks/realtime.py)."""
    if settings.preview:
        seconds = min(seconds, PREVIEW_SECONDS)
    return 1.0 + seconds * (0.6 if settings.framing == "crop" else 1.2)


def _fit_length(motion: Motion, frames: int, warnings: list[str]) -> Motion:
    """Cut the motion, or hold its last frame, so that it lasts as long as the sound; says so in a warning."""
    if len(motion) == frames:
        return motion
    lasts = f"The motion lasts {len(motion) / FPS:.1f} s and the recording {frames / FPS:.1f} s"
    if len(motion) > frames:
        warnings.append(f"{lasts}; the rest of the motion is left out.")
        return motion[:frames]
    warnings.append(f"{lasts}; the last pose is held until the end.")
    missing = frames - len(motion)
    tracks = (motion.blendshapes, motion.rotation, motion.translation)
    return Motion(*(np.concatenate([track, np.repeat(track[-1:], missing, axis=0)]) for track in tracks))


@dataclass
class Work:
    """What goes along with one run: who hears of progress, who may stop it, what it took and what was odd."""

    progress: Progress | None = None
    should_stop: Callable[[], bool] | None = None
    timings: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def report(self, stage: str, done: int, total: int) -> None:
        """Tell the progress; raises Cancelled if the caller wants to stop."""
        if self.should_stop is not None and self.should_stop():
            raise Cancelled("The generation was stopped.")
        if self.progress is not None:
            self.progress(stage, done, total)

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
    """

    portrait: Portrait
    audio: Speech | None
    motion: Motion
    settings: GenerationSettings
    renderer: MotionFrameRenderer = field(repr=False)
    work: Work = field(repr=False)

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

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the frames in pixels, both even."""
        picture = self.paste_back or self.renderer
        shrink = 2 if self.settings.preview else 1
        return picture.width // (2 * shrink) * 2, picture.height // (2 * shrink) * 2

    def __len__(self) -> int:
        return len(self.motion)

    @property
    def frames(self) -> Iterator[np.ndarray]:
        """The T frames, (height, width, 3) uint8 RGB, each rendered when it is asked for; every use starts anew.

        Raises Cancelled between frames if the caller of the pipeline wants to stop.
        """
        rendered = self.renderer.frames(self.motion)
        for done in range(len(self)):
            self.work.report("Rendering", done, len(self))
            with _linear_algebra().limit(limits=1, user_api="blas"):
                frame = self._framed(next(rendered))
            yield frame
        self.work.report("Rendering", len(self), len(self))

    def _framed(self, frame: np.ndarray) -> np.ndarray:
        """A frame of the crop in the framing and size that were asked for."""
        import cv2

        if self.paste_back is not None:
            frame = self.paste_back(frame)
        return cv2.resize(frame, self.size, interpolation=cv2.INTER_AREA) if self.settings.preview else frame

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Render every frame into an mp4 (H.264 + AAC, 25 frames a second) with the recording as its sound.

        The file appears under its name when it is complete; memory does not grow with its length.

        Raises:
            InputError: the file cannot be written there.
            Cancelled: the caller of the pipeline wants to stop; nothing is left behind.
        """
        from .media import VideoWriter

        start = time.perf_counter()
        width, height = self.size
        with (
            tempfile.TemporaryDirectory(prefix="synchrorama-") as folder,
            VideoWriter(path, width, height, self._sound_track(Path(folder)), self.metadata()) as writer,
        ):
            for frame in self.frames:
                writer.write(frame)
        self.timings["Rendering"] = time.perf_counter() - start
        return Path(path)

    def _sound_track(self, folder: Path) -> Speech:
        """The recording as it is; for a preview its beginning and for a silent video silence, written to ``folder``."""
        from .media import SPEECH_SAMPLE_RATE, Speech

        if self.audio is not None and self.audio.frame_count == len(self):
            return self.audio
        samples = np.zeros(len(self) * SPEECH_SAMPLE_RATE // FPS, np.float32)
        if self.audio is not None:
            samples = self.audio.samples[: len(samples)]
        path = folder / "sound.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, SPEECH_SAMPLE_RATE, 0, "NONE", ""))
            file.writeframes((samples * 32767).astype("<i2").tobytes())
        return Speech(samples, len(samples) / SPEECH_SAMPLE_RATE, path)

    def metadata(self) -> dict[str, str]:
        """What the file says about itself: that it is synthetic, and the settings that made it."""
        from . import __version__
        from .provenance import container_metadata

        return container_metadata(self.settings.to_dict(), self.settings.seed, __version__)
