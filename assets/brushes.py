"""The brushes of make_faces.py: places in centimetres, curves, strokes, soft masks and linear light."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from scipy.interpolate import splev, splprep

WIDTH, HEIGHT, SUPERSAMPLING = 800, 960, 2
CM_WIDTH, TOP = 36.0, 18.5
SCALE = WIDTH * SUPERSAMPLING / CM_WIDTH
SIZE = (WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING)


def linear(color: Iterable[float]) -> np.ndarray:
    """sRGB 0-255 → linear light 0-1."""
    return (np.asarray(color, dtype=np.float64) / 255) ** 2.2


def pixels(points: np.ndarray) -> np.ndarray:
    """Centimetres (…, 2 or 3) → pixels (…, 2) of the supersampled picture."""
    points = np.asarray(points, dtype=np.float64)
    return np.stack([(points[..., 0] + CM_WIDTH / 2) * SCALE, (TOP - points[..., 1]) * SCALE], axis=-1)


def curve(points: np.ndarray, count: int = 200, closed: bool = False) -> np.ndarray:
    """A smooth curve (count, 2) in centimetres through the points (N, ≥2)."""
    points = np.asarray(points, dtype=np.float64)[:, :2]
    if closed:
        points = np.concatenate([points, points[:1]])
    spline, _ = splprep(points.T, s=0, per=closed, k=min(3, len(points) - 1))
    return np.stack(splev(np.linspace(0, 1, count), spline), axis=1)


def filled(outline: np.ndarray, blur_cm: float = 0.03) -> np.ndarray:
    """Mask (H, W) float32 in [0, 1] of a closed outline (N, 2) in centimetres, with a soft edge."""
    mask = np.zeros(SIZE[::-1], dtype=np.uint8)
    cv2.fillPoly(mask, [np.round(pixels(outline) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return soften(mask.astype(np.float32) / 255, blur_cm)


def stroked(path: np.ndarray, width_cm: float, blur_cm: float) -> np.ndarray:
    """Mask of a line along a path (N, 2) in centimetres."""
    mask = np.zeros(SIZE[::-1], dtype=np.uint8)
    draw(mask, path, 255, width_cm)
    return soften(mask.astype(np.float32) / 255, blur_cm)


def draw(canvas: np.ndarray, path: np.ndarray, color: float | tuple[float, ...], width_cm: float) -> None:
    points = np.round(pixels(path) * 16).astype(np.int32)
    cv2.polylines(canvas, [points], False, color, max(1, round(width_cm * SCALE)), cv2.LINE_AA, 4)


def soften(field: np.ndarray, sigma_cm: float) -> np.ndarray:
    return cv2.GaussianBlur(field, (0, 0), max(sigma_cm * SCALE, 0.3))


def mix(below: np.ndarray, above: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    return below + (above - below) * opacity[..., None]


def smoothstep(value: np.ndarray, start: float, end: float) -> np.ndarray:
    share = np.clip((value - start) / (end - start), 0, 1)
    return share * share * (3 - 2 * share)
