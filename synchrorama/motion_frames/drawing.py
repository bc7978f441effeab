"""Small helpers of the layers: regions, masks, blending."""

from __future__ import annotations

import cv2
import numpy as np

_SUBPIXEL_BITS = 4


def smoothstep(x: np.ndarray | float) -> np.ndarray:
    """0 below 0, 1 above 1, smooth in between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def region_around(points: np.ndarray, margin: int, shape: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, int]]:
    """The box around points (N, 2), inside a picture of ``shape``: its (x, y) origin and (height, width)."""
    limit = np.array([shape[1], shape[0]])
    low = np.clip(np.floor(points.min(axis=0)).astype(int) - margin, 0, limit)
    high = np.clip(np.ceil(points.max(axis=0)).astype(int) + margin + 1, 0, limit)
    return low, (int(high[1] - low[1]), int(high[0] - low[0]))


def polygon_mask(polygon: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 with 255 inside a polygon (N, 2), antialiased."""
    mask = np.zeros(shape, np.uint8)
    fixed = np.round(polygon * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS)
    return mask


def blend(region: np.ndarray, color: np.ndarray, alpha: np.ndarray) -> None:
    """Lay ``color`` (h, w, 3) over ``region`` (h, w, 3) uint8 in place, with opacity ``alpha`` (h, w) in 0 … 1."""
    alpha = alpha[..., None]
    region[:] = np.clip(region + (color - region.astype(np.float32)) * alpha + 0.5, 0, 255).astype(np.uint8)


def affine_between(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(2, 3) affine map that takes points ``source`` (N, 2) to ``target`` (N, 2), by least squares."""
    middle = source.mean(axis=0)
    design = np.column_stack([source - middle, np.ones(len(source))])
    matrix = np.linalg.solve(design.T @ design + 1e-6 * np.eye(3), design.T @ target).T
    matrix[:, 2] -= matrix[:, :2] @ middle
    return matrix
