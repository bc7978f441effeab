"""Fit the 52-shape basis of the motion space (``python -m synchrorama prepare basis``).

Two sources, each good at what the other lacks: the blendshapes of the ICT face model (Li et al. 2020, "Learning
Formation of Physically-Based Face Attributes"; MIT licence) have the right directions and gains for every shape, and
tracked clips tell how MediaPipe's own landmarks move. The transferred ICT shapes are the prior of a ridge regression
of landmarks on blendshape scores: (G + λI) B = H + λ B_ict, everything centred per clip so that identity drops out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from synchrorama.blendshapes import BLENDSHAPE_INDEX, BLENDSHAPE_NAMES, MotionSpace, lip_gap
from synchrorama.face_topology import LEFT_EYE, LIP_COLUMNS, MESH_LANDMARKS, RIGHT_EYE

RIDGE = 10.0  # chosen by cross-validation over clips
FRAMES_PER_CLIP = 300.0  # a long clip counts as much as this many frames

# Points that move with the jaw or the cheeks, left out of MediaPipe's head-pose weights.
_MOVING_POSE_POINTS = (132, 136, 361, 365, 147, 376, 205, 425)

# The 68 Multi-PIE points, on the MediaPipe mesh and on the ICT mesh.
_MEDIAPIPE_68 = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389, 71, 63, 105, 66, 107, 336,
    296, 334, 293, 301, 168, 197, 5, 4, 75, 97, 2, 326, 305, 33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373,
    380, 61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
_ICT_68 = (
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443, 268, 493,
    1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360, 1507, 1542,
    1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732, 5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461,
    5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
)  # fmt: skip
_REGISTERED = (8, *range(17, 68))  # the jaw line slides between the two models; only its chin is used
_ICT_FACE_POLYGONS = 9230  # the polygons of the skin come first
_ICT_FACE_VERTICES = 9409


@dataclass
class FaceModel:
    """The part of ICT-FaceKit that is used, in its own centimetres."""

    neutral: np.ndarray  # (V, 3)
    triangles: np.ndarray  # (F, 3) of the skin
    expressions: dict[str, np.ndarray]  # name → (V, 3)
    identities: np.ndarray  # (40, V, 3)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FaceModel:
        """Read ict_facekit.npz: neutral, faces (quads, -1 padded), expression_names, expressions, identities."""
        with np.load(path, allow_pickle=False) as file:
            polygons = file["faces"][:_ICT_FACE_POLYGONS]
            expressions = dict(
                zip(
                    (str(name) for name in file["expression_names"]),
                    file["expressions"].astype(np.float64),
                    strict=True,
                )
            )
            return cls(
                file["neutral"].astype(np.float64),
                _triangulate(polygons),
                expressions,
                file["identities"].astype(np.float64),
            )


@dataclass
class Clip:
    """One tracked clip: landmarks of N frames and a predictor's 52 blendshape scores for them."""

    landmarks: np.ndarray  # (N, 478, 3) pixels
    scores: np.ndarray  # (N, 52) in our order


def fit_motion_space(
    canonical: tuple[np.ndarray, np.ndarray], pose_weights: np.ndarray, model: FaceModel, clips: list[Clip]
) -> MotionSpace:
    """Transfer the face model, refine it on the clips, shut the lips of the neutral face.

    Args:
        canonical: vertices (468, 3) and triangles (898, 3) of MediaPipe's canonical face.
        pose_weights: (468,) MediaPipe's Procrustes weights.
    """
    vertices, triangles = canonical
    weights = pose_weights.copy()
    weights[list(_MOVING_POSE_POINTS)] = 0
    transfer = _Transfer(vertices, triangles, model)
    prior = np.stack([transfer.expression(name) for name in BLENDSHAPE_NAMES])
    identities = np.stack([transfer(shape) for shape in model.identities])
    space = MotionSpace(vertices, prior, identities, triangles, weights)

    gram, response = np.zeros((52, 52)), np.zeros((52, MESH_LANDMARKS * 3))
    for clip in clips:
        shapes = space.canonicalize(clip.landmarks).shapes[:, :MESH_LANDMARKS].reshape(len(clip.scores), -1)
        scores = clip.scores - clip.scores.mean(0)
        weight = FRAMES_PER_CLIP / len(scores)
        gram += weight * scores.T @ scores
        response += weight * scores.T @ (shapes - shapes.mean(0))
    basis = np.linalg.solve(gram + RIDGE * np.eye(52), response + RIDGE * prior.reshape(52, -1))
    basis = basis.reshape(prior.shape)
    basis[BLENDSHAPE_INDEX["tongueOut"]] = 0  # landmarks do not see the tongue
    # People raise their brows while they speak, so the regression ties brows and lids to the lips; they must not be.
    upper = [i for i, name in enumerate(BLENDSHAPE_NAMES) if name.startswith(("brow", "eye"))]
    basis[upper] *= _above_nose_base(vertices)[:, None]
    # MediaPipe's canonical face stands open: close it along mouthClose first, which moves the whole chin.
    close = basis[BLENDSHAPE_INDEX["mouthClose"]]
    neutral = _shut_lips(vertices - close * (lip_gap(vertices) / lip_gap(close)))
    # A person differs from another in the lips too, but not in having them shut: openness is the coefficients' alone.
    identities = np.stack([_shut_lips(shape) for shape in identities])
    return MotionSpace(neutral, basis, identities, triangles, weights)


