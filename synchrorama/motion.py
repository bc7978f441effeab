"""Motion: what a face does, frame by frame, and how it is kept in files.

52 ARKit blendshape coefficients and the head pose, 25 times a second. Saved as ``.npz`` or as the CSV table of the
Live Link Face app, which Blender, Unreal and ARKit tools read and write.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synchrorama.blendshapes import BLENDSHAPE_INDEX, BLENDSHAPE_NAMES, MOUTH_AND_JAW
from synchrorama.errors import InputError

FPS = 25

_POSE_COLUMNS = ("HeadYaw", "HeadPitch", "HeadRoll")
_EYE_COLUMNS = ("LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll", "RightEyeYaw", "RightEyePitch", "RightEyeRoll")
_TRANSLATION_COLUMNS = ("HeadX", "HeadY", "HeadZ")  # ours; other tools skip columns they do not know
GAZE_RANGE = 0.5
"""Radians that an eye turns at an eyeLook coefficient of 1."""


@dataclass
class Motion:
    """The motion of one face at 25 frames a second.

    Attributes:
        blendshapes: (T, 52) float32 in [0, 1], columns in the order of ``BLENDSHAPE_NAMES``; 0 is the relaxed face
            with the lips shut. What is added to the photo's own expression may also be negative and take away from it.
        rotation: (T, 3) float32 radians: pitch (positive looks down), yaw (positive turns towards the right of the
            picture), roll (positive tilts the crown towards the left of the picture). See ``rotation_matrix``.
        translation: (T, 3) float32 in face heights: right, up, towards the camera.

    The renderer takes mouth and jaw as they are, adds brows, cheeks and lids to the photo's own expression, and head
    pose to the photo's own pose. Captured motion is brought into that form by ``relative_to_rest``.
    """

    blendshapes: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray

    def __post_init__(self) -> None:
        frames = len(self.blendshapes)
        for name, width in (("blendshapes", 52), ("rotation", 3), ("translation", 3)):
            array = np.asarray(getattr(self, name), np.float32)
            if array.shape != (frames, width):
                raise ValueError(f"{name} has shape {array.shape}, expected {(frames, width)}")
            setattr(self, name, array)

    def __len__(self) -> int:
        return len(self.blendshapes)

    def __getitem__(self, frames: slice) -> Motion:
        if not isinstance(frames, slice):
            raise TypeError("Motion is cut with slices: motion[10:20]")
        return Motion(self.blendshapes[frames], self.rotation[frames], self.translation[frames])

    @classmethod
    def rest(cls, frames: int) -> Motion:
        """A face that does nothing for ``frames`` frames."""
        return cls(np.zeros((frames, 52)), np.zeros((frames, 3)), np.zeros((frames, 3)))

    def column(self, name: str) -> np.ndarray:
        """(T,) the coefficient of one blendshape by its ARKit name."""
        return self.blendshapes[:, BLENDSHAPE_INDEX[name]]

    def relative_to_rest(self) -> Motion:
        """Captured, camera-relative motion → motion that any photo can be driven with.

        Head pose, brows, cheeks and gaze become relative to their median; blinks are stretched so that this person's
        usual opening is 0 and a full blink is 1. Mouth and jaw stay absolute.
        """
        blendshapes = self.blendshapes.copy()
        for i, name in enumerate(BLENDSHAPE_NAMES):
            if i in MOUTH_AND_JAW:
                continue
            column = blendshapes[:, i]
            rest = np.median(column)
            if name.startswith("eyeBlink"):
                peak = max(np.percentile(column, 99.5), rest + 0.35)
                blendshapes[:, i] = np.clip((column - rest) / (peak - rest), 0, 1)
            else:
                blendshapes[:, i] = np.clip(column - rest, -1, 1)
        matrices = rotation_matrix(self.rotation)
        reference = _mean_rotation(matrices)
        return Motion(
            blendshapes,
            rotation_vector(matrices @ reference.T),
            self.translation - np.median(self.translation, axis=0),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``.npz`` (exact) or ``.csv`` (Live Link Face columns; head pose in radians).

        Raises:
            InputError: another file name extension.
        """
        path = Path(path)
        if path.suffix.lower() == ".npz":
            np.savez_compressed(
                path, blendshapes=self.blendshapes, rotation=self.rotation, translation=self.translation, fps=FPS
            )
        elif path.suffix.lower() == ".csv":
            self._save_csv(path)
        else:
            raise InputError("Motion is saved as .npz or .csv; give the file one of these endings.")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Motion:
        """Read what ``save`` wrote, or the CSV of a face capture app, resampled to 25 frames a second.

        Raises:
            InputError: the file is missing, has another format or holds no frames.
        """
        path = Path(path)
        try:
            if path.suffix.lower() == ".npz":
                with np.load(path, allow_pickle=False) as file:
                    return cls(file["blendshapes"], file["rotation"], file["translation"])
            if path.suffix.lower() == ".csv":
                return cls._load_csv(path)
        except InputError:
            raise
        except FileNotFoundError:
            raise InputError(f"The motion file {path.name!r} does not exist; check its name.") from None
        except Exception:
            raise InputError(
                f"The motion file {path.name!r} cannot be read; give an .npz of SynchroRaMa or a Live Link Face CSV."
            ) from None
        raise InputError(f"The motion file {path.name!r} is neither .npz nor .csv; give one of these.")

    def _save_csv(self, path: Path) -> None:
        gaze = _gaze_angles(self.blendshapes)
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            names = [name[0].upper() + name[1:] for name in BLENDSHAPE_NAMES]
            writer.writerow(
                ["Timecode", "BlendshapeCount", *names, *_POSE_COLUMNS, *_EYE_COLUMNS, *_TRANSLATION_COLUMNS]
            )
            for t in range(len(self)):
                seconds, frame = divmod(t, FPS)
                clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frame:02d}.000"
                pitch, yaw, roll = self.rotation[t]
                values = [*self.blendshapes[t], yaw, pitch, roll, *gaze[t], *self.translation[t]]
                writer.writerow([clock, 61, *(f"{value:.6f}" for value in values)])

    @classmethod
    def _load_csv(cls, path: Path) -> Motion:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        rows = [{(key or "").lower(): value for key, value in row.items()} for row in rows]
        if not rows or sum(name.lower() in rows[0] for name in BLENDSHAPE_NAMES) < 10:
            raise InputError(
                f"The motion file {path.name!r} has no blendshape columns; give a CSV in the Live Link Face layout."
            )

        def read(names: tuple[str, ...]) -> np.ndarray:
            return np.array([[float(row.get(name.lower()) or 0.0) for name in names] for row in rows], np.float32)

        yaw_pitch_roll = read(_POSE_COLUMNS)
        motion = cls(
            np.clip(np.nan_to_num(read(BLENDSHAPE_NAMES)), -1, 1),
            np.nan_to_num(yaw_pitch_roll[:, [1, 0, 2]]),
            np.nan_to_num(read(_TRANSLATION_COLUMNS)),
        )
        return motion.resampled(_frame_rate([row.get("timecode") or "" for row in rows]))

    def resampled(self, rate: float) -> Motion:
        """This motion, read as ``rate`` frames a second, at 25 frames a second."""
        if abs(rate - FPS) < 0.01:
            return self
        frames = max(1, round(len(self) / rate * FPS))
        position = (np.arange(frames) + 0.5) / FPS * rate - 0.5

        def at(array: np.ndarray) -> np.ndarray:
            return np.stack([np.interp(position, np.arange(len(array)), column) for column in array.T], axis=1)

        return Motion(at(self.blendshapes), at(self.rotation), at(self.translation))


