"""The settings of one training run of the diffusion stage, from a JSON file."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from synchrorama.errors import InputError

C = TypeVar("C", bound="LoopConfig")

MIXED_PRECISIONS = ("no", "fp16", "bf16")
READING_LOSSES = ("sync", "action_units", "emotion", "attribute_action")  # of what a face reader reads off pictures
LOSSES = ("denoising", "reconstruction", *READING_LOSSES)


_OF_JSON: dict[str, tuple[Any, str]] = {
    "Path": (str, "a path"), "str": (str, "a text"), "bool": (bool, "true or false"), "int": (int, "a whole number"),
    "float": ((int, float), "a number"), "tuple": (list, "a list"), "dict": (dict, "an object"),
}  # fmt: skip
"""Annotation of a setting → what JSON has for it, and that in words."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """What every run depends on.

    Attributes:
        run: folder for the state, TensorBoard's files and pictures of the run.
        output: folder for the weights.
        networks: part → arguments, see ``diffusion.networks.PARTS``.
        steps: of the optimiser.
        learning_rate: the highest; it rises during ``warm_up`` steps, then falls in a line to 3 %.
        moving_average: the largest decay of the average of the networks, which then is what is saved; 0 keeps none,
            and saves the networks themselves.
        threads: of the CPU.
    """

    run: Path
    output: Path
    networks: dict[str, dict[str, Any]]
    steps: int = 6000
    learning_rate: float = 1e-3
    warm_up: int = 50
    weight_decay: float = 1e-3
    gradient_clip: float = 1.0
    moving_average: float = 0.995
    mixed_precision: str = "no"
    gradient_checkpointing: bool = False
    seed: int = 0
    log_every: int = 50
    save_every: int = 250
    threads: int = 1

    @classmethod
    def from_file(cls: type[C], path: Path) -> C:
        """
        Raises:
            InputError: what of the file is not as it should be.
        """
        return cls.from_dict(read_json(path), path.name)

    @classmethod
    def from_dict(cls: type[C], given: dict[str, Any], name: str) -> C:
        """From what the file ``name`` holds. Raises InputError like ``from_file``."""
        kinds = {each.name: each for each in fields(cls)}
        needed = {key for key, each in kinds.items() if each.default is each.default_factory is MISSING}
        unknown, missing = sorted(set(given) - set(kinds)), sorted(needed - set(given))
        if unknown or missing:
            told = [f"knows no {', '.join(unknown)}"] * bool(unknown) + [f"needs {', '.join(missing)}"] * bool(missing)
            raise InputError(f"The config {name} {' and '.join(told)}; it may hold {', '.join(sorted(kinds))}.")
        values = {key: _as_written(kinds[key].type, value, f"{key} in {name}") for key, value in given.items()}
        config = cls(**values)
        config._check(name)
        return config

    def _check(self, name: str) -> None:
        if self.mixed_precision not in MIXED_PRECISIONS:
            raise InputError(f"mixed_precision in {name} must be one of {', '.join(MIXED_PRECISIONS)}.")
        for number in ("steps", "log_every", "save_every", "threads"):
            at_least_one(self, number, name)
        if not 0 <= self.moving_average < 1:
            raise InputError(f"moving_average in {name} must be at least 0 and less than 1.")


@dataclass(frozen=True, kw_only=True)
class RunConfig(LoopConfig):
    """A run of the small profile.

    Attributes:
        pairs: folder of `prepare pairs`.
        losses: name of ``LOSSES`` → weight; 0 and names left out are not computed.
        clip_frames: lengths of clips, in turn; the temporal attention knows no place beyond the longest.
        frames_per_step: of clips, in all.
        stills_per_step: single frames from photos.
        shared_noise: share of the noise's variance that the frames of a clip have in common.
        noise_only: share of clips at t = 1, where few-step sampling begins.
        unguided: share of clips without the guide, from which reference, sound, emotion and text must do; with it they
            tell little that it does not, and would be ignored.
        checkpoints: folder of the networks that judge or that tell, such as ``scene_encoder``.
    """

    pairs: Path
    losses: dict[str, float] = field(default_factory=lambda: {"denoising": 1.0})
    clip_frames: tuple[int, ...] = (4, 8)
    frames_per_step: int = 16
    stills_per_step: int = 4
    shared_noise: float = 0.7
    noise_only: float = 0.5
    unguided: float = 0.15
    pictures_every: int = 1000
    checkpoints: Path = Path("checkpoints/mini")

    def _check(self, name: str) -> None:
        super()._check(name)
        if unknown := sorted(set(self.losses) - set(LOSSES)):
            raise InputError(f"The config {name} names losses {', '.join(unknown)}; known are {', '.join(LOSSES)}.")
        for number in ("frames_per_step", "pictures_every"):
            at_least_one(self, number, name)
        if not self.clip_frames or min(self.clip_frames) < 1 or max(self.clip_frames) > self.frames_per_step:
            raise InputError(f"clip_frames in {name} must be lengths from 1 to frames_per_step.")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises InputError when there is none."""
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"The config {path} cannot be read ({error}); give a JSON file.") from None
    if not isinstance(given, dict):
        raise InputError(f"The config {path} is no JSON object; give settings by name.")
    return given


def at_least_one(config: LoopConfig, number: str, name: str) -> None:
    """Raises InputError for a setting below 1."""
    if getattr(config, number) < 1:
        raise InputError(f"{number} in {name} must be at least 1.")


def _as_written(kind: str, value: Any, told: str) -> Any:
    """A value of JSON as a setting whose annotation is ``kind``."""
    wanted, words = _OF_JSON[kind.split("[")[0]]
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise InputError(f"{told} must be {words}, not {value!r}.")
    if kind.startswith("tuple[Path"):
        return tuple(Path(each) for each in value)
    return Path(value) if kind == "Path" else tuple(value) if wanted is list else value