def _above_nose_base(vertices: np.ndarray) -> np.ndarray:
    """(468,) 1 from the middle of the nose upwards, falling smoothly to 0 at its base."""
    base, middle = vertices[2, 1], vertices[197, 1]
    share = np.clip((vertices[:, 1] - base) / (middle - base), 0, 1)
    return share * share * (3 - 2 * share)


def _shut_lips(shape: np.ndarray) -> np.ndarray:
    """Move the lips of a shape (468, 3), or of a displacement, together until no column is open."""
    shape = shape.copy()
    for upper, lower in LIP_COLUMNS:
        gap = shape[upper[0], 1] - shape[lower[0], 1]
        for row, share in enumerate((1.0, 0.8, 0.5, 0.25)):
            shape[upper[row], 1] -= 0.35 * share * gap
            shape[lower[row], 1] += 0.65 * share * gap
    return shape


class _Transfer:
    """Displacements of the ICT mesh → displacements of the 468 landmarks, through a registration of the two.

    A similarity on matching landmarks, a thin-plate spline, then the closest point of the skin with a similar normal.
    Lips may only land on the lip of their own side, told apart by how far jawOpen moves it; lid points only on the
    rim of the eye, because skin above a lid hardly moves in a blink.
    """

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray, model: FaceModel) -> None:
        self.model = model
        target = vertices[list(_MEDIAPIPE_68)][list(_REGISTERED)]
        source = model.neutral[list(_ICT_68)][list(_REGISTERED)]
        scale, rotation, translation = _similarity(source, target)
        self.linear = scale * rotation
        aligned = model.neutral @ self.linear.T + translation
        anchors = aligned[list(_ICT_68)][list(_REGISTERED)]
        warped = RBFInterpolator(target, anchors, kernel="thin_plate_spline", smoothing=0.01)(vertices)
        self.corners, self.barycentric = self._closest(warped, triangles, aligned)

    def __call__(self, displacement: np.ndarray) -> np.ndarray:
        """(V, 3) displacement on the ICT mesh → (468, 3)."""
        moved = displacement @ self.linear.T
        return np.einsum("nk,nki->ni", self.barycentric, moved[self.corners])

    def expression(self, name: str) -> np.ndarray:
        """(468, 3) the shape with an ARKit name; zeros where the model has none."""
        own = self.model.expressions
        sided = name.replace("Left", "_L").replace("Right", "_R")
        if name in own:
            return self(own[name])
        if sided in own:
            return self(own[sided])
        if f"{name}_L" in own:
            return self(own[f"{name}_L"]) + self(own[f"{name}_R"])
        return np.zeros((MESH_LANDMARKS, 3))

    def _closest(self, points: np.ndarray, triangles: np.ndarray, aligned: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        skin = self.model.triangles
        centres = aligned[skin].mean(1)
        normals = _normals(aligned[skin])
        if normals[(np.abs(centres[:, 0]) < 2) & (centres[:, 2] > 4), 2].mean() < 0:
            normals = -normals
        point_normals = _vertex_normals(points, triangles)
        drop = -(self.model.expressions["jawOpen"] @ self.linear.T)[:, 1]
        deepest = drop[:_ICT_FACE_VERTICES].max()
        triangle_drop = drop[skin].mean(1)
        upper = {i for column, _ in LIP_COLUMNS for i in column}
        lower = {i for _, column in LIP_COLUMNS for i in column}
        rims = _eye_rims(skin, aligned)
        tree = cKDTree(centres)

        corners, barycentric = np.zeros((len(points), 3), int), np.zeros((len(points), 3))
        for i, point in enumerate(points):
            if i in RIGHT_EYE or i in LEFT_EYE:
                rim = min(rims, key=lambda rim: abs(aligned[rim, 0].mean() - point[0]))
                corners[i] = rim[np.linalg.norm(aligned[rim] - point, axis=1).argmin()]
                barycentric[i, 0] = 1
                continue
            near = np.asarray(tree.query_ball_point(point, 2.0), int)
            if not len(near):
                near = tree.query(point, k=30)[1]
            if i in lower:
                near = near[triangle_drop[near] > 0.45 * deepest]
            if i in upper:
                near = near[triangle_drop[near] < 0.25 * deepest]
            facing = near[normals[near] @ point_normals[i] > 0.2]
            near = facing if len(facing) > 5 else near
            weights, distance = _closest_on_triangles(point, aligned[skin[near]])
            best = distance.argmin()
            corners[i], barycentric[i] = skin[near[best]], weights[best]
        return corners, barycentric


def _triangulate(polygons: np.ndarray) -> np.ndarray:
    """Quads padded with -1 → triangles."""
    quads = polygons[polygons[:, 3] >= 0]
    return np.concatenate([polygons[:, :3], quads[:, [0, 2, 3]]]).astype(np.int64)


def _similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation, translation that carry source onto target (Umeyama 1991)."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    u, s, vt = np.linalg.svd((source - source_mean).T @ (target - target_mean))
    sign = np.array([1, 1, np.sign(np.linalg.det(vt.T @ u.T))])
    rotation = vt.T * sign @ u.T
    scale = (s * sign).sum() / ((source - source_mean) ** 2).sum()
    return scale, rotation, target_mean - scale * rotation @ source_mean


def _normals(triangles: np.ndarray) -> np.ndarray:
    """(F, 3, 3) corner positions → (F, 3) unit normals."""
    cross = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    return cross / (np.linalg.norm(cross, axis=1, keepdims=True) + 1e-9)


def _vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    corners = vertices[triangles]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, triangles[:, k], cross)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    return -normals if normals[:, 2].mean() < 0 else normals


