"""Teeth, gums and tongue as parametric surfaces, in centimetres.

Dental arch: the beta function of Braun et al., "The form of the human dental arch", Angle Orthodontist 68 (1998),
    depth(x) = 3.0314 · D · (x/W + ½)^0.8 · (½ - x/W)^0.8,
with W and D chosen so that the curve passes through the mean first molars of Mina et al., Odontology 105 (2017):
57.9 mm apart and 31.6 mm behind the incisors above, 54.2 mm and 28.1 mm below.

Crowns: the average sizes of Wheeler's Dental Anatomy, Physiology and Occlusion (Ash & Nelson), table 1-1. Each crown is
a stack of superellipses from the neck to the edge: chisel-shaped incisors, pointed canines, cusped cheek teeth.

Axes: x to the right of the picture, y up, z towards the camera. The origin is the middle of the edge of the two upper
central incisors, on their outer face.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# Crown length, mesiodistal width, mesiodistal width at the neck, labiolingual depth (mm); from the midline to the
# first molar; what lies behind is never seen.
UPPER_CROWNS = np.array(
    [
        [10.5, 8.5, 7.0, 7.0],
        [9.0, 6.5, 5.0, 6.0],
        [10.0, 7.5, 5.5, 8.0],
        [8.5, 7.0, 5.0, 9.0],
        [8.5, 7.0, 5.0, 9.0],
        [7.5, 10.0, 8.0, 11.0],
    ]
)
LOWER_CROWNS = np.array(
    [
        [9.0, 5.0, 3.5, 6.0],
        [9.5, 5.5, 4.0, 6.5],
        [11.0, 7.0, 5.5, 7.5],
        [8.5, 7.0, 5.0, 7.5],
        [8.0, 7.0, 5.0, 8.0],
        [7.5, 11.0, 9.0, 10.5],
    ]
)
UPPER_ARCH = (6.4, 4.24)  # W, D in cm
LOWER_ARCH = (6.0, 3.79)
OVERBITE, OVERJET = 0.2, 0.28  # cm: upper incisors over and in front of the lower ones with the teeth together
FREEWAY = 0.4  # cm between the teeth of a relaxed jaw

# Edges of the front teeth against the plane of the bite (cm, towards the root), and how much yellower than an incisor.
EDGE_HEIGHTS = np.array([0.0, 0.06, -0.02, 0.03, 0.06, 0.12])
YELLOWNESS = np.array([0.0, 0.15, 0.6, 0.35, 0.4, 0.5])

TOOTH, GUM, TONGUE = 0, 1, 2
_SIDES = 16  # points around a crown
_LEVELS = np.array([0.0, 0.12, 0.28, 0.46, 0.64, 0.8, 0.91, 0.97, 1.0])  # neck → edge


@dataclass(frozen=True)
class MouthModel:
    """The inside of the mouth, teeth together in the upper jaw's frame but for the freeway space."""

    vertices: np.ndarray
    """(V, 3) cm."""
    normals: np.ndarray
    """(V, 3) unit, outwards."""
    triangles: np.ndarray
    """(F, 3) int32."""
    tissue: np.ndarray
    """(V,) TOOTH, GUM or TONGUE."""
    of_jaw: np.ndarray
    """(V,) bool: moves with the lower jaw."""
    along: np.ndarray
    """(V,) teeth: 0 at the neck … 1 at the edge; gums: 0 at the margin … 1; tongue: 0 at the tip … 1."""
    yellowness: np.ndarray
    """(V,) 0 … 1, teeth only."""


