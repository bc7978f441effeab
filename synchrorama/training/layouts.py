"""Who speaks in a video, with which emotion, and where its sound is, by the way its collection names files.

HDTF (Zhang et al. 2021, "Flow-guided one-shot talking face generation with a high-resolution audio-visual dataset"):
    VIDEO_CLIP.mp4, such as AmyKlobuchar1_2.mp4: the third clip of the second video with this person.
MEAD (Wang et al. 2020, "MEAD: a large-scale audio-visual dataset for emotional talking-face generation"):
    ACTOR/video/VIEW/EMOTION/level_N/NUMBER.mp4 and ACTOR/audio/EMOTION/level_N/NUMBER.m4a.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synchrorama.emotion.categories import EMOTION_INDEX
from synchrorama.emotion.direction import Mix
from synchrorama.emotion.embedding import chosen
from synchrorama.errors import InputError

VIDEO_ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".avi")
LAYOUTS = ("files", "hdtf", "mead")
DEV_SHARE = 20  # one person in so many is kept for looking at

_MEAD = re.compile(r"([MW]\d{3})/video/(?:\d+/)?(\w+)/(\w+)/level_([123])/([^/]+)$")
_MEAD_EMOTIONS = {"disgusted": "disgusted", "fear": "fearful"}  # the others are called as here
_MEAD_SHARES = {1: 0.4, 2: 0.7, 3: 1.0}  # how much of an emotion a level is; our choice
_HDTF_CLIP = re.compile(r"_\d+$")
_HDTF_GENERIC = re.compile(r"^(?:RD_)?Radio\d*$", re.IGNORECASE)  # a series, not a person


@dataclass(frozen=True)
class Source:
    """A video to learn from.

    Attributes:
        video: the file.
        sound: the file with its sound, often the same.
        name: unique among all of a layout; fit for a file name.
        identity: who speaks.
        emotion: what is acted: emotion → share; None where nobody says.
    """

    video: Path
    sound: Path
    name: str
    identity: str
    emotion: Mix | None = None

    @property
    def split(self) -> str:
        """``train`` or ``dev``: by the person, so that nobody is in both."""
        return "dev" if zlib.crc32(self.identity.encode()) % DEV_SHARE == 0 else "train"

    def embedding(self, frames: int) -> np.ndarray | None:
        """Z_emo (frames, 24) of what is acted."""
        return None if self.emotion is None else chosen(self.emotion, frames).embedding


def find_sources(folders: list[Path], layout: str, view: str = "front") -> list[Source]:
    """All videos of files and folders, sorted.

    Args:
        folders: where to look, or single files.
        layout: one of ``LAYOUTS``; ``files`` takes the folder of a video for the person, or its name where it lies in
            one of ``folders`` itself.
        view: of MEAD, the only one that is taken.

    Raises:
        InputError: a folder does not exist, or nothing in them is named as the layout says.
    """
    found: list[Source] = []
    for folder in folders:
        if not folder.exists():
            raise InputError(f"{folder} does not exist; check the path.")
        inside = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
        for video in inside:
            if video.suffix.lower() not in VIDEO_ENDINGS or not video.is_file():
                continue
            source = {"files": _plain, "hdtf": _hdtf, "mead": _mead}[layout](video.absolute(), folder.absolute())
            if source is not None and (layout != "mead" or f"_{view}_" in source.name):
                found.append(source)
    if not found:
        raise InputError(f"No video in {', '.join(map(str, folders))} is named as the layout {layout} says.")
    name, count = Counter(source.name for source in found).most_common(1)[0]
    if count > 1:
        raise InputError(f"{count} videos would all be called {name}; rename them, or prepare them apart.")
    return found


def part(text: str) -> slice:
    """ "2/8" → every eighth from the second on. Raises InputError for what is no such text."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError(f"{text!r} names no part; write 1/8 for the first of eight.")
    return slice(int(match[1]) - 1, None, int(match[2]))


def _plain(video: Path, folder: Path) -> Source:
    inside = video.parent != folder and folder.is_dir()
    name = "_".join(video.relative_to(folder).with_suffix("").parts) if inside else video.stem
    person = video.parent.name if inside else video.stem
    return Source(video, video, _without_separator(name), _without_separator(person))


def _without_separator(name: str) -> str:
    """Names of files have two underscores between split, person and the rest."""
    return re.sub("__+", "_", name)


def _hdtf(video: Path, folder: Path) -> Source:
    of_video = _HDTF_CLIP.sub("", video.stem)
    person = of_video if _HDTF_GENERIC.match(of_video) else of_video.rstrip("0123456789")
    return Source(video, video, _without_separator(video.stem), _without_separator(person or video.stem))


def _mead(video: Path, folder: Path) -> Source | None:
    match = _MEAD.search(video.as_posix())
    if match is None:
        return None
    actor, view, emotion, level, file = match.groups()
    felt = _MEAD_EMOTIONS.get(emotion, emotion)
    if felt not in EMOTION_INDEX:
        return None
    mix = {} if felt == "neutral" else {felt: _MEAD_SHARES[int(level)]}
    spoken = Path(video.as_posix()[: match.start(1)]) / actor / "audio" / emotion / f"level_{level}" / file
    sound = next((each for ending in (".m4a", ".wav") if (each := spoken.with_suffix(ending)).is_file()), video)
    return Source(video, sound, f"{actor}_{view}_{emotion}_level_{level}_{Path(file).stem}", actor, mix)
