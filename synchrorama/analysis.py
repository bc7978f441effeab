"""What is seen in a photo and heard in a recording, before anything is generated: as an object, JSON and text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .emotion.categories import EMOTIONS
from .motion import FPS
from .settings import GenerationSettings

if TYPE_CHECKING:
    from .emotion.embedding import EmotionTrack
    from .emotion.sentiment import Sentiment
    from .emotion.transcript import Transcript
    from .face import Portrait
    from .media import Speech

_STEP = 5  # frames between two rows of the JSON: 0.2 s, finer than feelings change
_STRETCH = 2 * FPS  # frames of one line of text


@dataclass
class Analysis:
    """What was found; None where there was no photo, or no recording.

    Attributes:
        settings: the controls it was made with.
        portrait: the photo and its faces.
        description: of the photo, in plain sentences.
        recording, transcript, sentiment: the sound, its words and what they feel like.
        emotion: what the face would express, frame by frame.
        estimated_seconds: wall time of a generation.
        warnings: sentences for the user about what is odd but not wrong.
    """

    settings: GenerationSettings
    portrait: Portrait | None = None
    description: str | None = None
    recording: Speech | None = None
    transcript: Transcript | None = None
    sentiment: Sentiment | None = None
    emotion: EmotionTrack | None = None
    estimated_seconds: float | None = None
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain lists and numbers.

        Keys: of the photo width, height, faces (boxes: left, top, right, bottom in pixels, largest first), face_index
        and description; of the recording seconds, frames, estimated_seconds, transcript, confidence, words, utterances
        and emotion, a row each 0.2 s; warnings.
        """
        found: dict[str, Any] = {}
        if self.portrait is not None:
            height, width = self.portrait.picture.shape[:2]
            found |= {
                "width": width,
                "height": height,
                "faces": [[float(edge) for edge in box] for box in self.portrait.faces],
                "face_index": self.portrait.face_index,
                "description": self.description,
            }
        if self.recording is not None:
            found |= {
                "seconds": self.recording.seconds,
                "frames": self.recording.frame_count,
                "estimated_seconds": self.estimated_seconds,
                "transcript": self.transcript.text,
                "confidence": round(self.transcript.confidence, 3),
                "words": [
                    {"text": word.text, "start": round(word.start, 2), "end": round(word.end, 2)}
                    for word in self.transcript.words
                ],
                "utterances": [
                    {
                        "text": utterance.text,
                        "start": round(utterance.start, 2),
                        "end": round(utterance.end, 2),
                        "polarity": round(float(utterance.polarity), 3),
                    }
                    for utterance in self.sentiment.utterances
                ],
                "emotion": self._emotion_rows(),
            }
        return found | {"warnings": self.warnings}

    def _emotion_rows(self) -> list[dict[str, float]]:
        track = self.emotion
        return [
            {
                "time": round((t + 0.5) / FPS, 2),
                "valence": round(float(track.valence[t]), 3),
                "arousal": round(float(track.arousal[t]), 3),
                **{name: round(float(share), 3) for name, share in zip(EMOTIONS, track.probabilities[t], strict=True)},
            }
            for t in range(0, len(track), _STEP)
        ]

    def to_text(self) -> str:
        """For people: a line each for what was found, and one for every two seconds of emotion."""
        lines: list[tuple[str, str]] = []
        if self.portrait is not None:
            lines += self._photo_lines()
        if self.recording is not None:
            lines += self._recording_lines()
        lines += [("Note", warning) for warning in self.warnings]
        return "\n".join(f"{label:<11}{text}" for label, text in lines)

    def _photo_lines(self) -> list[tuple[str, str]]:
        height, width = self.portrait.picture.shape[:2]
        lines = [("Photo", f"{width} x {height} pixels")]
        for i, (left, top, right, bottom) in enumerate(self.portrait.faces):
            mark = "  <- speaks" if i == self.portrait.face_index else ""
            size = f"{right - left:.0f} x {bottom - top:.0f} pixels at {left:.0f}, {top:.0f}"
            lines.append((f"Face {i}", size + mark))
        return [*lines, ("Scene", self.description)]

    def _recording_lines(self) -> list[tuple[str, str]]:
        recording, transcript = self.recording, self.transcript
        source = "as given" if transcript.typed else f"confidence {transcript.confidence:.2f}"
        lines = [
            ("Recording", f"{recording.seconds:.1f} s, {recording.frame_count} frames"),
            ("Estimate", f"about {self.estimated_seconds:.0f} s to generate"),
            ("Transcript", f"{transcript.text or '(no words)'}  [{source}]"),
        ]
        lines += [
            ("Sentiment", f"{each.start:5.1f}-{each.end:.1f} s  {each.polarity:+.2f}  {each.text}")
            for each in self.sentiment.utterances
        ]
        for start in range(0, len(self.emotion), _STRETCH):
            part = slice(start, start + _STRETCH)
            shares = self.emotion.probabilities[part].mean(axis=0)
            strongest = " ".join(f"{EMOTIONS[i]} {shares[i]:.2f}" for i in np.argsort(-shares)[:3])
            valence, arousal = self.emotion.valence[part].mean(), self.emotion.arousal[part].mean()
            end = min(start + _STRETCH, len(self.emotion)) / FPS
            plane = f"valence {valence:+.2f}, arousal {arousal:+.2f}"
            lines.append(("Emotion", f"{start / FPS:5.1f}-{end:.1f} s  {strongest}  {plane}"))
        return lines
