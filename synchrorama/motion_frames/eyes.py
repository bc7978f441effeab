"""Eyes: an eyeball layer under real holes, gaze, and the skin of the closing upper lid.

The photo's eyeball stays on the skull, the lids of the mesh slide over it. The strip of lid skin that a blink
uncovers is not in the photo; stretching what is there smears lashes and make-up over the eye, so the strip is
painted from the colour of the skin around, with soft shading and a lash line.
"""

from __future__ import annotations

import cv2
import numpy as np

from synchrorama.face_topology import LEFT_EYELID_PAIRS, LEFT_UPPER_LID_ROWS, RIGHT_EYELID_PAIRS, RIGHT_UPPER_LID_ROWS
from synchrorama.motion_frames.drawing import affine_between, blend, polygon_mask, region_around, smoothstep
from synchrorama.motion_frames.rasterizer import rasterize_colors

GAZE_REACH = (1.0, 0.6)  # iris radii that the iris moves sideways / up and down at a coefficient of 1
# Rows of the painted lid: -1 the fold under the brow, 0 crease, 1 lid edge; the last row hangs below the edge.
LID_ROWS = np.array([-0.8, -0.4, 0.0, 0.25, 0.5, 0.7, 0.86, 0.95, 1.0, 1.06], np.float32)
LID_OPACITY = np.array([0.0, 0.45, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0, 0.9, 0.0], np.float32)
LID_SHADE = np.array([1.0, 0.97, 0.93, 0.94, 0.97, 0.97, 0.94, 0.91, 0.88, 0.88], np.float32)
LASHES = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.08, 0.55, 0.95, 0.95], np.float32)
FOLD_BELOW_BROW = 0.6  # of the way from the crease of the lid to the row of points under the brow
HIDDEN_BELOW = 0.4  # of the brightness of the cheek: an eye whose brightest tenth is darker is behind dark glass
PAINTED_LID_FROM, PAINTED_LID_FULL = 0.12, 0.5  # closure at which painted skin starts / has replaced the photo's


