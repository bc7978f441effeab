"""What a generated file says about itself: that it is AI-generated, by what, and with which settings.

The text goes into the container's ordinary metadata, which players show and ``ffprobe`` prints. It is honest
labelling, not protection: whoever re-encodes the video can drop it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from typing import Any

from .media import FFMPEG_QUIET, ffmpeg_path, local_input

# https://cv.iptc.org/newscodes/digitalsourcetype/: media made by a trained algorithm
DIGITAL_SOURCE_TYPE = "trainedAlgorithmicMedia"


def container_metadata(
    settings: Mapping[str, Any], seed: int | None, version: str, profile: str = ""
) -> dict[str, str]:
    """Metadata for VideoWriter: title and comment for people, description as JSON for machines.

    ``settings`` must be what json can write; nothing of the user's files belongs into it, not even their names.
    """
    return {
        "title": "AI-generated talking portrait",
        "comment": (
            f"AI-generated with SynchroRaMa {version} from one photo and one recording: "
            f"the person shown never spoke like this. Digital source type: {DIGITAL_SOURCE_TYPE}."
        ),
        "description": json.dumps(
            {
                "ai_generated": True,
                "digital_source_type": DIGITAL_SOURCE_TYPE,
                "tool": "SynchroRaMa",
                "version": version,
                **({"profile": profile} if profile else {}),
                "seed": seed,
                "settings": dict(settings),
            },
            ensure_ascii=False,
            sort_keys=True,
        ),
    }


def read_container_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The metadata of a video file, keys in lower case; empty when it has none or cannot be read."""
    command = [ffmpeg_path(), *FFMPEG_QUIET, *local_input(path), "-f", "ffmetadata", "pipe:1"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    text = done.stdout.decode("utf-8", "replace")
    found = {}
    # key=value, one a line; "=", ";", "#", "\" and line breaks in a value are escaped by a backslash.
    for line in re.findall(r"^((?:[^\\\n]|\\.|\\\n)+)$", text.partition("\n")[2], re.MULTILINE):
        key, _, value = line.partition("=")
        found[key.lower()] = re.sub(r"\\([\s\S])", r"\1", value)
    return found
