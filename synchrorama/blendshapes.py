"""The motion space: 52 ARKit blendshape coefficients and a head pose ↔ the face landmarks of one person.

Every face is brought into one canonical frame (centimetres; x to the right of the picture, y up, z towards the
camera; the head upright), where it is

    shape = neutral + identity · identities + coefficients · basis

The coefficients are fitted to landmarks, not predicted by a network, because fitted ones are comparable between
people. Unlike MediaPipe's canonical face, whose mouth stands open by half a centimetre, ``neutral`` has shut lips, so
a coefficient vector of zeros is a relaxed face.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synchrorama.errors import InputError
from synchrorama.face_topology import (
    EYE_OUTER_CORNERS,
    LEFT_EYE,
    LEFT_EYELID_PAIRS,
    LIPS,
    MESH_LANDMARKS,
    MOUTH_CORNERS,
    RIGHT_EYE,
    RIGHT_EYELID_PAIRS,
)

BLENDSHAPE_NAMES: tuple[str, ...] = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft",
    "eyeWideLeft", "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight",
    "eyeSquintRight", "eyeWideRight", "jawForward", "jawRight", "jawLeft", "jawOpen", "mouthClose", "mouthFunnel",
    "mouthPucker", "mouthRight", "mouthLeft", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft",
    "mouthFrownRight", "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthPressLeft", "mouthPressRight",
    "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight", "browDownLeft",
    "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft",
    "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""Apple ARKit's names, in the column order of Live Link Face."""

BLENDSHAPE_INDEX: dict[str, int] = {name: i for i, name in enumerate(BLENDSHAPE_NAMES)}


def columns_of(shape: str) -> list[int]:
    """The columns of a blendshape; a name without a side, such as ``mouthSmile``, stands for left and right."""
    if shape in BLENDSHAPE_INDEX:
        return [BLENDSHAPE_INDEX[shape]]
    return [BLENDSHAPE_INDEX[shape + side] for side in ("Left", "Right")]


MOUTH_AND_JAW: tuple[int, ...] = tuple(
    i for i, name in enumerate(BLENDSHAPE_NAMES) if name.startswith(("jaw", "mouth"))
)
_FURTHEST = {
    "eyeWide": 0.6, "browDown": 1.4, "brow": 2.2, "cheekSquint": 1.5, "eyeSquint": 1.5, "noseSneer": 1.5,
    "mouthSmile": 1.3, "mouthFrown": 1.4, "mouthStretch": 1.4, "mouthDimple": 1.3,
}  # fmt: skip
MAX_COEFFICIENTS = np.array(
    [next((most for part, most in _FURTHEST.items() if name.startswith(part)), 1.0) for name in BLENDSHAPE_NAMES],
    np.float32,
)
"""(52,) how far each shape may go before a warped photo no longer looks like a face."""

FACE_HEIGHT_CM = 17.2  # chin to top of the forehead of the neutral face: the unit of Motion.translation
_FLIP = np.array([1.0, -1.0, -1.0])  # pixels (y down, z away) ↔ canonical axes (y up, z to the camera)

# How much a landmark counts in the fit: lips and lids carry speech and blinks; monocular depth is poor.
_LIP_WEIGHT, _EYE_WEIGHT, _OTHER_WEIGHT, _DEPTH_WEIGHT = 2.5, 2.0, 0.5, 0.25
_COEFFICIENT_PENALTY, _IDENTITY_PENALTY, _RIGID_PENALTY = 0.28, 0.5, 1e-3


@dataclass
class CanonicalShapes:
    """Landmarks taken out of their head pose: ``landmarks · (1, -1, -1) = scale · shape · rotationᵀ + translation``."""

    shapes: np.ndarray  # (N, K, 3) cm
    scale: np.ndarray  # (N,) pixels per cm
    rotation: np.ndarray  # (N, 3, 3)
    translation: np.ndarray  # (N, 3) pixels


@dataclass
class Fit:
    """What ``MotionSpace.fit`` found."""

    coefficients: np.ndarray  # (N, 52) in [0, 1]
    identity: np.ndarray  # (40,) shared by the N frames
    residual: np.ndarray  # (N, 468, 3) cm that the model does not explain


