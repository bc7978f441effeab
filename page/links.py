"""A link that carries every setting: what differs from the defaults stands in the address, readable and lasting.

It names the examples that were chosen. What was uploaded is not in it: a link goes to strangers, a face does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from synchrorama import GenerationSettings, InputError
from synchrorama.settings import controls

from .described import SETTINGS
from .examples import example_name, example_path
from .inputs import settings_of
from .profiles import Offer, Profiles
from .texts import note


class Links:
    """What the button for a link and the address of the page do.

    Args:
        profiles: those of this server; its own does not stand in a link.
    """

    def __init__(self, profiles: Profiles) -> None:
        self.profiles = profiles

    def write(
        self, photo: str | None, recording: str | None, random_seed: bool, ours: str, profile: str, *values: Any
    ) -> Any:
        """The query of a link, in the box where it is shown. Our own description of the photo is made again there."""
        offer, given = self.profiles[profile], dict(zip(SETTINGS, values, strict=True))
        if given["description"].strip() == ours:
            given["description"] = ""
        try:
            query = query_of(offer, photo, recording, settings_of(offer, False, given), random_seed)
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None
        return gr.update(value=f"{query}{self._named(offer, query)}", visible=True)

    def _named(self, offer: Offer, query: str) -> str:
        if offer is self.profiles.default:
            return ""
        return f"{'&' if query else ''}{urlencode({'profile': offer.name})}"

    def read(self, request: gr.Request) -> list[Any]:
        """What the address says, into the controls; they stay as they are where it says nothing."""
        query = dict(request.query_params)
        profile = query.get("profile", self.profiles.default.name)
        found, problems = read_query(query)
        if profile not in self.profiles.names:
            problems.append(
                f"The link names a profile that is not here; choose one of {', '.join(self.profiles.names)}."
            )
        elif profile != self.profiles.default.name:
            settings = self.profiles[profile].settings().to_dict()
            found = {"profile": profile, **{name: settings[name] for name in self.profiles.suited}, **found}
        values = [found.get(name, gr.skip()) for name in ("photo", "recording")]
        values.append(False if found.get("seed") is not None else gr.skip())
        values += [found[name] if found.get(name) is not None else gr.skip() for name in ("profile", *SETTINGS)]
        return [*values, "\n\n".join(map(note, problems))]


def query_of(
    offer: Offer, photo: str | None, recording: str | None, settings: GenerationSettings, random_seed: bool = False
) -> str:
    """The part of an address after the question mark, but for the profile, whose defaults do not stand there."""
    values = {"photo": example_name(photo), "recording": example_name(recording)}
    usual = offer.settings().to_dict()
    for name, value in settings.to_dict().items():
        if name not in ("preview", "max_seconds", "seed") and value != usual[name]:
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