@lru_cache(maxsize=1)
def mouth_model() -> MouthModel:
    """The average adult mouth."""
    parts = []
    for crowns, arch, lower in ((UPPER_CROWNS, UPPER_ARCH, False), (LOWER_CROWNS, LOWER_ARCH, True)):
        centres = (np.cumsum(crowns[:, 1]) - crowns[:, 1] / 2) / 10
        place = (lambda p: p * [1, -1, 1] + [0, OVERBITE - FREEWAY, -OVERJET]) if lower else (lambda p: p)
        for side in (-1, 1):
            for i, crown in enumerate(crowns):
                surface = _crown(crown / 10, i, *_arch_frame(arch, side * centres[i]))
                along = np.repeat(np.r_[_LEVELS, 1.0], _SIDES)
                parts.append((place(surface), TOOTH, lower, along, YELLOWNESS[i], True))
        surface, along = _gums(crowns / 10, centres, arch)
        parts.append((place(surface), GUM, lower, along, 0.0, False))
    surface, along = _tongue()
    parts.append((surface, TONGUE, True, along, 0.0, False))

    vertices, normals, triangles, start = [], [], [], 0
    for surface, _, _, _, _, closed in parts:
        faces = _grid_triangles(*surface.shape[:2], closed)
        flat = surface.reshape(-1, 3)
        vertices.append(flat)
        normals.append(_normals(flat, faces, closed))
        triangles.append(faces + start)
        start += len(flat)
    sizes = [len(v) for v in vertices]
    return MouthModel(
        vertices=np.concatenate(vertices),
        normals=np.concatenate(normals),
        triangles=np.concatenate(triangles).astype(np.int32),
        tissue=np.repeat([part[1] for part in parts], sizes),
        of_jaw=np.repeat([part[2] for part in parts], sizes),
        along=np.concatenate([part[3] for part in parts]),
        yellowness=np.repeat([part[4] for part in parts], sizes),
    )


@lru_cache(maxsize=2)
def _arch_table(arch: tuple[float, float]) -> np.ndarray:
    """(3, N) arc length from the midline, x, z along the right half of an arch."""
    width, depth = arch
    # Equal steps in angle crowd the points where the curve bends.
    x = 0.5 * width * np.sin(np.linspace(0, np.pi / 2, 400))
    z = depth * (3.0314 * (x / width + 0.5) ** 0.8 * np.maximum(0.5 - x / width, 0) ** 0.8 - 1.0)
    length = np.r_[0, np.cumsum(np.hypot(np.diff(x), np.diff(z)))]
    return np.stack([length, x, z])


