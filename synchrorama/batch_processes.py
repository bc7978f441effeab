"""The processes that make the videos of a batch on this machine, one pipeline and one thread each."""

from __future__ import annotations

import collections
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from multiprocessing import connection
from multiprocessing.process import BaseProcess

from .batch import PROCESSES, Job, Maker, Outcome
from .profile import Profile
from .video_writer import remove_partial_videos

DIED = "The process that made it died, perhaps for want of memory; try again with fewer --processes."
# Several processes with several threads each would wait for each other.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
STOP_SECONDS = 10.0  # in which a process that is told to stop removes its unfinished video


def core_count() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_in_processes(
    jobs: Sequence[Job], profile: Profile, processes: int | None = None
) -> Iterator[tuple[Job, Outcome]]:
    """``Workers`` on this machine; ``processes`` is one for each core when None.

    Not concurrent.futures: when one process dies, that ends the others as well, and cannot say whose job it was.
    """
    waiting = collections.deque(jobs)
    busy: dict[connection.Connection, tuple[BaseProcess, Job]] = {}
    idle: list[tuple[connection.Connection, BaseProcess]] = []  # these end by themselves when their pipes are dropped
    limit = min(processes or core_count(), int(PROCESSES.maximum))
    try:
        while waiting or busy:
            while waiting and len(busy) < limit:
                ours, process = idle.pop() if idle else _start_process(profile)
                busy[ours] = process, waiting.popleft()
                with contextlib.suppress(OSError):  # if it has died, receiving will tell
                    ours.send(busy[ours][1])
            for ours in connection.wait(list(busy)):
                process, job = busy.pop(ours)
                try:
                    outcome = ours.recv()
                    idle.append((ours, process))
                except (EOFError, OSError):
                    _end(process, job)
                    outcome = Outcome(error=DIED)
                yield job, outcome
    finally:
        for process, _ in busy.values():
            process.terminate()
        for process, job in busy.values():
            process.join(STOP_SECONDS)
            _end(process, job)


def _end(process: BaseProcess, job: Job) -> None:
    """End a process that may still live, and remove what it could not."""
    process.kill()
    process.join(STOP_SECONDS)
    remove_partial_videos(job.path.parent, process.pid)


def _start_process(profile: Profile) -> tuple[connection.Connection, BaseProcess]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, profile), daemon=True)
    with _as_children_inherit_it():
        process.start()
    theirs.close()  # so that the end of the process ends the pipe
    return ours, process


@contextlib.contextmanager
def _as_children_inherit_it() -> Iterator[None]:
    """One thread for each process, and signals held back until ``_work`` says what becomes of them."""
    before = {name: os.environ[name] for name in ONE_THREAD if name in os.environ}
    if sys.platform != "win32":
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # started with the first process, it would let the signals through
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name in ONE_THREAD:
            del os.environ[name]
        os.environ.update(before)
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _work(theirs: connection.Connection, profile: Profile) -> None:
    """What a process does: one job after another, until its parent ends it or has gone."""
    stopped = threading.Event()

    def stop(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        stopped.set()  # in case a library swallows the exception on its way up
        raise SystemExit

    # Ctrl-C goes to every process of a terminal; the parent hears it, too, and ends us with SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
    maker = Maker(profile)
    try:
        while not stopped.is_set():
            theirs.send(maker.make(theirs.recv(), stopped.is_set))
    finally:
        os._exit(0)  # nothing is left to do, and the libraries can take ten seconds to end in good order
