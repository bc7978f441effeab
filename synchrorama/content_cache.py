"""Results that are kept and found again by the content they were made from, so that a slider recomputes little."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import numpy as np

from .errors import Cancelled

T = TypeVar("T")


class ContentCache:
    """The last ``size`` results of a computation.

    Safe for threads: of those that ask for the same at once, one computes it and the others wait. What raises is not
    kept; whoever waited for it meets the same exception, but for Cancelled: then one of those who waited computes it.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._results: OrderedDict[Any, Future] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], T]) -> T:
        """The result for ``key``, made now if it is neither kept nor being made."""
        while True:
            with self._lock:
                known = self._results.get(key)
                result = self._results.setdefault(key, Future())
                self._results.move_to_end(key)
                while len(self._results) > self._size:
                    self._results.popitem(last=False)
            if known is not None:
                try:
                    return known.result()
                except Cancelled:  # it was somebody else who wanted to stop
                    continue
            try:
                result.set_result(make())
            except BaseException as error:
                with self._lock:
                    self._results.pop(key, None)
                result.set_exception(error)
            return result.result()


def content_key(source: Any) -> str:
    """A key of what a file, an array or a Pillow image contains; where it lies and what it is called do not matter.

    A file that cannot be read is named by its path: whoever opens it next says what is wrong.
    """
    digest = hashlib.sha256()
    if isinstance(source, (str, os.PathLike)):
        try:
            with open(source, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except (OSError, ValueError):
            return f"unreadable {source}"
        return digest.hexdigest()
    array = np.asarray(source)
    digest.update(f"{array.shape} {array.dtype} {getattr(source, 'mode', '')}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
