"""What happens when: which component calls which function of the server, and where its answer goes."""

from __future__ import annotations

from typing import Any

import gradio as gr

from synchrorama.presets import NAMES, PRESETS
from synchrorama.settings import controls

from .described import SUITED
from .examples import EXAMPLES
from .layout import Parts
from .links import Links
from .live import Live
from .run import Run
from .service import Service

# Settings that change a preview frame at once; the others show in the video only.
_SHAPING = (
    "emotion_strength", "valence", "arousal", "text_weight", "voice_weight", "valence_arousal_weight", "photo_weight",
    "head_motion", "expressiveness",
)  # fmt: skip
# Those that the estimated time depends on.
_TIMED = ("framing", "inference_steps", "guidance_scale", "diffusion_strength", "feature_caching")
_TYPED = ("keyframes", "transcript", "description")
_QUIET = {"show_progress": "hidden", "trigger_mode": "always_last", "api_visibility": "private"}
_SHOW_LINK = "(query) => location.origin + location.pathname + '?' + query"
_COPY_LINK = "(link) => { history.replaceState(null, '', link); navigator.clipboard?.writeText(link); }"


def wire(demo: gr.Blocks, parts: Parts, service: Service, making: int) -> None:
    """Connect everything. At most ``making`` videos are made at once."""
    settings = [parts.profile, *parts.controls.values()]
    asked = [parts.photo, parts.recording, parts.consent, parts.random_seed, *settings]
    _endpoints(parts, service, making)
    _run(demo, parts, Run(service), asked, making)
    _live(demo, parts, service, settings)


def _endpoints(parts: Parts, service: Service, making: int) -> None:
    """What programs call. They come first, so that they have their names."""
    own = {name: _may_be_left_out(name) for name in SUITED}
    settings = [parts.profile, *(own.get(name, control) for name, control in parts.controls.items())]
    given = [parts.photo, parts.recording]
    made = [parts.video, parts.controls["seed"], parts.notes]
    gr.on(
        [], service.generate, [*given, parts.consent, parts.random_seed, *settings], made, api_name="generate",
        concurrency_id="making", concurrency_limit=making,
    )  # fmt: skip
    frame, found, text = gr.Image(visible=False, format="png"), gr.JSON(visible=False), gr.Textbox(visible=False)
    gr.on([], service.preview, [*given, parts.consent, *settings], frame, api_name="preview")
    gr.on([], service.analyze, [*given, *settings], found, api_name="analyze")
    gr.on([], service.describe, parts.photo, text, api_name="describe")


def _may_be_left_out(name: str) -> gr.Number | gr.Radio:
    """A setting as programs give it: the sliders of the page always have a value, this has none to begin with."""
    control = controls()[name]
    if control.choices:
        return gr.Radio(control.choices, label=control.label, visible=False)
    precision = 0 if control.kind is int else None
    bounds = {"minimum": control.minimum, "maximum": control.maximum}
    return gr.Number(None, label=control.label, precision=precision, visible=False, **bounds)


def _run(demo: gr.Blocks, parts: Parts, run: Run, asked: list[Any], making: int) -> None:
    outputs = [
        parts.progress, parts.video, parts.controls["seed"], parts.notes, parts.motion_file, parts.settings_file,
        parts.used, parts.after, parts.runs,
    ]  # fmt: skip
    options = {
        "show_progress": "hidden", "api_visibility": "private", "concurrency_id": "making", "concurrency_limit": making,
    }  # fmt: skip
    going = parts.go.click(run.generate, [*asked, parts.runs], outputs, validator=run.check, **options)
    with parts.examples:
        examples = gr.Examples(
            EXAMPLES, [parts.photo, parts.recording], label=parts.translate("examples"), api_visibility="private"
        )
        examples.dataset.headers = ["Photo", "Recording"]  # which take no translations
    clicked = examples.load_input_event.then(run.generate, [*asked, parts.runs], outputs, **options)
    for each in (going, clicked):  # also after an error, which would leave the panel where it was
        each.then(run.over, None, parts.progress, **_QUIET)
    parts.cancel.click(
        run.stop, None, [parts.progress, parts.notes], queue=False, cancels=[going, clicked], api_visibility="private"
    )
    # A program that waits for /generate can stop it too.
    gr.on([], run.leave, None, None, queue=False, api_name="cancel", api_visibility="undocumented")
    demo.unload(run.leave)
    chosen = [parts.random_seed, parts.profile, *parts.controls.values()]
    parts.reuse.click(run.reuse, parts.used, chosen, api_visibility="private")
    gr.on([demo.load, parts.runs.change], run.last_runs, parts.runs, [parts.last_runs, parts.forget], **_QUIET)
    parts.last_runs.input(run.run_again, [parts.last_runs, parts.runs], chosen, **_QUIET)
    parts.forget.click(lambda: [], None, parts.runs, api_visibility="private")


