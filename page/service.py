"""What the page's server does for its visitors; programs call the same through the named endpoints."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from synchrorama import GenerationSettings, InputError

from . import inputs, texts
from .described import SETTINGS, takes_settings
from .errors import answered, log
from .making import Made, Maker, Step
from .profiles import Offer, Profiles
from .serving import Files
from .visits import Visits


class Service:
    """Everything that happens on the server.

    Args:
        profiles: used by all visitors.
        files: where what was made is handed out.
    """

    def __init__(self, profiles: Profiles, files: Files) -> None:
        self.profiles, self.files = profiles, files
        self.visits = Visits()
        self.ready = threading.Event()
        self.makers = {offer.name: Maker(offer, self.ready.wait, profiles.gpu) for offer in profiles}

    def warm_up(self, photo: str, recording: str) -> None:
        """Load everything, so that the first visitor waits no longer than the others; what answers at once first."""
        base, default = self.profiles.base, self.profiles.default
        try:
            next(base.pipeline(photo, recording, base.settings(seed=0)).frames)
            base.loaded.set()
        finally:
            self.ready.set()
        if default is not base and not default.loaded.is_set():
            try:
                default.load()
            except InputError as error:  # whoever asks for it is told
                log.error("The profile %s could not be loaded: %s", default.name, error)

    @answered
    @takes_settings
    def generate(
        self,
        photo: str,
        recording: str,
        consent: bool = False,
        random_seed: bool = True,
        profile: str | None = None,
        request: gr.Request = None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - gradio finds it by this default
        **settings: Any,
    ) -> tuple[str, int, str]:
        """Make a talking video from one face photo and one speech recording.

        Args:
            photo: picture with a face (JPEG, PNG, WebP, ...).
            recording: speech (wav, mp3, m4a, ..., or a video with sound), 0.3 to 300 seconds.
            consent: true says that you have the right to use this face and this voice; needed for all but the examples.
            random_seed: draw a new seed instead of the one given; the one used is returned.
            profile: mini runs anywhere; full paints every pixel and needs a GPU; a server may have one of its own.

        Returns:
            The video (mp4), the seed that was used, and notes about what was seen.
        """
        offer = self.open(profile)
        chosen = inputs.settings_of(offer, random_seed, settings)
        self.visits.admit(request)
        for step in self.made(photo, recording, consent, offer, chosen, request):
            if isinstance(step, Step):
                progress((step.done, step.total), desc=step.stage, unit="frames" if step.total > 1 else "steps")
        video, _motion, _settings_file, used, notes = step
        return video, used.seed, notes

    def open(self, profile: str | None) -> Offer:
        """The profile of this name. Raises InputError if there is none or it cannot be used here."""
        offer = self.profiles[profile]
        offer.check()
        return offer

    def made(
        self,
        photo: str,
        recording: str,
        consent: bool,
        offer: Offer,
        settings: GenerationSettings,
        request: gr.Request | None,
    ) -> Iterator[Step | tuple[str, str, str, GenerationSettings, str]]:
        """Steps; then video, motion and settings as files that can be handed out, the settings used, and notes."""
        begun = time.monotonic()
        with (
            self.visits.job(request) as visit,
            tempfile.TemporaryDirectory(prefix="making-", ignore_cleanup_errors=True) as folder,
        ):
            inputs.require(photo, recording)
            inputs.check_consent(photo, recording, consent)
            maker = self.makers[offer.name]
            seconds = self.profiles.base.pipeline.look(None, recording, settings).recording.seconds
            maker.check_length(seconds, settings)
            visit.allow(offer.pipeline.speed.seconds(seconds, settings))
            for step in maker.make(photo, recording, settings, Path(folder), visit.check):
                if isinstance(step, Step) and step.waits:
                    visit.waited()
                if isinstance(step, Made):
                    took = time.monotonic() - begun
                    notes = texts.notes_on(step.settings.seed, step.seconds, took, step.warnings)
                    files = (self.files.serve(file) for file in (step.video, step.motion, step.settings_file))
                    yield (*files, step.settings, notes)
                else:
                    yield step

    @answered
    @takes_settings
    def preview(
        self, photo: str, recording: str, consent: bool = False, profile: str | None = None, **settings: Any
    ) -> np.ndarray:
        """Show the most telling frame of the video that these settings would make, within a second or two.

        Args:
            photo: picture with a face (JPEG, PNG, WebP, ...).
            recording: speech (wav, mp3, m4a, ..., or a video with sound), 0.3 to 300 seconds.
            consent: true says that you have the right to use this face and this voice; needed for all but the examples.
            profile: mini runs anywhere; full paints every pixel and needs a GPU; a server may have one of its own.

        Returns:
            The frame, without what diffusion paints.
        """
        inputs.require(photo, recording)
        inputs.check_consent(photo, recording, consent)
        self.ready.wait()
        offer = self.open(profile)
        result = offer.pipeline(photo, recording, inputs.settings_of(offer, False, settings))
        return result.frame(result.moment)

    @answered
    @takes_settings
    def analyze(
        self, photo: str | None, recording: str | None, profile: str | None = None, **settings: Any
    ) -> dict[str, Any]:
        """Say what is seen in a photo and heard in a recording, without making a video; either may be left out.

        Args:
            photo: picture with a face (JPEG, PNG, WebP, ...).
            recording: speech (wav, mp3, m4a, ..., or a video with sound), 0.3 to 300 seconds.
            profile: mini runs anywhere; full paints every pixel and needs a GPU; a server may have one of its own.

        Returns:
            Faces (left, top, right, bottom in pixels) and description of the photo; words, their feeling, the emotion
            every 0.2 seconds, and the seconds that a video would take to make; notes.
        """
        if not photo and not recording:
            raise InputError("There is neither a photo nor a recording; give at least one of them.")
        self.ready.wait()
        offer = self.open(profile)
        found = offer.pipeline.analyze(photo or None, recording or None, inputs.settings_of(offer, False, settings))
        return json.loads(json.dumps(found.to_dict()))

    @answered
    def describe(self, photo: str) -> str:
        """Describe the face in a photo in one or two plain sentences, to be edited into what the person does.

        Args:
            photo: picture with a face (JPEG, PNG, WebP, ...).

        Returns:
            The description.
        """
        if not photo:
            raise InputError("There is no photo yet; add a photo or choose an example.")
        self.ready.wait()
        return self.profiles.shown(None).look(photo, None, GenerationSettings()).description

    def settings_shown(self, profile: str, values: tuple[Any, ...]) -> GenerationSettings:
        """Settings of the values of all controls in the order of SETTINGS, with the seed that is shown."""
        return inputs.settings_of(self.profiles[profile], False, dict(zip(SETTINGS, values, strict=True)))
