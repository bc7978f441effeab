"""The mouth interior: parametric teeth, gums and tongue in the colours of the photo, and the photo's own teeth.

Upper teeth sit on the skull and lower ones on the jaw, which turns about the jaw joint as far as the chin drops.
Everything is drawn in 3-D at double resolution into the mouth opening. Where the photo shows its own teeth, they are
kept and move with the skull.
"""

from __future__ import annotations

import cv2
import numpy as np

from synchrorama.blendshapes import BLENDSHAPE_INDEX, mouth_width
from synchrorama.face_topology import INNER_LIPS, LIPS, OUTER_LIPS
from synchrorama.motion_frames.drawing import affine_between, blend, polygon_mask, region_around, smoothstep
from synchrorama.motion_frames.rasterizer import rasterize_colors
from synchrorama.motion_frames.teeth import FREEWAY, OVERBITE, OVERJET, TONGUE, TOOTH, mouth_model

LUMINANCE = np.array([0.299, 0.587, 0.114])
JAW_JOINT = np.array([0.0, 0.5, -3.0])  # canonical cm
TEETH_PER_CHIN = 1.45  # the skin of the chin lags behind the bone
CHIN = (152, 148, 377, 175, 171, 396, 199)
INCISORS_BELOW_LIP = 0.2  # cm of the upper incisors that relaxed, parted lips show
LOWER_INCISORS_ABOVE_LIP = 0.05  # cm of the lower incisors that they show
TEETH_BEHIND_LIPS = 0.42  # cm
LIGHT = np.array([0.0, 0.3, 0.95])  # where the light in the mouth comes from
LIGHT_ON_TONGUE = np.array([0.0, 0.75, 0.65])
ENAMEL, GUM_PINK, TONGUE_PINK = np.array([1.05, 0.99, 0.90]), np.array([190, 105, 108.0]), np.array([188, 98, 100.0])
CAVITY = np.array([58, 20, 20.0])
OWN_TEETH_SHARE = 0.3  # of the opening that must look like teeth
OWN_TEETH_FROM = 0.25  # cm of lip gap in the photo from which its own mouth interior is used
SEAM_OPACITY = 0.6  # of the line between shut lips
SUPERSAMPLING = 2