class Eye:
    """One eye of one photo.

    Args:
        photo: (H, W, 3) uint8 RGB.
        landmarks: (478, 3) pixels.
        loop: (K, 2) pixels of the eye opening in the photo, in order.
        iris: five landmark indices, centre first.
        left: whether it is the subject's left eye.
    """

    def __init__(
        self, photo: np.ndarray, landmarks: np.ndarray, loop: np.ndarray, iris: tuple[int, ...], left: bool
    ) -> None:
        self.side = "Left" if left else "Right"
        self._loop = loop.astype(np.float64)
        self._iris_centre = landmarks[iris[0], :2]
        self._iris_radius = float(np.linalg.norm(landmarks[list(iris[1:]), :2] - self._iris_centre, axis=1).mean())
        self._iris_radius = max(1.0, self._iris_radius)
        margin = int(0.6 * np.ptp(loop[:, 0])) + 2
        self._origin, (height, width) = region_around(loop, margin, photo.shape)
        x, y = self._origin
        patch = photo[y : y + height, x : x + width]
        self._eyeball = self._complete_eyeball(patch)
        pairs, rows = (LEFT_EYELID_PAIRS, LEFT_UPPER_LID_ROWS) if left else (RIGHT_EYELID_PAIRS, RIGHT_UPPER_LID_ROWS)
        self._corners = (263, 362) if left else (33, 133)
        self._edge = [self._corners[0], *(upper for upper, _ in pairs), self._corners[1]]
        self._lower = [self._corners[0], *(lower for _, lower in pairs), self._corners[1]]
        self._crease = [self._corners[0], *rows[0], self._corners[1]]
        self._brow_side = [self._corners[0], *rows[1], self._corners[1]]
        self._paint_lid(photo, landmarks)
        self.hidden = self._is_hidden(photo, landmarks)
        """Whether dark glasses hide the eye; then it is left alone."""

    def _is_hidden(self, photo: np.ndarray, landmarks: np.ndarray) -> bool:
        x, y = self._origin
        patch = photo[y:, x:][: self._eyeball.shape[0], : self._eyeball.shape[1]]
        opening = polygon_mask(self._loop - self._origin, patch.shape[:2]) > 127
        cheek = _pick(photo, landmarks[[205, 425, 50, 280], :2]).mean()
        return bool(opening.any() and np.percentile(patch[opening].mean(axis=1), 90) < HIDDEN_BELOW * cheek)

    def _complete_eyeball(self, patch: np.ndarray) -> np.ndarray:
        """The eyeball beyond the lids: the iris mirrored about its centre, the white in its own mean colour."""
        loop = self._loop - self._origin
        opening = polygon_mask(loop, patch.shape[:2])
        height, width = opening.shape
        ys, xs = np.mgrid[:height, :width].astype(np.float32)
        cx, cy = self._iris_centre - self._origin
        radius = np.hypot(xs - cx, ys - cy) / self._iris_radius
        # Right at the lids lies their shadow; only what is further inside tells the eyeball's own colours.
        clear = cv2.erode(opening, np.ones((3, 3), np.uint8), iterations=1 + int(0.12 * self._iris_radius)) > 127
        white = patch[clear & (radius > 1.15)].astype(np.float32)
        if len(white) >= 6:
            luminance = white.sum(axis=1)
            white = white[luminance >= np.percentile(luminance, 40)].mean(axis=0)
        else:
            white = np.median(patch[opening > 127].astype(np.float32), axis=0) if (opening > 127).any() else 0
        beyond = np.broadcast_to(white * 0.8, patch.shape).astype(np.float32).copy()
        mirrored = cv2.remap(patch, xs, (2 * cy - ys).astype(np.float32), cv2.INTER_LINEAR)
        valid = cv2.remap(clear.astype(np.float32), xs, (2 * cy - ys).astype(np.float32), cv2.INTER_LINEAR)
        rim = patch[clear & (np.abs(radius - 0.8) < 0.15)].astype(np.float32)
        iris = np.median(rim, axis=0) if len(rim) else white * 0.5
        iris = iris + (mirrored - iris) * valid[..., None]
        within = (1 - smoothstep((radius - 0.92) / 0.16))[..., None]
        beyond += (iris - beyond) * within
        # Two pixels of lid edge are kept around the opening, so that an unmoved eye is the photo's.
        around = cv2.dilate(opening, np.ones((3, 3), np.uint8), iterations=2)
        soft = cv2.GaussianBlur(around, (5, 5), 1.0).astype(np.float32)[..., None] / 255
        return np.clip(beyond + (patch - beyond) * soft + 0.5, 0, 255).astype(np.uint8)

    def _paint_lid(self, photo: np.ndarray, landmarks: np.ndarray) -> None:
        """Colours of the closing lid: one column per point of the lid edge, one row per ``LID_ROWS``."""
        smooth = cv2.GaussianBlur(photo, (0, 0), max(1.0, 0.4 * self._iris_radius)).astype(np.float32)
        crease, brow = landmarks[self._crease, :2], landmarks[self._brow_side, :2]
        edge, lower = landmarks[self._edge, :2], landmarks[self._lower, :2]
        fold = crease + FOLD_BELOW_BROW * (brow - crease)
        opening = np.linalg.norm(edge - lower, axis=1).max()
        down = (lower - edge).sum(axis=0) / (np.linalg.norm((lower - edge).sum(axis=0)) + 1e-6)
        # Make-up, lashes and the shadow of a deep crease are not skin: the brighter samples of each column count.
        places = (0.5 * crease + 0.5 * fold, fold, lower + 0.8 * opening * down, lower + 1.2 * opening * down)
        samples = np.sort(np.stack([_pick(smooth, at) for at in places]), axis=0)
        skin = _smooth_along(0.35 * samples[1] + 0.4 * samples[2] + 0.25 * samples[3])
        # The hue is that of the cheek below, which carries no eye shadow.
        cheek = _smooth_along(samples[2:].mean(axis=0)).mean(axis=0)
        skin = 0.4 * skin + 0.6 * cheek * (skin.sum(axis=1) / (cheek.sum() + 1e-6))[:, None]
        above = _smooth_along(_pick(smooth, fold))
        line = _pick(cv2.GaussianBlur(photo, (0, 0), 0.8).astype(np.float32), edge).min(axis=0)
        lashes = np.minimum(line * 0.8, 0.45 * skin)
        taper = np.sin(np.linspace(0.12, np.pi - 0.2, len(edge))).clip(0, 1) ** 0.5
        lash = (LASHES[:, None] * taper[None])[..., None]
        onto_lid = smoothstep((LID_ROWS + 0.8) / 1.1)[:, None, None]
        color = (above + (skin - above) * onto_lid) * LID_SHADE[:, None, None]
        self._lid_colors = (color * (1 - lash) + lashes[None] * lash).reshape(-1, 3).astype(np.float32)
        ends = np.sin(np.linspace(0, np.pi, len(edge))).clip(0, 1) ** 0.35
        self._lid_opacity = (LID_OPACITY[:, None] * ends[None]).reshape(-1).astype(np.float32)
        rows, columns = len(LID_ROWS), len(edge)
        corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
        quads = np.stack([corner, corner + 1, corner + columns, corner + columns + 1], axis=1)
        self._lid_triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [1, 3, 2]]]).astype(np.int32)

    def draw(
        self,
        frame: np.ndarray,
        loop: np.ndarray,
        rigid_loop: np.ndarray,
        points: np.ndarray,
        closure: float,
        gaze: np.ndarray,
    ) -> None:
        """Draw eyeball and lid over a warped frame.

        Args:
            frame: (H, W, 3) uint8, changed in place.
            loop: (K, 2) pixels of the eye opening now.
            rigid_loop: (K, 2) pixels where the photo's eye opening would be if only the head had moved.
            points: (468, 2) pixels of the face now.
            closure: 0 as in the photo … 1 shut.
            gaze: (2,) right and down, -1 … 1.
        """
        origin, (height, width) = region_around(loop, 4, frame.shape)
        if self.hidden or min(height, width) < 2:
            return
        region = frame[origin[1] : origin[1] + height, origin[0] : origin[0] + width]
        mask = polygon_mask(loop - origin, (height, width))
        opening = mask.sum(axis=0).max() / 255
        alpha = cv2.GaussianBlur(mask, (3, 3), 0.7).astype(np.float32) * (min(1.0, opening / 1.5) / 255)
        # The eyeball stays on the skull under closing lids. Under lids opened wider than in the photo there is nothing
        # to uncover, so there it is stretched along.
        widening = np.ptp(loop[:, 1]) / (np.ptp(rigid_loop[:, 1]) + 1e-6) - 1
        reference = rigid_loop + np.clip(widening / 0.04, 0, 1) * (loop - rigid_loop)
        to_photo = affine_between(reference, self._loop)
        ys, xs = np.mgrid[:height, :width].astype(np.float32)
        xs, ys = xs + origin[0], ys + origin[1]
        source_x = to_photo[0, 0] * xs + to_photo[0, 1] * ys + to_photo[0, 2]
        source_y = to_photo[1, 0] * xs + to_photo[1, 1] * ys + to_photo[1, 2]
        shift = np.clip(gaze, -1, 1) * GAZE_REACH * self._iris_radius
        if np.abs(shift).max() > 0.05:
            centre = self._iris_centre + shift
            radius = np.hypot(source_x - centre[0], source_y - centre[1]) / self._iris_radius
            follows = 1 - smoothstep((radius - 1.05) / 1.15)
            source_x, source_y = source_x - shift[0] * follows, source_y - shift[1] * follows
        eyeball = cv2.remap(
            self._eyeball,
            (source_x - self._origin[0]).astype(np.float32),
            (source_y - self._origin[1]).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        blend(region, eyeball, alpha)
        if closure > PAINTED_LID_FROM:
            self._draw_lid(frame, points, closure)

    def _draw_lid(self, frame: np.ndarray, points: np.ndarray, closure: float) -> None:
        crease, edge, brow = points[self._crease], points[self._edge], points[self._brow_side]
        fold = crease + FOLD_BELOW_BROW * (brow - crease)
        rows = LID_ROWS[:, None, None]
        vertices = crease + np.maximum(rows, 0) * (edge - crease) + np.maximum(-rows, 0) * (fold - crease)
        # The lash row hangs below the edge by a fixed length, however short the lid is.
        vertices[-1] = (
            edge
            + 0.1 * self._iris_radius * (edge - crease) / (np.linalg.norm(edge - crease, axis=1, keepdims=True) + 1)
            + np.array([0.0, 0.18 * self._iris_radius])
        )
        vertices = vertices.reshape(-1, 2)
        origin, (height, width) = region_around(vertices, 3, frame.shape)
        if min(height, width) < 2:
            return
        flat = np.column_stack([vertices - origin, np.zeros(len(vertices))]).astype(np.float32)
        depth = np.empty((height, width), np.float32)
        color = np.zeros((height, width, 3), np.float32)
        opacity = np.zeros((height, width, 3), np.float32)
        strength = float(smoothstep((closure - PAINTED_LID_FROM) / (PAINTED_LID_FULL - PAINTED_LID_FROM)))
        rasterize_colors(flat, self._lid_colors, self._lid_triangles, depth, color)
        alpha_colors = np.repeat(strength * self._lid_opacity[:, None], 3, axis=1)
        rasterize_colors(flat, alpha_colors, self._lid_triangles, depth, opacity)
        region = frame[origin[1] : origin[1] + height, origin[0] : origin[0] + width]
        weight = cv2.GaussianBlur(opacity[..., 0], (3, 3), 0.8)
        colored = cv2.GaussianBlur(color * opacity[..., :1], (3, 3), 0.8)
        blurred = colored / np.maximum(weight, 1e-4)[..., None]
        blend(region, blurred, weight)


def _smooth_along(colors: np.ndarray) -> np.ndarray:
    """Average (N, 3) colours with their neighbours."""
    padded = np.pad(colors, ((2, 2), (0, 0)), mode="edge")
    return sum(k * padded[i : i + len(colors)] for i, k in enumerate((0.1, 0.2, 0.4, 0.2, 0.1)))


def _pick(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, 3) colours of a picture at pixel positions (N, 2)."""
    x = np.clip(np.rint(points[:, 0]).astype(int), 0, picture.shape[1] - 1)
    y = np.clip(np.rint(points[:, 1]).astype(int), 0, picture.shape[0] - 1)
    return picture[y, x]
