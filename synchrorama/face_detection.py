"""MediaPipe's face detectors and face mesh, made to find small, large and lying faces in photos of any size.

The detectors see a picture of 128 or 192 pixels, so a face that fills the photo or a hundredth of it escapes them.
Here they look at the whole photo, at the photo with a margin, and at overlapping tiles of it; the face mesh then
confirms every candidate in a crop of the size it was trained on, or rejects it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InputError
from .native_output import quiet_stderr

# Read by MediaPipe's and TensorFlow Lite's logging when they are loaded: errors only.
os.environ.setdefault("GLOG_minloglevel", "2")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

try:
    import cv2
except ImportError as error:
    raise ImportError(
        f"OpenCV cannot be loaded ({error}); on Debian or Ubuntu this helps: "
        "apt-get install libgl1 libglib2.0-0 libsm6 libxext6 libxrender1"
    ) from error

DETECTION_CONFIDENCE = 0.5
MESH_CROP = 256
# Detector boxes span brows to chin; the mesh finds a face best that fills about half of its picture.
MESH_CROP_SCALE = 2.2
COARSE_SIDE = 1280
TILE = 384  # twice what the larger detector sees
# In large pictures without a face at first sight, tiles of down to this many pixels are looked at.
FINEST_TILE = 320
MAX_TILES = 400
MAX_CANDIDATES = 40
# Faces that lie or stand on their heads are found too, but wrongly and with scores below this: measured on 67 photos,
# the surest detection scores 0.90 to 0.98 upright and at most 0.83 upside down. Lying faces come out right either way.
SURE_SCORE = 0.88
# Subject's right and left: outer eye corners, mouth corners, ears, temples. See head_axis.
SYMMETRIC_PAIRS = ((33, 263), (61, 291), (234, 454), (127, 356))

_lock = threading.RLock()  # held while a network loads or runs: they are not thread-safe


@dataclass(frozen=True)
class _Candidate:
    """Where a detector saw a face: centre and side of its box in pixels, roll in radians (clockwise positive)."""

    x: float
    y: float
    side: float
    roll: float
    score: float


def find_faces(picture: np.ndarray) -> list[np.ndarray]:
    """Landmarks (478, 3) of every face in a uint8 RGB picture, largest face first.

    Coordinates are pixels of the picture, (0, 0) being the centre of the top left pixel; z has the same unit and
    points away from the camera. The list is empty when there is no face.
    """
    coarse, scale = _reduced(picture, COARSE_SIDE / max(picture.shape[:2]))
    best_score, best = 0.0, []
    for quarter_turns in range(4):
        turned = np.ascontiguousarray(np.rot90(coarse, quarter_turns))
        faces, score = _confirm(turned, _candidates_at_first_sight(turned))
        if score > best_score:
            best_score, best = score, [_turn_back(found, quarter_turns, turned.shape) for found in faces]
        if best_score > SURE_SCORE:
            break
    side, area = min(picture.shape[:2]) // 4, picture.shape[0] * picture.shape[1]
    while not best and side >= FINEST_TILE and 4 * area / side**2 < MAX_TILES:
        reduced, scale = _reduced(picture, TILE / side)
        best, _ = _confirm(reduced, _candidates_in_tiles(reduced, TILE))
        side //= 2
    to_picture = np.concatenate([np.diag(1 / scale), (0.5 / scale - 0.5)[:, None]], axis=1)  # about pixel centres
    return [transform(found, to_picture) for found in best]


def mesh_landmarks(picture: np.ndarray) -> np.ndarray | None:
    """Landmarks (478, 3) of the face nearest to the middle of a uint8 RGB picture; None if the mesh finds none."""
    height, width = picture.shape[:2]
    with _lock:
        models = _models()
        with contextlib.nullcontext() if models.mesh_has_run else quiet_stderr():
            found = models.mesh.process(picture).multi_face_landmarks or []
        models.mesh_has_run |= bool(found)  # only with its first face has every part of it printed its noise
    scale = np.array([width, height, width], dtype=np.float64)
    faces = [np.array([(p.x, p.y, p.z) for p in face.landmark]) * scale - (0.5, 0.5, 0) for face in found]
    middle = np.array([width / 2, height / 2])
    return min(faces, key=lambda face: np.linalg.norm(face[:, :2].mean(axis=0) - middle), default=None)


def face_box(landmarks: np.ndarray) -> tuple[float, float, float, float]:
    """Bounding box (left, top, right, bottom) of the landmarks, in their unit."""
    low, high = landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def head_axis(landmarks: np.ndarray) -> np.ndarray:
    """Unit vector (3,) from the subject's right ear to the left: (1, 0, 0) for a face seen from the front."""
    right, left = np.transpose(SYMMETRIC_PAIRS)
    axis = (landmarks[left] - landmarks[right]).sum(axis=0)
    return axis / np.linalg.norm(axis)


