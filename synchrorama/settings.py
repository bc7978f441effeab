"""Every control of a generation, with its range, default and meaning.

The web page, the command line and the table in docs/command_line.md are made from the fields below, so a control
is described in one place. A test for each checks that it moves the result in the direction its help text says.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from .emotion.direction import keyframes_text, parse_emotion, parse_keyframes
from .errors import InputError

MAX_SEED = 2**31 - 1
FRAMINGS = ("crop", "full_picture")
MARKS = ("bottom_right", "bottom_left", "top_right", "top_left", "none")
SAMPLERS = ("euler", "unipc", "dpm++")
EMOTION_MODES = ("speech", "emotion", "valence_arousal", "keyframes")
MAX_TEXT = 20_000  # characters


@dataclass(frozen=True)
class Control:
    """How one setting is presented: what a slider, a command-line option and a table row need to know.

    ``minimum`` and ``maximum`` are inclusive; ``choices`` replaces them for settings that are one of a few
    words, and texts have neither; ``optional`` says that None is a value too, and what it means stands in ``help``;
    ``read`` brings a text into its usual form and raises InputError for what it cannot read.
    """

    label: str
    help: str
    kind: type
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False
    read: Callable[[Any], str] | None = None

    def check(self, value: Any) -> Any:
        """The value as this control's type. Raises InputError when it is of another kind or out of range."""
        if value is None and self.optional:
            return None
        if self.choices:
            if value not in self.choices:
                raise InputError(f"{self.label} is {value!r}; choose one of {', '.join(self.choices)}.")
            return value
        if self.kind is bool:
            if not isinstance(value, bool):
                raise InputError(f"{self.label} is {value!r}; give true or false.")
            return value
        if self.kind is str:
            return self._text(value)
        number = self._number(value)
        if not self.minimum <= number <= self.maximum:
            raise InputError(
                f"{self.label} is {value}; give a value from {self.minimum:.0f} to {self.maximum:.0f}."
            )
        return number

    def _text(self, value: Any) -> str | None:
        """A text; an empty one is none at all where None is allowed."""
        if isinstance(value, str):
            value = value.strip()
            if not value and self.optional:
                return None
            if len(value) > MAX_TEXT:
                raise InputError(f"{self.label} has {len(value)} characters; give at most {MAX_TEXT}.")
        if self.read is not None:
            return self.read(value)
        if not isinstance(value, str):
            raise InputError(f"{self.label} is {value!r}; give a text.")
        return value

    def _number(self, value: Any) -> float:
        """int or float. Whole floats pass for int settings because sliders and JSON send them so."""
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or (self.kind is int and value != int(value)):
            wanted = "a whole number" if self.kind is int else "a number"
            raise InputError(f"{self.label} is {value!r}; give {wanted}.")
        return self.kind(value)


def _control(default: Any, label: str, help: str, kind: type = float, **bounds: Any) -> Any:
    return field(default=default, metadata={"control": Control(label, help, kind, **bounds)})


def read_emotion(text: Any) -> str:
    if not isinstance(text, str):
        raise InputError(f"Emotion is {text!r}; give a text such as happy or happy 0.6, sad 0.4.")
    parse_emotion(text)
    return text.strip().lower()


def read_keyframes(given: Any) -> str:
    return keyframes_text(parse_keyframes(given))


