"""The identity of a face as ArcFace sees it (Deng et al. 2019), for the image projection of Hallo's weights.

Hallo was trained with InsightFace's network glintr100, which may not be used commercially. Its input and the template
to which it aligns faces are published; the five points come from our own landmarks instead of InsightFace's detector.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from synchrorama.backends.loading import check_folder
from synchrorama.errors import InputError
from synchrorama.face_topology import LEFT_EYE, MOUTH_CORNERS, RIGHT_EYE

_PART = "the face embedding (ArcFace)"
_FILE = "glintr100.onnx"
_SIZE = 112
# Of a face in 112 × 112 pixels: the eyes, the tip of the nose, the corners of the mouth, from the left of the picture.
_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
_NOSE_TIP = 4  # of several landmarks there, the one with which portraits fit the template best
_MIDDLE = 127.5


class ArcFaceEmbedding:
    """Portrait → the embedding of its face."""

    def __init__(self, session: Any, device: str | torch.device = "cpu") -> None:
        self.session, self.device = session, torch.device(device)

    @classmethod
    def from_pretrained(
        cls, folder: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> ArcFaceEmbedding:
        """From a folder that has glintr100.onnx, itself or in a subfolder as Hallo's, or one other ONNX file.

        Args:
            device: where the embedding goes, and where it is computed if onnxruntime can.
            dtype: not used; the file says how it computes.

        Raises:
            InputError: onnxruntime is not installed, or the folder cannot be used.
        """
        try:
            import onnxruntime
        except ImportError:
            raise InputError(
                f"{_PART[0].upper()}{_PART[1:]} needs the package onnxruntime; install it with "
                "`pip install onnxruntime`, or do without the face embedding."
            ) from None
        path = _network_file(folder)
        preferred = ["CUDAExecutionProvider"] if torch.device(device).type == "cuda" else []
        providers = [name for name in preferred if name in onnxruntime.get_available_providers()]
        try:
            session = onnxruntime.InferenceSession(path, providers=[*providers, "CPUExecutionProvider"])
            fits = _shape(session.get_inputs()) == [3, _SIZE, _SIZE] and len(_shape(session.get_outputs())) == 1
        except Exception as error:  # onnxruntime has a class of its own for each of its status codes
            raise InputError(f"The file of {_PART} is damaged; fetch it again.") from error
        if not fits:
            raise InputError(
                f"The file of {_PART} does not turn faces of {_SIZE} × {_SIZE} pixels into vectors; use {_FILE}."
            )
        return cls(session, device)

    def __call__(self, crop: np.ndarray, landmarks: np.ndarray) -> Tensor:
        """
        Args:
            crop: (H, W, 3) uint8 RGB.
            landmarks: (478, 2 or 3) pixels in it.

        Returns:
            (512,) float32, not normalised, as Hallo takes it.
        """
        pixels = (aligned_face(crop, landmarks).astype(np.float32) - _MIDDLE) / _MIDDLE
        name = self.session.get_inputs()[0].name
        embedding = self.session.run(None, {name: np.ascontiguousarray(pixels.transpose(2, 0, 1))[None]})[0][0]
        return torch.from_numpy(embedding).to(self.device, torch.float32)


def aligned_face(crop: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The face in (112, 112, 3) uint8 RGB, with its five points as near to the template as a similarity brings them."""
    return cv2.warpAffine(crop, similarity(five_points(landmarks), _TEMPLATE), (_SIZE, _SIZE), flags=cv2.INTER_LINEAR)


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """(478, 2 or 3) → (5, 2): eyes, tip of the nose, corners of the mouth, from the left of the picture."""
    points = np.asarray(landmarks, np.float64)[:, :2]
    eyes = [points[list(ring)].mean(0) for ring in (RIGHT_EYE, LEFT_EYE)]
    return np.array([*eyes, points[_NOSE_TIP], *points[list(MOUTH_CORNERS)]])


def similarity(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(2, 3) turn, scale and shift that bring points (n, 2) nearest to targets in the sense of least squares."""
    z, w = points @ (1, 1j), targets @ (1, 1j)  # as complex numbers: w = a z + b
    z_middle, w_middle = z.mean(), w.mean()
    a = np.vdot(z - z_middle, w - w_middle) / np.vdot(z - z_middle, z - z_middle).real
    b = w_middle - a * z_middle
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def _network_file(folder: Path) -> Path:
    check_folder(folder, _PART)
    files = sorted(Path(folder).rglob("*.onnx"))
    named = [path for path in files if path.name == _FILE]
    if not named and len(files) != 1:
        raise InputError(f"The folder of {_PART} has no {_FILE}; fetch it again.")
    return (named or files)[0]


def _shape(ends: list[Any]) -> list[Any]:
    """The shape of the only input or output but for the batch; empty if there are several."""
    return list(ends[0].shape[1:]) if len(ends) == 1 else []
