"""Three small compiled loops: mesh → backward map, map → picture, coloured mesh → picture.

A backward map says for every output pixel from where in the photo it is taken. It comes from a depth-buffered
triangle rasteriser, because only that can open lips and slide a lid over an eye. All run on one thread; they are
compiled at the first call and kept in numba's cache.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

_EDGE = -1e-4  # barycentric tolerance: neighbours overlap by a hair instead of leaving a crack


def _compiled(function: Callable) -> Callable:
    """Compile with the on-disk cache where there is a folder for it, without where there is none."""
    try:
        return njit(cache=True, fastmath=True, nogil=True)(function)
    except RuntimeError:  # neither the package nor the user's cache folder can be written
        return njit(fastmath=True, nogil=True)(function)


@_compiled
def rasterize_map(points, source, triangles, depth_buffer, map_xy):
    """Draw a mesh whose vertices carry source positions.

    Args:
        points: (V, 3) float32 pixel x, y and depth; larger depth is nearer.
        source: (V, 2) float32 where each vertex lies in the photo, in pixels.
        triangles: (F, 3) int32, any orientation.
        depth_buffer: (H, W) float32, overwritten.
        map_xy: (H, W, 2) float32, written where a triangle covers the pixel.
    """
    height, width = depth_buffer.shape
    depth_buffer[:] = -1e9
    for k in range(triangles.shape[0]):
        a, b, c = triangles[k, 0], triangles[k, 1], triangles[k, 2]
        ax, ay, bx, by, cx, cy = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if abs(area) < 1e-6:
            continue
        left = max(0, int(np.ceil(min(ax, bx, cx) - 1e-3)))
        right = min(width - 1, int(np.floor(max(ax, bx, cx) + 1e-3)))
        top = max(0, int(np.ceil(min(ay, by, cy) - 1e-3)))
        bottom = min(height - 1, int(np.floor(max(ay, by, cy) + 1e-3)))
        if left > right or top > bottom:
            continue
        inverse = np.float32(1.0) / area
        vx, vy = (cy - ay) * inverse, -(cx - ax) * inverse
        wx, wy = -(by - ay) * inverse, (bx - ax) * inverse
        za, zb, zc = points[a, 2], points[b, 2] - points[a, 2], points[c, 2] - points[a, 2]
        sa, sb, sc = source[a, 0], source[b, 0] - source[a, 0], source[c, 0] - source[a, 0]
        ta, tb, tc = source[a, 1], source[b, 1] - source[a, 1], source[c, 1] - source[a, 1]
        for y in range(top, bottom + 1):
            v = (left - ax) * vx + (y - ay) * vy
            w = (left - ax) * wx + (y - ay) * wy
            for x in range(left, right + 1):
                if v >= _EDGE and w >= _EDGE and v + w <= 1 - _EDGE:
                    z = za + v * zb + w * zc
                    if z > depth_buffer[y, x]:
                        depth_buffer[y, x] = z
                        map_xy[y, x, 0] = sa + v * sb + w * sc
                        map_xy[y, x, 1] = ta + v * tb + w * tc
                v += vx
                w += wx


@_compiled
def rasterize_colors(points, colors, triangles, depth_buffer, picture):
    """Draw a mesh with a colour per vertex into ``picture``, hiding what lies behind.

    Args:
        points: (V, 3) float32 pixel x, y and depth; larger depth is nearer.
        colors: (V, 3) float32.
        triangles: (F, 3) int32.
        depth_buffer: (H, W) float32, overwritten.
        picture: (H, W, 3) float32, drawn over.
    """
    height, width = depth_buffer.shape
    depth_buffer[:] = -1e9
    for k in range(triangles.shape[0]):
        a, b, c = triangles[k, 0], triangles[k, 1], triangles[k, 2]
        ax, ay, bx, by, cx, cy = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if abs(area) < 1e-6:
            continue
        inverse = np.float32(1.0) / area
        for y in range(max(0, int(np.ceil(min(ay, by, cy)))), min(height - 1, int(np.floor(max(ay, by, cy)))) + 1):
            for x in range(max(0, int(np.ceil(min(ax, bx, cx)))), min(width - 1, int(np.floor(max(ax, bx, cx)))) + 1):
                v = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) * inverse
                w = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) * inverse
                u = 1 - v - w
                if u >= _EDGE and v >= _EDGE and w >= _EDGE:
                    z = u * points[a, 2] + v * points[b, 2] + w * points[c, 2]
                    if z > depth_buffer[y, x]:
                        depth_buffer[y, x] = z
                        for q in range(3):
                            picture[y, x, q] = u * colors[a, q] + v * colors[b, q] + w * colors[c, q]


@_compiled
def sample_layers(map_xy, layers, background, frame):
    """Look the photo up along a backward map and lay it over a still background.

    Args:
        map_xy: (H, W, 2) float32 positions in the photo, in pixels.
        layers: (2H-1, 2W-1, 4) uint8 photo at double resolution and its opacity; pixel 2i is the photo's pixel i.
        background: (H, W, 3) uint8 what shows where the photo is transparent.
        frame: (H, W, 3) uint8, overwritten.
    """
    height, width = frame.shape[:2]
    last_y, last_x = layers.shape[0] - 2, layers.shape[1] - 2
    for y in range(height):
        for x in range(width):
            px = max(np.float32(0), np.float32(2) * map_xy[y, x, 0])
            py = max(np.float32(0), np.float32(2) * map_xy[y, x, 1])
            ix, iy = min(int(px), last_x), min(int(py), last_y)
            fx = min(px - np.float32(ix), np.float32(1))
            fy = min(py - np.float32(iy), np.float32(1))
            one = np.float32(1)
            w00, w01, w10, w11 = (one - fx) * (one - fy), fx * (one - fy), (one - fx) * fy, fx * fy
            alpha = (
                w00 * layers[iy, ix, 3]
                + w01 * layers[iy, ix + 1, 3]
                + w10 * layers[iy + 1, ix, 3]
                + w11 * layers[iy + 1, ix + 1, 3]
            ) * np.float32(1 / 255)
            if alpha == 0:
                for k in range(3):
                    frame[y, x, k] = background[y, x, k]
                continue
            for k in range(3):
                value = (
                    w00 * layers[iy, ix, k]
                    + w01 * layers[iy, ix + 1, k]
                    + w10 * layers[iy + 1, ix, k]
                    + w11 * layers[iy + 1, ix + 1, k]
                )
                if alpha < np.float32(0.999):
                    value = background[y, x, k] + (value - background[y, x, k]) * alpha
                frame[y, x, k] = np.uint8(value + np.float32(0.5))
