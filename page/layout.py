"""The page from top to bottom: its components, and nothing of what they do (that is in events.py)."""

from __future__ import annotations

import os
from abc import ABCMeta
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import gradio as gr

from synchrorama.emotion.categories import EMOTIONS
from synchrorama.presets import PRESETS
from synchrorama.settings import controls

from .described import SETTINGS, shown
from .examples import EXAMPLES, FINISHED
from .profiles import FULL, MINI, Profiles

# System fonts: the page loads nothing from other servers.
THEME = gr.themes.Soft(
    primary_hue="orange",
    neutral_hue="stone",
    font=["ui-sans-serif", "system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(
    # white on the hue's 500 has a contrast of 2.8; on its 700 it is 5.2
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_800",
    checkbox_label_background_fill_selected="*primary_700",
    checkbox_label_background_fill_selected_dark="*primary_700",
    checkbox_background_color_selected="*primary_700",
    checkbox_background_color_selected_dark="*primary_700",
    checkbox_border_color="*neutral_500",
    checkbox_border_color_dark="*neutral_400",
    block_label_text_color="*primary_800",
    block_label_text_color_dark="*primary_200",
    block_title_text_color="*primary_800",
    block_title_text_color_dark="*primary_200",
    block_label_background_fill_dark="*primary_800",
    block_title_background_fill_dark="*primary_800",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
)
SHARE = ["share"] if os.environ.get("SPACE_ID") else []  # into the discussions of a Space; elsewhere there are none
_WORDS = {"emotion_mode": {"emotion": "mode_emotion", "keyframes": "mode_keyframes"}}
_NAMES = {"euler": "Euler", "unipc": "UniPC", "dpm++": "DPM++"}  # of samplers, in every language


# A gr.Image that hands on the file as it was uploaded: media.py decodes it, with better words for what is wrong than
# Pillow's. Made by ABCMeta, because the class statement would have gradio write a .pyi file beside this one.
Photo = ABCMeta.__new__(
    type(gr.Image),
    "Photo",
    (gr.Image,),
    {"preprocess": lambda self, upload: upload and upload.path, "get_block_name": lambda self: "image"},
)


class Parts(SimpleNamespace):
    """The components by name; ``controls`` maps a setting to its component, ``initial`` to its value."""


def build(translate: gr.I18n, profiles: Profiles) -> Parts:
    """Create the components inside the Blocks that are open; their values suit the server's own profile."""
    settings = profiles.default.settings().to_dict()
    initial = {name: shown(name, settings[name]) for name in SETTINGS}
    parts = Parts(controls={}, translate=translate, initial=initial, profiles=profiles)
    gr.Markdown(translate("title"), elem_id="title")
    with gr.Row(equal_height=False):
        with gr.Column():
            _inputs(parts)
        with gr.Column():
            _outputs(parts)
    parts.timeline = gr.HTML(elem_id="timeline")
    gr.Markdown(translate("emotion_title"))
    _emotion(parts)
    gr.Markdown(translate("motion_title"))
    _motion(parts)
    with gr.Accordion(translate("diffusion_title"), open=False):
        _diffusion(parts)
    with gr.Accordion(translate("notice_title"), open=False):
        gr.Markdown(translate("notice"), elem_id="notice")
    parts.controls = {name: parts.controls[name] for name in SETTINGS}
    return parts


def _inputs(parts: Parts) -> None:
    _ = parts.translate
    with gr.Row(equal_height=True):
        parts.photo = Photo(
            EXAMPLES[0][0], type="filepath", image_mode=None, label=_("photo"), height=260, min_width=200,
            sources=["upload", "clipboard", "webcam"], alt_text="The photo whose face will speak", elem_id="photo",
            buttons=["fullscreen"],
        )  # fmt: skip
        parts.faces = gr.Image(
            label=_("faces"), show_label=False, interactive=False, format="jpeg", height=260, min_width=200, buttons=[],
            elem_id="faces",
            alt_text="The photo with a box around each face and a white frame around what the video shows",
        )  # fmt: skip
    parts.controls["face_index"] = _control(parts, "face_index", visible=False, elem_id="face")
    parts.recording = gr.Audio(
        EXAMPLES[0][1], type="filepath", label=_("recording"), sources=["upload", "microphone"], elem_id="recording",
        buttons=["download"],
    )  # fmt: skip
    parts.from_video = gr.UploadButton("Sound of a video", file_types=["video"], size="sm", elem_id="from-video")
    parts.seen = gr.Markdown(elem_id="seen")
    parts.consent = gr.Checkbox(False, label=_("consent"), info=_("consent_info"), elem_id="consent")
    with gr.Row():
        parts.go = gr.Button(_("generate"), variant="primary", scale=3, min_width=160, elem_id="generate")
        parts.cancel = gr.Button(_("cancel"), scale=1, min_width=80, elem_id="cancel")
    parts.preset = gr.Radio(
        [(_(name), name) for name in PRESETS], value="natural", label=_("preset"), info=_("preset_info"),
        elem_id="preset",
    )  # fmt: skip
    words = {MINI: _("mini"), FULL: _("full")}
    parts.profile = gr.Radio(
        [(words.get(name, name), name) for name in parts.profiles.names], value=parts.profiles.default.name,
        label=_("profile"), info=_("profile_info"), elem_id="profile",
    )  # fmt: skip
    parts.profile_facts = gr.Markdown(elem_id="profile-facts")
    parts.full_about = gr.Markdown(_("full_about"), visible=False, elem_id="full-about")


def _outputs(parts: Parts) -> None:
    _ = parts.translate
    parts.progress = gr.HTML(visible=False, elem_id="progress")
    # Some labels stay English: these components of gradio take no translations.
    parts.video = gr.Video(
        str(FINISHED), label="Talking video", show_label=False, interactive=False, height=420, elem_id="result",
        buttons=["download", *SHARE],
    )  # fmt: skip
    parts.notes = gr.Markdown(elem_id="notes")
    parts.used = gr.State()
    parts.runs = gr.BrowserState([], storage_key="synchrorama-runs", secret="settings are no secret")
    with gr.Row(visible=False) as parts.after:
        parts.reuse = gr.Button(_("reuse"), size="sm", elem_id="reuse")
        parts.motion_file = gr.DownloadButton("Motion (CSV)", size="sm", min_width=120, elem_id="motion-file")
        parts.settings_file = gr.DownloadButton("Settings (JSON)", size="sm", min_width=120, elem_id="settings-file")
    parts.share = gr.Button(_("link"), size="sm", elem_id="share")
    parts.link = gr.Textbox(
        label=_("link"), info=_("link_info"), visible=False, interactive=False, buttons=["copy"], elem_id="link"
    )
    with gr.Row():
        parts.last_runs = gr.Dropdown(
            [], label=_("last_runs"), info=_("last_runs_info"), visible=False, scale=3, elem_id="last-runs"
        )
        parts.forget = gr.Button(_("forget"), size="sm", visible=False, scale=1, min_width=100, elem_id="forget")
    parts.examples = gr.Column()


def _emotion(parts: Parts) -> None:
    _, own = parts.translate, parts.controls
    with gr.Row(equal_height=False):
        with gr.Column(scale=3):
            own["emotion_mode"] = _control(parts, "emotion_mode")
            own["emotion_strength"] = _control(parts, "emotion_strength", elem_id="strength")
            parts.modes = {}
            with _mode(parts, "emotion"):
                own["emotion"] = gr.Dropdown(
                    EMOTIONS, value=parts.initial["emotion"], allow_custom_value=True,
                    label=_("emotion_label"), info=_("emotion_help"),
                )  # fmt: skip
            with _mode(parts, "valence_arousal"), gr.Row():
                own["valence"], own["arousal"] = _control(parts, "valence"), _control(parts, "arousal")
            with _mode(parts, "keyframes"):
                own["keyframes"] = _control(parts, "keyframes", lines=3)
            with _mode(parts, "speech", visible=True):
                for pair in (("text_weight", "voice_weight"), ("valence_arousal_weight", "photo_weight")):
                    with gr.Row():
                        for name in pair:
                            own[name] = _control(parts, name)
            own["transcript"] = _control(parts, "transcript", lines=2, elem_id="transcript")
            parts.correct = gr.Button(_("correct"), size="sm")
            own["description"] = _control(parts, "description", lines=2, elem_id="description")
            parts.ours = gr.State("")  # the description that we wrote, to know whether the visitor has changed it
        with gr.Column(scale=2):
            parts.compare = gr.ImageSlider(
                label="Without emotion | as set", interactive=False, format="jpeg", max_height=380, elem_id="compare"
            )
            parts.clip = gr.Video(
                label=_("clip"), interactive=False, autoplay=True, loop=True, height=300, buttons=["download"]
            )


@contextmanager
def _mode(parts: Parts, mode: str, visible: bool = False) -> Iterator[None]:
    """The controls that only one mode of emotion listens to."""
    with gr.Column(visible=visible) as parts.modes[mode]:
        yield


def _motion(parts: Parts) -> None:
    _ = parts.translate
    columns = (
        ("seed", "framing", "mark"),
        ("head_motion", "motion_diversity", "blink_rate"),
        ("expressiveness", "articulation"),
    )
    with gr.Row(equal_height=False):
        for names in columns:
            with gr.Column(min_width=280):
                for name in names:
                    parts.controls[name] = _control(parts, name, elem_id=name.replace("_", "-"))
                    if name == "seed":
                        parts.random_seed = gr.Checkbox(
                            True, label=_("random_seed"), info=_("random_seed_info"), elem_id="random-seed"
                        )


def _diffusion(parts: Parts) -> None:
    with gr.Row(equal_height=False):
        for names in (("inference_steps", "diffusion_strength", "sampler"), ("guidance_scale", "feature_caching")):
            with gr.Column(min_width=280):
                for name in names:
                    parts.controls[name] = _control(parts, name, elem_id=name.replace("_", "-"))


def _control(parts: Parts, name: str, **options: Any) -> gr.Slider | gr.Number | gr.Radio | gr.Textbox:
    """The component of a setting, with the range that settings.py gives it."""
    control, value, translate = controls()[name], parts.initial[name], parts.translate
    options = {"label": translate(f"{name}_label"), "info": translate(f"{name}_help"), **options}
    if control.choices:
        keys = _WORDS.get(name, {})
        words = [_NAMES.get(choice) or translate(keys.get(choice, choice)) for choice in control.choices]
        return gr.Radio(list(zip(words, control.choices, strict=True)), value=value, **options)
    if control.kind is str:
        return gr.Textbox(value, **options)
    if control.optional:
        return gr.Number(value, precision=0, minimum=control.minimum, maximum=control.maximum, **options)
    return gr.Slider(control.minimum, control.maximum, value, step=control.step, **options)