@dataclass(frozen=True)
class GenerationSettings:
    """What a user can choose. Immutable; checked when made (InputError names the setting and its range)."""

    seed: int | None = _control(
        None,
        "Seed",
        "The same seed with the same inputs gives the same video; leave it out for a new take each time.",
        int, minimum=0, maximum=MAX_SEED, step=1, optional=True,
    )  # fmt: skip
    head_motion: float = _control(
        1.0,
        "Head motion",
        "How far the head moves: 0 holds it still, 1 is natural, 2 is twice as far.",
        minimum=0.0, maximum=2.0, step=0.05,
    )  # fmt: skip
    motion_diversity: float = _control(
        1.0,
        "Motion diversity",
        "How much head, brows and gaze differ between seeds: 0 gives the same calm take, blinks apart.",
        minimum=0.0, maximum=2.0, step=0.05,
    )  # fmt: skip
    blink_rate: float = _control(
        15.0,
        "Blinks per minute",
        "How often the eyes blink: 0 never, 15 is usual for someone speaking.",
        minimum=0.0, maximum=40.0, step=1.0,
    )  # fmt: skip
    expressiveness: float = _control(
        1.0,
        "Expressiveness",
        "How wide the mouth opens while speaking: 0 keeps it shut, 1 is natural, 2 exaggerates.",
        minimum=0.0, maximum=2.0, step=0.05,
    )  # fmt: skip
    articulation: float = _control(
        0.5,
        "Articulation",
        "How crisply the lips form each sound: 0 is casual, 1 closes firmly on every p, b and m.",
        minimum=0.0, maximum=1.0, step=0.05,
    )  # fmt: skip
    framing: str = _control(
        "crop",
        "Framing",
        "crop shows the head in a 512 pixel square; full_picture puts it back into the whole photo.",
        str, choices=FRAMINGS,
    )  # fmt: skip
    mark: str = _control(
        "bottom_right",
        "Mark",
        "Where the words AI-generated stand in the picture; none leaves that note to the file, which always has it.",
        str, choices=MARKS,
    )  # fmt: skip
    emotion_mode: str = _control(
        "speech",
        "Emotion from",
        "speech reads it from voice, words and photo; the others show what you choose instead: "
        "an emotion, a point in the valence-arousal plane, or keyframes.",
        str, choices=EMOTION_MODES,
    )  # fmt: skip
    emotion: str = _control(
        "happy",
        "Emotion",
        "In mode emotion, what is shown: neutral, happy, sad, angry, fearful, disgusted, surprised, contempt, "
        "or a mix such as happy 0.6, surprised 0.4.",
        str, read=read_emotion,
    )  # fmt: skip
    valence: float = _control(
        0.0,
        "Valence",
        "In mode valence_arousal, how pleasant it feels: -1 very unpleasant, 1 very pleasant.",
        minimum=-1.0, maximum=1.0, step=0.05,
    )  # fmt: skip
    arousal: float = _control(
        0.0,
        "Arousal",
        "In mode valence_arousal, how excited one is: -1 sleepy, 1 agitated.",
        minimum=-1.0, maximum=1.0, step=0.05,
    )  # fmt: skip
    keyframes: str | None = _control(
        None,
        "Keyframes",
        "In mode keyframes, what is shown when, as seconds, emotion, strength: 0 neutral; 2.5 happy 1.5; or as JSON.",
        str, optional=True, read=read_keyframes,
    )  # fmt: skip
    emotion_strength: float = _control(
        1.0,
        "Emotion strength",
        "How strongly the face shows the emotion: 0 not at all, 1 is natural, 2 exaggerates.",
        minimum=0.0, maximum=2.0, step=0.05,
    )  # fmt: skip
    text_weight: float = _control(
        0.8,
        "Words",
        "In mode speech, how much the feeling of the words counts (English).",
        minimum=0.0, maximum=1.0, step=0.05,
    )  # fmt: skip
    voice_weight: float = _control(
        1.0,
        "Voice",
        "In mode speech, how much the tone of the voice counts.",
        minimum=0.0, maximum=1.0, step=0.05,
    )  # fmt: skip
    valence_arousal_weight: float = _control(
        0.5,
        "Valence and arousal",
        "In mode speech, how much the voice's valence and arousal count, for expression and movement.",
        minimum=0.0, maximum=1.0, step=0.05,
    )  # fmt: skip
    photo_weight: float = _control(
        0.3,
        "Photo",
        "In mode speech, how much the expression in the photo counts.",
        minimum=0.0, maximum=1.0, step=0.05,
    )  # fmt: skip
    transcript: str | None = _control(
        None,
        "Transcript",
        "What is said; left out, English is recognised from the sound.",
        str, optional=True,
    )  # fmt: skip
    description: str | None = _control(
        None,
        "Scene description",
        "What the person does, such as: smiles, then looks to the left and nods.",
        str, optional=True,
    )  # fmt: skip
    face_index: int | None = _control(
        None,
        "Face",
        "Which face speaks when the photo has several: 0 is the largest, which is also taken when left out.",
        int, minimum=0, maximum=20, step=1, optional=True,
    )  # fmt: skip
    inference_steps: int = _control(
        1,
        "Inference steps",
        "In how many steps diffusion paints the mouth: each takes as long again, and the shipped weights gain little "
        "beyond 1.",
        int, minimum=1, maximum=50, step=1,
    )  # fmt: skip
    guidance_scale: float = _control(
        1.0,
        "Guidance scale",
        "How much what is painted follows the sound: 1 as learnt and fastest, more exaggerates, 0 does not listen.",
        minimum=0.0, maximum=5.0, step=0.1,
    )  # fmt: skip
    diffusion_strength: float = _control(
        0.3,
        "Diffusion strength",
        "How much of what diffusion paints is shown: 0 leaves the motion frames, 0.3 is gentle, 1 is all of it.",
        minimum=0.0, maximum=1.0, step=0.05,
    )  # fmt: skip
    sampler: str = _control(
        "euler",
        "Sampler",
        "How steps are taken from noise to picture; a difference shows from 2 inference steps on.",
        str, choices=SAMPLERS,
    )  # fmt: skip
    feature_caching: int = _control(
        1,
        "Feature caching",
        "At every how many inference steps all of the network is computed: 1 always; with 2 and more the steps between "
        "reuse most of it, which is faster and less exact.",
        int, minimum=1, maximum=5, step=1,
    )  # fmt: skip
    preview: bool = _control(
        False,
        "Preview",
        "A quick look before the real run: the first 5 seconds at half the size, motion frames without diffusion.",
        bool,
    )
    max_seconds: float = _control(
        600.0,
        "Longest recording",
        "Recordings longer than this many seconds are refused.",
        minimum=1.0, maximum=3600.0, step=1.0,
    )  # fmt: skip

    def __post_init__(self) -> None:
        for name, control in controls().items():
            # the only way to normalise a field of a frozen dataclass (a slider sends 15 where 15.0 is meant)
            object.__setattr__(self, name, control.check(getattr(self, name)))
        if self.emotion_mode == "keyframes" and self.keyframes is None:
            parse_keyframes("")

    @property
    def diffuses(self) -> bool:
        """Whether these settings have diffusion paint the motion frames."""
        return not self.preview and self.diffusion_strength > 0

    def with_seed(self) -> GenerationSettings:
        """These settings with a random seed drawn if none is set, so that the result can be repeated."""
        return self if self.seed is not None else replace(self, seed=secrets.randbelow(MAX_SEED + 1))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GenerationSettings:
        """The reverse of to_dict; settings that are absent keep their defaults. Raises InputError."""
        unknown = sorted(set(values) - set(controls()))
        if unknown:
            raise InputError(
                f"There is no setting called {', '.join(map(repr, unknown))}; "
                f"the settings are {', '.join(controls())}."
            )
        return cls(**values)

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> GenerationSettings:
        """Settings from a JSON object. Raises InputError for anything else."""
        return cls.from_dict(settings_in(text))


def settings_in(text: str) -> dict[str, Any]:
    """What a JSON object sets; what it does not mention is absent. Raises InputError for anything else."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"The settings are not valid JSON (line {error.lineno}: {error.msg}).") from None
    if not isinstance(values, dict):
        raise InputError('The settings must be one JSON object such as {"seed": 7}.')
    GenerationSettings.from_dict(values)
    return values


def controls() -> dict[str, Control]:
    """Every setting's name and how to present it, in the order of the fields."""
    return {each.name: each.metadata["control"] for each in fields(GenerationSettings)}


def defaults() -> dict[str, Any]:
    """Every setting's default value."""
    return {each.name: each.default for each in fields(GenerationSettings)}
