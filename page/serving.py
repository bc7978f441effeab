"""Handing files out: whole or not at all, and only as long as the server keeps anything."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

import cv2
import gradio as gr
import numpy as np

_QUALITY = 90  # of JPEG


class Files:
    """Moves finished files into the folder that gradio serves and clears on schedule.

    Gradio copies files there under a name made of their content, so that two visitors with the same picture write into
    one file while a third reads it. Here each file gets a folder of its own, and appears in it by a rename.

    Args:
        component: the files count as its own, and are cleared with them.
    """

    def __init__(self, component: gr.components.Component) -> None:
        self._component = component

    def serve(self, file: Path) -> str:
        """The file, moved to where it may be handed out."""
        target = self._place() / file.name
        partial = target.with_name(f".{target.name}.partial")  # where it lies may be another file system
        shutil.move(file, partial)
        return self._appear(partial, target)

    def picture(self, frame: np.ndarray, name: str) -> str:
        """A frame (H, W, 3) uint8 RGB as a JPEG that may be handed out."""
        target = self._place() / f"{name}.jpg"
        partial = target.with_name(f".{target.name}.partial")
        partial.write_bytes(jpeg(frame, _QUALITY))
        return self._appear(partial, target)

    def _place(self) -> Path:
        folder = Path(self._component.GRADIO_CACHE) / secrets.token_hex(16)
        folder.mkdir(parents=True)
        return folder

    def _appear(self, partial: Path, target: Path) -> str:
        os.replace(partial, target)
        self._component.temp_files.add(str(target))
        return str(target)


def jpeg(frame: np.ndarray, quality: int) -> bytes:
    """A frame (H, W, 3) uint8 RGB, coded."""
    done, coded = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"a frame of shape {frame.shape} cannot be coded")
    return coded.tobytes()
