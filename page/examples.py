"""The photos and recordings that come with the page: how they are called in links, and how they are known again."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from synchrorama.content_cache import content_key

ASSETS = Path(__file__).resolve().parent.parent / "assets"
PAIRS = (
    ("grace_hopper.jpg", "english_slt.flac"),
    ("painted_kofi.jpg", "english_expressive_rms.flac"),
    ("painted_lin.jpg", "german_espeak.flac"),
    ("eileen_collins.jpg", "english_slt.flac"),
)
EXAMPLES = [[str(ASSETS / name) for name in pair] for pair in PAIRS]
FINISHED = ASSETS / "example_result.mp4"  # made from the first pair


@cache
def _names() -> dict[str, str]:
    """Content → name, of all photos and recordings."""
    return {content_key(ASSETS / name): name for pair in PAIRS for name in pair}


def example_name(path: str | None) -> str | None:
    """The name of the example with the content of this file, whatever the file is called; None for an upload."""
    return _names().get(content_key(path)) if path else None


def example_path(name: str) -> str | None:
    """The file of an example; None where there is none of this name."""
    return str(ASSETS / name) if name in _names().values() else None