@dataclass
class _Models:
    mesh: Any
    detectors: tuple[Any, ...]
    mesh_has_run: bool = False


@functools.cache
def _models() -> _Models:
    """The three networks, loaded once; to be called with the lock held."""
    with quiet_stderr():
        try:
            from mediapipe.python.solutions import face_detection, face_mesh
        except ImportError as error:
            raise InputError(
                f"MediaPipe cannot be loaded ({error}); on Debian or Ubuntu this helps: "
                "apt-get install libgl1 libglib2.0-0 libegl1 libgles2"
            ) from error
        models = _Models(
            mesh=face_mesh.FaceMesh(
                static_image_mode=True,
                max_num_faces=3,
                refine_landmarks=True,
                min_detection_confidence=DETECTION_CONFIDENCE,
            ),
            detectors=tuple(
                face_detection.FaceDetection(min_detection_confidence=DETECTION_CONFIDENCE, model_selection=index)
                for index in (0, 1)  # short range, full range
            ),
        )
        for model in (models.mesh, *models.detectors):  # the first run loads and prints as well
            model.process(np.zeros((MESH_CROP, MESH_CROP, 3), dtype=np.uint8))
    return models


def _reduced(picture: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The picture made smaller (never larger) by about this scale, and the exact scales (x, y)."""
    if scale >= 1:
        return picture, np.ones(2)
    height, width = picture.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.divide(size, (width, height))


def _candidates_at_first_sight(picture: np.ndarray) -> list[_Candidate]:
    return [
        *_detect(picture, 0, 0, max(picture.shape[:2])),
        *_detect(picture, *_margin(picture)),
        *_candidates_in_tiles(picture, min(picture.shape[:2]) // 2),
    ]


def _margin(picture: np.ndarray) -> tuple[int, int, int]:
    """(left, top, side) of a square that shows the picture in its middle half."""
    height, width = picture.shape[:2]
    side = 2 * max(height, width)
    return (width - side) // 2, (height - side) // 2, side


def _candidates_in_tiles(picture: np.ndarray, side: int) -> list[_Candidate]:
    """What is seen in squares of this side all over the picture, each overlapping its neighbours by half."""
    height, width = picture.shape[:2]
    side = min(side, height, width)
    if side < 48:
        return []
    columns = np.linspace(0, width - side, int(np.ceil(2 * width / side)) - 1).astype(int)
    rows = np.linspace(0, height - side, int(np.ceil(2 * height / side)) - 1).astype(int)
    return [found for y in rows for x in columns for found in _detect(picture, x, y, side)]


def _detect(picture: np.ndarray, left: int, top: int, side: int) -> list[_Candidate]:
    """Both detectors on one square of the picture; what lies outside of the picture is black."""
    height, width = picture.shape[:2]
    part = picture[max(top, 0) : max(min(top + side, height), 0), max(left, 0) : max(min(left + side, width), 0)]
    tile = np.zeros((side, side, 3), dtype=np.uint8)
    y, x = max(-top, 0), max(-left, 0)
    tile[y : y + part.shape[0], x : x + part.shape[1]] = part
    if side > TILE:
        tile = cv2.resize(tile, (TILE, TILE), interpolation=cv2.INTER_AREA)
    with _lock:
        detections = [found for detector in _models().detectors for found in detector.process(tile).detections or []]
    candidates = []
    for detection in detections:
        box = detection.location_data.relative_bounding_box
        right_eye, left_eye = detection.location_data.relative_keypoints[:2]
        candidates.append(
            _Candidate(
                x=left + (box.xmin + box.width / 2) * side,
                y=top + (box.ymin + box.height / 2) * side,
                side=max(box.width, box.height) * side,
                roll=float(np.arctan2(left_eye.y - right_eye.y, left_eye.x - right_eye.x)),
                score=detection.score[0],
            )
        )
    return candidates


def _confirm(picture: np.ndarray, candidates: list[_Candidate]) -> tuple[list[np.ndarray], float]:
    """Landmarks of the candidates in which the face mesh sees a face too; each face once, the largest first.

    Also the best score of those candidates.
    """
    faces: list[np.ndarray] = []
    score = 0.0
    for candidate in _distinct(candidates):
        scale = MESH_CROP / (MESH_CROP_SCALE * candidate.side)
        cosine, sine = scale * np.cos(candidate.roll), scale * np.sin(candidate.roll)
        to_crop = np.array([[cosine, sine, 0], [-sine, cosine, 0]])
        to_crop[:, 2] = MESH_CROP / 2 - to_crop[:, :2] @ (candidate.x, candidate.y)
        landmarks = mesh_landmarks(warp(picture, to_crop, MESH_CROP))
        if landmarks is None:
            continue
        landmarks = transform(landmarks, cv2.invertAffineTransform(to_crop))
        inside = np.linalg.norm(landmarks[:, :2].mean(axis=0) - (candidate.x, candidate.y)) < candidate.side
        if inside and all(overlap(face_box(landmarks), face_box(face)) < 0.3 for face in faces):
            faces.append(landmarks)
            score = max(score, candidate.score)
    return sorted(faces, key=lambda face: -_area(face_box(face))), score


def _distinct(candidates: list[_Candidate]) -> list[_Candidate]:
    """One candidate a place, the surest first: of boxes that overlap much, all but the surest are dropped."""
    kept: list[_Candidate] = []
    for candidate in sorted(candidates, key=lambda found: -found.score):
        if candidate.side >= 8 and all(overlap(_box(candidate), _box(other)) < 0.4 for other in kept):
            kept.append(candidate)
    return kept[:MAX_CANDIDATES]


def _box(candidate: _Candidate) -> tuple[float, float, float, float]:
    half = candidate.side / 2
    return candidate.x - half, candidate.y - half, candidate.x + half, candidate.y + half


def _area(box: tuple[float, float, float, float]) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Share of the smaller of two boxes (left, top, right, bottom) that the other covers, 0 to 1."""
    common = _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return common / max(min(_area(a), _area(b)), 1e-9)


def transform(landmarks: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply a similarity (2, 3) of the picture plane to landmarks (N, 3); z is scaled along."""
    moved = np.empty_like(landmarks)
    moved[:, :2] = landmarks[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    moved[:, 2] = landmarks[:, 2] * np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    return moved


def warp(picture: np.ndarray, to_crop: np.ndarray, size: int) -> np.ndarray:
    """The square of ``size`` pixels that a similarity (2, 3) maps to; the edge continues outside of the picture.

    Large reductions average over the area of a pixel, which a plain warp would not.
    """
    scale = np.sqrt(abs(np.linalg.det(to_crop[:, :2])))
    if scale < 0.7:
        # Only the part that is needed is reduced: the bounding box of the square, with some room for the filter.
        corners = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]], dtype=np.float64)
        corners = corners @ cv2.invertAffineTransform(to_crop).T
        room = 2 / scale
        limits = picture.shape[1], picture.shape[0]
        low = np.clip(np.floor(corners.min(axis=0) - room), 0, np.subtract(limits, 1)).astype(int)
        high = np.maximum(np.clip(np.ceil(corners.max(axis=0) + room), 1, limits).astype(int), low + 1)
        part = picture[low[1] : high[1], low[0] : high[0]]
        new = np.maximum(1, np.round((high - low) * scale)).astype(int)
        picture = cv2.resize(part, tuple(int(n) for n in new), interpolation=cv2.INTER_AREA)
        ratio = (high - low) / new
        # Pixel centres: reduced x corresponds to low + (x + 1/2) ratio - 1/2 of the picture.
        from_reduced = np.concatenate([np.diag(ratio), (low + ratio / 2 - 0.5)[:, None]], axis=1)
        to_crop = compose(to_crop, from_reduced)
    return cv2.warpAffine(picture, to_crop, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def compose(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The affine map (2, 3) that applies ``first``, then ``second``."""
    return np.concatenate([second[:, :2] @ first[:, :2], (second[:, :2] @ first[:, 2] + second[:, 2])[:, None]], axis=1)


def _turn_back(landmarks: np.ndarray, quarter_turns: int, turned_shape: tuple[int, ...]) -> np.ndarray:
    return transform(landmarks, cv2.invertAffineTransform(turn_matrix(quarter_turns, turned_shape)))


def turn_matrix(quarter_turns: int, turned_shape: tuple[int, ...]) -> np.ndarray:
    """The map (2, 3) of pixels under ``np.rot90(picture, quarter_turns)``, whose result has ``turned_shape``."""
    right, bottom = turned_shape[1] - 1, turned_shape[0] - 1
    return np.array(
        (
            [[1, 0, 0], [0, 1, 0]],
            [[0, 1, 0], [-1, 0, bottom]],
            [[-1, 0, right], [0, -1, bottom]],
            [[0, -1, right], [1, 0, 0]],
        )[quarter_turns % 4],
        dtype=np.float64,
    )
