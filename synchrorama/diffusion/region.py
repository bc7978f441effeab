"""Where the diffusion stage works: a square around the lower face that goes along with the head."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synchrorama.face_detection import compose, warp
from synchrorama.motion_frames import MotionFrame
from synchrorama.motion_frames.drawing import polygon_mask, smoothstep

REGION_CM = 13.0  # side: from the lower lids to below the chin, and a little beyond both cheeks
REGION_SIZE = 128  # pixels of a side, as the small profile sees it
FEATHER = 0.14  # share of the side over which the result fades into the motion frame
_REACH, _ONSET = 5, 2  # of ``painted``: cells, and how fast it grows as the lips part


@dataclass(frozen=True)
class FaceRegion:
    """The place of the square in one frame.

    Attributes:
        to_region: float64 (2, 3), similarity from pixels of the frame to pixels of the region, without rotation.
        size: side of the region in pixels of its own.
    """

    to_region: np.ndarray
    size: int

    @classmethod
    def of(cls, frame: MotionFrame, size: int) -> FaceRegion:
        """The square of a motion frame: it follows the head, not the mouth, and grows as the head comes closer."""
        scale = size / (REGION_CM * frame.pixels_per_cm)
        x, y = frame.lower_face
        return cls(np.array([[scale, 0, size / 2 - 0.5 - scale * x], [0, scale, size / 2 - 0.5 - scale * y]]), size)

    def cut(self, image: np.ndarray) -> np.ndarray:
        """(H, W, …) uint8 → (size, size, …); beyond the border the picture goes on with its last pixels."""
        return warp(image, self.to_region, self.size)

    def mouth(self, loop: np.ndarray, cells: int) -> np.ndarray:
        """(cells, cells) float32 in [0, 1]: how much of each cell of the region lies between the lips.

        Args:
            loop: (M, 2) pixels of the frame around the mouth opening.
        """
        finer = 8 * cells
        points = (loop @ self.to_region[:, :2].T + self.to_region[:, 2] + 0.5) * (finer / self.size) - 0.5
        mask = polygon_mask(points, (finer, finer))
        return cv2.resize(mask, (cells, cells), interpolation=cv2.INTER_AREA).astype(np.float32) / 255

    def spread(self, field: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, tuple[slice, slice]]:
        """A field over the region brought to the pixels of the frame.

        Args:
            field: (cells, cells, C) float32.
            shape: of the frame, (H, W, …).

        Returns:
            The field (h, w, C) on the part of the frame that the region covers, and that part (rows, columns).
        """
        cells = field.shape[0]
        inverse = cv2.invertAffineTransform(self.to_region)
        low = np.floor(inverse @ [-0.5, -0.5, 1]).astype(int)
        high = np.ceil(inverse @ [self.size - 0.5, self.size - 0.5, 1]).astype(int) + 1
        low, high = np.clip(low, 0, shape[1::-1]), np.clip(high, 0, shape[1::-1])
        width, height = (int(length) for length in high - low)
        if width <= 0 or height <= 0:
            return np.zeros((0, 0, field.shape[2]), np.float32), (slice(0, 0), slice(0, 0))
        ratio = cells / self.size
        to_cells = compose(np.array([[ratio, 0, ratio / 2 - 0.5], [0, ratio, ratio / 2 - 0.5]]), self.to_region)
        to_cells[:, 2] += to_cells[:, :2] @ low
        spread = cv2.warpAffine(
            field,
            to_cells,
            (width, height),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return spread, (slice(low[1], high[1]), slice(low[0], high[0]))


def feather(cells: int) -> np.ndarray:
    """(cells, cells) float32: 1 inside the region, falling smoothly to 0 at its border."""
    place = (np.arange(cells) + 0.5) / cells
    inside = smoothstep(np.minimum(place, 1 - place) / FEATHER)
    return np.minimum(inside[:, None], inside[None]).astype(np.float32)


def painted(mouth: Tensor) -> Tensor:
    """Where the small profile changes the motion frame: the mouth and what is near it, fading out softly, and with it
    the border of the region.

    Beyond, what it learns from a few dozen faces is worse than the motion frame, whose pixels are the photo's own.

    Args:
        mouth: (N, 1, H, W) in [0, 1], how much of each cell lies between the lips.

    Returns:
        The same shape, in [0, 1]; 0 everywhere if no cell has any of the mouth.
    """
    near = F.max_pool2d(mouth, _REACH, 1, _REACH // 2)
    for _ in range(2):
        near = F.avg_pool2d(near, _REACH, 1, _REACH // 2, count_include_pad=False)
    return (_ONSET * near).clamp(0, 1) * torch.from_numpy(feather(mouth.shape[-1])).to(mouth)
