"""A link that carries every setting: what differs from the defaults stands in the address, readable and lasting.

It names the examples that were chosen. What was uploaded is not in it: a link goes to strangers, a face does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from synchrorama import GenerationSettings, InputError
from synchrorama.settings import controls, defaults

from .examples import example_name, example_path


def query_of(
    photo: str | None, recording: str | None, settings: GenerationSettings, random_seed: bool = False
) -> str:
    """The part of an address after the question mark."""
    values = {"photo": example_name(photo), "recording": example_name(recording)}
    for name, value in settings.to_dict().items():
        if name not in ("preview", "max_seconds", "seed") and value != defaults()[name]:
            values[name] = f"{value:g}" if isinstance(value, float) else value
    values["seed"] = None if random_seed else settings.seed
    return urlencode({name: value for name, value in values.items() if value is not None})


def read_query(query: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """What a link says, as {photo, recording: paths; settings: values}, and a sentence for each part that is unusable.

    A link is what a stranger wrote: every value is checked like a visitor's own, and unknown names are passed over.
    """
    found: dict[str, Any] = {}
    problems = []
    for name in ("photo", "recording"):
        if name in query:
            path = example_path(query[name])
            if path is None:
                problems.append(f"The link names a {name} that is not among the examples; add your own.")
            else:
                found[name] = path
    for name, control in controls().items():
        if name not in query or name in ("preview", "max_seconds"):
            continue
        try:
            found[name] = control.check(_value(query[name], control.kind))
        except InputError as error:
            problems.append(f"The link is not right: {error}")
    return found, problems


def _value(text: str, kind: type) -> Any:
    """A number where one is meant and given; Control.check has the sentence for everything else."""
    if kind is str:
        return text
    try:
        return float(text)
    except ValueError:
        return text
