"""The words "AI-generated" in a corner of the picture, small and readable on any ground."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TEXT = "AI-generated"
_TEXT_HEIGHT = 0.026  # of the shorter side of the picture
_SMALLEST_TEXT = 9  # pixels; below, letters cannot be read
_PLATE, _INK = 0.45, 0.9  # how opaque the dark plate and the light letters are


class VisibleMark:
    """Draws the mark into frames of one size.

    Args:
        width, height: of the frames in pixels.
        corner: bottom_right, bottom_left, top_right or top_left.
    """

    def __init__(self, width: int, height: int, corner: str) -> None:
        size = max(_SMALLEST_TEXT, round(_TEXT_HEIGHT * min(width, height)))
        font = ImageFont.load_default(size)
        left, top, right, bottom = font.getbbox(TEXT)
        padding = size / 2
        plate = (min(width, round(right - left + 2 * padding)), min(height, round(bottom - top + 1.2 * padding)))
        ground, ink = Image.new("L", plate), Image.new("L", plate)
        ImageDraw.Draw(ground).rounded_rectangle((0, 0, plate[0] - 1, plate[1] - 1), size / 3, fill=255)
        ImageDraw.Draw(ink).text((padding - left, 0.6 * padding - top), TEXT, font=font, fill=255)
        dark, light = (np.asarray(layer, np.float32)[..., None] / 255 for layer in (ground, ink))
        # picture → darkened by the plate → covered by the letters, as one multiplication and one addition
        self._keep = (1 - _PLATE * dark) * (1 - _INK * light)
        self._add = 255 * _INK * light
        vertical, horizontal = corner.split("_")
        farthest_x, farthest_y = width - plate[0], height - plate[1]
        y = min(size, farthest_y) if vertical == "top" else max(0, farthest_y - size)
        x = min(size, farthest_x) if horizontal == "left" else max(0, farthest_x - size)
        self.place = (slice(y, y + plate[1]), slice(x, x + plate[0]))

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """The frame (height, width, 3) uint8 with the mark, a new array."""
        marked = frame.copy()
        marked[self.place] = np.round(frame[self.place] * self._keep + self._add)
        return marked