class MotionSpace:
    """Neutral face, 52 expression shapes and 40 identity shapes on MediaPipe's 468-point mesh."""

    def __init__(
        self,
        neutral: np.ndarray,
        basis: np.ndarray,
        identities: np.ndarray,
        triangles: np.ndarray,
        pose_weights: np.ndarray,
    ) -> None:
        """
        Args:
            neutral: (468, 3) cm, lips shut.
            basis: (52, 468, 3) cm per unit of coefficient.
            identities: (K, 468, 3) cm per unit.
            triangles: (898, 3) MediaPipe's canonical triangulation; mouth and eyes are filled in it.
            pose_weights: (468,) how much each landmark counts for the head pose; zero where expressions move it.
        """
        self.neutral = np.asarray(neutral, np.float64)
        self.basis = np.asarray(basis, np.float64)
        self.identities = np.asarray(identities, np.float64)
        self.triangles = np.asarray(triangles, np.int32)
        self.pose_weights = np.asarray(pose_weights, np.float64) / np.sum(pose_weights)
        right, left = EYE_OUTER_CORNERS
        self.interocular = float(np.linalg.norm(self.neutral[right] - self.neutral[left]))

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> MotionSpace:
        """Read ``model.safetensors`` of a folder written by ``save_pretrained``.

        Raises:
            InputError: the folder holds no motion space.
        """
        from safetensors.numpy import load_file

        try:
            tensors = load_file(Path(folder) / "model.safetensors")
            return cls(**tensors)
        except (OSError, TypeError) as error:
            raise InputError(
                "The motion space is missing from the checkpoint folder; get the whole repository with its checkpoints."
            ) from error

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write ``model.safetensors`` (float32) and ``config.json``."""
        from safetensors.numpy import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            "neutral": self.neutral.astype(np.float32),
            "basis": self.basis.astype(np.float32),
            "identities": self.identities.astype(np.float32),
            "triangles": self.triangles,
            "pose_weights": self.pose_weights.astype(np.float32),
        }
        save_file(tensors, folder / "model.safetensors")
        config = {"_class_name": "MotionSpace", "blendshapes": list(BLENDSHAPE_NAMES), "unit": "cm"}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def canonicalize(self, landmarks: np.ndarray) -> CanonicalShapes:
        """Remove head pose and size by a weighted similarity transform per frame (Umeyama 1991).

        Args:
            landmarks: (N, K, 3) pixels with K ≥ 468, or one frame (K, 3).
        """
        points = np.atleast_3d(np.asarray(landmarks, np.float64))
        points = (points if landmarks.ndim == 3 else np.asarray(landmarks, np.float64)[None]) * _FLIP
        used = np.flatnonzero(self.pose_weights)
        weight = self.pose_weights[used]
        source, target = self.neutral[used], points[:, used]
        source_mean, target_mean = weight @ source, np.einsum("k,nki->ni", weight, target)
        source, target = source - source_mean, target - target_mean[:, None]
        u, s, vt = np.linalg.svd(np.einsum("k,ki,nkj->nij", weight, source, target))
        v = np.swapaxes(vt, 1, 2)
        sign = np.ones((len(points), 3))
        sign[:, 2] = np.sign(np.linalg.det(v @ np.swapaxes(u, 1, 2)))
        rotation = v * sign[:, None] @ np.swapaxes(u, 1, 2)
        scale = (s * sign).sum(1) / (weight @ (source**2).sum(1))
        translation = target_mean - scale[:, None] * (rotation @ source_mean)
        shapes = (points - translation[:, None]) @ rotation / scale[:, None, None]
        return CanonicalShapes(shapes, scale, rotation, translation)

    @staticmethod
    def project(shapes: np.ndarray, scale: np.ndarray, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
        """Canonical shapes (…, K, 3) cm → landmarks (…, K, 3) pixels: the inverse of ``canonicalize``."""
        scale = np.asarray(scale)[..., None, None]
        posed = scale * (shapes @ np.swapaxes(rotation, -1, -2)) + np.asarray(translation)[..., None, :]
        return posed * _FLIP

    def apply(self, coefficients: np.ndarray) -> np.ndarray:
        """(…, 52) coefficients → (…, 468, 3) shape of the neutral person in cm."""
        return self.neutral + np.tensordot(coefficients, self.basis, 1)

    def fit(self, shapes: np.ndarray, rounds: int = 4) -> Fit:
        """Fit coefficients in [0, 1] per frame and one identity for all frames by box-constrained least squares.

        Identity and coefficients alternate; seven small rigid and scale terms per frame absorb what is left of the
        pose. Solved by coordinate descent with clipping, vectorised over frames.

        Args:
            shapes: (N, 468, 3) canonical shapes of one person.
        """
        weight = self._fit_weights()
        moving = (self.basis.reshape(len(self.basis), -1) ** 2).sum(1) > 0
        columns = np.flatnonzero(moving)
        rigid = _rigid_directions(self.neutral)
        design = (np.concatenate([self.basis[columns], rigid]) * weight).reshape(len(columns) + len(rigid), -1)
        penalty = np.r_[np.full(len(columns), _COEFFICIENT_PENALTY), np.full(len(rigid), _RIGID_PENALTY)]
        gram = design @ design.T + np.diag(penalty)
        lower = np.r_[np.zeros(len(columns)), np.full(len(rigid), -9.0)]
        upper = np.r_[np.ones(len(columns)), np.full(len(rigid), 9.0)]

        target = ((shapes - self.neutral) * weight).reshape(len(shapes), -1)
        identities = (self.identities * weight).reshape(len(self.identities), -1)
        identity_gram = identities @ identities.T + _IDENTITY_PENALTY * np.eye(len(identities))
        identity = np.zeros(len(identities))
        sample = np.unique(np.linspace(0, len(shapes) - 1, min(len(shapes), 60)).astype(int))
        for _ in range(rounds):
            found = _box_least_squares(gram, (target[sample] - identity @ identities) @ design.T, lower, upper, 25)
            identity = np.linalg.solve(identity_gram, identities @ (target[sample] - found @ design).mean(axis=0))
        found = _box_least_squares(gram, (target - identity @ identities) @ design.T, lower, upper, 40)
        residual = (target - identity @ identities - found @ design).reshape(shapes.shape) / weight
        coefficients = np.zeros((len(shapes), len(self.basis)))
        coefficients[:, columns] = found[:, : len(columns)]
        self._match_lip_gap(coefficients, lip_gap(shapes))
        return Fit(coefficients, identity, residual)

    def _match_lip_gap(self, coefficients: np.ndarray, gap: np.ndarray) -> None:
        """Change (N, 52) coefficients so that they open the lips by exactly ``gap`` (N,) cm, as far as they can.

        A millimetre of static misfit decides whether lips are shut, and shut lips are what a viewer notices.
        """
        for name in ("mouthClose", "jawOpen"):
            column = BLENDSHAPE_INDEX[name]
            gain = lip_gap(self.basis[column])
            missing = gap - lip_gap(self.apply(coefficients))
            coefficients[:, column] = np.clip(coefficients[:, column] + missing / gain, 0, 1)

    def _fit_weights(self) -> np.ndarray:
        """(468, 3) square roots of the weights of the fit."""
        weight = np.full(MESH_LANDMARKS, _OTHER_WEIGHT)
        weight[list(LIPS)] = _LIP_WEIGHT
        weight[list(RIGHT_EYE + LEFT_EYE)] = _EYE_WEIGHT
        return np.sqrt(weight[:, None] * np.array([1.0, 1.0, _DEPTH_WEIGHT]))


def lip_gap(shapes: np.ndarray) -> np.ndarray:
    """(…, K, 3) shapes in cm → (…) distance between the inner lips near the middle of the mouth, in cm."""
    upper, lower = shapes[..., (13, 82, 312), 1], shapes[..., (14, 87, 317), 1]
    return (upper - lower).mean(-1)


def mouth_width(shapes: np.ndarray) -> np.ndarray:
    """(…, K, 3) shapes in cm → (…) distance between the mouth corners, in cm."""
    right, left = MOUTH_CORNERS
    return shapes[..., left, 0] - shapes[..., right, 0]


def eye_opening(shapes: np.ndarray) -> np.ndarray:
    """(…, K, 3) shapes in cm → (…, 2) distance between the lids of the left and the right eye, in cm."""

    def opening(pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
        upper, lower = zip(*pairs[2:5], strict=True)
        return (shapes[..., upper, 1] - shapes[..., lower, 1]).mean(-1)

    return np.stack([opening(LEFT_EYELID_PAIRS), opening(RIGHT_EYELID_PAIRS)], axis=-1)


def _rigid_directions(shape: np.ndarray) -> np.ndarray:
    """(7, K, 3): how a shape moves under a small translation, rotation and scaling."""
    translations = [np.tile(axis, (len(shape), 1)) for axis in np.eye(3)]
    rotations = [np.cross(axis, shape) for axis in np.eye(3)]
    return np.array([*translations, *rotations, shape - shape.mean(0)])


def _box_least_squares(
    gram: np.ndarray, projection: np.ndarray, lower: np.ndarray, upper: np.ndarray, sweeps: int
) -> np.ndarray:
    """Minimise ½ c·gram·c − projection·c with lower ≤ c ≤ upper, for every row of projection (N, K) at once."""
    solution = np.zeros_like(projection)
    diagonal = np.diag(gram)
    for _ in range(sweeps):
        for j, curvature in enumerate(diagonal):
            rest = projection[:, j] - solution @ gram[:, j] + solution[:, j] * curvature
            solution[:, j] = np.clip(rest / curvature, lower[j], upper[j])
    return solution
