"""The face mesh with real holes for mouth and eyes, and the mesh of everything around the face.

The face is MediaPipe's 468-point mesh, refined twice by Loop subdivision (C. Loop, "Smooth Subdivision Surfaces Based
on Triangles", 1987) with its boundary rules. The refinement is linear, so one sparse matrix serves the photo and
every frame. The outer mesh carries hair, ears and neck along with the head and leaves the frame border in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial import Delaunay

from synchrorama.face_topology import FACE_OVAL, INNER_LIPS, LEFT_EYE, MESH_LANDMARKS, RIGHT_EYE, SHARP_CORNERS

SUBDIVISIONS = 2


@dataclass(frozen=True)
class FaceMesh:
    """The refined face mesh; D is the number of its vertices, the first 468 are MediaPipe's."""

    refine: csr_matrix
    """(D, 468) float32: refined vertices = refine @ landmarks; rows sum to one."""
    triangles: np.ndarray
    """(F, 3) int32 skin triangles over the refined vertices."""
    hole_triangles: np.ndarray
    """(H, 3) int32 triangles across mouth and eyes; they colour what lies under the edge of a hole."""
    outline: np.ndarray
    """(B,) refined vertices around the face, in order."""
    mouth: np.ndarray
    """(M,) refined vertices around the mouth opening, in order."""
    eyes: tuple[np.ndarray, np.ndarray]
    """Refined vertices around the right and the left eye opening, in order."""


@dataclass(frozen=True)
class OuterMesh:
    """Everything around the face as a flat grid with proxy depth, joined to the outline of the face mesh."""

    grid: np.ndarray
    """(G, 2) float64 pixels of the grid in the photo."""
    triangles: np.ndarray
    """(F, 3) int32: below B an index into the outline, from B on into the grid."""
    outline_weights: np.ndarray
    """(G, B) float32: interpolates values on the outline to the grid; rows sum to one."""
    distance: np.ndarray
    """(G,) pixels to the outline."""


def build_face_mesh(triangles: np.ndarray) -> FaceMesh:
    """The refined face mesh of a coarse triangulation.

    Args:
        triangles: (898, 3) MediaPipe's canonical triangulation, in which mouth and eyes are filled.
    """
    return _build_face_mesh(np.ascontiguousarray(triangles, np.int32).tobytes())


@lru_cache(maxsize=2)
def _build_face_mesh(triangle_bytes: bytes) -> FaceMesh:
    coarse = np.frombuffer(triangle_bytes, np.int32).reshape(-1, 3)
    fills_hole = np.zeros(len(coarse), bool)
    for ring in (INNER_LIPS, RIGHT_EYE, LEFT_EYE):
        fills_hole |= np.isin(coarse, ring).all(axis=1)
    triangles, refine, vertices = coarse[~fills_hole], None, MESH_LANDMARKS
    for _ in range(SUBDIVISIONS):
        triangles, step = _loop_subdivision(triangles, vertices, SHARP_CORNERS)
        refine = step if refine is None else step @ refine
        vertices = step.shape[0]
    loops = _boundary_loops(triangles)

    def loop_through(vertex: int) -> np.ndarray:
        return next(loop for loop in loops if vertex in loop)

    return FaceMesh(
        refine=refine.astype(np.float32),
        triangles=triangles.astype(np.int32),
        hole_triangles=np.concatenate(
            [_strip_across(loop_through(a), a, b) for a, b in zip(SHARP_CORNERS[::2], SHARP_CORNERS[1::2], strict=True)]
        ).astype(np.int32),
        outline=loop_through(FACE_OVAL[0]),
        mouth=loop_through(INNER_LIPS[0]),
        eyes=(loop_through(RIGHT_EYE[0]), loop_through(LEFT_EYE[0])),
    )


