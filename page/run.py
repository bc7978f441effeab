"""What the page does when its button is pressed: check, make while showing how far it is, and hand over."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np

from synchrorama import GenerationSettings, InputError
from synchrorama.settings import controls

from . import inputs
from .described import SETTINGS, shown
from .errors import answered
from .making import Step
from .service import Service
from .serving import jpeg

Outputs = tuple[Any, ...]
"""Progress panel, video, seed, notes, motion file, settings file, settings used, row of what can be done next, the
visitor's last runs."""
MOST_RUNS = 20  # that a browser remembers


class Run:
    """The page's own way to a video; ``service`` makes it."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def check(
        self,
        photo: str | None,
        recording: str | None,
        consent: bool,
        random_seed: bool,
        request: gr.Request,  # before the values, or gradio would not put it in
        *values: Any,
    ) -> list[dict[str, Any]]:
        """What is wrong, beside the control that it is about, before anything is queued."""
        profile, *values, _ = values
        answers = dict.fromkeys(("photo", "recording", "consent", "random_seed", "profile", *SETTINGS, "last runs"), "")
        given = dict(zip(SETTINGS, values, strict=True))
        profiles = self.service.profiles
        answers["profile"] = profiles[profile].problem
        try:
            settings = inputs.settings_of(profiles[profile], random_seed, given)
        except InputError as error:
            settings = GenerationSettings(max_seconds=inputs.LONGEST_RECORDING)
            answers[_about(given)] = str(error)
        self.service.ready.wait()
        answers["photo"], answers["recording"] = inputs.problems(profiles.base.pipeline, photo, recording, settings)
        if not inputs.allowed(photo, recording, consent):
            answers["consent"] = inputs.CONSENT_MISSING
        if not any(answers.values()):
            try:
                self.service.visits.admit(request)
            except InputError as error:
                answers["photo"] = str(error)
        return [gr.validate(not problem, html.escape(problem, quote=False)) for problem in answers.values()]

    @answered
    def generate(
        self, photo: str, recording: str, consent: bool, random_seed: bool, request: gr.Request, *values: Any
    ) -> Iterator[Outputs]:
        """The steps as they come, then everything that was made.

        The first of ``values`` is the profile, the last are the visitor's last runs.
        """
        profile, *values, runs = values
        offer = self.service.open(profile)
        settings = inputs.settings_of(offer, random_seed, dict(zip(SETTINGS, values, strict=True)))
        for step in self.service.made(photo, recording, consent, offer, settings, request):
            if isinstance(step, Step):
                yield gr.update(value=panel(step), visible=True), *(gr.skip() for _ in range(8))
        video, motion, settings_file, used, notes = step
        again = {"profile": offer.name, **used.to_dict()}
        runs = [again, *(runs or [])][:MOST_RUNS]
        after = gr.update(visible=True)
        yield self.over(), video, used.seed, notes, motion, settings_file, again, after, runs

    def stop(self, request: gr.Request) -> tuple[Any, Any]:
        """Stop what this visitor has begun, and say so."""
        stopped = self.service.visits.stop(request)
        return self.over(), "Stopped; nothing was kept." if stopped else gr.skip()

    def over(self) -> Any:
        """Nothing is under way any more."""
        return gr.update(value="", visible=False)

    def leave(self, request: gr.Request) -> None:
        """Stop what a visitor has begun, without a word: the page was closed, or a program asks for it."""
        self.service.visits.stop(request)

    def reuse(self, used: dict[str, Any] | None) -> list[Any]:
        """No new seed, and profile and settings of a video into the controls, its seed included.

        What a browser brings back is checked like everything else; settings that it lacks keep their defaults.
        """
        try:
            known = {name: value for name, value in dict(used or {}).items() if name in SETTINGS}
            settings = GenerationSettings(**known).to_dict() if known else {}
        except (InputError, TypeError, ValueError):
            settings = {}
        if not settings:
            return [gr.skip() for _ in range(2 + len(SETTINGS))]
        profile = used.get("profile")
        known_here = isinstance(profile, str) and profile in self.service.profiles.names
        return [False, profile if known_here else gr.skip(), *(shown(name, settings[name]) for name in SETTINGS)]

    def last_runs(self, runs: list[dict[str, Any]] | None) -> tuple[Any, Any]:
        """The choice among the visitor's last runs and the button that forgets them; not there while there are none."""
        names = [(f"{i + 1}. seed {run.get('seed')}, {run.get('emotion_mode')}", i) for i, run in enumerate(runs or [])]
        return gr.update(choices=names, value=None, visible=bool(names)), gr.update(visible=bool(names))

    def run_again(self, chosen: int | None, runs: list[dict[str, Any]] | None) -> list[Any]:
        """The settings of one of the last runs into the controls."""
        known = isinstance(chosen, int) and 0 <= chosen < len(runs or [])
        return self.reuse(runs[chosen] if known else None)


def _about(given: dict[str, Any]) -> str:
    """The setting that is wrong; keyframes where each is right by itself, because only they may be missing."""
    for name, value in given.items():
        try:
            controls()[name].check(value)
        except InputError:
            return name
    return "keyframes"


def panel(step: Step) -> str:
    """Stage, percent, frames, time left and the newest frame as HTML; no file is written for it."""
    share = step.done / max(1, step.total)
    facts = [f"{share:.0%}"] if step.total > 1 else []
    if step.total > 1:
        facts.append(f"frame {step.done} of {step.total}")
    if step.left is not None:
        facts.append(f"{step.left:.0f} s left")
    picture = "" if step.frame is None else f'<img alt="The newest frame" src="{_data(step.frame)}">'
    return (
        f'<div class="under-way">{picture}<p>{html.escape(step.stage)}{" · " if facts else ""}{" · ".join(facts)}</p>'
        f'<div class="bar" role="progressbar" aria-label="{html.escape(step.stage)}" aria-valuemin="0" '
        f'aria-valuemax="100" aria-valuenow="{100 * share:.0f}"><span style="width:{100 * share:.1f}%"></span></div>'
        "</div>"
    )


def _data(frame: np.ndarray) -> str:
    """A frame as a data address."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(frame, 80)).decode("ascii")
