"""A motion that the user gives to drive the photo with, instead of what A2M hears."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .errors import InputError
from .motion import FPS, Motion


def driving_motion(
    given: Motion | str | os.PathLike[str], frames: int | None, max_seconds: float, warnings: list[str]
) -> Motion:
    """The motion, made as long as the recording of ``frames`` frames if there is one.

    Raises InputError when the file cannot be used, or the motion is longer than ``max_seconds``.
    """
    motion = given if isinstance(given, Motion) else load_motion(given)
    if frames is not None:
        return _fit_length(motion, frames, warnings)
    if len(motion) > max_seconds * FPS:
        raise InputError(f"The motion lasts {len(motion) / FPS:.0f} s; give one of at most {max_seconds:.0f} s.")
    return motion


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