def rotation_matrix(rotation: np.ndarray) -> np.ndarray:
    """(…, 3) pitch, yaw, roll in radians → (…, 3, 3) matrix R_z(roll) · R_x(pitch) · R_y(yaw).

    Axes: x to the right of the picture, y up, z towards the camera.
    """
    pitch, yaw, roll = np.moveaxis(np.asarray(rotation, np.float64), -1, 0)
    cp, sp, cy, sy, cr, sr = np.cos(pitch), np.sin(pitch), np.cos(yaw), np.sin(yaw), np.cos(roll), np.sin(roll)
    return np.stack(
        [
            np.stack([cr * cy - sr * sp * sy, -sr * cp, cr * sy + sr * sp * cy], -1),
            np.stack([sr * cy + cr * sp * sy, cr * cp, sr * sy - cr * sp * cy], -1),
            np.stack([-cp * sy, sp, cp * cy], -1),
        ],
        -2,
    )


def rotation_vector(matrix: np.ndarray) -> np.ndarray:
    """(…, 3, 3) rotation matrix → (…, 3) pitch, yaw, roll in radians; the inverse of ``rotation_matrix``."""
    pitch = np.arcsin(np.clip(matrix[..., 2, 1], -1, 1))
    yaw = np.arctan2(-matrix[..., 2, 0], matrix[..., 2, 2])
    roll = np.arctan2(-matrix[..., 0, 1], matrix[..., 1, 1])
    return np.stack([pitch, yaw, roll], -1)


