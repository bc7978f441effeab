"""What a component of a pipeline is asked and answers, whichever backend it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from .diffusion_stage import AfterStep, Told
    from .emotion.sentiment import Sentiment
    from .emotion.speech import VoiceReading
    from .emotion.transcript import Transcript
    from .motion_frames import MotionFrame
    from .settings import GenerationSettings

Check = Callable[[], None]
"""Called now and then by what takes long; what it raises ends that."""


class Transcribe(Protocol):
    """Component ``transcription``."""

    def __call__(self, samples: np.ndarray) -> Iterator[Transcript]:
        """(n,) float32 mono at 16 kHz → a growing transcript; the last one is final, and there is at least one."""


class ReadSentiment(Protocol):
    """Component ``sentiment``."""

    def __call__(self, transcript: Transcript, frames: int) -> Sentiment:
        """What the words feel like in each of ``frames`` frames; neutral where they cannot be read."""


class HearEmotion(Protocol):
    """Component ``speech_emotion``."""

    def read(self, samples: np.ndarray, check: Check | None = None) -> VoiceReading:
        """(n,) float32 mono at 16 kHz → the emotions in the tone of the voice, for each frame."""


class HearDimensions(Protocol):
    """Component ``valence_arousal``."""

    def read(self, samples: np.ndarray, check: Check | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(n,) float32 mono at 16 kHz → valence (T,) and arousal (T,) of the voice, in [-1, 1]."""


class Describe(Protocol):
    """Component ``scene_description``."""

    def __call__(self, photo: np.ndarray, landmarks: np.ndarray, expression: np.ndarray, rotation: np.ndarray) -> str:
        """The crop (H, W, 3) uint8 RGB, its landmarks (478, 3), coefficients (52,) and pose (3,) → plain sentences."""


class HearSound(Protocol):
    """Component ``audio_features``, for the diffusion backend ``frame``."""

    def __call__(self, samples: np.ndarray, frames: int) -> Tensor:
        """(n,) float32 mono at 16 kHz → what is heard around each frame, (frames, 5, layers, width)."""


class EmbedFace(Protocol):
    """Component ``face_embedding``, for the diffusion backend ``frame``."""

    def __call__(self, photo: np.ndarray, landmarks: np.ndarray) -> Tensor:
        """The crop (H, W, 3) uint8 RGB and its landmarks (478, 3) → who it shows, a tensor (width,)."""


class EncodeText(Protocol):
    """Component ``text_encoder``, for the diffusion backend ``frame``."""

    def encode(self, text: str) -> Tensor:
        """The scene description → its tokens, (n, width)."""


class Paint(Protocol):
    """Component ``diffusion``."""

    def __call__(
        self,
        rendered: Iterable[MotionFrame],
        photo: MotionFrame,
        told: Told,
        settings: GenerationSettings,
        after_step: AfterStep | None = None,
    ) -> Iterator[np.ndarray]:
        """The motion frames → as many finished ones, (H, W, 3) uint8 RGB; see ``DiffusionStage``."""
