"""Many videos through Ray Core: on a cluster that is there, or on one that is started here for the while."""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .batch import Job, Maker, Outcome
from .batch_processes import DIED, ONE_THREAD, STOP_SECONDS, core_count
from .errors import InputError
from .profile import Profile

OBJECT_STORE_BYTES = 80 << 20  # about the least that Ray takes: jobs and outcomes are small, videos are files
CONNECT_SECONDS = 10.0


class Actor:
    """One pipeline in a process of Ray's, on any node. Two threads: being told to stop must not wait for the job."""

    def __init__(self, profile: Profile) -> None:
        self._maker = Maker(profile)
        self._stopped = threading.Event()

    def ready(self) -> None:
        """Returns when the process runs, which on a busy cluster takes until one of its cores is free."""

    def make(self, job: Job) -> Outcome:
        return self._maker.make(job, self._stopped.is_set)

    def stop(self) -> None:
        """Have the unfinished video given up and removed."""
        self._stopped.set()


def make_on_ray(jobs: Sequence[Job], profile: Profile, processes: int | None = None) -> Iterator[tuple[Job, Outcome]]:
    """``batch.Workers`` on a Ray cluster; ``processes`` is one for each of its cores when None.

    Raises InputError when Ray is not installed or its cluster cannot be reached.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray is imported
    try:
        import ray
    except ImportError:
        raise InputError("Ray is not installed; pip install ray, or leave out --ray.") from None
    with _signals_noted() as hand_on, _connected(processes):
        limit = processes or max(1, int(ray.cluster_resources().get("CPU", 1)))
        yield from _shared_out(jobs, profile, min(limit, len(jobs)), hand_on)


def _shared_out(
    jobs: Sequence[Job], profile: Profile, limit: int, hand_on: Callable[[], None]
) -> Iterator[tuple[Job, Outcome]]:
    """Give every actor that is ready a job, and another when it has done that."""
    import ray

    # Ray's processes start in other folders, with other search paths.
    package = Path(__file__).resolve().parent.parent
    environment = {**ONE_THREAD, "PYTHONPATH": os.pathsep.join([str(package), "${PYTHONPATH}"])}
    remote = ray.remote(num_cpus=1, max_concurrency=2, runtime_env={"env_vars": environment})(Actor)
    waiting = collections.deque(jobs)
    pending: dict[Any, tuple[Any, Job | None]] = {}  # what is awaited: the actor, and its job if it has one

    def start() -> None:
        actor = remote.remote(profile)
        pending[actor.ready.remote()] = actor, None

    try:
        for _ in range(limit):
            start()
        while waiting or any(job for _, job in pending.values()):
            hand_on()
            done, _ = ray.wait(list(pending), timeout=0.5)
            for each in done:
                actor, job = pending.pop(each)
                try:
                    outcome = ray.get(each)
                except ray.exceptions.RayError:
                    outcome = Outcome(error=DIED)
                    # one that dies before it has a job costs the next job: otherwise this might never end
                    job = job or (waiting.popleft() if waiting else None)
                    if waiting:
                        start()
                else:
                    if waiting:
                        given = waiting.popleft()
                        pending[actor.make.remote(given)] = actor, given
                if job is not None:
                    yield job, outcome
    finally:
        busy = [each for each, (_, job) in pending.items() if job is not None]
        for actor, _ in pending.values():
            actor.stop.remote()
        if busy:
            ray.wait(busy, num_returns=len(busy), timeout=STOP_SECONDS)
        for actor, _ in pending.values():
            ray.kill(actor)


@contextlib.contextmanager
def _connected(processes: int | None) -> Iterator[None]:
    """Ray as it is in this process, or on the cluster of RAY_ADDRESS, or started here and ended afterwards."""
    import ray

    if ray.is_initialized():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address := os.environ.get("RAY_ADDRESS"):
        _join(address, quiet)
    else:
        ray.init(
            address="local",
            num_cpus=processes or core_count(),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            **quiet,
        )
    signal.signal(signal.SIGTERM, handler)  # Ray has put its own there
    try:
        yield
    finally:
        ray.shutdown()  # leaves a cluster that others have started as it is


def _join(address: str, options: dict[str, Any]) -> None:
    """Connect to a cluster. Raises InputError when that fails."""
    import ray

    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if port.isdigit():  # Ray itself tries for minutes
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        ray.init(address="auto", **options)  # takes it from RAY_ADDRESS
    except (OSError, OverflowError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise InputError(
            f"The Ray cluster {address} cannot be joined; start it, set RAY_AUTH_MODE=token if it asks for a token, or "
            "unset RAY_ADDRESS."
        ) from error


@contextlib.contextmanager
def _signals_noted() -> Iterator[Callable[[], None]]:
    """Signals wait until the function is called: Ray swallows what a handler raises while Ray waits."""
    arrived: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _frame: arrived.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        handlers.clear()

    def hand_on() -> None:
        if arrived:
            restore()
            signal.raise_signal(arrived[0])

    try:
        yield hand_on
    finally:
        restore()