class Mouth:
    """The mouth of one photo.

    Args:
        photo: (H, W, 3) uint8 RGB.
        landmarks: (478, 3) pixels.
        loop: (M, 2) pixels of the mouth opening in the photo.
        shape: (468, 3) canonical shape as photographed, cm.
        rest: (468, 3) canonical shape with relaxed, shut lips.
        parted: (468, 3) canonical shape with relaxed lips a little apart.
        typical_width: mouth width of the neutral face in cm.
        photo_shut: 0 when the lips are open in the photo … 1 when they are shut.
        pose: scale (pixels per cm), rotation (3, 3) and translation (3,) of the head in the photo.
    """

    def __init__(
        self,
        photo: np.ndarray,
        landmarks: np.ndarray,
        loop: np.ndarray,
        shape: np.ndarray,
        rest: np.ndarray,
        parted: np.ndarray,
        typical_width: float,
        photo_shut: float,
        pose: tuple[float, np.ndarray, np.ndarray],
    ) -> None:
        model = mouth_model()
        self._model = model
        self._rest = rest
        self._shape = shape
        self._seam = 1 - photo_shut
        self._pixels_per_cm = pose[0]
        self._size = float(np.clip(mouth_width(rest) / typical_width, 0.85, 1.15))
        middle = np.array([0.5 * (rest[13, 0] + rest[14, 0]), parted[13, 1], rest[13, 2]])
        middle[0] = 0.5 * (middle[0] + rest[2, 0])  # the midline of the teeth follows the nose as much as the lips
        self._origin = middle + np.array([0, -INCISORS_BELOW_LIP, -TEETH_BEHIND_LIPS]) * self._size
        self._origin_pixels = (pose[0] * pose[1] @ self._origin + pose[2]) * [1, -1, 1]
        self._vertices = model.vertices * self._size + self._origin
        # Lower teeth likewise: with parted lips their edges show just over the lower lip.
        turn, slide = self._jaw_pose(parted)
        edge = self._origin + np.array([0.0, OVERBITE - FREEWAY, -OVERJET]) * self._size
        edge_now = turn @ (edge - JAW_JOINT) + JAW_JOINT + slide
        lift = parted[14, 1] + LOWER_INCISORS_ABOVE_LIP * self._size - edge_now[1]
        self._vertices[model.of_jaw, 1] += np.clip(lift, -0.6, 0.3)
        self._colors(photo, landmarks)
        self._own = self._own_teeth(photo, landmarks, loop)
        if self._own is not None:
            self._align_with_own_teeth()
        self._paint()

    # ---- colours

    def _colors(self, photo: np.ndarray, landmarks: np.ndarray) -> None:
        face = polygon_mask(cv2.convexHull(landmarks[:468, :2].astype(np.float32))[:, 0], photo.shape[:2])
        skin = photo[face > 127].astype(np.float64)
        skin = skin if len(skin) else np.full((1, 3), 150.0)
        self._brightness = float(np.percentile(skin @ LUMINANCE, 90))
        self._skin = np.median(skin, axis=0)
        lips = polygon_mask(landmarks[list(OUTER_LIPS), :2], photo.shape[:2])
        lips &= ~polygon_mask(landmarks[list(INNER_LIPS), :2], photo.shape[:2])
        lip_pixels = photo[lips > 127].astype(np.float64)
        self._lip = np.median(lip_pixels, axis=0) if len(lip_pixels) else self._skin * [1.0, 0.7, 0.7]

    def _paint(self) -> None:
        """A colour per vertex: enamel, gum or tongue, lit from the front and darker further back."""
        model = self._model
        bright = self._brightness
        light_color = self._skin / np.array([190, 145, 120.0])
        light_color = 0.65 + 0.35 * light_color / light_color.mean()
        enamel = ENAMEL * light_color * min(bright, 228.0) if self._own is None else self._own["tooth"]
        # A black-and-white photo gets a black-and-white mouth.
        colorful = float(np.clip(np.ptp(self._skin) / (0.2 * self._skin.max() + 1), 0, 1))

        def toned(color: np.ndarray) -> np.ndarray:
            grey = (color @ LUMINANCE)[..., None]
            return grey + colorful * (color - grey)

        yellow = np.array([0.97, 0.93, 0.80])
        gum = self._lip * 0.55 + 0.45 * GUM_PINK * np.clip(bright / 210, 0.35, 1.1)
        tongue = self._lip * 0.5 + 0.5 * TONGUE_PINK * np.clip(bright / 200, 0.35, 1.1)
        neck = (1 - model.along)[:, None]
        tooth_color = enamel * (1 + (yellow - 1) * np.clip(model.yellowness[:, None] * 0.6 + 0.5 * neck**2, 0, 1))
        base = np.where(model.tissue[:, None] == TOOTH, tooth_color, gum)
        base = np.where(model.tissue[:, None] == TONGUE, tongue, base)

        light = np.where(model.tissue[:, None] == TONGUE, LIGHT_ON_TONGUE, LIGHT)
        facing = np.clip((model.normals * light).sum(axis=1) / np.linalg.norm(light, axis=1), 0, 1)
        depth = np.clip(1 + model.vertices[:, 2] / 4.6, 0.12, 1)  # light that reaches this far back
        reach = np.where(model.tissue == TOOTH, depth**1.2, 0.12 + 0.95 * depth)
        warmth = np.array([1.0, 1.18, 1.25])  # what is lit by the mouth itself turns reddish
        reach = np.where((model.tissue == TOOTH) & model.of_jaw, 0.93 * reach, reach)  # under the upper lip's shadow
        ambient = np.where(model.tissue == TOOTH, 0.6, 0.25)
        lit = (ambient + (1 - ambient) * facing)[:, None] * reach[:, None] ** warmth
        gloss = np.where(model.tissue == TOOTH, 14.0, 10.0) * np.clip(facing - 0.93, 0, 1) / 0.07
        gloss = gloss * depth**3 * np.clip(bright / 210, 0.3, 1)
        self._vertex_colors = np.clip(toned(base * lit) + gloss[:, None], 0, 255).astype(np.float32)
        self._cavity = toned(CAVITY * np.clip(bright / 200, 0.35, 1.1))
        self._wet_lip = toned(self._lip * np.array([0.62, 0.45, 0.45]))

    # ---- the photo's own teeth

    def _own_teeth(self, photo: np.ndarray, landmarks: np.ndarray, loop: np.ndarray) -> dict | None:
        gap = np.linalg.norm(landmarks[13, :2] - landmarks[14, :2]) / self._pixels_per_cm
        if gap < OWN_TEETH_FROM:
            return None
        origin, (height, width) = region_around(loop, 10, photo.shape)
        patch = photo[origin[1] : origin[1] + height, origin[0] : origin[0] + width].copy()
        inside = cv2.erode(polygon_mask(loop - origin, (height, width)), np.ones((3, 3), np.uint8)) > 127
        if inside.sum() < 30:
            return None
        pixels = patch[inside].astype(np.float64)
        luminance = pixels @ LUMINANCE
        tooth = np.median(pixels[luminance > np.percentile(luminance, 60)], axis=0)
        patch = cv2.inpaint(patch, (~inside).astype(np.uint8), 3, cv2.INPAINT_TELEA)
        enamel = _enamel(patch.astype(np.float32), tooth)
        like_teeth = tooth @ LUMINANCE > 0.72 * (self._skin @ LUMINANCE) and np.ptp(tooth) < 0.5 * tooth.max()
        if not like_teeth or enamel[inside].mean() < OWN_TEETH_SHARE:
            return None
        mask = inside.astype(np.uint8) * 255
        # Teeth go on under the upper lip, which may rise above where it is in the photo.
        raised = mask.copy()
        for _ in range(int(0.3 * self._pixels_per_cm)):
            raised[:-1] = np.maximum(raised[:-1], raised[1:])
        opacity = cv2.GaussianBlur(raised.astype(np.float32) * enamel, (0, 0), 1.5)
        return {"patch": patch, "opacity": opacity, "origin": origin, "tooth": tooth * 1.03}

    def _align_with_own_teeth(self) -> None:
        """Put the edges of the upper incisors a little behind those in the photo, so that none shows twice."""
        rows, columns = np.nonzero(self._own["opacity"] > 128)
        middle = np.abs(columns - np.median(columns)) < 0.5 * self._pixels_per_cm
        if not middle.any():
            return
        edge = np.array([np.median(columns), np.percentile(rows[middle], 97)]) + self._own["origin"]
        drawn = self._origin_pixels
        shift = (drawn[1] - edge[1]) / self._pixels_per_cm + 0.06
        self._vertices[~self._model.of_jaw, 1] += np.clip(shift, -0.35, 0.35)

    # ---- frame by frame

    def draw(
        self,
        frame: np.ndarray,
        loop: np.ndarray,
        shape: np.ndarray,
        blendshapes: np.ndarray,
        opening: float,
        scale: float,
        rotation: np.ndarray,
        translation: np.ndarray,
        landmarks: np.ndarray,
    ) -> None:
        """Draw the interior into the mouth opening of a warped frame.

        Args:
            frame: (H, W, 3) uint8, changed in place.
            loop: (M, 2) pixels of the mouth opening now.
            shape: (468, 3) canonical shape now, cm.
            blendshapes: (52,).
            opening: cm between the lips; 0 is shut.
            scale, rotation, translation: head pose now.
            landmarks: (478, 3) pixels in the photo.
        """
        origin, (height, width) = region_around(loop, 4, frame.shape)
        visible = float(smoothstep((opening - 0.015) / 0.1))
        if min(height, width) < 2:
            return
        region = frame[origin[1] : origin[1] + height, origin[0] : origin[0] + width]
        if visible < 1 and self._seam > 0:
            self._draw_seam(region, loop - origin, visible)
        if visible <= 0:
            return
        mask = polygon_mask(loop - origin, (height, width))
        alpha = cv2.GaussianBlur(mask, (3, 3), 0.8).astype(np.float32) * (visible / 255)

        def project(points: np.ndarray) -> np.ndarray:
            return (scale * points @ rotation.T + translation) * [1, -1, 1]

        interior = self._interior(project, shape, blendshapes, origin, height, width)
        if self._own is not None:
            own_color, own_alpha = self._own_interior(project, landmarks, origin, height, width)
            interior += (own_color - interior) * own_alpha[..., None]
        # Next to the lips the interior is in their shadow and takes on their wet inner colour.
        distance = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 3) / scale
        open_to_light = np.clip(distance / 0.16, 0, 1)[..., None]
        shaded = interior * (0.62 + 0.38 * open_to_light)
        rim = (1 - np.clip(distance / 0.09, 0, 1))[..., None] * 0.5
        shaded += (self._wet_lip - shaded) * rim
        blend(region, shaded, alpha)

    def _draw_seam(self, region: np.ndarray, loop: np.ndarray, visible: float) -> None:
        """The dark line between shut lips, which a photo of an open mouth does not hold."""
        line = np.zeros(region.shape[:2], np.uint8)
        points = np.round(loop * 16).astype(np.int32)
        thickness = max(1, round(0.07 * self._pixels_per_cm))
        cv2.polylines(line, [points], True, 255, thickness, cv2.LINE_AA, shift=4)
        line = cv2.GaussianBlur(line, (0, 0), 0.5 + 0.02 * self._pixels_per_cm)
        blend(
            region,
            np.broadcast_to(0.7 * self._wet_lip, region.shape),
            line.astype(np.float32) / 255 * (SEAM_OPACITY * self._seam * (1 - visible)),
        )

    def _interior(
        self, project, shape: np.ndarray, blendshapes: np.ndarray, origin: np.ndarray, height: int, width: int
    ) -> np.ndarray:
        """(h, w, 3) float32 picture of teeth, gums and tongue."""
        vertices = self._vertices.copy()
        jaw = self._model.of_jaw
        turn, slide = self._jaw_pose(shape)
        vertices[jaw] = (vertices[jaw] - JAW_JOINT) @ turn.T + JAW_JOINT + slide
        tongue = self._model.tissue == TONGUE
        raised = float(np.clip(blendshapes[BLENDSHAPE_INDEX["tongueOut"]], 0, 1))
        if raised > 0:
            tip = (1 - self._model.along[tongue]) ** 2
            vertices[tongue] += np.outer(tip, [0.0, 0.55 * raised, 1.1 * raised])

        posed = project(vertices)
        posed[:, :2] = (posed[:, :2] - origin + 0.5) * SUPERSAMPLING - 0.5
        picture = np.empty((height * SUPERSAMPLING, width * SUPERSAMPLING, 3), np.float32)
        fall = np.linspace(0, 1, len(picture), dtype=np.float32)[:, None, None]
        picture[:] = self._cavity * (0.6 + 0.8 * fall**2)
        depth = np.empty(picture.shape[:2], np.float32)
        rasterize_colors(posed.astype(np.float32), self._vertex_colors, self._model.triangles, depth, picture)
        picture = cv2.GaussianBlur(picture, (3, 3), 0.7)
        return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)

    def _jaw_pose(self, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rotation (3, 3) about the jaw joint and shift (3,) of the lower jaw, read from the chin of a face shape."""
        drop = (shape - self._rest)[list(CHIN)].mean(axis=0)
        chin = self._rest[list(CHIN)].mean(axis=0)
        angle = np.clip(-TEETH_PER_CHIN * drop[1] / (chin[2] - JAW_JOINT[2]), -0.05, 0.6)
        cos, sin = np.cos(angle), np.sin(angle)
        return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]), np.array([drop[0], 0.0, 0.0])

    def _own_interior(
        self, project, landmarks: np.ndarray, origin: np.ndarray, height: int, width: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(h, w, 3) the photo's own mouth interior, moved with the skull, and its opacity (h, w)."""
        own = self._own
        fixed = [*LIPS, 1, 2, 164]
        to_photo = affine_between(project(self._shape)[fixed, :2], landmarks[fixed, :2])
        ys, xs = np.mgrid[:height, :width].astype(np.float32)
        xs, ys = xs + origin[0], ys + origin[1]
        map_x = (to_photo[0, 0] * xs + to_photo[0, 1] * ys + to_photo[0, 2] - own["origin"][0]).astype(np.float32)
        map_y = (to_photo[1, 0] * xs + to_photo[1, 1] * ys + to_photo[1, 2] - own["origin"][1]).astype(np.float32)
        color = cv2.remap(own["patch"], map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        opacity = cv2.remap(own["opacity"], map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        return color.astype(np.float32), opacity.astype(np.float32) / 255


def _enamel(picture: np.ndarray, tooth: np.ndarray) -> np.ndarray:
    """(H, W) in 0 … 1: how much the pixels (H, W, 3) look like the given tooth colour; lips and gums are redder."""
    luminance = picture @ LUMINANCE.astype(np.float32) / (tooth @ LUMINANCE)
    redness = (picture[..., 0] - picture[..., 1]) / (picture[..., 0] + 1)
    excess = redness - (tooth[0] - tooth[1]) / (tooth[0] + 1)
    return (smoothstep((luminance - 0.5) / 0.25) * (1 - smoothstep((excess - 0.08) / 0.14))).astype(np.float32)
