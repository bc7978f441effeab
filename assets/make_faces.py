"""Paints the three portraits of people who do not exist: ``python assets/make_faces.py`` writes them into this folder.

The shape of a face is the project's own motion space (neutral shape plus a few identity modes); everything else,
from the light on the skin to every hair, is painted by the code below. Lengths are centimetres of the canonical head
(x to the right of the picture, y up, z towards the viewer; the origin lies behind the nose) until they are drawn.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from scipy.interpolate import RBFInterpolator

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from brushes import (
    CM_WIDTH,
    HEIGHT,
    SCALE,
    SIZE,
    TOP,
    WIDTH,
    curve,
    draw,
    filled,
    linear,
    mix,
    pixels,
    smoothstep,
    soften,
    stroked,
)
from people import PEOPLE, Person

from synchrorama import face_topology as topology
from synchrorama.blendshapes import BLENDSHAPE_INDEX, MotionSpace

KEY_LIGHT = np.array([-0.45, 0.5, 0.8])
FILL_LIGHT = np.array([0.75, 0.1, 0.5])
RIGHT_BROW = ((46, 53, 52, 65, 55), (70, 63, 105, 66, 107))  # lower and upper edge, from the temple to the nose
LEFT_BROW = ((276, 283, 282, 295, 285), (300, 293, 334, 296, 336))


class Painting:
    """One portrait in the making: ``image`` is (H, W, 3) linear light; X, Y are the coordinates of its pixels."""

    def __init__(self, person: Person, space: MotionSpace) -> None:
        self.person = person
        self.random = np.random.default_rng(person.seed)
        self.face = space.neutral + sum(weight * space.identities[mode] for mode, weight in person.identity.items())
        for name, share in (("mouthSmile", 1.0), ("cheekSquint", 0.5), ("mouthDimple", 0.3)):
            for side in ("Left", "Right"):
                self.face = self.face + person.smile * share * space.basis[BLENDSHAPE_INDEX[name + side]]
        self.face[:, 0] *= 1 - person.jaw * smoothstep(-self.face[:, 1], -1, 9)
        for ring in (topology.RIGHT_EYE, topology.LEFT_EYE):  # larger eyes, as painters like them
            points = self.face[list(ring)]
            self.face[list(ring), :2] += (points - points.mean(axis=0))[:, :2] * (0.1, 0.42)
        columns, rows = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
        self.X = ((columns + 0.5) / SCALE - CM_WIDTH / 2).astype(np.float32)
        self.Y = (TOP - (rows + 0.5) / SCALE).astype(np.float32)
        self.image = np.zeros((*SIZE[::-1], 3), dtype=np.float32)

    def paint(self) -> np.ndarray:
        """The finished picture, uint8 RGB (HEIGHT, WIDTH, 3)."""
        self.paint_background()
        if self.person.hairstyle == "long":
            self.paint_long_hair(behind=True)
        self.paint_body()
        self.paint_head()
        for ring, iris_side in ((topology.RIGHT_EYE, -1), (topology.LEFT_EYE, 1)):
            self.paint_eye(self.face[list(ring)], iris_side)
        for lower, upper in (RIGHT_BROW, LEFT_BROW):
            self.paint_brow(self.face[list(lower)], self.face[list(upper)])
        if self.person.hairstyle == "long":
            self.paint_long_hair(behind=False)
        else:
            self.paint_curls()
        small = cv2.resize(self.image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        grain = self.random.normal(0, 0.006, small.shape[:2])[..., None]
        return (np.clip(np.clip(small, 0, 1) ** (1 / 2.2) + grain, 0, 1) * 255 + 0.5).astype(np.uint8)

    def noise(self, size_cm: float) -> np.ndarray:
        """Smooth noise (H, W) of unit variance with features of this size."""
        step = max(1, int(size_cm * SCALE))
        coarse = self.random.normal(size=(SIZE[1] // step + 3, SIZE[0] // step + 3)).astype(np.float32)
        return cv2.resize(coarse, SIZE, interpolation=cv2.INTER_CUBIC)

    def paint_background(self) -> None:
        middle, corner = (linear(color) for color in self.person.background)
        share = smoothstep(np.hypot(self.X + 3, (self.Y - 4) * 0.8), 3, 26)
        self.image = mix(np.broadcast_to(middle, self.image.shape), corner, share).astype(np.float32)
        self.image *= 1 + 0.04 * self.noise(5)[..., None]

    def shade(self, albedo: np.ndarray, z: np.ndarray, gloss: float, occlusion: float = 0.35) -> np.ndarray:
        """Light on a surface given as a height field z (H, W) in centimetres: (H, W, 3) linear."""
        down, across = np.gradient(z, 1 / SCALE)
        normal = np.stack([-across, down, np.ones_like(z)], axis=-1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        key = KEY_LIGHT / np.linalg.norm(KEY_LIGHT)
        facing = normal @ key
        # Light that wanders under the skin reaches beyond the terminator, red the furthest.
        wrap = np.array([0.45, 0.28, 0.22])
        diffuse = np.clip((facing[..., None] + wrap) / (1 + wrap), 0, 1) ** 1.3
        fill = np.clip(normal @ (FILL_LIGHT / np.linalg.norm(FILL_LIGHT)), 0, 1)[..., None]
        light = diffuse * (1.05, 1.0, 0.93) + fill * (0.16, 0.2, 0.26) + 0.16
        hollow = np.clip(soften(z, 0.9) - z, 0, 1.2) + 0.6 * np.clip(soften(z, 0.35) - z, 0, 0.6)
        light *= np.exp(-occlusion * 1.6 * hollow)[..., None]
        half = key + np.array([0, 0, 1])
        glance = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1)
        shine = gloss * (0.10 * glance**40 + 0.06 * glance**10)
        return (albedo * light + shine[..., None]).astype(np.float32)

    def paint_body(self) -> None:
        """Neck, shoulders and a round-necked jersey."""
        right = np.array([(5.2, -5), (5.3, -9.5), (6.6, -11.8), (11, -13.6), (16, -16), (19.5, -21), (21, -30)])
        outline = curve(np.concatenate([right, (right * (-1, 1))[::-1]]), 300)
        body = filled(outline, 0.05)
        radius = 5.6 + 9 * smoothstep(-self.Y, 9, 17)
        z = -4 + np.sqrt(np.clip(1 - (self.X / (radius + 2.2)) ** 2, 0.02, 1)) * 5.5 - 0.15 * (self.Y + 12)
        # Two tendons and the hollow between them.
        for side in (-1, 1):
            middle = side * (1.1 - 0.3 * (self.Y + 14.5))
            z += 0.22 * np.exp(-(((self.X - middle) / 0.8) ** 2)) * smoothstep(-self.Y, 8, 12)
        z = soften(z.astype(np.float32), 0.25)
        albedo = np.broadcast_to(linear(self.person.skin) * (0.94, 0.88, 0.86), self.image.shape)
        skin = self.shade(albedo, z, gloss=0.4)
        chin = self.face[152, 1]
        shadow = np.exp(-(np.clip(chin + 0.2 - self.Y - 0.3 * self.X, 0, 9) ** 1.5) / 7) * smoothstep(self.X, -6, 2)
        skin *= (1 - shadow[..., None] * (0.62, 0.72, 0.76)).astype(np.float32)
        self.image = mix(self.image, skin, body)
        neckline = curve(np.array([(-21, -31), (-21, -11), (-7.2, -11.2), (-4, -14.7), (0, -16), (4, -14.7),
                                   (7.2, -11.2), (21, -11), (21, -31)]), 300)  # fmt: skip
        cloth = filled(neckline, 0.04) * body
        self.image *= 1 - 0.35 * (soften(cloth, 0.5) * (1 - cloth))[..., None]
        knit = 0.02 * np.sin(self.X * 19 + 0.4 * np.sin(self.Y * 9)) + 0.25 * soften(self.noise(1.6), 0.5)
        knit += 0.25 * np.exp(-(((soften(cloth, 0.45) - 0.72) / 0.12) ** 2))  # the collar stands out
        fabric = self.shade(np.broadcast_to(linear(self.person.cloth), self.image.shape), z + knit, gloss=0.1)
        self.image = mix(self.image, fabric, cloth)

    def head_surface(self) -> np.ndarray:
        """Height field (H, W) of the head: the face mesh, continued over the forehead by an ellipsoid."""
        angle, radius = np.meshgrid(np.linspace(0, np.pi, 19), np.array([0.74, 0.84, 0.92, 0.97]))
        x, y = 7.95 * radius * np.cos(angle), 2 + 11.2 * radius * np.sin(angle)
        z = -4.6 + 10.8 * np.sqrt(1 - radius**2)
        skull = np.stack([x, y, z], axis=-1).reshape(-1, 3)
        skull = skull[skull[:, 1] > 9.4]
        points = np.concatenate([self.face, skull])
        surface = RBFInterpolator(points[:, :2], points[:, 2], smoothing=0.08, kernel="thin_plate_spline")
        step = SCALE * 0.2
        rows, columns = int(SIZE[1] / step), int(SIZE[0] / step)
        y, x = np.meshgrid(np.linspace(TOP, TOP - SIZE[1] / SCALE, rows), np.linspace(-18, 18, columns), indexing="ij")
        inside = (np.abs(x) < 9) & (y > -11) & (y < 14.5)
        coarse = np.full(x.shape, -6, dtype=np.float32)
        coarse[inside] = surface(np.stack([x[inside], y[inside]], axis=1))
        return soften(cv2.resize(coarse, SIZE, interpolation=cv2.INTER_CUBIC), 0.12)

    def paint_head(self) -> None:
        person, face = self.person, self.face
        oval = curve(face[list(topology.FACE_OVAL)], 400, closed=True)
        skull = np.array([(7.75 * np.cos(a), 2.2 + 10.9 * np.sin(a)) for a in np.linspace(0, np.pi, 60)])
        head = np.maximum(filled(oval, 0.05), filled(skull, 0.05))
        z = self.head_surface()
        self.paint_ears(head)
        red = np.zeros(SIZE[::-1], dtype=np.float32)
        for point, size, strength in ((50, 2.0, 0.5), (280, 2.0, 0.5), (4, 1.1, 0.4), (152, 1.4, 0.2), (9, 2.2, 0.12)):
            x, y = face[point, :2]
            red += strength * np.exp(-((self.X - x) ** 2 + ((self.Y - y) * 1.25) ** 2) / size**2)
        albedo = np.broadcast_to(linear(person.skin), self.image.shape)
        albedo = mix(albedo, linear(person.blush), np.clip(red * 0.55, 0, 1))
        albedo *= (1 + 0.03 * self.noise(1.2) + 0.02 * self.noise(0.25) + 0.02 * self.noise(0.07))[..., None]
        albedo = self.freckle(albedo)
        eye_shadow = np.zeros(SIZE[::-1], dtype=np.float32)
        for ring, side in ((topology.RIGHT_EYE, -1), (topology.LEFT_EYE, 1)):
            x, y = face[list(ring), :2].mean(axis=0)
            eye_shadow += np.exp(-(((self.X - x + 0.2 * side) / 2.1) ** 2) - ((self.Y - y - 0.1) / 1.0) ** 2)
        albedo *= 1 - eye_shadow[..., None] * (0.2, 0.28, 0.26)
        lips = filled(curve(face[list(topology.OUTER_LIPS)], 300, closed=True), 0.07)
        lip_texture = 1 + 0.06 * np.sin(self.X * 17 + 2 * self.noise(0.8)) * soften(self.noise(0.3), 0.1)
        albedo = mix(albedo, linear(person.lips) * lip_texture[..., None], lips * 0.88)
        pores = 0.0016 * self.noise(0.06) + 0.003 * self.noise(0.14)
        skin = self.shade(albedo, z + pores * (1 - lips), gloss=1.0)
        skin += (lips * np.exp(-(((self.Y - face[16, 1] + 0.05) / 0.18) ** 2) - (self.X / 1.3) ** 2))[..., None] * 0.05
        upper = curve(face[[61, 78, 80, 13, 310, 308, 291]], 120)
        for width, blur, strength in ((0.16, 0.12, 0.75), (0.05, 0.03, 0.9)):
            skin *= 1 - np.clip(stroked(upper, width, blur) * 1.3, 0, 1)[..., None] * strength * (0.8, 1, 1)
        for side, (a, b) in ((-1, (98, 75)), (1, (327, 305))):
            x, y = (face[a, :2] * 0.35 + face[b, :2] * 0.65) - (side * -0.02, 0.2)
            turned = (self.Y - y) - side * -0.35 * (self.X - x)
            nostril = np.exp(-((((self.X - x) / 0.42) ** 2 + (turned / 0.17) ** 2) ** 1.5))
            skin *= 1 - nostril[..., None] * (0.72, 0.84, 0.86)
        under = np.exp(-(((self.Y - face[17, 1] + 0.55) / 0.4) ** 2) - (self.X / 2.0) ** 2)
        skin *= 1 - 0.22 * under[..., None]
        self.image = mix(self.image, skin, head)

    def freckle(self, albedo: np.ndarray) -> np.ndarray:
        spots = np.zeros(SIZE[::-1], dtype=np.uint8)
        for _ in range(self.person.freckles):
            x, y = self.random.normal((0, 0.6), (3.3, 1.5))
            center = np.round(pixels(np.array([x, y])) * 16).astype(int)
            radius = int(16 * SCALE * self.random.uniform(0.03, 0.07))
            cv2.circle(spots, center.tolist(), radius, 255, -1, cv2.LINE_AA, 4)
        return albedo * (1 - soften(spots.astype(np.float32) / 255, 0.04)[..., None] * (0.22, 0.36, 0.42))

    def paint_ears(self, head: np.ndarray) -> None:
        for side in (-1, 1):
            x, y = (self.X * side - 7.9), self.Y - 0.4
            tilted = x - 0.16 * y
            distance = (tilted / 1.15) ** 2 + (y / (2.9 + 0.35 * np.sign(y))) ** 2
            ear = smoothstep(1 - distance, 0, 0.08) * (1 - head)
            z = np.sqrt(np.clip(1.05 - distance, 0, 1)) * 0.9 - 0.7 * np.exp(-(((distance - 0.35) / 0.2) ** 2))
            albedo = mix(np.broadcast_to(linear(self.person.skin), self.image.shape), linear(self.person.blush),
                         np.full(SIZE[::-1], 0.3, dtype=np.float32))  # fmt: skip
            skin = self.shade(albedo, soften(z.astype(np.float32), 0.12), gloss=0.5)
            self.image = mix(self.image, skin * 0.8, ear)

    def paint_eye(self, ring: np.ndarray, side: int) -> None:
        """Eyeball, iris with catchlight, lids and lashes; ``ring`` starts at the outer corner, upper lid first."""
        upper, lower = ring[:9], ring[[8, 9, 10, 11, 12, 13, 14, 15, 0]]
        opening = curve(ring, 200, closed=True)
        mask = filled(opening, 0.03)
        center = np.array([ring[:, 0].mean() + 0.04 * side, (ring[4, 1] + ring[12, 1]) / 2 + 0.06])
        x, y = self.X - center[0], self.Y - center[1]
        r = np.hypot(x, y) / 0.6
        ball = np.clip(1 - (x / 1.75) ** 2 - (y / 1.6) ** 2, 0, 1) ** 0.5
        white = np.array(linear((232, 224, 218))) * (0.25 + 0.65 * ball)[..., None]
        white *= 1 - 0.12 * np.clip(np.abs(x) - 0.8, 0, 1)[..., None] * (0, 1, 1)
        angle = np.arctan2(y, x)
        fibres = 0.5 + 0.5 * np.sin(angle * 37 + 3 * np.sin(angle * 11)) * np.sin(angle * 23 + 5)
        glow = np.clip(0.55 + 0.75 * (-y * 0.9 + x * 0.35) / 0.6, 0.25, 1.5)  # light gathers opposite the lamp
        color = linear(self.person.iris) * (0.55 + 0.75 * fibres * smoothstep(r, 0.3, 0.6))[..., None]
        color *= glow[..., None] * (1 - 0.8 * smoothstep(r, 0.78, 1.0))[..., None]
        color *= smoothstep(r, 0.36, 0.45)[..., None]
        eye = mix(white, color, 1 - smoothstep(r, 0.96, 1.06))
        lid = np.interp(self.X[0], *curve(upper, 80)[np.argsort(curve(upper, 80)[:, 0])].T)
        eye *= (0.35 + 0.65 * smoothstep(lid - self.Y, 0.0, 0.5))[..., None]  # shadow of the upper lid
        for dx, dy, size, strength in ((-0.2, 0.2, 0.13, 1.0), (0.22, -0.24, 0.09, 0.25)):
            eye += strength * (1 - smoothstep(np.hypot(x - dx, y - dy), size * 0.6, size))[..., None]
        self.image = mix(self.image, eye.astype(np.float32), mask)
        tear = np.exp(-((self.X - ring[8, 0]) ** 2 + (self.Y - ring[8, 1] - 0.02) ** 2) / 0.16**2) * 0.7
        self.image = mix(self.image, np.broadcast_to(linear(self.person.blush), self.image.shape), tear * mask)
        dark = linear((34, 20, 18)) if self.person.lashes < 0.6 else linear((44, 24, 20))
        lift = 0.42 + 0.14 * np.sin(np.linspace(0, np.pi, 7))
        crease = curve(upper[1:8, :2] + np.stack([0 * lift, lift], axis=1), 80)
        self.image *= 1 - 0.45 * stroked(crease, 0.09, 0.07)[..., None] * (0.8, 1, 1)
        for path, width, blur, strength in ((upper, 0.13, 0.035, 0.95), (lower, 0.05, 0.05, 0.4)):
            line = np.clip(stroked(curve(path, 80), width, blur), 0, 1) * strength
            self.image = mix(self.image, np.broadcast_to(dark, self.image.shape), line)
        layer = np.zeros(SIZE[::-1], dtype=np.uint8)
        for path, up, count in ((curve(upper, 100), 1, 46), (curve(lower, 100), -1, 22)):
            for i in self.random.integers(5, 95, int(count * min(1, self.person.lashes + 0.3))):
                out = 1 - 2 * abs(i / 100 - 0.5) * (0.4 if up == 1 else 0.2)
                lean = np.sign(path[i, 0] - center[0]) * abs(path[i, 0] - center[0]) * 0.28
                length = (0.42 if up == 1 else 0.17) * out * self.person.lashes * self.random.uniform(0.7, 1.1)
                tip = path[i] + (lean * length * 2.4, up * length)
                bend = (path[i] + tip) / 2 + (lean * length * 0.9, -up * 0.04)
                draw(layer, curve(np.array([path[i], bend, tip]), 8), 255, 0.022)
        self.image = mix(self.image, np.broadcast_to(dark, self.image.shape), layer.astype(np.float32) / 255 * 0.85)

    def paint_brow(self, lower: np.ndarray, upper: np.ndarray) -> None:
        low, high = curve(lower, 100), curve(upper, 100)
        middle = (low + high) / 2
        dark, light = (np.array(color) for color in self.person.hair)
        layer, opacity = self.layer()
        toward_nose = np.sign(low[-1, 0] - low[0, 0])
        for _ in range(520):
            i = int(min(99, self.random.uniform(2, 104)))
            breadth = 0.5 + 0.4 * i / 100 - 3 * max(0.0, i / 100 - 0.85)  # narrow at both ends
            half = (high[i] - low[i]) / 2 * self.person.brow_width * breadth
            start = middle[i] + half * self.random.normal(-0.1, 0.42) + (self.random.normal(0, 0.12), 0)
            # Hairs stand up near the nose and lie towards the temple further out.
            lie = np.array([-toward_nose * (0.25 + 0.75 * (1 - i / 100)), 0.75 * (i / 100) + 0.12])
            tip = start + lie * self.random.uniform(0.2, 0.5)
            color = dark + (light - dark) * self.random.uniform(0, 0.35)
            path = np.array([start, tip])
            draw(layer, path, tuple(float(c) for c in color), 0.025)
            draw(opacity, path, 255, 0.025)
        under = filled(np.concatenate([low, high[::-1]]), 0.18) * 0.35
        self.image = mix(self.image, np.broadcast_to(linear(dark), self.image.shape), under)
        self.lay_over(layer, opacity, 0.8)

    def layer(self) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((*SIZE[::-1], 3), dtype=np.uint8), np.zeros(SIZE[::-1], dtype=np.uint8)

    def lay_over(self, layer: np.ndarray, opacity: np.ndarray, strength: float = 1.0) -> None:
        """Put strokes over the image; colours are widened a little so that their soft edges do not darken."""
        share = opacity.astype(np.float32) / 255
        color = layer.astype(np.float32) / np.clip(share, 1 / 255, 1)[..., None]
        self.image = mix(self.image, linear(np.clip(color, 0, 255)).astype(np.float32), share * strength)

    def paint_long_hair(self, behind: bool) -> None:
        """Wavy hair with a side parting: strands from the parting over the skull down to the shoulders."""
        dark, light = (np.array(color, dtype=np.float64) for color in self.person.hair)
        strands = []
        for _ in range(2600 if behind else 3800):
            side = self.random.choice((-1, 1))
            out = self.random.uniform(0.25, 1) if behind else self.random.uniform(0, 1) ** 1.2
            strands.append((self.random.uniform(0, 1) + (0 if behind else 0.6 * out), side, out))
        layer, opacity = self.layer()
        if not behind:  # the hair throws a shadow on the forehead and the cheeks
            mask = np.zeros(SIZE[::-1], dtype=np.uint8)
            for side in (-1, 1):
                for out in np.linspace(0, 1, 40):
                    draw(mask, self.strand(side, out, behind, 0)[:54], 255, 0.5)
            cast = soften(mask.astype(np.float32) / 255, 0.45)
            self.image *= 1 - 0.55 * cast[..., None] * (0.8, 1, 1)
            base = soften(mask.astype(np.float32) / 255, 0.1)
            self.image = mix(self.image, np.broadcast_to(linear(dark * 0.8), self.image.shape).astype(np.float32), base)
        for _, side, out in sorted(strands):
            path = self.strand(side, out, behind, 0.22)
            path = path[: int(self.random.triangular(44, 64, 64))]
            tone = self.random.normal(0.3, 0.16) - (0.25 if behind else 0)
            # The sheen runs across the strands where they bend over the skull.
            for a in range(0, len(path) - 2, 2):
                part = path[a : a + 3]
                place = a / 64
                crown = 0.26 + 0.05 * out - 0.15 * (tone - 0.3)
                sheen = np.exp(-(((place - crown) / 0.1) ** 2)) + 0.5 * np.exp(-(((place - 0.7) / 0.1) ** 2))
                sheen *= (1.0 if side < 0 else 0.55) * (0.3 if behind else 1)
                share = np.clip(tone + 0.75 * sheen * (0.7 + 0.3 * tone), 0, 1.1)
                color = np.clip(dark + (light - dark) * share, 0, 255)
                width = 0.11 if behind else 0.07
                draw(layer, part, tuple(float(c) for c in color), width)
                draw(opacity, part, 255, width)
        self.lay_over(layer, opacity)

    def strand(self, side: int, out: float, behind: bool, jitter: float) -> np.ndarray:
        """Path (N, 2) of a strand; ``out`` 0 runs along the hairline, 1 along the outline of the hair."""
        part = 1.3
        start = np.array([part, 7.9 + 5.9 * out])
        if behind:
            knots = [(part, 13.2), (side * 7, 12.5), (side * (9.6 + out), 3), (side * (7.5 + 4 * out), -8),
                     (side * (4.5 + 6.5 * out), -17 - out)]  # fmt: skip
        else:
            over = start + np.array([side * (2.5 + 1.2 * out) - (0.9 if side < 0 else 0.2), 0.1 - 0.25 * out])
            knots = [start, over, (side * (6.2 + 1.9 * out) + 0.1, 5.4 + 4.2 * out), (side * (7.0 + 3.0 * out), -1),
                     (side * (6.9 + 3.6 * out), -9), (side * (5.2 + 5.2 * out), -19.5 + 1.5 * out)]  # fmt: skip
        path = curve(np.array(knots) + self.random.normal(0, jitter, (len(knots), 2)) * (1, 0.6), 64)
        fall = smoothstep(-path[:, 1], -6, 8)
        phase = side + 1.7 * out + self.random.normal(0, jitter)
        path[:, 0] += side * 0.42 * self.person.waves * fall * np.sin(path[:, 1] * 1.05 + phase)
        return path

    def paint_curls(self) -> None:
        """Short, dense curls: thousands of small arcs, brighter towards the light."""
        dark, light = (np.array(color, dtype=np.float64) for color in self.person.hair)
        layer, opacity = self.layer()
        x = self.random.uniform(-9.4, 9.4, 26000)
        y = self.random.uniform(-1.5, 14.6, 26000)
        hairline = 8.0 - 0.02 * x**2 - 3.2 * smoothstep(np.abs(x), 5.2, 7.4) + 0.25 * np.sin(x * 3)
        outer = (x / 8.75) ** 2 + ((y - 4.0) / 10.2) ** 2 + self.random.normal(0, 0.025, x.shape)
        sideburn = (np.abs(x) > 7.0 + 0.05 * (4 - y)) & (y > 0.6) & (np.abs(x) < 8.15)
        grows = (outer < 1) & ((y > hairline + self.random.normal(0, 0.16, x.shape)) | sideburn)
        x, y = x[grows], y[grows]
        mask = np.zeros(SIZE[::-1], dtype=np.uint8)
        for point in pixels(np.stack([x, y], axis=1)):
            cv2.circle(mask, np.round(point).astype(int).tolist(), int(0.3 * SCALE), 255, -1)
        shadow = soften(mask.astype(np.float32) / 255, 0.4)
        self.image *= 1 - 0.4 * shadow[..., None]
        base = soften(mask.astype(np.float32) / 255, 0.12)
        base = smoothstep(base, 0.55, 1.0)
        self.image = mix(self.image, np.broadcast_to(linear(dark), self.image.shape).astype(np.float32), base)
        for i in self.random.permutation(len(x)):
            radius = self.random.uniform(0.12, 0.26)
            turn = self.random.uniform(0, 2 * np.pi) + np.linspace(0, self.random.uniform(2.5, 5.0), 9)
            path = np.stack([x[i] + radius * np.cos(turn), y[i] + radius * np.sin(turn)], axis=1)
            slope = -0.5 * x[i] / 9 + 0.6 * (y[i] - 4) / 10
            tone = np.clip(self.random.normal(0.18, 0.16) + 0.45 * slope, 0, 1)
            color = dark + (light - dark) * tone
            draw(layer, path, tuple(float(c) for c in color), 0.05)
            draw(opacity, path, 255, 0.05)
        self.lay_over(layer, opacity)


def main() -> None:
    folder = Path(__file__).resolve().parent
    space = MotionSpace.from_pretrained(folder.parent / "checkpoints" / "mini" / "motion_space")
    for person in PEOPLE:
        picture = Painting(person, space).paint()
        cv2.imwrite(str(folder / person.file), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 93])


if __name__ == "__main__":
    main()