def _live(demo: gr.Blocks, parts: Parts, service: Service, settings: list[Any]) -> None:
    live, links = Live(service), Links(service.profiles)
    given = [parts.photo, parts.recording]
    current, shown = [*given, *settings], [*given, parts.consent, *settings]
    heard = [parts.controls["transcript"], parts.timeline]
    face, description = parts.controls["face_index"], parts.controls["description"]

    opened = demo.load(
        links.read, None, [*given, parts.random_seed, *settings, parts.notes], show_progress="hidden",
        api_visibility="private",
    )  # fmt: skip
    changed = [parts.photo.change, parts.recording.change]
    timed = [parts.controls[name] for name in _TIMED]

    def whenever(triggers: list[Any], *call: Any) -> tuple[Any, Any]:
        """Call a function at these triggers, and when the page has been opened."""
        return gr.on(triggers, *call, **_QUIET), opened.then(*call, **_QUIET)

    whenever(
        [*changed, parts.consent.change, face.change, parts.profile.change, *(control.change for control in timed)],
        live.look, [*given, parts.consent, face, *settings], [parts.faces, face, parts.seen],
    )  # fmt: skip
    whenever([parts.profile.change], live.about, parts.profile, [parts.profile_facts, parts.full_about])
    frames = (live.frames, shown, parts.compare)
    described = whenever(
        [parts.photo.change], live.describe, [parts.photo, description, parts.ours], [description, parts.ours]
    )
    for each in described:  # the description counts, so the frames come after it
        each.then(*frames, **_QUIET)
    gr.on([parts.recording.change, parts.consent.change, face.change, parts.profile.change], *frames, **_QUIET)
    parts.profile.input(
        live.suited, parts.profile, [parts.controls[name] for name in service.profiles.suited], **_QUIET
    )
    whenever([*changed, parts.profile.change], live.listen, current, heard)
    parts.faces.select(live.face_at, parts.photo, face, **_QUIET)
    parts.from_video.upload(live.sound_of, parts.from_video, parts.recording, api_visibility="private")

    mode = parts.controls["emotion_mode"]
    mode.change(_show_mode, mode, list(parts.modes.values()), **_QUIET)
    transcript = parts.controls["transcript"]
    parts.correct.click(
        None, transcript, transcript, js="() => document.querySelector('#transcript textarea').placeholder"
    )
    choices = [mode.change, parts.controls["emotion"].change]
    choices += [event for name in _TYPED for event in (parts.controls[name].submit, parts.controls[name].blur)]
    sliders = [parts.controls[name] for name in _SHAPING]
    gr.on([slider.input for slider in sliders] + choices, *frames, **_QUIET)
    gr.on([slider.release for slider in sliders] + choices, live.clip, shown, parts.clip, **_QUIET).then(
        live.listen, current, heard, **_QUIET
    )
    parts.preset.input(_preset, parts.preset, [parts.controls[name] for name in NAMES], **_QUIET).then(
        *frames, **_QUIET
    ).then(live.clip, shown, parts.clip, **_QUIET)
    parts.share.click(
        links.write, [*given, parts.random_seed, parts.ours, *settings], parts.link, api_visibility="private"
    ).then(None, parts.link, parts.link, js=_SHOW_LINK).then(None, parts.link, None, js=_COPY_LINK)


def _show_mode(mode: str) -> list[Any]:
    """Only the controls that the chosen mode listens to."""
    return [gr.update(visible=mode == each) for each in ("emotion", "valence_arousal", "keyframes", "speech")]


def _preset(name: str) -> list[float]:
    return [PRESETS[name][each] for each in NAMES]