def _eye_rims(triangles: np.ndarray, vertices: np.ndarray) -> list[np.ndarray]:
    """Boundary loops of the skin that surround an eye, as vertex indices."""
    edges = {(int(a), int(b)) for t in triangles for a, b in ((t[0], t[1]), (t[1], t[2]), (t[2], t[0]))}
    following = {a: b for a, b in edges if (b, a) not in edges}
    loops, seen = [], set()
    for start in following:
        loop, at = [], start
        while at in following and at not in seen:
            seen.add(at)
            loop.append(at)
            at = following[at]
        if 20 < len(loop) < 200 and abs(vertices[loop, 0].mean()) > 1.5:
            loops.append(np.array(loop))
    return loops


def _closest_on_triangles(point: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Barycentric weights (F, 3) of the nearest point on each triangle (clamped) and its distance (F,)."""
    a = triangles[:, 0]
    ab, ac, ap = triangles[:, 1] - a, triangles[:, 2] - a, point - a
    d00, d01, d11 = (ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)
    d20, d21 = (ap * ab).sum(1), (ap * ac).sum(1)
    determinant = d00 * d11 - d01**2 + 1e-12
    v, w = (d11 * d20 - d01 * d21) / determinant, (d00 * d21 - d01 * d20) / determinant
    weights = np.clip(np.stack([1 - v - w, v, w], 1), 0, 1)
    weights /= weights.sum(1, keepdims=True)
    return weights, np.linalg.norm(np.einsum("fk,fki->fi", weights, triangles) - point, axis=1)


def read_canonical_face(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """MediaPipe's canonical_face_model.obj → vertices (468, 3) in cm, triangles (898, 3)."""
    vertices, triangles = [], []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith("v "):
            vertices.append([float(x) for x in line.split()[1:4]])
        elif line.startswith("f "):
            triangles.append([int(corner.split("/")[0]) - 1 for corner in line.split()[1:4]])
    return np.array(vertices), np.array(triangles, np.int32)


def read_pose_weights(path: str | os.PathLike[str]) -> np.ndarray:
    """MediaPipe's geometry_pipeline_metadata_landmarks.pbtxt → (468,) Procrustes weights."""
    weights = np.zeros(MESH_LANDMARKS)
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith("procrustes_landmark_basis"):
            fields = line.replace("{", " ").replace("}", " ").split()
            weights[int(fields[fields.index("landmark_id:") + 1])] = float(fields[fields.index("weight:") + 1])
    return weights
