"""Motions, and numbers about motions and videos, that several tests share."""

from __future__ import annotations

import subprocess

import imageio_ffmpeg
import numpy as np

from synchrorama import Motion
from synchrorama.blendshapes import lip_gap
from synchrorama.motion import BLENDSHAPE_NAMES


def opening(pipeline, motion: Motion) -> float:
    """Mean lip gap in cm of an average face."""
    return float(gaps(pipeline, motion).mean())


def gaps(pipeline, motion: Motion) -> np.ndarray:
    space = pipeline.motion_space
    return lip_gap(space.neutral + np.einsum("tk,kvc->tvc", motion.blendshapes, space.basis))


def blinks(motion: Motion) -> int:
    shut = motion.column("eyeBlinkLeft") > 0.5
    return int((shut[1:] & ~shut[:-1]).sum())


def spread(first: Motion, second: Motion) -> float:
    """How much two takes differ in head, brows and gaze."""
    upper = [i for i, name in enumerate(BLENDSHAPE_NAMES) if name.startswith(("brow", "eyeLook"))]
    return float(
        np.abs(first.rotation - second.rotation).mean()
        + np.abs(first.blendshapes[:, upper] - second.blendshapes[:, upper]).mean()
    )


def same(first: Motion, second: Motion) -> bool:
    return all(
        np.array_equal(getattr(first, track), getattr(second, track))
        for track in ("blendshapes", "rotation", "translation")
    )


def nodding(frames: int) -> Motion:
    motion = Motion.rest(frames)
    motion.rotation[:, 0] = 0.15 * np.sin(np.arange(frames) / 4)
    return motion


def video_streams(path) -> tuple[int, float, str]:
    """Number of frames, seconds of picture, and ffmpeg's description of the file."""
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(path))
    told = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)], capture_output=True, text=True)
    return frames, seconds, told.stderr
