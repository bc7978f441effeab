"""The settings of one training run of the diffusion stage, from a JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from synchrorama.errors import InputError

MIXED_PRECISIONS = ("no", "fp16", "bf16")
READING_LOSSES = ("sync", "action_units", "emotion", "attribute_action")  # of what a face reader reads off pictures
LOSSES = ("denoising", "reconstruction", *READING_LOSSES)


@dataclass(frozen=True)
class RunConfig:
    """Everything that a run depends on.

    Attributes:
        pairs: folder of `prepare pairs`.
        run: folder for the state, TensorBoard's files and pictures of the run.
        output: folder for the weights, the moving average of the networks.
        networks: part → arguments, see ``diffusion.networks.PARTS``.
        losses: name of ``LOSSES`` → weight; 0 and names left out are not computed.
        steps: of the optimiser.
        clip_frames: lengths of clips, in turn; the temporal attention knows no place beyond the longest.
        frames_per_step: of clips, in all.
        stills_per_step: single frames from photos.
        learning_rate: the highest; it rises during ``warm_up`` steps, then falls in a line to 3 %.
        moving_average: the largest decay.
        shared_noise: share of the noise's variance that the frames of a clip have in common.
        noise_only: share of clips at t = 1, where few-step sampling begins.
        unguided: share of clips without the guide, from which reference, sound, emotion and text must do; with it they
            tell little that it does not, and would be ignored.
        checkpoints: folder of the networks that judge or that tell, such as ``scene_encoder``.
        threads: of the CPU.
    """

    pairs: Path
    run: Path
    output: Path
    networks: dict[str, dict[str, Any]]
    losses: dict[str, float] = field(default_factory=lambda: {"denoising": 1.0})
    steps: int = 6000
    clip_frames: tuple[int, ...] = (4, 8)
    frames_per_step: int = 16
    stills_per_step: int = 4
    learning_rate: float = 1e-3
    warm_up: int = 50
    weight_decay: float = 1e-3
    gradient_clip: float = 1.0
    moving_average: float = 0.995
    shared_noise: float = 0.7
    noise_only: float = 0.5
    unguided: float = 0.15
    mixed_precision: str = "no"
    gradient_checkpointing: bool = False
    seed: int = 0
    log_every: int = 50
    save_every: int = 250
    pictures_every: int = 1000
    checkpoints: Path = Path("checkpoints/mini")
    threads: int = 1

    @classmethod
    def from_file(cls, path: Path) -> RunConfig:
        """
        Raises:
            InputError: what of the file is not as it should be.
        """
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"The config {path} cannot be read ({error}); give a JSON file.") from None
        known = {each.name for each in fields(cls)}
        unknown, missing = sorted(set(given) - known), sorted({"pairs", "run", "output", "networks"} - set(given))
        if unknown or missing:
            told = [f"knows no {', '.join(unknown)}"] * bool(unknown) + [f"needs {', '.join(missing)}"] * bool(missing)
            raise InputError(f"The config {path.name} {' and '.join(told)}; it may hold {', '.join(sorted(known))}.")
        for name in ("pairs", "run", "output", "checkpoints"):
            if name in given:
                given[name] = Path(given[name])
        if "clip_frames" in given:
            given["clip_frames"] = tuple(given["clip_frames"])
        config = cls(**given)
        config._check(path.name)
        return config

    def _check(self, name: str) -> None:
        if unknown := sorted(set(self.losses) - set(LOSSES)):
            raise InputError(f"The config {name} names losses {', '.join(unknown)}; known are {', '.join(LOSSES)}.")
        if self.mixed_precision not in MIXED_PRECISIONS:
            raise InputError(f"mixed_precision in {name} must be one of {', '.join(MIXED_PRECISIONS)}.")
        for number in ("steps", "frames_per_step", "log_every", "save_every", "pictures_every", "threads"):
            if getattr(self, number) < 1:
                raise InputError(f"{number} in {name} must be at least 1.")
        if not self.clip_frames or min(self.clip_frames) < 1 or max(self.clip_frames) > self.frames_per_step:
            raise InputError(f"clip_frames in {name} must be lengths from 1 to frames_per_step.")
