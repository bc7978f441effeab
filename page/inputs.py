"""What a visitor brings: checked before anything is queued, and shown as it is understood."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from synchrorama import GenerationSettings, InputError, SynchroRaMaPipeline
from synchrorama.face import CROP_SIZE, Portrait
from synchrorama.media import FFMPEG_QUIET, ffmpeg_path, local_input, read_speech
from synchrorama.settings import controls

from .examples import example_name
from .profiles import Offer

LONGEST_RECORDING = 300.0  # seconds; longer ones would keep the other visitors waiting
LARGEST_FILE = "200mb"
CONSENT_MISSING = "Please tick that you have the right to use this face and voice; the examples need no tick."
_SHOWN_SIDE = 720  # pixels of the picture with the boxes
_CHOSEN, _OTHER, _FRAME = "#f97316", "#a8a29e", "#ffffff"


def settings_of(offer: Offer, random_seed: bool, given: dict[str, Any]) -> GenerationSettings:
    """Settings of what the controls hold; where that is None, they suit the profile. Raises InputError.

    The face 0 is the default, and a new seed none at all.
    """
    values = {name: given[name] for name in controls() if given.get(name) is not None}
    values["seed"] = None if random_seed else values.get("seed")
    values["face_index"] = values.get("face_index") or None
    return offer.settings(**values, max_seconds=LONGEST_RECORDING)


def require(photo: str | None, recording: str | None) -> None:
    """Raises InputError when one of them is missing."""
    if not photo or not recording:
        missing = "a photo" if not photo else "a recording"
        raise InputError(f"There is no {missing[2:]} yet; add {missing} or choose an example.")


def allowed(photo: str | None, recording: str | None, consent: bool) -> bool:
    """Whether this face may speak with this voice: the visitor says so, or both are examples."""
    return bool(consent) or all(file is None or example_name(file) is not None for file in (photo, recording))


def check_consent(photo: str | None, recording: str | None, consent: bool) -> None:
    """Raises InputError where consent is needed and not given."""
    if not allowed(photo, recording, consent):
        raise InputError(CONSENT_MISSING)


def problems(
    pipeline: SynchroRaMaPipeline, photo: str | None, recording: str | None, settings: GenerationSettings
) -> tuple[str, str]:
    """What is wrong with the photo and with the recording, a sentence each; empty where nothing is."""
    found = []
    for given in ((photo, None), (None, recording)):
        try:
            require(photo or given[1], recording or given[0])
            pipeline.look(*given, settings)
            found.append("")
        except InputError as error:
            found.append(str(error))
    return found[0], found[1]


def boxes(portrait: Portrait) -> np.ndarray:
    """The photo (H, W, 3) with its faces, numbered, the one that speaks in orange, and a frame for the crop."""
    height, width = portrait.picture.shape[:2]
    scale = min(1.0, _SHOWN_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = Image.fromarray(cv2.resize(portrait.picture, size, interpolation=cv2.INTER_AREA))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(max(14, size[1] // 24))
    corners = np.array([[x, y, 1] for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]) * [CROP_SIZE, CROP_SIZE, 1]
    crop = corners @ cv2.invertAffineTransform(portrait.to_crop).T * scale
    draw.polygon([tuple(corner) for corner in crop], outline=_FRAME, width=2)
    for i, box in enumerate(portrait.faces):
        colour = _CHOSEN if i == portrait.face_index else _OTHER
        left, top, right, bottom = (edge * scale for edge in box)
        draw.rectangle((left, top, right, bottom), outline=colour, width=3)
        if len(portrait.faces) > 1:
            draw.text((left + 6, top + 2), str(i), fill=colour, font=font, stroke_width=2, stroke_fill="black")
    return np.asarray(image)


def face_at(portrait: Portrait, point: Sequence[float]) -> int | None:
    """The number of the face at a point (x, y) of the picture with the boxes; None where there is none."""
    scale = min(1.0, _SHOWN_SIDE / max(portrait.picture.shape[:2]))
    x, y = (value / scale for value in point)
    around = enumerate(portrait.faces)
    inside = [i for i, (left, top, right, bottom) in around if left <= x <= right and top <= y <= bottom]
    return min(inside, key=lambda i: _area(portrait.faces[i])) if inside else None


def _area(box: Sequence[float]) -> float:
    left, top, right, bottom = box
    return (right - left) * (bottom - top)


def sound_of(video: str, folder: Path) -> Path:
    """The sound of a video as a file of its own in ``folder``. Raises InputError where there is none."""
    read_speech(video, LONGEST_RECORDING)
    path = folder / "sound.flac"
    command = [ffmpeg_path(), *FFMPEG_QUIET, *local_input(video), "-map", "0:a:0", "-map_metadata", "-1", str(path)]
    if subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120).returncode:
        raise InputError("The sound of this video cannot be taken out; please save it as WAV or MP3 first.")
    return path
