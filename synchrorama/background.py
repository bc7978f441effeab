"""An iterator that works ahead in a thread of its own."""

from __future__ import annotations

import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


def ahead(make: Callable[[Callable[[], bool]], Iterator[T]], held: int) -> Iterator[T]:
    """What ``make(stopped)`` yields, in its order, made while the one before is being used.

    The thread begins with the first item that is asked for and has ended when this iterator has: after its last item,
    after an error, which is raised here as it is, and when it is closed. ``make`` may look at ``stopped()`` in the
    midst of long work: it says True once nobody wants more.

    Args:
        make: called in the thread, in the context (``contextvars``) of the first caller.
        held: how many items wait at most.
    """
    made: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    room, stop = threading.Semaphore(held), threading.Event()

    def work() -> None:
        try:
            with contextlib.closing(make(stop.is_set)) as items:
                while room.acquire() and not stop.is_set():
                    made.put(("item", next(items)))
        except StopIteration:
            made.put(("end", None))
        except BaseException as error:
            made.put(("error", error))

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = made.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            room.release()
            yield value
    finally:
        stop.set()
        room.release()
        thread.join()
