"""What the page says about itself. Its labels stand in ``ENGLISH`` and in settings.py, other languages in
``translations``: a browser shows the language it prefers, and English where there is none."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

from synchrorama.settings import controls

from .described import SETTINGS

HERE = Path(__file__).resolve().parent
TRANSLATIONS = {path.stem: path for path in sorted((HERE / "translations").glob("*.json"))}

ENGLISH = {
    "title": (
        "# SynchroRaMa\nOne photo and one recording become a talking video whose lips follow the sound and whose face "
        "carries the emotion. No GPU is needed."
    ),
    "photo": "Photo",
    "recording": "Recording (up to 5 min, 200 MB)",
    "faces": "Faces that were found",
    "consent": "I have the right to use this face and this voice",
    "consent_info": (
        "Needed once per visit for your own photo or recording, not for the examples. They are deleted within two "
        "hours."
    ),
    "preset": "Manner",
    "preset_info": "Sets head motion, diversity, blinks, expressiveness, articulation and emotion strength together.",
    "natural": "Natural",
    "presenter": "Presenter",
    "storyteller": "Storyteller",
    "calm": "Calm",
    "exaggerated": "Exaggerated",
    "profile": "Profile",
    "profile_info": "Mini paints the mouth and runs on the processor. Full paints every pixel and needs a GPU.",
    "mini": "Mini",
    "full": "Full",
    "full_about": (
        "It can be chosen on a machine or a Space with a GPU of that size; nothing of it has been tried on one yet. "
        "There are no official SynchroRaMa weights: *Full* starts from Hallo's published ones (MIT), at the size of "
        "Stable Diffusion 1.5, with the motion and emotion of *Mini* in front of them. Stable Diffusion's licence "
        "(CreativeML Open RAIL-M) forbids certain uses, also of what is derived from it, and the weights of *Mini* are "
        "for non-commercial use only; `python -m synchrorama licenses full` lists every licence."
    ),
    "generate": "Generate",
    "cancel": "Cancel",
    "reuse": "Use these settings again",
    "last_runs": "Your last runs",
    "last_runs_info": "Their settings, kept in this browser only.",
    "forget": "Forget them",
    "link": "Copy a link to these settings",
    "link_info": "It carries every setting and names the examples; your own photo and recording are not in it.",
    "examples": "One click makes a video",
    "emotion_title": "## Emotion and scene",
    "correct": "Correct what was heard",
    "clip": "Two seconds of it",
    "motion_title": "## Motion and picture",
    "random_seed": "New seed each time",
    "random_seed_info": "The one used is written back.",
    "diffusion_title": "Diffusion: how the mouth is painted",
    "notice_title": "What is stored, where a video comes from, and how programs call this page",
    "notice": (
        "**Before you begin.** Use faces and voices only of people who agree, or that you may use. The recording is "
        "read for emotion: guesses about how it sounds, not about what anybody feels; choose an emotion yourself, or "
        "set the strength to 0, to do without.\n\n"
        "**What is stored.** Your photo, recording and video lie in a temporary folder of this server and are deleted "
        "within two hours; what was found in the last few photos and recordings stays in its memory until others "
        "follow. Your own browser remembers the settings of your last runs until you press *Forget them*. Nothing "
        "is sent anywhere else.\n\n"
        "**Where a video comes from.** Every video says in its file that it is AI-generated, by what and with which "
        "settings; where the server has a certificate it is signed with Content Credentials. The small words in a "
        "corner of the picture say the same to whoever watches: *Mark* moves them or leaves them out, the note in the "
        "file stays. `python -m synchrorama verify video.mp4` reads it.\n\n"
        '**From programs.** `gradio_client.Client(address).predict(..., api_name="/generate")`; *Use via API* below '
        "shows all of it, and how agents reach it through MCP."
    ),
    # words of choices
    "crop": "Crop",
    "full_picture": "Full picture",
    "bottom_right": "Bottom right",
    "bottom_left": "Bottom left",
    "top_right": "Top right",
    "top_left": "Top left",
    "none": "None",
    "speech": "Speech",
    "mode_emotion": "Emotion",
    "valence_arousal": "Valence and arousal",
    "mode_keyframes": "Keyframes",
}


@cache
def english() -> dict[str, str]:
    """Every text by its key: those above, and a label and a help for each setting."""
    labels = {f"{name}_label": controls()[name].label for name in SETTINGS}
    helps = {f"{name}_help": controls()[name].help for name in SETTINGS}
    return {**ENGLISH, **labels, **helps}


def languages() -> gr.I18n:
    """All texts in all languages, for the browser to choose from."""
    found: dict[str, Any] = {"en": english()}
    for language, path in TRANSLATIONS.items():
        found[language] = json.loads(path.read_text(encoding="utf-8"))
    return gr.I18n(**found)


def notes_on(seed: int, seconds: float, took: float, warnings: list[str]) -> str:
    """What is said under a finished video."""
    lines = [f"{seconds:.1f} s of video in {took:.1f} s · seed {seed}", *map(note, warnings)]
    return "\n\n".join(lines)


def note(warning: str) -> str:
    """A warning as Markdown; what a visitor wrote in it stays text."""
    return "⚠ " + plain(warning)


def plain(text: str) -> str:
    """Text as Markdown that shows it as it is."""
    return "".join("\\" + sign if sign in "\\`*_{}[]<>#|~$" else sign for sign in text)
