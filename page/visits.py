"""Who is making what: how many jobs a visitor may have at once, and the flag that stops one."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import gradio as gr

from synchrorama import Cancelled, InputError

OPEN_PER_SESSION, OPEN_PER_ADDRESS = 3, 8  # jobs that wait or run; several people may share an address
_FORGOTTEN_AFTER = 900.0  # seconds; a job that never began, because the visitor left the queue
_SHORTEST_LIMIT, _PATIENCE = 120.0, 10.0  # seconds; times the estimate


@dataclass(eq=False)
class Visit:
    """One job of one visitor."""

    stopped: threading.Event = field(default_factory=threading.Event)
    begun: float = field(default_factory=time.monotonic)
    limit: float = float("inf")  # seconds

    def allow(self, estimated: float) -> None:
        """Give up on this job when it takes many times as long as estimated."""
        self.limit = max(_SHORTEST_LIMIT, _PATIENCE * estimated)

    def waited(self) -> None:
        """What it took until now was not spent on the work."""
        self.begun = time.monotonic()

    def check(self) -> None:
        """Raises Cancelled when the visitor wants to stop, InputError when it takes far too long."""
        if self.stopped.is_set():
            raise Cancelled("The generation was stopped.")
        if time.monotonic() - self.begun > self.limit:
            raise InputError(
                "This video took far longer than expected and was stopped; please try again later or with a shorter "
                "recording."
            )


class Visits:
    """Everybody's open jobs. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, list[float]] = defaultdict(list)
        self._running: dict[str, set[Visit]] = defaultdict(set)

    def admit(self, request: gr.Request | None) -> None:
        """Note that a visitor asks for a job. Raises InputError when there are too many already."""
        now = time.monotonic()
        with self._lock:
            for name, most in zip(_names(request), (OPEN_PER_SESSION, OPEN_PER_ADDRESS), strict=True):
                self._waiting[name] = [since for since in self._waiting[name] if now - since < _FORGOTTEN_AFTER]
                if len(self._waiting[name]) + len(self._running[name]) >= most:
                    raise InputError(f"You have {most} videos waiting or in work already; please wait for one of them.")
            for name in _names(request):
                self._waiting[name].append(now)

    @contextmanager
    def job(self, request: gr.Request | None) -> Iterator[Visit]:
        """A job while it runs."""
        visit, names = Visit(), _names(request)
        with self._lock:
            for name in names:
                del self._waiting[name][:1]
                self._running[name].add(visit)
        try:
            yield visit
        finally:
            with self._lock:
                for name in names:
                    self._running[name].discard(visit)
                    if not self._running[name] and not self._waiting[name]:
                        del self._running[name], self._waiting[name]

    def stop(self, request: gr.Request | None) -> int:
        """Stop all jobs of this visitor's page; how many there were, those in the queue included."""
        session, address = _names(request)
        with self._lock:
            waiting, running = self._waiting.pop(session, []), self._running.get(session, ())
            del self._waiting[address][: len(waiting)]
            for visit in running:
                visit.stopped.set()
            return len(waiting) + len(running)

    def __len__(self) -> int:
        """How many jobs run."""
        with self._lock:
            return len(set().union(*self._running.values()))


def _names(request: gr.Request | None) -> tuple[str, str]:
    """What a visitor is counted by: the page that is open, and the address it comes from."""
    session = f"session {getattr(request, 'session_hash', None)}"
    address = getattr(getattr(request, "client", None), "host", None)
    if os.environ.get("SPACE_ID"):  # there, everybody comes through one proxy, which says for whom
        address = (request and request.headers.get("x-forwarded-for", "").split(",")[0].strip()) or address
    return session, f"address {address}"
