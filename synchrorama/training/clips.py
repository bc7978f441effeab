"""Videos → pieces of a few seconds that the full diffusion networks learn from.

    python -m synchrorama prepare clips VIDEOS --layout mead -o prepared/full

A piece is three files: ``NAME.frames.mp4``, the head in a square of 512 pixels that stands still, with its sound;
``NAME.motion.mp4``, one frame of the piece, its photo, rendered in the shape of the face in every frame, as motion
frames are; and ``NAME.npz``, what is known about it.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import tempfile
import wave
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from synchrorama.audio import SAMPLE_RATE
from synchrorama.blendshapes import MotionSpace
from synchrorama.errors import InputError
from synchrorama.face import CROP_SIZE, upright_square
from synchrorama.face_detection import transform, warp
from synchrorama.media import FFMPEG_QUIET, Speech, ffmpeg_path, local_input, read_speech
from synchrorama.motion import FPS, Motion
from synchrorama.motion_frames import MotionFrameRenderer
from synchrorama.tracking import LandmarkTrack, track_motion, track_video
from synchrorama.training.layouts import Source
from synchrorama.training.motion_words import describe_motion
from synchrorama.training.pair_batches import shown_emotion
from synchrorama.video_writer import VideoWriter

LONGEST, SHORTEST = 8 * FPS, 32  # frames of a piece: few enough to be decoded from its beginning at every draw
VIDEOS = ("frames", "motion")
TEXT_FRAMES = FPS  # for which a description holds
_MIDDLE = CROP_SIZE // 2  # taken off x and y before they are stored as float16, which is finest around 0
_SAMPLES = SAMPLE_RATE // FPS
_FEELS = FPS  # frames over which the emotion that a face shows is averaged


@dataclass(frozen=True)
class Piece:
    """What is known about a piece of T frames.

    Attributes:
        identity: who speaks.
        photo: the frame that serves as the photo.
        photo_landmarks: (478, 3) float32 pixels.
        landmarks: (T, 478, 3) float32 pixels.
        mouth: (T, M, 2) float32 pixels around the opening between the lips, in order, as ``MotionFrame.mouth``.
        blendshapes: (T, 52), absolute.
        turn: (T,) radians between photo and frame.
        samples: (640 T,) float32, 16 kHz.
        emotion: (T, 24) Z_emo: what was acted, else what the face shows relative to the whole video.
        acted: whether the emotion was acted.
        texts: what the face does, a description for each 25 frames; empty where nothing stands out.
    """

    identity: str
    photo: int
    photo_landmarks: np.ndarray
    landmarks: np.ndarray
    mouth: np.ndarray
    blendshapes: np.ndarray
    turn: np.ndarray
    samples: np.ndarray
    emotion: np.ndarray
    acted: bool
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.landmarks)

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        temporary = path.with_suffix(".part")
        with temporary.open("wb") as file:
            np.savez(
                file,
                identity=np.array(self.identity),
                photo=np.array(self.photo),
                photo_landmarks=self.photo_landmarks.astype(np.float32),
                landmarks=_halved(self.landmarks),
                mouth=_halved(self.mouth),
                blendshapes=self.blendshapes.astype(np.float16),
                turn=self.turn.astype(np.float16),
                samples=np.rint(self.samples * 32767).astype(np.int16),
                emotion=self.emotion.astype(np.float16),
                acted=np.array(self.acted),
                texts=np.array(self.texts, dtype=np.str_),
            )
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Piece:
        """Raises InputError for a file that ``save`` has not written."""
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(
                    identity=str(file["identity"]),
                    photo=int(file["photo"]),
                    photo_landmarks=file["photo_landmarks"],
                    landmarks=_whole(file["landmarks"]),
                    mouth=_whole(file["mouth"]),
                    blendshapes=file["blendshapes"].astype(np.float32),
                    turn=file["turn"].astype(np.float32),
                    samples=file["samples"].astype(np.float32) / 32767,
                    emotion=file["emotion"].astype(np.float32),
                    acted=bool(file["acted"]),
                    texts=tuple(map(str, file["texts"])),
                )
        except (OSError, ValueError, KeyError):
            raise InputError(
                f"{path.name} is damaged or no piece of `prepare clips`; remove it and prepare anew."
            ) from None


def _halved(points: np.ndarray) -> np.ndarray:
    """(…, 2 or 3) pixels as float16, to an eighth of a pixel."""
    return np.concatenate([points[..., :2] - _MIDDLE, points[..., 2:]], -1).astype(np.float16)


def _whole(points: np.ndarray) -> np.ndarray:
    points = points.astype(np.float32)
    points[..., :2] += _MIDDLE
    return points


def prepare_clips(sources: list[Source], space: MotionSpace, folder: Path) -> Iterator[str]:
    """Prepare videos, and say of each what came of it. Those that are done already are passed over.

    A video that cannot be used is told and costs no other; it is tried again by the next call.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        finished = folder / f"{source.name}.json"
        if finished.exists():
            continue
        try:
            frames = list(_prepare(source, space, folder))
        except InputError as error:
            yield f"{source.name}: {error}"
            continue
        finished.write_text(json.dumps({"pieces": len(frames), "seconds": sum(frames) / FPS}), encoding="utf-8")
        yield f"{source.name}: {len(frames)} pieces, {sum(frames) / FPS:.1f} s"


