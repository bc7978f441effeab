"""The video that leaves as a file: frames and the original sound, encoded by ffmpeg, whole or not at all."""

from __future__ import annotations

import collections
import contextlib
import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from .errors import InputError
from .media import FFMPEG_QUIET, FRAMES_PER_SECOND, SOUND_TIMING, Speech, ffmpeg_path, local_input


def remove_partial_videos(folder: Path, process: int) -> None:
    """Remove what a process that was killed has left unfinished in a folder. Takes a second.

    Its encoder lives a little longer, and may only now get round to opening the file.
    """
    for _ in range(5):
        for path in folder.glob(f".{process}-*.partial.mp4"):
            path.unlink(missing_ok=True)
        time.sleep(0.2)


class VideoWriter:
    """Writes an mp4 (H.264 yuv420p + AAC, 25 fps, faststart) whose sound is the original recording.

    A context manager; ``write`` takes one uint8 RGB frame (height, width, 3) and hands it to the encoder, which runs
    as a separate process. Exactly ``speech.frame_count`` frames are expected. The file appears under its name when
    everything has been written, and ``finish`` has done with it what it wants; after an error, an interrupt or
    Cancelled nothing remains.
    Raises InputError when the place cannot be written to or the disk is full.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        width: int,
        height: int,
        speech: Speech,
        metadata: Mapping[str, str] | None = None,
        finish: Callable[[Path], None] | None = None,
    ) -> None:
        if width % 2 or height % 2 or min(width, height) < 2:
            raise ValueError(f"H.264 needs an even size, not {width} x {height}")
        self.path = Path(path).absolute()
        self.width, self.height, self.speech, self.finish = width, height, speech, finish
        self.metadata = dict(metadata or {})
        self.frames_written = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._messages: collections.deque[str] = collections.deque(maxlen=40)
        # A name beside the target, so that the final rename cannot cross file systems; see remove_partial_videos.
        self._partial = self.path.with_name(f".{os.getpid()}-{secrets.token_hex(8)}.partial.mp4")

    def __enter__(self) -> VideoWriter:
        if self.path.suffix.lower() != ".mp4":
            raise InputError("The name of the video must end in .mp4.")
        if self.path.is_dir():
            raise InputError("The output path is a folder; please give the name of a file that ends in .mp4.")
        try:
            self._partial.open("xb").close()
        except FileNotFoundError:
            raise InputError("The folder for the video does not exist; please create it first.") from None
        except OSError as error:
            raise InputError(
                f"The video cannot be written there ({error.strerror}); please choose another folder."
            ) from error
        try:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C in a terminal is for us; we then end the encoder ourselves
            )  # fmt: skip
            # Drained all the time: an encoder whose messages nobody reads would block, and so would we.
            self._drain = threading.Thread(target=self._collect_messages, daemon=True)
            self._drain.start()
        except BaseException:
            self._discard()
            raise
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append a frame, uint8 RGB (height, width, 3)."""
        if frame.shape != (self.height, self.width, 3) or frame.dtype != np.uint8:
            raise ValueError(f"frame {frame.dtype} {frame.shape}, expected uint8 {(self.height, self.width, 3)}")
        if self.frames_written == self.speech.frame_count:
            raise ValueError(f"more than {self.speech.frame_count} frames for {self.speech.seconds:.3f} s of sound")
        assert self._process is not None and self._process.stdin is not None, "write() needs the with statement"
        try:
            self._process.stdin.write(memoryview(np.ascontiguousarray(frame)).cast("B"))
        except OSError:  # the encoder has ended; its messages say why
            raise self._failure() from None
        self.frames_written += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._discard()
            return
        try:
            self._finish()
        except BaseException:
            self._discard()
            raise

    def _finish(self) -> None:
        if self.frames_written != self.speech.frame_count:
            raise ValueError(f"{self.frames_written} frames written, {self.speech.frame_count} expected")
        assert self._process is not None and self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        if self._process.wait() != 0 or any("No space left" in line for line in self._messages):
            raise self._failure()
        self._drain.join()
        if self.finish is not None:
            self.finish(self._partial)
        try:
            os.replace(self._partial, self.path)
        except OSError as error:
            raise InputError(
                f"The video cannot be written there ({error.strerror}); please choose another name."
            ) from error

    def _discard(self) -> None:
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(OSError):
                self._process.stdin.close()  # type: ignore[union-attr]
            self._process.wait()
        self._partial.unlink(missing_ok=True)

    def _collect_messages(self) -> None:
        assert self._process is not None and self._process.stderr is not None
        with self._process.stderr as stream:
            for line in stream:
                self._messages.append(line.decode("utf-8", "replace").strip())

    def _failure(self) -> InputError:
        """The encoder has ended before its time: say why, as far as it can be known."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        self._drain.join(timeout=5)
        messages = " ".join(self._messages)
        if "No space left" in messages or "quota exceeded" in messages:
            return InputError("The disk is full; please make room, or choose another folder for the video.")
        if "File too large" in messages or self._process.returncode == -getattr(signal, "SIGXFSZ", 0):
            return InputError("The video is larger than files may be here; please choose another folder for it.")
        if "Input/output error" in messages or "Permission denied" in messages:
            return InputError("Writing the video failed; please check the disk, or choose another folder.")
        last = self._messages[-1] if self._messages else f"code {self._process.returncode}"
        return InputError(f"The video could not be encoded ({last.replace(str(self._partial), 'the file')}).")

    def _command(self) -> list[str]:
        metadata = [text for key, value in self.metadata.items() for text in ("-metadata", f"{key}={value}")]
        return [
            ffmpeg_path(), *FFMPEG_QUIET, "-y",
            "-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{self.width}x{self.height}",
            "-framerate", str(FRAMES_PER_SECOND), "-i", "pipe:0",
            *local_input(self.speech.source),
            "-map", "0:v:0", "-map", "1:a:0", "-map_metadata", "-1", "-map_chapters", "-1", *metadata,
            # BT.601 is what players and OpenCV assume for small pictures; the tags tell the others.
            "-vf", "scale=out_color_matrix=smpte170m:out_range=tv,format=yuv420p,setparams="
                   "colorspace=smpte170m:color_primaries=bt709:color_trc=bt709:range=tv",
            "-fps_mode", "passthrough",
            # Measured: a frame of 512 pixels takes 6 ms of one core, of 1080p 43 ms; a faster preset doubles the size.
            "-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-g", "50",
            "-threads", "1" if self.width * self.height <= 1 << 20 else "2",
            # Channels and sample rate stay as they are where AAC has them; surround becomes stereo.
            "-af", f"{SOUND_TIMING},aformat=channel_layouts=mono|stereo", "-c:a", "aac", "-b:a", "160k",
            "-bitexact", "-movflags", "+faststart", "-f", "mp4", f"file:{self._partial}",
        ]  # fmt: skip
