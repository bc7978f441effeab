"""From a photo to the portrait that the renderer animates, and from its frames back to the whole photo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .errors import InputError
from .face_detection import (
    compose,
    cv2,
    face_box,
    find_faces,
    head_axis,
    mesh_landmarks,
    transform,
    turn_matrix,
    warp,
)

CROP_SIZE = 512
# The square around the face (RENDERER.md §3.1 of the design notes): side in face boxes, shift up in sides.
CROP_SCALE = 1.9
CROP_SHIFT = 0.06
# A tight portrait may be cropped closer, down to this, before the square is allowed to leave the photo.
MIN_CROP_SCALE = 1.45
# Heads rolled further than this, in degrees, are put upright; less is a natural tilt and is kept.
MAX_ROLL = 25
MAX_YAW = 60
MIN_FACE_PIXELS = 64
SOFT_FACE_PIXELS = 160
MAX_FULL_SIDE = 1920
# Width of the rim over which a frame fades into the photo, in crop sides. The renderer's motion dies away towards
# the border, so a narrow rim leaves no double contours.
RIM = 0.06

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Portrait:
    """A photo and the face in it that is going to speak.

    Attributes:
        picture: uint8 RGB (H, W, 3), the whole photo.
        crop: uint8 RGB (512, 512, 3), the head in a square, upright.
        landmarks: float64 (478, 3), pixels of the crop; (0, 0) is the centre of its top left pixel, z points away
            from the camera.
        to_crop: float64 (2, 3), similarity from pixels of the picture to pixels of the crop.
        faces: boxes (left, top, right, bottom) of all faces of the picture, largest first.
        face_index: which of them this is.
        warnings: sentences for the user.
    """

    picture: np.ndarray = field(repr=False)
    crop: np.ndarray = field(repr=False)
    landmarks: np.ndarray = field(repr=False)
    to_crop: np.ndarray
    faces: tuple[Box, ...]
    face_index: int
    warnings: tuple[str, ...]


def find_portrait(picture: np.ndarray, face_index: int | None = None) -> Portrait:
    """Find the face of a uint8 RGB picture (H, W, 3) that is to speak, and cut it out.

    ``face_index`` counts from the largest face, 0, which is also taken when it is None; if there are more, a warning
    says so. Raises InputError when there is no face, none with this index, or when it is smaller than
    MIN_FACE_PIXELS or turned away by more than MAX_YAW degrees.
    """
    faces = find_faces(picture)
    if not faces:
        raise InputError(
            "No face was found in the photo; please use one that shows a face from the front, large and well lit."
        )
    large = [face for face in faces if _face_pixels(face) >= MIN_FACE_PIXELS]
    if not large:
        raise InputError(
            f"The face is only {_face_pixels(faces[0]):.0f} pixels high, at least {MIN_FACE_PIXELS} are needed; "
            "please use a larger photo or one taken from closer by."
        )
    index = 0 if face_index is None else face_index
    if not 0 <= index < len(large):
        many = "one face" if len(large) == 1 else f"{len(large)} faces"
        raise InputError(
            f"There is no face number {index}: the photo shows {many}, counted from 0, the largest, "
            f"to {len(large) - 1}."
        )
    face = large[index]
    if _turned_degrees(face) > MAX_YAW:
        raise InputError(
            f"The face is turned away by more than {MAX_YAW} degrees; please use a photo that shows it from the front."
        )
    warnings = []
    if len(large) > 1 and face_index is None:
        warnings.append(
            f"The photo shows {len(large)} faces; the largest speaks (choose another one by its number, "
            f"1 to {len(large) - 1})."
        )
    if _face_pixels(face) < SOFT_FACE_PIXELS:
        warnings.append(
            f"The face is only {_face_pixels(face):.0f} pixels high, so the video will look soft; "
            f"{SOFT_FACE_PIXELS} or more are better."
        )
    crop, to_crop = _cut_out(picture, face)
    landmarks = mesh_landmarks(crop)
    if landmarks is None:  # the first look, in a differently cut picture, has seen it
        landmarks = transform(face, to_crop)
    return Portrait(
        picture=picture,
        crop=crop,
        landmarks=landmarks,
        to_crop=to_crop,
        faces=tuple(face_box(found) for found in large),
        face_index=index,
        warnings=tuple(warnings),
    )


def _face_pixels(landmarks: np.ndarray) -> float:
    left, top, right, bottom = face_box(landmarks)
    return max(right - left, bottom - top)


def _turned_degrees(landmarks: np.ndarray) -> float:
    """How far the head is turned to either side, 0 to 90 degrees."""
    return float(np.degrees(np.arcsin(min(1.0, abs(head_axis(landmarks)[2])))))


def _cut_out(picture: np.ndarray, face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 512 pixel crop around a face and the similarity (2, 3) from the picture to it."""
    axis = head_axis(face)
    roll = np.degrees(np.arctan2(axis[1], axis[0]))
    # A photo lying on its side is turned by whole quarters, which loses nothing; what remains lies within 45 degrees.
    quarter_turns = round(roll / 90) % 4
    turned = np.rot90(picture, quarter_turns)
    to_turned = turn_matrix(quarter_turns, turned.shape)
    face = transform(face, to_turned)
    roll -= 90 * round(roll / 90)
    crop, to_crop = _upright_crop(turned, face) if abs(roll) <= MAX_ROLL else _tilted_crop(turned, face, roll)
    return crop, compose(to_crop, to_turned)


