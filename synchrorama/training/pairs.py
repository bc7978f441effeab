"""What the diffusion stage learns from: motion frames beside the real pictures that they should have looked like.

    python -m synchrorama prepare pairs VIDEOS PHOTOS --tracks prepared/clips -o prepared/pairs

From a video one frame becomes the photo, and it is rendered in the shape of the landmarks of others: pixel by pixel,
what differs then is what a warp cannot show. A still photo serves as well: its expression is removed by the renderer
and rendered back.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from synchrorama.audio import MEL_BANDS, SOUND_COLUMNS, sound_around
from synchrorama.blendshapes import MotionSpace
from synchrorama.diffusion.region import REGION_SIZE, FaceRegion
from synchrorama.errors import InputError
from synchrorama.face import Portrait, find_portrait
from synchrorama.face_detection import mesh_landmarks, transform, warp
from synchrorama.media import read_photo
from synchrorama.motion_frames import MotionFrameRenderer
from synchrorama.tracking import LandmarkTrack, track_motion

CELLS = 32
FRAMES = 8  # of one sequence
MAX_TURN = np.radians(25)  # between photo and target; beyond, a warp shows too little to learn from
MAX_FRAMES = 320  # of one clip


@dataclass
class Pairs:
    """S sequences of F frames each.

    Attributes:
        motion, target: (S, F, 128, 128, 3) uint8 RGB regions of the motion frame and of the real picture.
        mouth: (S, F, 32, 32) uint8, how much of each cell lies between the lips.
        reference: (S, 128, 128, 3) uint8, the region of the photo.
        blendshapes: (S, F, 52) float16, what the target shows.
        mel: (S, F, 20, 80) float16, the sound around each frame; all zero where there is none.
        voiced: (S,) bool, whether there is sound.
    """

    motion: np.ndarray
    target: np.ndarray
    mouth: np.ndarray
    reference: np.ndarray
    blendshapes: np.ndarray
    mel: np.ndarray
    voiced: np.ndarray

    def __len__(self) -> int:
        return len(self.motion)

    @classmethod
    def stack(cls, parts: list[dict[str, np.ndarray]]) -> Pairs:
        return cls(**{each.name: np.stack([part[each.name] for part in parts]) for each in fields(cls)})

    def arrays(self) -> dict[str, np.ndarray]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


def clip_pairs(video: Path, track: dict[str, np.ndarray], space: MotionSpace, photos: int, seed: int) -> Pairs | None:
    """Sequences of a tracked clip (see ``prepare track``), each with one of ``photos`` frames as its photo.

    Most photos have their lips shut, as photos do. None when the clip shows no usable photo.
    """
    generator = np.random.default_rng(seed)
    pictures = _read_frames(video, min(len(track["landmarks"]), MAX_FRAMES))
    frames = len(pictures)
    if frames < FRAMES:
        return None
    landmarks = track["landmarks"][:frames].astype(np.float64)
    motion = track_motion(LandmarkTrack(landmarks, track["found"][:frames], 1, 1), space)
    rotations = space.canonicalize(landmarks).rotation
    mel = sound_around(track["mel"].astype(np.float16), range(frames))
    gap = np.linalg.norm(landmarks[:, 13] - landmarks[:, 14], axis=1)
    shut = np.argsort(gap)[: max(5, frames // 4)]
    chosen = [int(generator.choice(shut)) for _ in range(photos - 1)] + [int(generator.integers(frames))]
    parts = []
    for photo in chosen:
        try:
            portrait = find_portrait(pictures[photo], face_index=0)
        except InputError:
            continue
        renderer = MotionFrameRenderer(portrait.crop, portrait.landmarks, space)
        first = int(generator.integers(FRAMES))
        for start in range(first, frames - FRAMES + 1, FRAMES):
            turn = np.arccos(np.clip((np.trace(rotations[start + FRAMES // 2] @ rotations[photo].T) - 1) / 2, -1, 1))
            if turn > MAX_TURN or not track["found"][start : start + FRAMES].all() or generator.random() > 0.6:
                continue
            shown = range(start, start + FRAMES)
            pairs = [_pair(renderer, portrait, pictures[t], landmarks[t], motion.blendshapes[t]) for t in shown]
            parts.append(_sequence(renderer, pairs) | {"mel": mel[shown], "voiced": np.array(True)})
    return Pairs.stack(parts) if parts else None


def still_pairs(photo: Path, space: MotionSpace) -> Pairs | None:
    """The photo as target of itself: its expression removed, wholly and half, then rendered back."""
    try:
        portrait = find_portrait(read_photo(photo), face_index=0)
    except InputError:
        return None
    shown = MotionFrameRenderer(portrait.crop, portrait.landmarks, space)
    parts = []
    for share in (1.0, 0.5):
        # The renderer adds what it keeps of the photo's expression, so that is taken off first.
        removed = shown.render((1 - share) * shown.expression - shown.kept_expression, np.zeros(3), np.zeros(3))
        landmarks = mesh_landmarks(removed)
        if landmarks is None:
            continue
        source = Portrait(removed, removed, landmarks, np.eye(2, 3), (), 0, ())
        renderer = MotionFrameRenderer(removed, landmarks, space)
        pair = _pair(renderer, source, portrait.crop, portrait.landmarks, shown.expression)
        silence = np.zeros((1, SOUND_COLUMNS, MEL_BANDS), np.float16)
        parts.append(_sequence(renderer, [pair]) | {"mel": silence, "voiced": np.array(False)})
    return Pairs.stack(parts) if parts else None


def _pair(
    renderer: MotionFrameRenderer,
    portrait: Portrait,
    picture: np.ndarray,
    landmarks: np.ndarray,
    blendshapes: np.ndarray,
) -> dict[str, np.ndarray]:
    """The photo in the shape of ``landmarks`` (478, 3), tracked on ``picture``, beside that picture."""
    real = warp(picture, portrait.to_crop, portrait.crop.shape[0])
    frame = renderer.frame_of(transform(landmarks, portrait.to_crop), blendshapes)
    region = FaceRegion.of(frame, REGION_SIZE)
    return {
        "motion": region.cut(frame.image),
        "target": region.cut(real),
        "mouth": np.rint(255 * region.mouth(frame.mouth, CELLS)).astype(np.uint8),
        "blendshapes": blendshapes.astype(np.float16),
    }


def _sequence(renderer: MotionFrameRenderer, pairs: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    reference = FaceRegion.of(renderer.photo_frame, REGION_SIZE).cut(renderer.photo_frame.image)
    return {name: np.stack([pair[name] for pair in pairs]) for name in pairs[0]} | {"reference": reference}


def _read_frames(video: Path, limit: int) -> list[np.ndarray]:
    """RGB frames of a video at 25 frames a second, at most ``limit``."""
    capture = cv2.VideoCapture(str(video))
    frames = []
    while len(frames) < limit:
        more, frame = capture.read()
        if not more:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    capture.release()
    return frames