def set_gaze(blendshapes: np.ndarray, right: np.ndarray, down: np.ndarray) -> None:
    """Write gaze towards the right and the bottom of the picture, (T,) each, into the eyeLook coefficients in place."""
    values = {
        "eyeLookOutLeft": right, "eyeLookInRight": right, "eyeLookInLeft": -right, "eyeLookOutRight": -right,
        "eyeLookDownLeft": down, "eyeLookDownRight": down, "eyeLookUpLeft": -down, "eyeLookUpRight": -down,
    }  # fmt: skip
    for name, value in values.items():
        blendshapes[:, BLENDSHAPE_INDEX[name]] = np.clip(value, 0, 1)


def gaze(blendshapes: np.ndarray) -> np.ndarray:
    """(…, 52) coefficients → (…, 2) gaze to the right and down: the mean of both eyes, so that they never squint."""

    def look(name: str) -> np.ndarray:
        return blendshapes[..., BLENDSHAPE_INDEX["eyeLook" + name]]

    right = 0.5 * (look("OutLeft") - look("InLeft") + look("InRight") - look("OutRight"))
    down = 0.5 * (look("DownLeft") - look("UpLeft") + look("DownRight") - look("UpRight"))
    return np.stack([right, down], axis=-1)


def _mean_rotation(matrices: np.ndarray) -> np.ndarray:
    """(T, 3, 3) → (3, 3): the rotation nearest to the element-wise median, which outliers do not move."""
    u, _, vt = np.linalg.svd(np.median(matrices, axis=0))
    return u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt


def _gaze_angles(blendshapes: np.ndarray) -> np.ndarray:
    """(T, 52) → (T, 6) left then right eye: yaw (towards the right of the picture), pitch (down), roll."""
    at = {name: blendshapes[:, i] for name, i in BLENDSHAPE_INDEX.items()}
    zero = np.zeros(len(blendshapes), np.float32)
    left = at["eyeLookOutLeft"] - at["eyeLookInLeft"], at["eyeLookDownLeft"] - at["eyeLookUpLeft"], zero
    right = at["eyeLookInRight"] - at["eyeLookOutRight"], at["eyeLookDownRight"] - at["eyeLookUpRight"], zero
    return GAZE_RANGE * np.stack([*left, *right], axis=1)


def _frame_rate(timecodes: list[str]) -> float:
    """Frames a second of a capture, from timecodes ``hh:mm:ss:ff.fff``; 25 when they say nothing.

    The frame field of Live Link Face counts up to the rate and starts again, so its largest value tells the rate.
    """
    frames = []
    for timecode in timecodes:
        try:
            frames.append(float(timecode.replace(";", ":").split(":")[3]))
        except (IndexError, ValueError):
            return float(FPS)
    top = int(max(frames)) + 1 if frames else FPS
    if len(frames) <= top:  # no longer than a second: the counter never wrapped
        return float(FPS)
    return float(min((24, 25, 30, 48, 50, 60), key=lambda rate: abs(rate - top)))
