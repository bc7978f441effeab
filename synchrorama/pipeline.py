"""The whole system, top to bottom, as in the paper's figure: photo + speech → emotion → motion → frames → video.

              ┌─ transcription ── sentiment ───┐
    speech ───┼─ speech_emotion ───────────────┤
              ├─ valence_arousal ──────────────┼─ fuse → Z_emo ─┐
              │                                │                ├─ act ── A2M (VAE + VP-Flow) → Motion ─┐
    photo ────┼─ photo_emotion ────────────────┘                │                                       │
              ├─ scene_description ─ (edited) ─ scene_encoder → C_t                                     │
              └─ find_portrait ────────────── MotionFrameRenderer → motion frames ──┐
                                                                                    │
    photo → ReferenceNet ─┐                                                         │
    speech, Z_emo, C_t ───┴── diffusion (denoising UNet) → painted frames ──────────┴── VideoWriter ── video

What is written small are components; ``components.py`` has the table of their backends, and a profile chooses.
"""

from __future__ import annotations

import dataclasses
import gc
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .components import COMPONENTS, Components
from .content_cache import ContentCache, content_key
from .driving_motion import driving_motion
from .emotion import embedding
from .emotion.direction import check_within, parse_emotion, parse_keyframes
from .errors import InputError
from .estimate import PREVIEW_SECONDS, Speed, rates_of
from .first_import import import_alone
from .generation import Progress, Result, Work
from .motion import FPS, Motion
from .profile import DEFAULT_PROFILE, Profile, find_profile
from .settings import GenerationSettings

if TYPE_CHECKING:
    from .a2m import A2M
    from .acting import Acting
    from .analysis import Analysis
    from .blendshapes import MotionSpace
    from .components import Paint
    from .diffusion_stage import AfterStep
    from .emotion.embedding import EmotionTrack
    from .emotion.sentiment import Sentiment
    from .emotion.speech import VoiceReading
    from .emotion.transcript import Transcript
    from .face import Portrait
    from .media import Speech
    from .motion_frames import MotionFrameRenderer
    from .placement import Placement
    from .scene import SceneText, TextEncoder

_KEPT_INPUTS = 6  # photos and recordings whose analysis is remembered
_NEUTRAL = {"neutral": 1.0}


