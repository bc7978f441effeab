"""What the page says and shows before the click, each time something changes."""

from __future__ import annotations

import html
import queue
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from synchrorama import GenerationSettings, InputError, timeline

from . import inputs, texts
from .described import shown
from .errors import UNEXPECTED, answered
from .profiles import FULL, MINI
from .service import Service

CLIP_FRAMES = 50


class Live:
    """Answers to what a visitor changes; quick, and silent where there is nothing to say yet."""

    def __init__(self, service: Service) -> None:
        self.service, self.profiles = service, service.profiles

    def look(
        self, photo: str | None, recording: str | None, consent: bool, face: int, profile: str, *others: Any
    ) -> tuple[Any, Any, str]:
        """(picture with the faces, the number of the face, what is found and how long a generation will take)."""
        self.service.ready.wait()
        settings = GenerationSettings(face_index=face or None, max_seconds=inputs.LONGEST_RECORDING)
        lines, warnings, picture, choice = [], [], None, gr.update(visible=False)
        offer = self.profiles[profile]
        problem = offer.problem
        if photo:
            try:
                seen = self._faces(photo, settings)
                count = len(seen.portrait.faces)
                choice = gr.update(value=seen.portrait.face_index, maximum=count - 1, visible=count > 1)
                picture = self.service.files.picture(inputs.boxes(seen.portrait), "faces")
                lines.append(f"{'One face' if count == 1 else f'{count} faces'} (orange speaks, white is the crop)")
                warnings += seen.warnings
            except InputError as error:
                warnings.append(str(error))
        if recording:
            try:
                heard = self.profiles.base.pipeline.look(None, recording, settings)
                lines.append(f"{heard.recording.seconds:.1f} s of sound")
                if lines[1:] and not problem:
                    seconds = offer.pipeline.speed.seconds(heard.recording.seconds, self._timed(profile, others))
                    lines.append(f"about {seconds:.0f} s to make")
                warnings += heard.warnings
            except InputError as error:
                warnings.append(str(error))
        if problem:
            warnings.append(f"The profile {profile} cannot be used here; below it stands why.")
        if photo and recording and not inputs.allowed(photo, recording, consent):
            warnings.append(inputs.CONSENT_MISSING)
        said = [", ".join(lines) + "."] if lines else []
        return picture, choice, "\n\n".join(said + [texts.note(warning) for warning in dict.fromkeys(warnings)])

    def _faces(self, photo: str, settings: GenerationSettings) -> Any:
        """What is seen in the photo; the largest face where the number belongs to another photo."""
        try:
            return self.profiles.base.pipeline.look(photo, None, settings)
        except InputError:
            if settings.face_index is None:
                raise
            return self.profiles.base.pipeline.look(photo, None, GenerationSettings())

    def _timed(self, profile: str, values: tuple[Any, ...]) -> GenerationSettings:
        """The settings whose time is asked for; the defaults while a text is half written."""
        try:
            return self.service.settings_shown(profile, values)
        except InputError:
            return self.profiles[profile].settings()

    def face_at(self, photo: str | None, event: gr.SelectData) -> Any:
        """The number of the face that was clicked on in the picture."""
        if not photo:
            return gr.skip()
        try:
            found = inputs.face_at(
                self.profiles.base.pipeline.look(photo, None, GenerationSettings()).portrait, event.index
            )
        except InputError:
            return gr.skip()
        return gr.skip() if found is None else found

    @answered
    def sound_of(self, video: str | None) -> Any:
        """The sound of a video as the recording."""
        if not video:
            return gr.skip()
        with tempfile.TemporaryDirectory() as folder:
            return self.service.files.serve(inputs.sound_of(video, Path(folder)))

    def listen(self, photo: str | None, recording: str | None, profile: str, *values: Any) -> Iterator[tuple[Any, Any]]:
        """The transcript as it comes, then the timeline: (what was heard, the picture)."""
        if not recording:
            yield gr.update(placeholder=""), ""
            return
        told: queue.Queue[Any] = queue.Queue()

        def work() -> None:
            try:
                self.service.ready.wait()
                settings, pipeline = self.service.settings_shown(profile, values), self.profiles.shown(profile)
                told.put(pipeline.analyze(photo or None, recording, settings, said=told.put))
            except InputError as error:
                told.put(error)
            except Exception:
                told.put(InputError(UNEXPECTED))

        threading.Thread(target=work, daemon=True).start()
        while isinstance(found := told.get(), str):
            yield gr.update(placeholder=found), gr.skip()
        if isinstance(found, InputError):
            yield gr.update(placeholder=""), f"<p>{html.escape(str(found))}</p>"
            return
        heard = gr.skip() if found.transcript.typed else gr.update(placeholder=found.transcript.text or "(no words)")
        yield heard, timeline.svg(found)

    def describe(self, photo: str | None, current: str, ours: str) -> tuple[Any, str]:
        """(the description of the photo, the same), unless the visitor has written one."""
        if current.strip() and current.strip() != ours:
            return gr.skip(), ours
        try:
            found = self.service.describe(photo) if photo else ""
        except gr.Error:
            found = ""
        return found, found

    @answered
    def frames(
        self, photo: str | None, recording: str | None, consent: bool, profile: str, *values: Any
    ) -> tuple[str, str] | None:
        """Files of the most telling frame without emotion and with these settings; None where nothing can be shown."""
        if not self._may_show(photo, recording, consent):
            return None
        self.service.ready.wait()
        settings, pipeline = self.service.settings_shown(profile, values), self.profiles.shown(profile)
        result = pipeline(photo, recording, settings)
        without = pipeline(photo, recording, replace(settings, emotion_strength=0.0))
        pair = {"without": without, "as set": result}
        return tuple(self.service.files.picture(each.frame(result.moment), name) for name, each in pair.items())

    @answered
    def clip(self, photo: str | None, recording: str | None, consent: bool, profile: str, *values: Any) -> str | None:
        """Two seconds around the most telling frame, at half the size."""
        if not self._may_show(photo, recording, consent):
            return None
        self.service.ready.wait()
        pipeline = self.profiles.shown(profile)
        result = pipeline(photo, recording, self.service.settings_shown(profile, values))
        with tempfile.TemporaryDirectory() as folder:
            excerpt = result.excerpt(result.moment - CLIP_FRAMES // 2, CLIP_FRAMES)
            return self.service.files.serve(excerpt.save(Path(folder) / "preview.mp4"))

    def about(self, profile: str) -> tuple[str, Any]:
        """(what the profile needs and costs, or why it cannot be used here; what is said about full only)."""
        self.service.ready.wait()
        offer = self.profiles[profile]
        try:
            lines = [offer.facts()]
        except InputError:
            lines = []  # of which its problem speaks
        if offer.name not in (MINI, FULL) and (description := offer.profile.file.description):
            lines.insert(0, texts.plain(description))
        if problem := offer.problem:
            lines.append(texts.note(problem))
        return "\n\n".join(lines), gr.update(visible=offer.name == FULL)

    def suited(self, profile: str) -> list[Any]:
        """Into the controls that a profile has a say in, what suits this one."""
        settings = self.profiles[profile].settings().to_dict()
        return [shown(name, settings[name]) for name in self.profiles.suited]

    def _may_show(self, photo: str | None, recording: str | None, consent: bool) -> bool:
        return bool(photo and recording) and inputs.allowed(photo, recording, consent)
