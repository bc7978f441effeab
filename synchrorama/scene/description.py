"""A photo in one or two plain sentences, from measurements alone: hair, clothes, background, light, expression, pose.

Only what a ruler and a colour chart can tell is said. Nothing is guessed about who the person is: no age, sex, origin,
health or character. What cannot be measured surely (glasses, beards) is left out.
"""

from __future__ import annotations

import cv2
import numpy as np

from synchrorama.blendshapes import BLENDSHAPE_INDEX
from synchrorama.face_topology import FACE_OVAL, INNER_LIPS, LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS
from synchrorama.motion_frames.drawing import polygon_mask
from synchrorama.motion_frames.matte import person_mask

STATEMENT = "In the photo"
"""How sentences begin that say what is there, and ask for nothing."""

_HUES = (
    (15, "red"), (42, "orange"), (70, "yellow"), (165, "green"), (200, "turquoise"), (255, "blue"), (290, "purple"),
    (340, "pink"), (361, "red"),
)  # fmt: skip
_GREY_SATURATION, _DARK, _BRIGHT = 0.17, 0.2, 0.82  # of HSV
_BUSY = 26.0  # spread of lightness (of 100) in a background that is not plain
_SMILE, _FROWN, _OPEN_MOUTH = 0.3, 0.45, 0.06  # coefficients; lip gap over mouth width
_TURN, _NOD, _TILT = np.radians(8), np.radians(13), np.radians(6)
_LOOK = 0.12  # iris offset over eye width
_FEWEST_PIXELS = 400
_SKIN_CHROMA, _SKIN_LIGHTNESS = 10.0, 22.0  # how far in CIELAB a colour may be from the face's and be skin


def describe(photo: np.ndarray, landmarks: np.ndarray, expression: np.ndarray, rotation: np.ndarray) -> str:
    """Put a portrait into words.

    Args:
        photo: (H, W, 3) uint8 RGB, the crop around the head.
        landmarks: (478, 3) pixels in it.
        expression: (52,) coefficients of the face.
        rotation: (3,) pitch, yaw and roll of the head in radians, as in ``Motion``.
    """
    looks, place = _appearance(photo, landmarks)
    light = _light(photo, landmarks)
    person = f"{STATEMENT}, a person{' with ' + looks if looks else ''} is seen{place}, in {light}."
    return f"{person} {STATEMENT}, {_face(landmarks, expression)} and {_pose(landmarks, rotation)}."


def is_statement(sentence: str) -> bool:
    """Whether a sentence only says what the photo shows."""
    return sentence.strip().lower().startswith(STATEMENT.lower())


def colour_name(rgb: np.ndarray) -> str:
    """(3,) RGB of 0 to 255 → an everyday name."""
    red, green, blue = (float(part) / 255 for part in rgb)
    value, low = max(red, green, blue), min(red, green, blue)
    saturation = (value - low) / max(value, 1e-6)
    if value < _DARK:
        return "black"
    if saturation < _GREY_SATURATION:
        return "white" if value > _BRIGHT else "grey" if value > 0.4 else "dark grey"
    hue = float(cv2.cvtColor(np.float32([[[red, green, blue]]]), cv2.COLOR_RGB2HSV)[0, 0, 0])
    name = next(name for end, name in _HUES if hue < end)
    if name in ("orange", "red", "yellow") and value < 0.6:
        return "brown"
    if name in ("orange", "yellow") and saturation < 0.4:
        return "beige"
    return f"dark {name}" if value < 0.4 else f"light {name}" if value > 0.75 and saturation < 0.4 else name