def _arch_frame(arch: tuple[float, float], s: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Point, tangent and outward normal (…, 3) of an arch at signed arc length ``s`` (cm) from the midline."""
    length, x, z = _arch_table(arch)
    s = np.clip(s, 0.2 - length[-1], length[-1] - 0.2)  # the last molar may stand beyond the end of the curve

    def point(at: np.ndarray) -> np.ndarray:
        return np.stack(
            [np.sign(at) * np.interp(np.abs(at), length, x), 0 * at, np.interp(np.abs(at), length, z)], axis=-1
        )

    tangent = point(s + 0.15) - point(s - 0.15)
    tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True)
    normal = np.stack([-tangent[..., 2], 0 * s, tangent[..., 0]], axis=-1)
    return point(s), tangent, normal


def _crown(size: np.ndarray, index: int, point: np.ndarray, tangent: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(levels + 1, sides, 3) surface of an upper crown; y points to the root. A lower one is its mirror image."""
    length, width, neck_width, depth = size
    front = index < 3
    v = _LEVELS[:, None]
    angle = np.linspace(0, 2 * np.pi, _SIDES, endpoint=False)[None] + np.pi / _SIDES
    half_width = 0.5 * (neck_width + (width - neck_width) * np.sin(np.minimum(v / 0.75, 1) * np.pi / 2))
    half_width = half_width * np.sqrt(1 - (0.5 * np.clip((v - 0.78) / 0.22, 0, 1)) ** 2) * 0.985
    if front:
        half_depth = 0.5 * depth * (1 - 0.86 * v**1.1)
    else:
        half_depth = 0.42 * depth * np.sqrt(1 - (0.6 * np.clip((v - 0.6) / 0.4, 0, 1)) ** 2) * (1 - 0.1 * v)
    bulge = 0.07 * np.sin(np.pi * (0.2 + 0.62 * v)) - 0.03  # outer face, convex from neck to edge
    roundness = 2 / 2.5
    across = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** roundness
    outwards = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** roundness
    offset = bulge - half_depth + half_depth * outwards
    if index == 2:
        cusp = 0.17 * np.abs(across) ** 1.2
    elif front:
        cusp = 0.05 * np.abs(across) ** 4
    else:
        cusp = 0.13 * np.abs(across) ** 1.3 - 0.05 * (outwards - 1) * (index > 4)
    height = EDGE_HEIGHTS[index] + length * (1 - v) + cusp * v**4
    rows = (
        point
        + (half_width * across)[..., None] * tangent
        + offset[..., None] * normal
        + height[..., None] * np.array([0.0, 1.0, 0.0])
    )
    middle = rows[-1].mean(axis=0)
    cap = middle + 0.45 * (rows[-1] - middle)
    return np.concatenate([rows, cap[None]])


def _gums(crowns: np.ndarray, centres: np.ndarray, arch: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns, 3) upper gums, scalloped around the necks; and how far a row is from the margin, 0 … 1."""
    end = centres[-1] + crowns[-1, 1] / 2
    s = np.linspace(-end, end, 150)
    nearest = np.abs(np.abs(s)[:, None] - centres[None]).argmin(axis=1)
    position = np.abs(np.abs(s) - centres[nearest]) / (crowns[nearest, 1] / 2)  # 0 middle of a tooth, 1 contact
    neck = EDGE_HEIGHTS[nearest] + crowns[nearest, 0]
    margin = neck - 0.06 - (0.42 * crowns[nearest, 0]) * np.clip(position, 0, 1) ** 2.2
    point, _, normal = _arch_frame(arch, s)
    along = np.array([0.0, 0.05, 0.2, 0.45, 1.0])
    rows = []
    for t in along:
        outwards = (0.045 - 0.16 * position**2) * (1 - t) + 0.05 * np.sin(np.pi * min(1.0, 1.6 * t)) - 0.25 * t**2
        outwards = outwards - (0.05 if t == 0 else 0.0)  # the margin turns inwards
        height = margin * (1 - t) + (neck.max() + 0.9) * t
        rows.append(point + outwards[:, None] * normal + height[:, None] * np.array([0.0, 1.0, 0.0]))
    return np.array(rows), np.repeat(along, len(s))


def _tongue() -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns, 3) back of the tongue from tip to root, lying in the lower arch; and how far back a row is."""
    along = np.linspace(0, 1, 16)
    across = np.linspace(-1, 1, 21)
    half_width = 2.05 * np.sqrt(np.clip(1 - (1 - np.minimum(along / 0.55, 1)) ** 2.2, 0, 1)) + 0.02
    z = -OVERJET - 0.75 - 4.6 * along
    crown = -0.5 + 0.55 * np.sin(np.pi * np.minimum(0.62 * along + 0.1, 1)) - 0.25 * (1 - along) ** 6
    x = half_width[:, None] * across[None]
    y = crown[:, None] - 0.75 * np.abs(across[None]) ** 3.2 - 0.07 * np.exp(-((across[None] / 0.12) ** 2))
    surface = np.stack([x, y, np.broadcast_to(z[:, None], x.shape)], axis=-1)
    return surface, np.repeat(along, len(across))


def _grid_triangles(rows: int, columns: int, closed: bool) -> np.ndarray:
    """Two triangles per cell of a grid whose columns may close to a ring."""
    i, j = np.mgrid[: rows - 1, : columns if closed else columns - 1]
    right = (j + 1) % columns
    a, b, c, d = i * columns + j, i * columns + right, (i + 1) * columns + j, (i + 1) * columns + right
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])


def _normals(vertices: np.ndarray, triangles: np.ndarray, closed: bool) -> np.ndarray:
    """Unit vertex normals that point outwards: away from the axis of a crown, else up or forwards."""
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    cross = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, triangles[:, k], cross)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    if closed:
        outside = ((vertices - vertices.mean(axis=0)) * normals).sum() > 0
        return normals if outside else -normals
    return np.where(normals[:, 1:2] + normals[:, 2:3] < 0, -normals, normals)