def upright_square(face: np.ndarray, width: int, height: int) -> tuple[int, int, int]:
    """Left, top and side of the square of whole pixels around an upright face, inside the picture as far as it fits."""
    side, middle = _square(face)
    if side > min(width, height):
        side = max(min(width, height), side * MIN_CROP_SCALE / CROP_SCALE)
    side = round(side)
    left, top = (
        int(np.clip(round(c - side / 2), *sorted((0, length - side))))
        for c, length in zip(middle, (width, height), strict=True)
    )
    return left, top, side


def _upright_crop(picture: np.ndarray, face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut out ``upright_square``."""
    height, width = picture.shape[:2]
    left, top, side = upright_square(face, width, height)
    before, after = (max(0, -top), max(0, -left)), (max(0, top + side - height), max(0, left + side - width))
    part = picture[max(top, 0) : top + side, max(left, 0) : left + side]
    scale = CROP_SIZE / side
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    to_crop = np.array([[scale, 0, (0.5 - left) * scale - 0.5], [0, scale, (0.5 - top) * scale - 0.5]])
    if not any(before + after):
        return cv2.resize(np.ascontiguousarray(part), (CROP_SIZE, CROP_SIZE), interpolation=shrink), to_crop
    part = cv2.copyMakeBorder(part, before[0], after[0], before[1], after[1], cv2.BORDER_REFLECT_101)
    crop = cv2.resize(part, (CROP_SIZE, CROP_SIZE), interpolation=shrink)
    return _soften_margin(crop, to_crop, picture.shape), to_crop


def _tilted_crop(picture: np.ndarray, face: np.ndarray, roll: float) -> tuple[np.ndarray, np.ndarray]:
    """Cut a rotated square in which the head is upright; the picture is mirrored where the square leaves it."""
    angle = np.radians(roll)
    rotation = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0]])
    side, middle = _square(transform(face, rotation))
    to_crop = rotation * (CROP_SIZE / side)
    to_crop[:, 2] = (CROP_SIZE - 1) / 2 - middle * (CROP_SIZE / side)
    # A mirrored margin is made first, so that one and the same warp serves inside and outside.
    margin = round(side * 0.75)
    padded = cv2.copyMakeBorder(np.ascontiguousarray(picture), *(margin,) * 4, cv2.BORDER_REFLECT_101)
    from_padded = np.array([[1, 0, -margin], [0, 1, -margin]], dtype=np.float64)
    crop = warp(padded, compose(to_crop, from_padded), CROP_SIZE)
    return _soften_margin(crop, to_crop, picture.shape), to_crop


def _square(face: np.ndarray) -> tuple[float, np.ndarray]:
    """Side and centre (2,) of the square around a face that is upright."""
    left, top, right, bottom = face_box(face)
    side = CROP_SCALE * max(right - left, bottom - top)
    return side, np.array([(left + right) / 2, (top + bottom) / 2 - CROP_SHIFT * side])


def _soften_margin(crop: np.ndarray, to_crop: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Blur what lies outside of the picture, where it is mirrored, more the further out it lies."""
    ones = np.ones(shape[:2], dtype=np.uint8)
    inside = cv2.warpAffine(ones, to_crop, crop.shape[1::-1], flags=cv2.INTER_NEAREST)
    if inside.all():
        return crop
    distance = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3)
    share = np.clip(distance / 32, 0, 1)[..., None]
    blurred = cv2.GaussianBlur(crop, (0, 0), 14)
    return np.round(crop * (1 - share) + blurred * share).astype(np.uint8)


