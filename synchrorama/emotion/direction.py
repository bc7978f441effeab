"""What a user asks the face to show instead of what is heard: an emotion, a mix, or keyframes, written as text."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synchrorama.emotion.categories import EMOTIONS
from synchrorama.errors import InputError

MAX_STRENGTH = 2.0
MAX_KEYFRAMES = 200

Mix = dict[str, float]
"""Emotion → its share in (0, 1]; what is missing to 1 is neutral."""

SYNONYMS = {
    "happiness": "happy", "joy": "happy", "sadness": "sad", "anger": "angry", "fear": "fearful", "afraid": "fearful",
    "disgust": "disgusted", "surprise": "surprised", "contemptuous": "contempt", "calm": "neutral", "none": "neutral",
}  # fmt: skip
"""Other words for the names of EMOTIONS."""
_CHOICE = f"choose from {', '.join(EMOTIONS)}"


@dataclass(frozen=True)
class Keyframe:
    """At ``time`` seconds the face shows ``mix``, ``strength`` (0 to 2) times as strongly as is natural."""

    time: float
    mix: tuple[tuple[str, float], ...]
    strength: float = 1.0


def parse_emotion(text: str) -> Mix:
    """``"happy"`` or a mix such as ``"happy 0.6, surprised 0.4"`` → shares that add up to at most 1.

    Shares whose sum exceeds 1 are scaled down to 1; emotions without a number share equally.

    Raises:
        InputError: a word is no emotion, or a share is not between 0 and 1.
    """
    parts = [part for part in re.split(r"[,+;]|\band\b", str(text).lower()) if part.strip()]
    if not parts:
        raise InputError(f"The emotion is empty; {_CHOICE}.")
    mix: Mix = {}
    for part in parts:
        words = part.replace(":", " ").replace("=", " ").split()
        name = _emotion_name(words[0])
        if len(words) > 2:
            raise InputError(f"The emotion {part.strip()!r} is not understood; write for example happy 0.6, sad 0.4.")
        share = _number(words[1], 0, 1, f"The share of {name}") if len(words) == 2 else 1 / len(parts)
        mix[name] = mix.get(name, 0.0) + share
    total = sum(mix.values())
    return {name: share / max(total, 1.0) for name, share in mix.items() if share > 0} or {"neutral": 1.0}


def parse_keyframes(given: str | Sequence[Mapping[str, Any]]) -> tuple[Keyframe, ...]:
    """Keyframes from a list, its JSON, or lines such as ``"0 neutral; 2.5 happy 1.5"``: time, emotion, strength.

    A list has entries {"time": seconds, "emotion": as for ``parse_emotion``, "strength": 0 to 2, by default 1}.
    In lines, a number after the emotion is its strength; a mix needs the JSON form.

    Raises:
        InputError: nothing is given, something is not understood, out of range or out of order.
    """
    rows = list(_rows(given))
    if not rows:
        raise InputError('There are no keyframes; write seconds, emotion and strength: "0 neutral; 2.5 happy 1.5".')
    if len(rows) > MAX_KEYFRAMES:
        raise InputError(f"There are {len(rows)} keyframes; give at most {MAX_KEYFRAMES}.")
    keyframes = [_keyframe(row) for row in rows]
    for before, after in itertools.pairwise(keyframes):
        if after.time <= before.time:
            raise InputError(
                f"The keyframe at {after.time:g} s comes after the one at {before.time:g} s; "
                "give each a later time than the one before."
            )
    return tuple(keyframes)


def check_within(keyframes: Sequence[Keyframe], seconds: float) -> None:
    """Raises InputError when a keyframe lies beyond the end of a recording of ``seconds``."""
    last = keyframes[-1].time
    if last > seconds + 0.04:  # a frame: times are often read off a player
        raise InputError(f"The keyframe at {last:g} s is beyond the end; the recording lasts {seconds:.1f} s.")


def keyframes_text(keyframes: Iterable[Keyframe]) -> str:
    """The JSON that ``parse_keyframes`` reads back."""
    rows = [
        {
            "time": keyframe.time,
            "emotion": ", ".join(f"{name} {share:g}" if share < 1 else name for name, share in keyframe.mix),
            "strength": keyframe.strength,
        }
        for keyframe in keyframes
    ]
    return json.dumps(rows)


def _rows(given: str | Sequence[Mapping[str, Any]]) -> Iterable[Any]:
    if not isinstance(given, str):
        return given
    text = given.strip()
    if text.startswith(("[", "{")):
        try:
            rows = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"The keyframes are not valid JSON (line {error.lineno}: {error.msg}).") from None
        return rows if isinstance(rows, list) else [rows]
    return [_row_of_words(line.split()) for line in re.split(r"[;\n]", text) if line.strip()]


def _row_of_words(words: list[str]) -> dict[str, Any]:
    if len(words) not in (2, 3):
        raise InputError(
            f"The keyframe {' '.join(words)[:60]!r} is not understood; "
            "write seconds, emotion and strength, as in 2.5 happy 1.5."
        )
    return dict(zip(("time", "emotion", "strength"), words, strict=False))


def _keyframe(row: Any) -> Keyframe:
    if not isinstance(row, Mapping) or not {"time", "emotion"} <= set(row):
        raise InputError('A keyframe must be an object such as {"time": 2.5, "emotion": "happy", "strength": 1.5}.')
    unknown = sorted(set(row) - {"time", "emotion", "strength"})
    if unknown:
        raise InputError(f"A keyframe has no {unknown[0]!r}; it has time, emotion and strength.")
    time = _number(row["time"], 0, math.inf, "The time of a keyframe")
    strength = _number(row.get("strength", 1.0), 0, MAX_STRENGTH, "The strength of a keyframe")
    return Keyframe(time, tuple(parse_emotion(str(row["emotion"])).items()), strength)


def _emotion_name(word: str) -> str:
    name = SYNONYMS.get(word, word)
    if name not in EMOTIONS:
        raise InputError(f"There is no emotion called {word[:40]!r}; {_CHOICE}.")
    return name


def _number(value: Any, low: float, high: float, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{what} is {str(value)[:40]!r}; give a number.") from None
    if not low <= number <= high or math.isinf(number):
        allowed = f"from {low:g} to {high:g}" if high < math.inf else "of 0 or more"
        raise InputError(f"{what} is {number:g}; give a value {allowed}.")
    return number
