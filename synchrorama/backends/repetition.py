"""Whether a language model has got caught in a loop, as they do where there is nothing to say."""

from __future__ import annotations

import zlib

_MOST = 2.4  # length over zlib-compressed length above which Whisper's authors take a text for a loop


def repeats_itself(text: str) -> bool:
    """Whether a text says the same again and again."""
    data = text.encode()
    return len(data) > _MOST * len(zlib.compress(data))