def _prepare(source: Source, space: MotionSpace, folder: Path) -> Iterator[int]:
    """Write the pieces of a video; their lengths in frames."""
    speech = read_speech(source.sound)
    with _at_25(source.video) as video:
        track = track_video(video)
        face = np.median(track.landmarks[track.found], axis=0).astype(np.float64)
        left, top, side = upright_square(face, track.width, track.height)
        scale = CROP_SIZE / side
        to_crop = np.array([[scale, 0, (0.5 - left) * scale - 0.5], [0, scale, (0.5 - top) * scale - 0.5]])
        landmarks = np.stack([transform(each.astype(np.float64), to_crop) for each in track.landmarks])
        inside = ((landmarks[..., :2] >= 0) & (landmarks[..., :2] < CROP_SIZE)).all((1, 2))
        spans = list(_spans(track.found & inside))
        if not spans:
            raise InputError(
                f"No {SHORTEST / FPS:.1f} s in a row show the whole face; give a longer video of one face."
            )
        motion = track_motion(LandmarkTrack(landmarks, track.found, CROP_SIZE, CROP_SIZE), space)
        rotations = space.canonicalize(landmarks).rotation
        samples = np.zeros(len(track) * _SAMPLES, np.float32)
        samples[: len(speech.samples)] = speech.samples[: len(samples)]
        emotion = source.embedding(len(track))
        known = {"identity": source.identity, "acted": emotion is not None}
        if emotion is None:
            emotion = _shown(motion.blendshapes)
        relative = motion.relative_to_rest()
        generator = np.random.default_rng(zlib.crc32(source.name.encode()))  # one that does not change between calls
        for number, (span, pictures) in enumerate(_cut(video, to_crop, spans)):
            here = slice(span.start, span.stop)
            photo = _photo(landmarks[here], generator)
            renderer = MotionFrameRenderer(pictures[photo], landmarks[here][photo], space)
            shapes = zip(landmarks[here], motion.blendshapes[here], strict=True)
            rendered = [renderer.frame_of(*each) for each in shapes]
            piece = Piece(
                **known,
                photo=photo,
                photo_landmarks=landmarks[here][photo],
                landmarks=landmarks[here],
                mouth=np.stack([frame.mouth for frame in rendered]),
                blendshapes=motion.blendshapes[here],
                turn=_turn(rotations[here], rotations[here][photo]),
                samples=samples[span.start * _SAMPLES : span.stop * _SAMPLES],
                emotion=emotion[here],
                texts=_texts(relative[here]),
            )
            name = f"{source.split}__{source.identity}__{source.name}_{number:03d}"
            _write_video(folder / f"{name}.frames.mp4", pictures, piece.samples)
            _write_video(folder / f"{name}.motion.mp4", [each.image for each in rendered], piece.samples)
            piece.save(folder / f"{name}.npz")
            yield len(span)


