"""Handing files out: whole or not at all, and only as long as the server keeps anything."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
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
        demo: clears the files with its own.
    """

    def __init__(self, demo: gr.Blocks) -> None:
        self._cache = Path(demo.GRADIO_CACHE)
        self._handed_out = FileSet()
        demo.temp_file_sets.append(self._handed_out)

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
        folder = self._cache / secrets.token_hex(16)
        folder.mkdir(parents=True)
        return folder

    def _appear(self, partial: Path, target: Path) -> str:
        os.replace(partial, target)
        self._handed_out.add(str(target))
        return str(target)


class FileSet(set):
    """Names of files. Gradio goes through them while other threads add some, which a plain set does not survive: the
    task that clears files would end with the first such moment, and all files stay from then on."""

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(super().__iter__()))


def clear_safely(demo: gr.Blocks) -> None:
    """Give a finished page sets that can be cleared while visitors add to them."""
    demo.upload_file_set = FileSet(demo.upload_file_set)
    filled = [demo.upload_file_set]
    for block in demo.blocks.values():
        if hasattr(block, "temp_files"):
            block.temp_files = FileSet(block.temp_files)
            filled.append(block.temp_files)
    others = [each for each in demo.temp_file_sets if isinstance(each, FileSet)]
    demo.temp_file_sets[:] = [*filled, *others]


def jpeg(frame: np.ndarray, quality: int) -> bytes:
    """A frame (H, W, 3) uint8 RGB, coded."""
    done, coded = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"a frame of shape {frame.shape} cannot be coded")
    return coded.tobytes()
