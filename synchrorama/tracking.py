"""Finished video → face landmarks, 25 times a second.

Training data and measurements come from here. MediaPipe's face mesh is used in its video mode without the smoothing
of the newer landmarker task: that one lags by up to a frame and lifts lip closures.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synchrorama.blendshapes import BLENDSHAPE_INDEX, FACE_HEIGHT_CM, MotionSpace, eye_opening
from synchrorama.errors import InputError
from synchrorama.face_topology import LANDMARKS, LEFT_EYE, LEFT_IRIS, MESH_LANDMARKS, RIGHT_EYE, RIGHT_IRIS
from synchrorama.motion import FPS, GAZE_RANGE, Motion, rotation_vector, set_gaze
from synchrorama.native_output import quiet_stderr

DETECTION_CONFIDENCE = 0.4
EYEBALL_RADIUS_CM = 1.2


@dataclass
class LandmarkTrack:
    """Landmarks of one face through a video, on the project's frame clock."""

    landmarks: np.ndarray
    """(T, 478, 3) float32 pixels: x right, y down, z away from the camera; T at 25 frames a second."""
    found: np.ndarray
    """(T,) bool: False where no face was seen and the landmarks are interpolated."""
    width: int
    height: int

    def __len__(self) -> int:
        return len(self.landmarks)


def track_video(path: str | os.PathLike[str]) -> LandmarkTrack:
    """Track the most prominent face of a video.

    Other frame rates are interpolated to 25 frames a second, and so are frames without a face.

    Raises:
        InputError: the video cannot be read or shows no face at all.
    """
    os.environ.setdefault("GLOG_minloglevel", "3")
    import cv2
    import mediapipe

    capture = cv2.VideoCapture(os.path.abspath(path))
    rate = capture.get(cv2.CAP_PROP_FPS)
    if not capture.isOpened() or not 1 <= rate <= 240:
        raise InputError(f"The video {Path(path).name!r} cannot be read; give an mp4 that plays elsewhere.")
    landmarks, seen, count, size = [], [], 0, (0, 0)
    with (
        quiet_stderr(),
        mediapipe.solutions.face_mesh.FaceMesh(
            static_image_mode=False,
            max_num_faces=1,
            refine_landmarks=True,
            min_detection_confidence=DETECTION_CONFIDENCE,
            min_tracking_confidence=DETECTION_CONFIDENCE,
        ) as mesh,
        contextlib.closing(_Releasing(capture)),
    ):
        while True:
            more, frame = capture.read()
            if not more:
                break
            height, width = frame.shape[:2]
            size = (width, height)
            faces = mesh.process(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)).multi_face_landmarks
            if faces:
                scale = (width, height, width)
                landmarks.append([(p.x * scale[0], p.y * scale[1], p.z * scale[2]) for p in faces[0].landmark])
                seen.append(count)
            count += 1
    if not seen:
        raise InputError(f"No face was found in the video {Path(path).name!r}; give one that shows a face.")
    frames = max(1, round(count / rate * FPS))
    # Frame t of the 25 fps clock is centred at (t + ½)/25 s; source frame i at (i + ½)/rate s.
    position = (np.arange(frames) + 0.5) / FPS * rate - 0.5
    flat = np.asarray(landmarks, np.float32).reshape(len(seen), -1)
    resampled = np.stack([np.interp(position, seen, column) for column in flat.T], axis=1)
    nearest = np.abs(position[:, None] - np.asarray(seen)[None]).min(axis=1)
    return LandmarkTrack(
        landmarks=resampled.reshape(frames, LANDMARKS, 3).astype(np.float32),
        found=nearest <= max(1.0, rate / FPS),
        width=size[0],
        height=size[1],
    )


def track_motion(track: LandmarkTrack, space: MotionSpace) -> Motion:
    """Landmarks → the motion of that face: absolute coefficients and camera-relative head pose.

    Lids and gaze are measured from lid and iris landmarks, which say more about them than the fit. Gaze is relative to
    the middle of the track; so is translation, in face heights.
    """
    canonical = space.canonicalize(track.landmarks)
    blendshapes = space.fit(canonical.shapes[:, :MESH_LANDMARKS]).coefficients
    opening = eye_opening(canonical.shapes)
    closure = 1 - opening / np.percentile(opening, 90, axis=0)
    for side, name in enumerate(("eyeBlinkLeft", "eyeBlinkRight")):
        blendshapes[:, BLENDSHAPE_INDEX[name]] = np.clip(closure[:, side], 0, 1)
    right, down = gaze_direction(canonical.shapes).T
    set_gaze(blendshapes, right - np.median(right), down - np.median(down))
    scale = np.median(canonical.scale)
    place = canonical.translation / (scale * FACE_HEIGHT_CM)
    place = place - np.median(place, axis=0)
    place[:, 2] = np.log(canonical.scale / scale)  # depth shows as size; monocular z is unreliable
    return Motion(blendshapes, rotation_vector(canonical.rotation), place)


def gaze_direction(shapes: np.ndarray) -> np.ndarray:
    """(T, 478, 3) canonical shapes in cm → (T, 2) gaze to the right and down of the picture, in eyeLook coefficients.

    The iris slides on an eyeball of about 1.2 cm radius, and a coefficient of 1 is a turn of half a radian.
    """
    offsets = []
    for iris, ring in ((RIGHT_IRIS, RIGHT_EYE), (LEFT_IRIS, LEFT_EYE)):
        corners = shapes[:, (ring[0], ring[8])].mean(1)
        offsets.append(shapes[:, iris[0], :2] - corners[:, :2])
    return np.mean(offsets, axis=0) * np.array([1.0, -1.0]) / (EYEBALL_RADIUS_CM * np.sin(GAZE_RANGE))


class _Releasing:
    """Gives OpenCV's capture the ``close`` that contextlib expects."""

    def __init__(self, capture: object) -> None:
        self._capture = capture

    def close(self) -> None:
        self._capture.release()