class PasteBack:
    """Puts rendered frames of the crop back into the whole photo.

    ``PasteBack(portrait)(frame (512, 512, 3) uint8)`` is the photo, uint8 (height, width, 3), with even sides, the
    longest at most 1920; photos that are smaller keep their resolution (an odd last row or column is left out).
    A frame fades into the photo over a rim; there is none where crop and photo end together.
    """

    def __init__(self, portrait: Portrait) -> None:
        height, width = portrait.picture.shape[:2]
        scale = min(1.0, MAX_FULL_SIDE / max(height, width))
        self.height, self.width = (max(2, round(length * scale) // 2 * 2) for length in (height, width))
        if scale == 1:
            self._photo = portrait.picture[: self.height, : self.width].copy()
            stretch = np.ones(2)
        else:
            self._photo = cv2.resize(portrait.picture, (self.width, self.height), interpolation=cv2.INTER_AREA)
            stretch = np.array([self.width / width, self.height / height])
        to_photo = compose(
            np.concatenate([np.diag(stretch), (stretch / 2 - 0.5)[:, None]], axis=1),  # about pixel centres
            cv2.invertAffineTransform(portrait.to_crop),
        )
        corners = np.array([[x, y, 1] for x in (-0.5, CROP_SIZE - 0.5) for y in (-0.5, CROP_SIZE - 0.5)]) @ to_photo.T
        low = np.round(corners.min(axis=0) + 0.5).astype(int)
        high = np.round(corners.max(axis=0) + 0.5).astype(int)
        limits = np.array([self.width, self.height])
        start, stop = np.clip(low, 0, limits), np.clip(high, 0, limits)
        self._region = (slice(start[1], stop[1]), slice(start[0], stop[0]))
        self._place = _placement(to_photo, low, high, start, stop)
        opacity = _opacity(to_photo, start, stop, limits)
        share = cv2.merge([np.round(opacity * 255).astype(np.uint8)] * 3)
        below = self._photo[self._region]
        # What the photo contributes is the same in every frame; only the rim needs any arithmetic.
        self._rim = [
            (part, share[part].copy(), cv2.multiply(below[part], 255 - share[part], scale=1 / 255))
            for part in _rim(opacity)
        ]

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Return the photo with this frame in it, a new array."""
        photo = self._photo.copy()
        pasted = self._place(frame)
        for part, share, below in self._rim:
            pasted[part] = cv2.add(cv2.multiply(pasted[part], share, scale=1 / 255), below)
        photo[self._region] = pasted
        return photo


def _placement(
    to_photo: np.ndarray, low: np.ndarray, high: np.ndarray, start: np.ndarray, stop: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """How a frame is brought to its size and place: a function frame → the part from ``start`` to ``stop``.

    ``low`` and ``high`` are the corners (x, y) of its bounding box in the photo, which may reach beyond it.
    """
    across, down = (int(length) for length in high - low)
    inside = (slice(start[1] - low[1], stop[1] - low[1]), slice(start[0] - low[0], stop[0] - low[0]))
    scale = float(np.sqrt(abs(np.linalg.det(to_photo[:, :2]))))
    if to_photo[0, 0] > 0 and abs(to_photo[0, 1]) < 1e-6 * scale:
        # Upright: a resize is several times as fast as a warp, and at most half a pixel off when the photo was reduced.
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        return lambda frame: cv2.resize(frame, (across, down), interpolation=method)[inside]

    size = CROP_SIZE if scale > 0.8 else max(1, round(CROP_SIZE * scale))
    ratio = CROP_SIZE / size
    matrix = compose(to_photo, np.array([[ratio, 0, ratio / 2 - 0.5], [0, ratio, ratio / 2 - 0.5]]))
    matrix[:, 2] -= start
    extent = tuple(int(length) for length in stop - start)

    def place(frame: np.ndarray) -> np.ndarray:
        if size < CROP_SIZE:
            frame = cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA)
        return cv2.warpAffine(frame, matrix, extent, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    return place


def _opacity(to_photo: np.ndarray, start: np.ndarray, stop: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Opacity (height, width) float32 of a frame in the part of the photo from ``start`` to ``stop`` (x, y).

    It is 1 inside and falls smoothly to 0 at those borders of the frame that lie inside the photo.
    """
    x, y = np.meshgrid(*(np.arange(a, b, dtype=np.float32) for a, b in zip(start, stop, strict=True)))
    inverse = cv2.invertAffineTransform(to_photo)
    across = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]
    down = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]
    half, end = (CROP_SIZE - 1) / 2, CROP_SIZE - 0.5
    borders = (  # the middle of each, in the frame, and how far inside of it every pixel lies
        ((-0.5, half), across + 0.5),
        ((end, half), end - across),
        ((half, -0.5), down + 0.5),
        ((half, end), end - down),
    )
    distances = []
    for middle, distance in borders:
        place = to_photo[:, :2] @ middle + to_photo[:, 2]
        if np.all(place > 1) and np.all(place < limits - 2):
            distances.append(distance)
    if not distances:
        return np.ones(x.shape, dtype=np.float32)
    share = np.clip(np.minimum.reduce(distances) / (RIM * CROP_SIZE), 0, 1)
    return (share * share * (3 - 2 * share)).astype(np.float32)


def _rim(opacity: np.ndarray) -> list[tuple[slice, slice]]:
    """The parts (rows, columns) that are not opaque: up to four strips, or everything when the frame is tilted."""
    height, width = opacity.shape
    rows = np.flatnonzero(opacity[:, width // 2] >= 1)
    columns = np.flatnonzero(opacity[height // 2] >= 1)
    everything = [(slice(0, height), slice(0, width))]
    if not len(rows) or not len(columns):
        return everything
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    if np.any(opacity[top:bottom, left:right] < 1):
        return everything
    strips = (
        (slice(0, top), slice(0, width)),
        (slice(bottom, height), slice(0, width)),
        (slice(top, bottom), slice(0, left)),
        (slice(top, bottom), slice(right, width)),
    )
    return [strip for strip in strips if all(part.stop > part.start for part in strip)]