def _appearance(photo: np.ndarray, landmarks: np.ndarray) -> tuple[str, str]:
    """Hair and clothes ("dark hair and blue clothes"), and what is behind (" before a plain grey background")."""
    mask = person_mask(photo)
    if mask is None:
        return "", ""
    hull = cv2.convexHull(landmarks[list(FACE_OVAL), :2].astype(np.float32))[:, 0]
    face = cv2.dilate(polygon_mask(hull, photo.shape[:2]), np.ones((9, 9), np.uint8)) > 127
    rows, columns = np.mgrid[: photo.shape[0], : photo.shape[1]]
    top, bottom = hull[:, 1].min(), hull[:, 1].max()
    left, right = hull[:, 0].min(), hull[:, 0].max()
    person = (mask > 0.8) & ~face
    above = person & (rows < top + 0.12 * (bottom - top)) & (columns > left) & (columns < right)
    below = person & (rows > bottom + 0.3 * (bottom - top))
    behind = cv2.erode((mask < 0.1).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    skin = _lab(np.median(photo[cv2.erode(face.astype(np.uint8), np.ones((41, 41), np.uint8)) > 0], axis=0))
    parts = []
    if above.sum() >= _FEWEST_PIXELS and (hair := _hair(np.median(photo[above], axis=0), skin)):
        parts.append(hair)
    if below.sum() >= _FEWEST_PIXELS:
        clothes = np.median(photo[below], axis=0)
        if not _like_skin(_lab(clothes), skin):
            parts.append(f"{colour_name(clothes)} clothes")
    place = ""
    if behind.sum() >= _FEWEST_PIXELS:
        lightness = cv2.cvtColor(photo, cv2.COLOR_RGB2LAB)[behind][:, 0] / 2.55
        kind = "busy" if lightness.std() > _BUSY else f"plain {colour_name(np.median(photo[behind], axis=0))}"
        place = f" before a {kind} background"
    return " and ".join(parts), place


def _hair(rgb: np.ndarray, skin: np.ndarray) -> str:
    """Hair by its colour; nothing for colours that hair seldom has, which are hats, nor for those of the skin."""
    lab = _lab(rgb)
    lightness, green_red, blue_yellow = lab
    if blue_yellow < -6 or green_red > 14 or _like_skin(lab, skin):
        return ""
    if lightness < 24 or (lightness < 36 and np.hypot(green_red, blue_yellow) < 12):  # dark hair shines grey in a flash
        return "dark hair"
    if abs(green_red) < 8 and blue_yellow < 11:
        return "grey hair" if lightness < 78 else "white hair"
    return "brown hair" if lightness < 50 else "fair hair"


def _lab(rgb: np.ndarray) -> np.ndarray:
    """(3,) RGB of 0 to 255 → (3,) CIELAB."""
    return cv2.cvtColor(np.float32([[np.asarray(rgb) / 255]]), cv2.COLOR_RGB2LAB)[0, 0]


def _like_skin(lab: np.ndarray, skin: np.ndarray) -> bool:
    """Whether a colour may be this face's skin in other light: its chroma and hue, somewhat darker or lighter."""
    return bool(np.hypot(*(lab - skin)[1:]) < _SKIN_CHROMA and -_SKIN_LIGHTNESS < lab[0] - skin[0] < _SKIN_LIGHTNESS)


def _light(photo: np.ndarray, landmarks: np.ndarray) -> str:
    lightness = cv2.cvtColor(photo, cv2.COLOR_RGB2LAB)[:, :, 0] / 2.55
    hull = cv2.convexHull(landmarks[list(FACE_OVAL), :2].astype(np.float32))[:, 0]
    face = cv2.erode(polygon_mask(hull, photo.shape[:2]), np.ones((15, 15), np.uint8)) > 127
    middle = landmarks[1, 0]
    columns = np.arange(photo.shape[1])[None]
    sides = [lightness[face & part] for part in (columns < middle, columns >= middle)]
    if min(map(len, sides)) < _FEWEST_PIXELS // 4:
        return "even light"
    left, right = (float(np.median(side)) for side in sides)
    if abs(left - right) > 9:
        return f"light from the {'left' if left > right else 'right'}"
    return "even light"


def _face(landmarks: np.ndarray, expression: np.ndarray) -> str:
    def both(name: str) -> float:
        return float(np.mean([expression[BLENDSHAPE_INDEX[name + side]] for side in ("Left", "Right")]))

    width = np.linalg.norm(landmarks[61, :2] - landmarks[291, :2])
    upper, lower = landmarks[INNER_LIPS[5], :2], landmarks[INNER_LIPS[15], :2]
    lips = "the lips parted" if np.linalg.norm(upper - lower) / width > _OPEN_MOUTH else "the lips closed"
    if both("mouthSmile") > _SMILE:
        return f"the face has a smile, {lips}"
    if both("mouthFrown") > _FROWN:
        return f"the corners of the mouth point down, {lips}"
    return f"the face is calm, {lips}"


def _pose(landmarks: np.ndarray, rotation: np.ndarray) -> str:
    pitch, yaw, roll = rotation
    parts = []
    if abs(yaw) > _TURN:
        parts.append(f"turned to the {'right' if yaw > 0 else 'left'}")
    if abs(pitch) > _NOD:
        parts.append("lowered" if pitch > 0 else "raised")
    if abs(roll) > _TILT:
        parts.append(f"tilted to the {'left' if roll > 0 else 'right'}")
    head = f"the head is {' and '.join(parts)}" if parts else "the head is upright and faces the camera"
    look = _look(landmarks)
    aside = abs(look) > _LOOK
    return head + (f", with the eyes to the {'right' if look > 0 else 'left'}" if aside else "")


def _look(landmarks: np.ndarray) -> float:
    """How far the irises are to the right of the middle of the eyes, in widths of an eye."""
    offsets = []
    for iris, ring in ((RIGHT_IRIS, RIGHT_EYE), (LEFT_IRIS, LEFT_EYE)):
        corners = landmarks[[ring[0], ring[8]], :2]
        offsets.append((landmarks[iris[0], 0] - corners[:, 0].mean()) / np.linalg.norm(corners[0] - corners[1]))
    return float(np.mean(offsets))
