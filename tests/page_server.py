"""Servers of the page for tests: inside this process, and as visitors get it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from conftest import REPOSITORY


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def served(pipeline, folder: Path) -> Iterator[SimpleNamespace]:
    """The page of ``pipeline``, served by this process: demo, service, address, folder of its files."""
    from page import server
    from page.profiles import Profiles

    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    demo, service = server.build(Profiles(pipeline))
    _, address, _ = server.launch(
        demo, service, server_name="127.0.0.1", server_port=free_port(), prevent_thread_lock=True, quiet=True,
        ssr_mode=False,
    )  # fmt: skip
    service.ready.wait(120)
    try:
        yield SimpleNamespace(demo=demo, service=service, address=address, folder=folder)
    finally:
        demo.close(verbose=False)
        del os.environ["GRADIO_TEMP_DIR"]


class Server:
    """``python app.py`` in a process of its own, with its own place for temporary files."""

    def __init__(self, place: Path, **environment: str) -> None:
        self.place, self.port = place, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._environment = {
            **os.environ, "SYNCHRORAMA_TEMP": str(place), "GRADIO_SERVER_NAME": "127.0.0.1",
            "GRADIO_SERVER_PORT": str(self.port), "GRADIO_ANALYTICS_ENABLED": "False", **environment,
        }  # fmt: skip
        self._environment.pop("GRADIO_TEMP_DIR", None)
        self.log = place / "log.txt"
        self.process: subprocess.Popen | None = None

    def start(self) -> Server:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "app.py"], cwd=REPOSITORY, env=self._environment, stdout=log, stderr=log
            )
        until = time.monotonic() + 120
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(self.address + "/config", timeout=5):
                return self
            time.sleep(0.1)
        raise AssertionError(f"the server did not start: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """As a machine that loses power, or ``kill -9``."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """As a host that asks it to end; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def files(self) -> list[Path]:
        """Everything that lies in its temporary folders, but for the lock and the caches of libraries."""
        return [
            path
            for path in self.place.glob("synchrorama-page-*/**/*")
            if path.is_file() and path.name != "owner.lock" and "torchinductor" not in str(path)
        ]
