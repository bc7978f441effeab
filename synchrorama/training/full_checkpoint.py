"""What a second stage has trained as a checkpoint that can be used and given to others: a profile and a model card.

Around the folder ``diffusion`` of the run come the shipped networks that the full profile has in front of it, a
``profile.json`` that names the published ones, and a MODEL_CARD.md with what the run knows about itself.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from synchrorama.conversion import CARD
from synchrorama.motion import FPS
from synchrorama.profile import PROFILE_FILE, find_profile
from synchrorama.training.frame_config import FrameRunConfig


@dataclass(frozen=True)
class Data:
    """What a run has learnt from.

    Attributes:
        people, pieces: their numbers.
        seconds: of video.
        backends: component → backend with which the pieces were encoded.
    """

    people: int
    pieces: int
    seconds: float
    backends: dict[str, str]

    @classmethod
    def of(cls, people: dict[str, list[Path]]) -> Data:
        """Person → the encoded pieces."""
        paths = [path for each in people.values() for path in each]
        frames, backends = 0, {}
        for path in paths:
            with safe_open(path, "pt") as file:
                frames += file.get_slice("latents").get_shape()[0]
                backends = file.metadata() or backends
        return cls(len(people), len(paths), frames / FPS, backends)


def write_checkpoint(config: FrameRunConfig, data: Data, history: dict[str, list[float]], processes: int) -> Path:
    """Write all but ``config.output``, which is there, into the folder that this lies in.

    Args:
        config: of the run that has ended.
        data: what it has learnt from.
        history: its losses, as far as the last call made them.
        processes: how many trained together.

    Returns:
        The checkpoint.
    """
    folder, full = config.output.parent, find_profile("full").checkpoint.path
    profile = json.loads((full / "full.json").read_text(encoding="utf-8"))
    profile["description"] = "The full profile with networks that were trained further; see the model card."
    own = {"backend": "frame", "folder": config.output.name, "license": config.licence}
    profile["components"]["diffusion"] = [own]
    for component, entries in profile["components"].items():
        chosen = data.backends.get(component)
        entries.sort(key=lambda entry: entry["backend"] != chosen if chosen else False)
        for entry in entries:
            if "repository" in entry or component == "diffusion" or "folder" not in entry:
                continue
            shipped = full / entry["folder"]
            entry["folder"] = shipped.name
            shutil.copytree(shipped, folder / shipped.name, dirs_exist_ok=True)
    (folder / PROFILE_FILE).write_text(json.dumps(profile, indent=2) + "\n", encoding="utf-8")
    (folder / CARD).write_text(_card(config, data, history, processes), encoding="utf-8")
    return folder


def _card(config: FrameRunConfig, data: Data, history: dict[str, list[float]], processes: int) -> str:
    weights = sum(path.stat().st_size for path in config.output.glob("*.safetensors"))
    clips = config.clips_per_step * config.accumulation * processes
    losses = history["denoising"]
    last = losses[-min(len(losses), 1000) :]
    start = ", ".join(f"`{each.name if each.name != 'diffusion' else each.parent.name}`" for each in config.start)
    return f"""---
license: {config.licence}
library_name: synchrorama
tags:
- talking-head
---
# Networks for SynchroRaMa's full profile

**To be written by whoever trained them:** what the videos were and who may be shown, what was measured
(`python -m synchrorama evaluate`), and for what these weights are not fit.

| | |
|---|---|
| second stage | {config.steps:,} steps of {clips} clips of {config.clip_frames} frames at 512 × 512 |
| started from | {start or "nothing: random numbers"} |
| data | {data.seconds / 3600:.2f} hours of video, {data.people:,} people, {data.pieces:,} pieces |
| encoded with | {_listed(data.backends)} |
| loss, mean of the last {len(last):,} steps | {np.mean(last):.4f} |
| learning rate | {config.learning_rate:g}, falling |
| size of `{config.output.name}/` | {weights:,} bytes, half precision |

```bash
python -m synchrorama generate photo.jpg speech.wav -o video.mp4 --checkpoint OWNER/REPOSITORY
```

## Licences

These weights stand under the licence above, as far as what they were made from allows it. Data sets for research
only, such as MEAD, restrict what is trained on them. Hallo's weights are MIT and grew out of Stable Diffusion 1.5,
whose CreativeML Open RAIL-M licence forbids certain uses, also of what is derived from it. Networks that were trained
with ArcFace's embedding need InsightFace's model, which is for non-commercial research only. The other components are
named, with their licences, in `profile.json`.
"""


def _listed(backends: dict[str, Any]) -> str:
    return ", ".join(f"{component}: {backend}" for component, backend in sorted(backends.items())) or "not noted"
