"""Where the face and the lips are in a whole frame, as Hallo's networks are told (arXiv 2406.08801)."""

from __future__ import annotations

import cv2
import numpy as np
import torch.nn.functional as F
from torch import Tensor

from synchrorama.face_topology import FACE_OVAL, OUTER_LIPS

FACE_GROWTH, LIP_GROWTH = 1.2, 2.0  # of the boxes around the landmarks, as Hallo has them
FACE_BLUR, LIP_BLUR = 51 / 64, 31 / 64  # kernel over the side of the picture; its spread is OpenCV's choice


def face_box(landmarks: np.ndarray, size: int, indices: tuple[int, ...], growth: float) -> tuple[slice, slice]:
    """The box around some landmarks, grown about its middle and moved into the picture: rows and columns.

    Args:
        landmarks: (468 or more, 2 or more) pixels x, y of a picture of ``size`` × ``size`` pixels.
    """
    points = np.asarray(landmarks)[list(indices), :2]
    low, high = points.min(0), points.max(0)
    side = np.minimum((high - low) * growth, size)
    start = np.clip((low + high - side) / 2, 0, size - side)
    left, top = np.floor(start).astype(int)
    right, bottom = np.ceil(start + side).astype(int)
    return slice(top, bottom), slice(left, right)


def face_picture(landmarks: np.ndarray, size: int) -> np.ndarray:
    """(size, size) float32: 1 in the box around the face, 0 elsewhere; what ``FaceLocator`` sees."""
    picture = np.zeros((size, size), np.float32)
    picture[face_box(landmarks, size, FACE_OVAL, FACE_GROWTH)] = 1
    return picture


def face_regions(landmarks: np.ndarray, size: int, cells: int) -> dict[str, np.ndarray]:
    """Region → (cells, cells) float32 in [0, 1]: how much each place belongs to the lips, to the face around them, and
    to all that is not the face ("full").

    Args:
        landmarks: as for ``face_box``.
        size: pixels of a side of the picture.
        cells: of a side of the latents, 64 for Hallo's.
    """
    face = _soft(face_picture(landmarks, size), cells, FACE_BLUR)
    lips = np.zeros((size, size), np.float32)
    lips[face_box(landmarks, size, OUTER_LIPS, LIP_GROWTH)] = 1
    lips = _soft(lips, cells, LIP_BLUR)
    return {"full": 1 - face, "face": np.maximum(face - lips, 0), "lip": lips}


def coarser(masks: dict[str, Tensor], levels: int) -> dict[str, list[Tensor]]:
    """Region → (B, F, H, W) in [0, 1] → per level, coarser by two each, (B, F, H·W).

    Reduced as Pillow does, whose triangle reaches beyond each cell: so Hallo has them.
    """
    return {
        region: [
            F.interpolate(mask, scale_factor=0.5**level, mode="bilinear", antialias=True).flatten(2)
            for level in range(levels)
        ]
        for region, mask in masks.items()
    }


def _soft(mask: np.ndarray, cells: int, blur: float) -> np.ndarray:
    """(size, size) of zeros and ones → (cells, cells), blurred, from 0 to 1."""
    kernel = round(blur * cells) | 1
    mask = cv2.resize(mask, (cells, cells), interpolation=cv2.INTER_AREA)
    mask = cv2.GaussianBlur(mask, (kernel, kernel), 0)
    low, high = mask.min(), mask.max()
    return (mask - low) / (high - low) if high > low else mask