def _loop_subdivision(triangles: np.ndarray, vertices: int, sharp: tuple[int, ...]) -> tuple[np.ndarray, csr_matrix]:
    """One step of Loop subdivision: four triangles for one, old vertices first.

    Boundary vertices follow the cubic B-spline rule of their boundary alone, ``sharp`` ones stay where they are.
    """
    sides = triangles[:, [[0, 1], [1, 2], [2, 0]]]  # (F, 3, 2)
    opposite = triangles[:, [2, 0, 1]].ravel()
    edges, edge_of_side = np.unique(np.sort(sides.reshape(-1, 2), axis=1), axis=0, return_inverse=True)
    edge_of_side = edge_of_side.reshape(-1)
    on_boundary = np.bincount(edge_of_side, minlength=len(edges)) == 1

    # New vertex in the middle of an edge: 3/8 of its ends and 1/8 of the corners opposite; a half each on a boundary.
    new = vertices + np.arange(len(edges))
    end_weight = np.where(on_boundary, 0.5, 0.375)
    inner_side = ~on_boundary[edge_of_side]
    rows = [new, new, new[edge_of_side[inner_side]]]
    columns = [edges[:, 0], edges[:, 1], opposite[inner_side]]
    values = [end_weight, end_weight, np.full(inner_side.sum(), 0.125)]

    # Old vertex: kept, moved along its boundary, or averaged with its k neighbours (Warren's weights).
    boundary_vertex = np.zeros(vertices, bool)
    boundary_vertex[edges[on_boundary].ravel()] = True
    fixed = np.zeros(vertices, bool)
    fixed[list(sharp)] = True
    usable = ~fixed[:, None] & np.stack([~boundary_vertex, boundary_vertex], axis=1)
    own_weight = np.ones(vertices)
    for kind, kind_edges in enumerate((edges, edges[on_boundary])):
        both = np.concatenate([kind_edges, kind_edges[:, ::-1]])
        valence = np.bincount(both[:, 0], minlength=vertices)
        if kind == 0:
            weight = np.where(valence > 3, 3 / (8 * np.maximum(valence, 1)), 3 / 16)
        else:
            weight = 0.25 / np.maximum(valence, 1)
        both = both[usable[both[:, 0], kind]]
        own_weight -= np.bincount(both[:, 0], weights=weight[both[:, 0]], minlength=vertices)
        rows.append(both[:, 0])
        columns.append(both[:, 1])
        values.append(weight[both[:, 0]])
    rows.append(np.arange(vertices))
    columns.append(np.arange(vertices))
    values.append(own_weight)

    size = (vertices + len(edges), vertices)
    matrix = csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=size)
    a, b, c = triangles.T
    ab, bc, ca = new[edge_of_side.reshape(-1, 3)].T
    fine = np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], axis=1).reshape(-1, 3)
    return fine, matrix


def _boundary_loops(triangles: np.ndarray) -> list[np.ndarray]:
    """Closed chains of edges that belong to one triangle only."""
    edges = {tuple(edge) for edge in triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2).tolist()}
    follow = {a: b for a, b in edges if (b, a) not in edges}
    loops = []
    while follow:
        first, second = next(iter(follow.items()))
        loop, vertex = [first], second
        del follow[first]
        while vertex != first:
            loop.append(vertex)
            vertex = follow.pop(vertex)
        loops.append(np.array(loop))
    return loops


def _strip_across(loop: np.ndarray, first: int, second: int) -> np.ndarray:
    """Triangles between the two chains of a loop that run from corner ``first`` to corner ``second``."""
    loop = np.roll(loop, -int(np.flatnonzero(loop == first)[0]))
    turn = int(np.flatnonzero(loop == second)[0])
    one, other = loop[: turn + 1], np.r_[loop[:1], loop[turn:][::-1]]
    # Chains of different length are paired by their relative position.
    steps = max(len(one), len(other))
    one = one[np.rint(np.linspace(0, len(one) - 1, steps)).astype(int)]
    other = other[np.rint(np.linspace(0, len(other) - 1, steps)).astype(int)]
    return np.concatenate(
        [np.stack([one[:-1], one[1:], other[:-1]], axis=1), np.stack([one[1:], other[1:], other[:-1]], axis=1)]
    )


def build_outer_mesh(outline: np.ndarray, width: int, height: int) -> OuterMesh:
    """Mesh the picture outside of the face.

    Args:
        outline: (B, 2) pixels of the face outline in order.
        width, height: of the picture.
    """
    polygon = outline.astype(np.float32).reshape(-1, 1, 2)
    step = max(10.0, np.ptp(outline[:, 0]) / 14)
    columns = np.linspace(0, width - 1, max(3, round(width / step)))
    rows = np.linspace(0, height - 1, max(3, round(height / step)))
    grid = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    inside = np.array([cv2.pointPolygonTest(polygon, (float(x), float(y)), True) for x, y in grid])
    frame = (grid[:, 0] % (width - 1) == 0) | (grid[:, 1] % (height - 1) == 0)
    kept = (inside < -0.55 * step) | (frame & (inside < -1))  # the frame itself stays covered
    grid, distance = grid[kept], -inside[kept]

    points = np.concatenate([outline, grid])
    triangles = Delaunay(points).simplices
    of_face = (triangles < len(outline)).all(axis=1)
    centres = points[triangles[of_face]].mean(axis=1)
    within = [cv2.pointPolygonTest(polygon, (float(x), float(y)), False) > 0 for x, y in centres]
    triangles = np.delete(triangles, np.flatnonzero(of_face)[within], axis=0)

    weights = 1 / (np.linalg.norm(grid[:, None] - outline[None], axis=2) + 2) ** 4
    weights /= weights.sum(axis=1, keepdims=True)
    return OuterMesh(grid, triangles.astype(np.int32), weights.astype(np.float32), distance)
