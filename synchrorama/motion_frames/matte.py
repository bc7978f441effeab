"""Person and background as two layers, so that what is behind a moving head stands still."""

from __future__ import annotations

import os

import cv2
import numpy as np

from synchrorama.motion_frames.drawing import polygon_mask, smoothstep
from synchrorama.native_output import quiet_stderr

SOLID_RIM = 4.0  # pixels around the person that still belong to the moving layer, as the matte is that coarse
SOFT_RIM = 4.0  # pixels over which the layer then fades into the background
FACE_COVER = 0.9  # share of the face that a believable matte covers


def split_layers(photo: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Separate the person from the background.

    Args:
        photo: (H, W, 3) uint8 RGB.
        landmarks: (478, 3) pixels.

    Returns:
        opacity: (H, W) uint8, 255 on the person; 255 everywhere when no believable outline is found.
        background: (H, W, 3) uint8; filled in from around where the person is opaque, the photo elsewhere. So the
            person over the background is the photo again, exactly.
    """
    whole = np.full(photo.shape[:2], 255, np.uint8)
    mask = person_mask(photo)
    hull = cv2.convexHull(landmarks[:468, :2].astype(np.float32))[:, 0]
    face = polygon_mask(hull, photo.shape[:2]) > 127
    if mask is None or not face.any() or mask[face].mean() < FACE_COVER:
        return whole, photo.copy()
    # The detector's outline may overshoot the face; well inside of it there is face for sure.
    sure = cv2.erode(
        face.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=max(2, int(0.06 * np.ptp(hull[:, 0])))
    )
    solid = (mask > 0.5) | (sure > 0)
    _, parts = cv2.connectedComponents(solid.astype(np.uint8))
    solid = parts == np.bincount(parts[face]).argmax()  # the person with this face, no bystanders
    if solid.mean() > 0.97:
        return whole, photo.copy()
    distance = cv2.distanceTransform((~solid).astype(np.uint8), cv2.DIST_L2, 5)
    opacity = 1 - smoothstep((distance - SOLID_RIM) / SOFT_RIM)
    return np.round(255 * opacity).astype(np.uint8), _fill(photo, opacity >= 1)


def person_mask(photo: np.ndarray) -> np.ndarray | None:
    """(H, W) float32 in 0 … 1 from the segmentation model in MediaPipe's wheel; None where that is missing."""
    os.environ.setdefault("GLOG_minloglevel", "3")
    try:
        from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

        with quiet_stderr(), SelfieSegmentation(model_selection=0) as segmentation:
            return segmentation.process(photo).segmentation_mask
    except (ImportError, OSError, RuntimeError):
        return None


def _fill(photo: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Fill unknown pixels smoothly from known ones: push-pull over a pyramid (Gortler et al., "The Lumigraph")."""
    color = photo.astype(np.float32) * ~unknown[..., None]
    weight = (~unknown).astype(np.float32)
    levels = [(color, weight)]
    while min(weight.shape) > 2:
        size = ((weight.shape[1] + 1) // 2, (weight.shape[0] + 1) // 2)
        color = cv2.resize(color, size, interpolation=cv2.INTER_AREA)
        weight = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
        levels.append((color, weight))
    filled = levels[-1][0] / np.maximum(levels[-1][1], 1e-6)[..., None]
    for color, weight in reversed(levels[:-1]):
        coarse = cv2.resize(filled, (weight.shape[1], weight.shape[0]), interpolation=cv2.INTER_LINEAR)
        own = color / np.maximum(weight, 1e-6)[..., None]
        filled = coarse + (own - coarse) * np.minimum(weight, 1)[..., None]
    filled = np.clip(np.round(filled), 0, 255).astype(np.uint8)
    filled[~unknown] = photo[~unknown]
    return filled
