"""Sounds and videos that the tests of media.py make for themselves."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile

from synchrorama.errors import InputError
from synchrorama.media import Speech
from synchrorama.video_writer import VideoWriter


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", *map(str, arguments)], check=True)


def is_one_sentence(error: pytest.ExceptionInfo[InputError]) -> bool:
    text = str(error.value)
    return (
        text[0].isupper()
        and text.endswith(".")
        and "\n" not in text
        and not re.search(r"[.!?] [A-Z]", text)
        and "/" not in text
    )


def tone(folder: Path, seconds: float, rate: int, channels: int, name: str = "tone.wav") -> Path:
    """A 220 Hz tone in any format that ffmpeg writes."""
    time_axis = np.arange(round(seconds * rate)) / rate
    wav = folder / f"source-{rate}-{channels}.wav"
    soundfile.write(wav, 0.3 * np.sin(2 * np.pi * 220 * time_axis)[:, None].repeat(channels, axis=1), rate)
    if name.endswith(".wav"):
        return wav.rename(folder / name)
    ffmpeg("-i", wav, folder / name)
    return folder / name


def write_video(path: Path, speech: Speech, size: tuple[int, int] = (64, 64), **metadata: str) -> Path:
    with VideoWriter(path, *size, speech, metadata) as writer:
        for i in range(speech.frame_count):
            writer.write(np.full((size[1], size[0], 3), i % 256, dtype=np.uint8))
    return path
