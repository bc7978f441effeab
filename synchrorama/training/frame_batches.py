"""Batches of the full networks: clips of prepared pieces, told in the terms of ``FrameDenoiser``.

What a batch holds depends on seed, step and process alone, so that a run that was interrupted goes on as if it had not
been. Pieces are read from the disk as they are drawn; none is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from synchrorama.diffusion.face_regions import face_picture, face_regions
from synchrorama.diffusion.frame_denoiser import FrameConditions
from synchrorama.diffusion.region import FaceRegion
from synchrorama.errors import InputError
from synchrorama.training.clips import TEXT_FRAMES, Piece
from synchrorama.training.latents import HEARD, read_video

MAX_TURN = np.radians(25)  # between photo and frame; beyond, motion frames show too little to learn from


@dataclass(frozen=True)
class FrameBatch:
    """B clips of F frames, and the M frames before them.

    Attributes:
        clip: what the networks may know of the frames.
        latents: (B, C, F, H, W) of the real frames.
        before: (B, M, C, H, W) of the motion frames before, as they are in a generation.
        photo: (B, C, H, W).
        face: (B, width) embedding of the photo's face; zeros where nobody has made one.
    """

    clip: FrameConditions
    latents: Tensor
    before: Tensor
    photo: Tensor
    face: Tensor

    def to(self, device: torch.device) -> FrameBatch:
        clip = {each.name: _on(getattr(self.clip, each.name), device) for each in fields(self.clip)}
        rest = {each.name: getattr(self, each.name).to(device) for each in fields(self) if each.name != "clip"}
        return replace(self, clip=replace(self.clip, **clip), **rest)


class PieceClips:
    """The pieces of a folder that belong to a split and have latents.

    Args:
        folder: of ``prepare clips`` and ``prepare latents``.
        split: ``train`` or ``dev``.
        face_width: of the face embedding, for pieces without one.

    Raises InputError when there are none.
    """

    def __init__(self, folder: Path, split: str, face_width: int) -> None:
        self.people: dict[str, list[Path]] = {}
        self._face_width = face_width
        for path in sorted(folder.glob(f"{split}__*.safetensors")):
            self.people.setdefault(path.stem.split("__")[1], []).append(path)
        if not self.people:
            raise InputError(
                f"{folder} holds no pieces of the split {split!r} with latents; make them with `prepare clips` and "
                "`prepare latents`."
            )

    def draw(
        self, generator: np.random.Generator, count: int, frames: int, before: int, beginnings: float
    ) -> FrameBatch:
        """``count`` clips: every person comes as often as every other, however much footage there is.

        Args:
            generator: of the step.
            frames, before: F and M.
            beginnings: share of clips before which the photo stands.
        """
        people, clips = list(self.people.values()), []
        while len(clips) < count:
            paths = people[generator.integers(len(people))]
            path = paths[generator.integers(len(paths))]
            piece = Piece.load(path.with_suffix(".npz"))
            starts = _starts(piece, frames, before)
            if len(starts):
                start = int(generator.choice(starts))
                clips.append(self._clip(path, piece, range(start, start + frames), before, generator, beginnings))
            elif all(not len(_starts(Piece.load(each.with_suffix(".npz")), frames, before)) for each in paths):
                raise InputError(f"No piece of {piece.identity} has {before + frames} usable frames; remove them.")
        return _batch(clips)

    def _clip(
        self,
        path: Path,
        piece: Piece,
        span: range,
        before: int,
        generator: np.random.Generator,
        beginnings: float,
    ) -> dict[str, Any]:
        motion = read_video(path.with_name(f"{path.stem}.motion.mp4"), span)
        size = motion.shape[1]
        try:
            with safe_open(path, "pt") as file:
                photo = file.get_slice("latents")[piece.photo]
                latents = file.get_slice("latents")[span.start : span.stop]
                earlier = file.get_slice("motion")[span.start - before : span.start]
                heard = np.clip(np.arange(span.start, span.stop)[:, None] + HEARD, 0, len(piece) - 1)
                first = int(heard.min())
                sound = file.get_slice("audio")[first : int(heard.max()) + 1][heard - first]
                text = file.get_tensor("texts")[np.arange(span.start, span.stop) // TEXT_FRAMES]
                face = file.get_tensor("face") if "face" in file.keys() else torch.zeros(self._face_width)  # noqa: SIM118
        except (SafetensorError, OSError, IndexError):
            raise InputError(f"{path.name} is damaged; remove it and run `prepare latents` again.") from None
        if generator.random() < beginnings:
            earlier = photo.expand_as(earlier)
        cells = latents.shape[-1]
        regions = [face_regions(piece.landmarks[t], size, cells) for t in span]
        mouth = np.stack([FaceRegion(np.eye(2, 3), size).mouth(piece.mouth[t], cells) for t in span])
        return {
            "motion": torch.from_numpy(motion).movedim(-1, 1).float() / 127.5 - 1,
            "mouth": torch.from_numpy(mouth)[:, None],
            "place": torch.from_numpy(np.stack([face_picture(piece.landmarks[t], size) for t in span]))[:, None],
            "regions": {name: torch.from_numpy(np.stack([each[name] for each in regions])) for name in regions[0]},
            "sound": sound.float(),
            "emotion": torch.from_numpy(piece.emotion[span.start : span.stop]),
            "text": text.float(),
            "latents": latents.float().transpose(0, 1),
            "before": earlier.float(),
            "photo": photo.float(),
            "face": face.float(),
        }


def _starts(piece: Piece, frames: int, before: int) -> np.ndarray:
    """Where a clip may begin: nowhere in it the head is turned far from the photo, and a still is not the photo."""
    fits = np.array([piece.turn[t : t + frames].max() <= MAX_TURN for t in range(len(piece) - frames + 1)], bool)
    starts = np.flatnonzero(fits)
    starts = starts[starts >= before]
    return starts if frames > 1 else starts[starts != piece.photo]


def _batch(clips: Sequence[dict[str, Any]]) -> FrameBatch:
    def stacked(name: str) -> Any:
        values = [clip[name] for clip in clips]
        if isinstance(values[0], dict):
            return {key: torch.stack([each[key] for each in values]) for key in values[0]}
        return torch.stack(values)

    known = FrameConditions(**{each.name: stacked(each.name) for each in fields(FrameConditions)})
    return FrameBatch(known, *(stacked(name) for name in ("latents", "before", "photo", "face")))


def _on(value: Tensor | dict[str, Tensor], device: torch.device) -> Any:
    if isinstance(value, dict):
        return {name: each.to(device) for name, each in value.items()}
    return value.to(device)
