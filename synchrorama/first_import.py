"""Libraries that two threads must not import at once."""

from __future__ import annotations

import importlib
import threading

_importing = threading.Lock()


def import_alone(library: str) -> None:
    """Import a library, if nobody has yet, while all others who ask for this wait.

    diffusers and transformers put another module in their own place while they are imported. A thread that says ``from
    diffusers import …`` meanwhile waits as well, but gets the former module then, which lacks the names.
    """
    with _importing:
        importlib.import_module(library)
