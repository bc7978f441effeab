"""One folder for every temporary file of one server, so that nothing of a visitor outlives it.

A server that ends takes its folder along. One that is killed cannot; the next one to start finds the folder without
its owner and removes it, before anything is served.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX = "synchrorama-page-"
_LOCK = "owner.lock"


@dataclass(frozen=True)
class Workplace:
    """The folder of this server, and the lock that says that it lives."""

    folder: Path
    lock: FileLock

    def leave(self) -> None:
        """Remove everything; may be called more than once."""
        self.lock.release(force=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def claim() -> Workplace:
    """A new folder that all temporary files of this process go to from now on; those of dead servers are removed.

    Must come before anything asks gradio or ``tempfile`` for its folder.
    """
    place = Path(os.environ.get("SYNCHRORAMA_TEMP") or tempfile.gettempdir())
    for folder in place.glob(PREFIX + "*"):
        _remove_if_dead(folder)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    claimed = Workplace(folder, FileLock(folder / _LOCK))
    claimed.lock.acquire()
    atexit.register(claimed.leave)
    tempfile.tempdir = str(folder)
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "gradio")
    return claimed


def _remove_if_dead(folder: Path) -> None:
    """Remove a folder unless its server lives, which then holds the lock, or it is somebody else's."""
    if not (folder / _LOCK).is_file():
        return  # just being made, or no folder of ours
    lock = FileLock(folder / _LOCK)
    with contextlib.suppress(OSError, Timeout):
        lock.acquire(timeout=0)
        Workplace(folder, lock).leave()