class SynchroRaMaPipeline:
    """One face photo and one speech recording become a talking video.

    >>> pipe = SynchroRaMaPipeline.from_pretrained("checkpoints/mini")
    >>> pipe("portrait.jpg", "speech.wav", pipe.settings(seed=7)).save("talking.mp4")

    Every component is fetched and loaded when it is first used, and then kept; ``load`` loads all at once. What was
    found in the last few photos and recordings is remembered by their content, so that another setting costs only what
    it changes. A pipeline holds no other state of a request, so one serves many.

    Args:
        profile: which backend each component has, and where its weights lie.
        placement: the device and precision of the full profile's networks; found out when None.
    """

    def __init__(self, profile: Profile, placement: Placement | None = None) -> None:
        self.profile = profile
        self.components = Components(profile, placement)
        self._portraits, self._recordings, self._heard, self._texts = (ContentCache(_KEPT_INPUTS) for _ in range(4))

    @classmethod
    def from_pretrained(
        cls,
        place: str | os.PathLike[str] = DEFAULT_PROFILE,
        revision: str | None = None,
        *,
        backends: Mapping[str, str] | None = None,
        accept_non_commercial: bool = False,
        placement: Placement | None = None,
    ) -> SynchroRaMaPipeline:
        """A pipeline of what lies in a folder or in a repository of the Hugging Face Hub, or what a profile names.

        See ``profile.find_profile`` for the arguments, and when it raises InputError. What comes from the Hub is
        fetched when it is first used, and all of a repository is of one commit; that may raise InputError, too.
        ``profile.needs`` says how much that is before anything is fetched.
        """
        return cls(find_profile(place, revision, backends, accept_non_commercial=accept_non_commercial), placement)

    def settings(self, **given: Any) -> GenerationSettings:
        """The settings that are given, and for all others what suits the profile. Raises InputError."""
        return self.profile.settings(**given)

    @cached_property
    def speed(self) -> Speed:
        """How long generations take here. Raises InputError if the profile cannot be had."""
        return Speed(rates_of(self.profile.backend("diffusion")))

    @property
    def motion_space(self) -> MotionSpace:
        return self.components.motion_space

    @property
    def a2m(self) -> A2M:
        return self.components.a2m

    @property
    def text_encoder(self) -> TextEncoder:
        return self.components.scene_encoder

    @property
    def diffusion(self) -> Paint:
        return self.components.diffusion

    def load(self) -> SynchroRaMaPipeline:
        """Load everything now, for a server that wants its first visitor to wait no longer than the others."""
        collecting = gc.isenabled()
        gc.disable()  # thousands of modules are made and none of them is garbage: a fifth of the time
        try:
            from . import motion_frames  # noqa: F401 - importing it takes a while
            from .face_detection import find_faces

            find_faces(np.zeros((64, 64, 3), np.uint8))  # its networks load when it first looks
            for name in COMPONENTS:
                getattr(self.components, name)
        finally:
            if collecting:
                gc.enable()
        return self

    def __call__(
        self,
        photo: Any,
        speech: str | os.PathLike[str] | None = None,
        settings: GenerationSettings | None = None,
        *,
        motion: Motion | str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
        should_stop: Callable[[], bool] | None = None,
        after_step: AfterStep | None = None,
    ) -> Result:
        """Everything up to the first frame; the frames themselves are made as they are asked for.

        Args:
            photo: path, PIL image or RGB array with a face.
            speech: path of a recording, or of a video with sound. None needs ``motion``, and gives a silent video.
            settings: the controls; those of ``settings()`` when None.
            motion: drive the face with this instead of speech, emotion and scene: a Motion, or an .npz or .csv file.
            progress: called while working, also later while frames are rendered.
            should_stop: asked between stages, frames and inference steps; once it says True, Cancelled is raised.
            after_step: called as after_step(done, steps, look) after each inference step of each clip of frames;
                look() gives the clip as it is then, small.

        Raises:
            InputError: the photo, the recording or the motion cannot be used; its text is for the user.
            Cancelled: ``should_stop`` said so.
        """
        import_alone("diffusers")
        from .acting import act
        from .audio import loudness
        from .scene import SceneText

        if speech is None and motion is None:
            raise InputError("There is nothing to say; give a recording or a motion file.")
        settings = (settings or self.settings()).with_seed()
        work = Work(progress, should_stop, after_step, self.speed, self.profile.label)

        with work.stage("Finding the face"):
            portrait = self._portrait(photo, settings, work.warnings)
        recording = None
        if speech is not None:
            with work.stage("Reading the recording"):
                recording = self._recording(speech, settings)
                work.warnings.extend(recording.warnings)
        with work.stage("Preparing the portrait"):
            renderer = self._renderer(portrait)
        if motion is not None:
            frames = None if recording is None else recording.frame_count
            motion = driving_motion(motion, frames, settings.max_seconds, work.warnings)
            emotion, acting, scene = embedding.chosen(_NEUTRAL, len(motion)), None, SceneText()
        else:
            with work.stage("Hearing the emotion"):
                emotion = self._emotion(recording, settings, renderer.expression, work.warnings, work.check)
                scene = self._scene(settings, work.warnings)
            with work.stage("Composing the motion"):
                acting = act(
                    emotion,
                    settings.emotion_strength,
                    renderer.expression,
                    loudness(recording.samples),
                    scene.plan,
                    settings.seed if settings.motion_diversity > 0 else 0,  # the same take for every seed
                )
                motion = self._motion(recording, emotion, scene, acting, settings)
        if settings.preview:
            motion = motion[: PREVIEW_SECONDS * FPS]
        diffusion = self.diffusion if settings.diffuses else None
        return Result(portrait, recording, motion, settings, emotion, acting, scene, renderer, diffusion, work)

    def look(
        self,
        photo: Any = None,
        speech: str | os.PathLike[str] | None = None,
        settings: GenerationSettings | None = None,
    ) -> Analysis:
        """What can be said at once: the faces and the description of the photo, how long the recording is.

        Either may be left out. Raises InputError like a generation.
        """
        import_alone("diffusers")
        from .analysis import Analysis

        analysis = Analysis(settings or self.settings())
        if photo is not None:
            analysis.portrait = self._portrait(photo, analysis.settings, analysis.warnings)
            analysis.description = self.describe(analysis.portrait)
        if speech is not None:
            analysis.recording = self._recording(speech, analysis.settings)
            analysis.warnings.extend(analysis.recording.warnings)
            analysis.estimated_seconds = self.speed.seconds(analysis.recording.seconds, analysis.settings)
        return analysis

    def analyze(
        self,
        photo: Any = None,
        speech: str | os.PathLike[str] | None = None,
        settings: GenerationSettings | None = None,
        *,
        said: Callable[[str], None] | None = None,
    ) -> Analysis:
        """All that a generation would see and hear, without making it: ``look``, the words and the emotion.

        Args:
            said: called with the transcript as it grows.

        Raises InputError like a generation.
        """
        analysis = self.look(photo, speech, settings)
        settings, recording, portrait = analysis.settings, analysis.recording, analysis.portrait
        if recording is not None:
            analysis.transcript = self.transcribe(recording, settings, said)
            analysis.sentiment = self.sentiment(analysis.transcript, recording.frame_count)
            expression = np.zeros(52, np.float32) if portrait is None else self._renderer(portrait).expression
            analysis.emotion = self._emotion(recording, settings, expression, analysis.warnings)
        self._scene(settings, analysis.warnings)
        analysis.warnings = list(dict.fromkeys(analysis.warnings))
        return analysis

    # ------------------------------------------------------------------------------------------ the photo

    def _portrait(self, photo: Any, settings: GenerationSettings, warnings: list[str]) -> Portrait:
        from .face import find_portrait
        from .media import read_photo

        def find() -> tuple[Portrait, list[str]]:
            odd: list[str] = []
            portrait = find_portrait(read_photo(photo, odd), face_index=settings.face_index)
            return portrait, [*odd, *portrait.warnings]

        portrait, odd = self._portraits.get((content_key(photo), settings.face_index), find)
        warnings.extend(odd)
        return portrait

    def _renderer(self, portrait: Portrait) -> MotionFrameRenderer:
        from .motion_frames import MotionFrameRenderer

        def prepare() -> MotionFrameRenderer:
            return MotionFrameRenderer(portrait.crop, portrait.landmarks, self.motion_space)

        return self._portraits.get(("renderer", content_key(portrait.crop)), prepare)

    def describe(self, portrait: Portrait) -> str:
        """One or two plain sentences about what the photo shows, to be edited into what the person does."""
        renderer = self._renderer(portrait)
        seen = portrait.crop, portrait.landmarks, renderer.expression, renderer.rotation
        key = "description", content_key(portrait.crop)
        return self._portraits.get(key, lambda: self.components.scene_description(*seen))

    # ------------------------------------------------------------------------------------------ the recording

    def _recording(self, speech: str | os.PathLike[str], settings: GenerationSettings) -> Speech:
        from .media import read_speech

        key = (content_key(speech), settings.max_seconds)
        recording = self._recordings.get(key, lambda: read_speech(speech, max_seconds=settings.max_seconds))
        return dataclasses.replace(recording, source=Path(speech))  # the same sound may lie elsewhere now

    def transcribe(
        self, recording: Speech, settings: GenerationSettings | None = None, said: Callable[[str], None] | None = None
    ) -> Transcript:
        """What is said: the transcript in the settings, or what is recognised.

        ``said`` is called with the text as it grows.
        """
        from .emotion.transcript import align

        settings = settings or self.settings()

        def listen() -> Transcript:
            if settings.transcript is not None:
                return align(settings.transcript, recording.samples)
            transcript = None
            for transcript in self.components.transcription(recording.samples):
                if said is not None:
                    said(transcript.text)
            return transcript

        return self._heard.get(("words", content_key(recording.samples), settings.transcript), listen)

    def sentiment(self, transcript: Transcript, frames: int) -> Sentiment:
        """The feeling of the words, over ``frames`` frames."""
        return self._texts.get(("sentiment", transcript, frames), lambda: self.components.sentiment(transcript, frames))

    def voice(self, recording: Speech, check: Callable[[], None] | None = None) -> VoiceReading:
        """The emotion in the tone of the voice; ``check`` is called now and then and may raise to end it."""
        key = ("voice", content_key(recording.samples))
        return self._heard.get(key, lambda: self.components.speech_emotion.read(recording.samples, check))

    def valence_arousal(self, recording: Speech, check: Callable[[], None] | None = None) -> np.ndarray:
        """(2, T): how pleasant and how excited the voice sounds, in [-1, 1]; ``check`` as for ``voice``."""
        key = ("valence_arousal", content_key(recording.samples))
        return np.stack(self._heard.get(key, lambda: self.components.valence_arousal.read(recording.samples, check)))

    def _emotion(
        self,
        recording: Speech,
        settings: GenerationSettings,
        photo_expression: np.ndarray,
        warnings: list[str],
        check: Callable[[], None] = lambda: None,
    ) -> EmotionTrack:
        """Z_emo: what the user chose, or what words, voice and photo say."""
        from .emotion.expressions import photo_emotion

        mode, frames = settings.emotion_mode, recording.frame_count
        if settings.emotion_strength == 0:
            return embedding.chosen(_NEUTRAL, frames)
        if mode == "emotion":
            return embedding.chosen(parse_emotion(settings.emotion), frames)
        if mode == "valence_arousal":
            return embedding.chosen_point(settings.valence, settings.arousal, frames)
        if mode == "keyframes":
            keyframes = parse_keyframes(settings.keyframes)
            check_within(keyframes, frames / FPS)
            return embedding.blended(keyframes, frames)

        weights = {name: getattr(settings, f"{name}_weight") for name in embedding.SOURCES}
        sources, plane = {}, np.zeros((2, frames), np.float32)
        if weights["text"] > 0:
            transcript = self.transcribe(recording, settings, lambda text: check())
            sentiment = self.sentiment(transcript, frames)
            warnings += [*transcript.notes, *sentiment.notes]
            sources["text"] = sentiment.probabilities
        if weights["voice"] > 0:
            sources["voice"] = self.voice(recording, check).probabilities
        if weights["valence_arousal"] > 0:
            plane = self.valence_arousal(recording, check)
            sources["valence_arousal"] = embedding.emotions_at(*plane)
        sources["photo"] = np.tile(photo_emotion(photo_expression), (frames, 1))
        return embedding.fuse(sources, weights, *plane)

    # ------------------------------------------------------------------------------------------ scene and motion

    def _scene(self, settings: GenerationSettings, warnings: list[str]) -> SceneText:
        """C_t, and what the description has the person do."""
        text = settings.description or ""
        scene = self._texts.get(("scene", text), lambda: self.text_encoder.encode(text))
        warnings.extend(scene.notes)
        if scene.not_understood:
            warnings.append(f"Not understood in the description, and left out: {', '.join(scene.not_understood)}.")
        return scene

    def _motion(
        self, recording: Speech, emotion: EmotionTrack, scene: SceneText, acting: Acting, settings: GenerationSettings
    ) -> Motion:
        """What A2M hears in the recording, under emotion and scene, acted out."""
        return self.a2m.generate(
            recording.samples,
            seed=settings.seed,
            motion_diversity=settings.motion_diversity,
            head_motion=settings.head_motion,
            blink_rate=settings.blink_rate,
            expressiveness=settings.expressiveness,
            articulation=settings.articulation,
            emotion=emotion.embedding,
            emotion_strength=settings.emotion_strength,
            scene=scene.over_time(len(emotion)),
            acting=acting,
        )