@contextmanager
def _at_25(video: Path) -> Iterator[Path]:
    """The video at 25 frames a second, so that each landmark is of the very picture that is kept."""
    capture = cv2.VideoCapture(str(video))
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    if abs(rate - FPS) < 0.01 or not 1 <= rate <= 240:  # what cannot be read, track_video explains
        yield video
        return
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder) / f"{video.stem}.mp4"
        command = [
            ffmpeg_path(), *FFMPEG_QUIET, *local_input(video), "-map", "0:v:0", "-vf", f"fps={FPS}",
            "-c:v", "libx264", "-preset", "ultrafast", "-crf", "10", "-pix_fmt", "yuv420p", "-threads", "1",
            f"file:{converted}",
        ]  # fmt: skip
        if subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode:
            raise InputError(f"The video {video.name!r} cannot be read; give an mp4 that plays elsewhere.")
        yield converted


def _photo(landmarks: np.ndarray, generator: np.random.Generator) -> int:
    """One of the frames (T, 478, 3) whose lips are the most shut, as on most photos."""
    gap = np.linalg.norm(landmarks[:, 13] - landmarks[:, 14], axis=1)
    return int(generator.choice(np.argsort(gap)[: max(5, len(gap) // 4)]))


def _turn(rotations: np.ndarray, of_photo: np.ndarray) -> np.ndarray:
    """(T,) radians between each of the rotations (T, 3, 3) and that of the photo."""
    trace = np.trace(rotations @ of_photo.T, axis1=1, axis2=2)
    return np.arccos(np.clip((trace - 1) / 2, -1, 1))


def _spans(usable: np.ndarray) -> Iterator[range]:
    """Stretches of (T,) that are usable throughout, in parts of much the same length, none longer than ``LONGEST``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], usable.astype(np.int8), [0]])))
    for start, stop in edges.reshape(-1, 2):
        count = -(-(stop - start) // LONGEST)
        cuts = np.linspace(start, stop, count + 1).astype(int)
        yield from (range(a, b) for a, b in itertools.pairwise(cuts) if b - a >= SHORTEST)


def _cut(video: Path, to_crop: np.ndarray, spans: list[range]) -> Iterator[tuple[range, list[np.ndarray]]]:
    """The pictures of each span, RGB, cut to the square. Spans are in order and do not overlap."""
    capture = cv2.VideoCapture(str(video))
    try:
        at, frame = -1, None
        for span in spans:
            pictures = []
            while at + 1 < span.stop:
                more, read = capture.read()
                frame, at = (read, at + 1) if more else (frame, at + 1)  # tracks may be a frame longer than the video
                if at >= span.start:
                    pictures.append(warp(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), to_crop, CROP_SIZE))
            yield span, pictures
    finally:
        capture.release()


def _shown(blendshapes: np.ndarray) -> np.ndarray:
    """Z_emo (T, 24) of what a face shows around each frame, relative to the usual of its video."""
    relative = blendshapes - np.median(blendshapes, axis=0)
    starts = range(0, len(relative), _FEELS // 5)
    coarse = np.stack([shown_emotion(relative[max(0, t - _FEELS // 2) : t + _FEELS // 2 + 1].mean(0)) for t in starts])
    clock = np.arange(len(relative))
    return np.stack([np.interp(clock, list(starts), column) for column in coarse.T], axis=1)


def _texts(motion: Motion) -> tuple[str, ...]:
    """What a motion, relative to its rest, does in each stretch of ``TEXT_FRAMES``, in plain words."""
    stages = [describe_motion(motion[start : start + TEXT_FRAMES]) for start in range(0, len(motion), TEXT_FRAMES)]
    said = [" and ".join(action.replace("_", " ") for action in stage) for stage in stages]
    return tuple(f"The person {each}." if each else "" for each in said)


def _write_video(path: Path, pictures: list[np.ndarray], samples: np.ndarray) -> None:
    with tempfile.NamedTemporaryFile(suffix=".wav") as sound:
        with wave.open(sound, "wb") as file:
            file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
            file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
        sound.flush()
        speech = Speech(samples, len(samples) / SAMPLE_RATE, Path(sound.name))
        with VideoWriter(path, CROP_SIZE, CROP_SIZE, speech) as video:
            for picture in pictures:
                video.write(picture)
