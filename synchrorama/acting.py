"""Acting: what emotion and scene add to the motion that A2M hears in a voice.

A2M moves lips, head, brows and lids as speech asks for. An emotion puts an expression on that face and changes how it
moves (aroused people move further and faster and blink more, sad ones slowly and with a lowered head: Wallbott 1998,
"Bodily expression of emotion"); the scene description has it do things.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from synchrorama.blendshapes import BLENDSHAPE_INDEX
from synchrorama.emotion.categories import EMOTION_INDEX
from synchrorama.emotion.embedding import EmotionTrack
from synchrorama.emotion.expressions import express, kept_expression
from synchrorama.motion import FPS
from synchrorama.scene import ScenePlan

# How an emotion holds the head at strength 1: pitch, yaw, roll in degrees, towards the camera in face heights.
_POSTURE = {
    "sad": (4.5, 0.0, 1.5, -0.01),
    "angry": (2.0, 0.0, 0.0, 0.02),
    "fearful": (-1.0, 0.0, 0.0, -0.025),
    "surprised": (-2.0, 0.0, 0.0, -0.01),
    "disgusted": (-1.0, 2.0, 0.0, -0.01),
    "contempt": (-2.5, 2.0, 1.5, 0.0),
    "happy": (-0.5, 0.0, 0.0, 0.005),
}
_LOWERED_GAZE = 0.22  # eyeLookDown of sadness
_POSTURE_SECONDS = 0.6
_RANGE, _OPENING, _BLINKS = 0.35, 0.05, 0.4  # logarithms of the gains at an arousal of 1
_QUICKER, _SLOW_FRAMES = 0.35, 10.0
_JAW_GAIN = 0.08  # how much wider a speaking mouth opens per unit of an expression's jawOpen


@dataclass(frozen=True)
class Acting:
    """What is added to, and changed in, T frames of motion.

    Attributes:
        blendshapes: (T, 52) to be added; negative where the photo's own expression gives way.
        rotation, translation: (T, 3) to be added, as in ``Motion``.
        head_range: (T,) factor of the head motion that A2M composed.
        tempo: (T,) -1 slow, 0 as it is, up to 1 quick.
        blink_rate: (T,) factor.
        opening: (T,) factor of how wide the mouth opens.
    """

    blendshapes: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    head_range: np.ndarray
    tempo: np.ndarray
    blink_rate: np.ndarray
    opening: np.ndarray

    def move_head(self, head: np.ndarray) -> np.ndarray:
        """(T, 6) rotation and translation of the head as A2M composed them → further or less far, quicker or slower."""
        calm, quick = np.clip(-self.tempo, 0, 1)[:, None], np.clip(self.tempo, 0, 1)[:, None]
        slow = gaussian_filter1d(head, _SLOW_FRAMES, axis=0, mode="nearest")
        head = (1 - calm) * head + calm * slow + _QUICKER * quick * (head - slow)
        return head * self.head_range[:, None]


def act(
    track: EmotionTrack,
    strength: float,
    photo: np.ndarray,
    loudness: np.ndarray,
    plan: ScenePlan,
    seed: int,
) -> Acting:
    """Put together what emotion and scene do.

    Args:
        track: T frames of emotion.
        strength: how strongly it shows, 0 to 2; 0 leaves everything as A2M has it.
        photo: (52,) the photo's own expression.
        loudness: (T,) of the voice.
        plan: what the scene description asks for.
        seed: makes small variations repeatable.
    """
    frames = len(track)
    expression = express(track, strength, photo, loudness, np.random.default_rng((seed, 1)))
    felt = strength * track.strength
    arousal = np.clip(felt * track.arousal, -1, 1.5)
    sadness = felt * track.probabilities[:, EMOTION_INDEX["sad"]]

    jaw = BLENDSHAPE_INDEX["jawOpen"]
    opening = np.exp(_OPENING * arousal) + _JAW_GAIN * expression[:, jaw]
    expression[:, jaw] = 0
    for side in ("Left", "Right"):
        expression[:, BLENDSHAPE_INDEX["eyeLookDown" + side]] += _LOWERED_GAZE * _slowly(sadness)
    held_back = plan.suppressed(frames)
    expression = expression * (1 - held_back) - kept_expression(photo) * held_back

    postures = np.zeros((len(EMOTION_INDEX), 4))
    for emotion, posture in _POSTURE.items():
        postures[EMOTION_INDEX[emotion]] = posture
    posture = _slowly(track.probabilities * felt[:, None]) @ postures
    actions = plan.motion(frames, np.random.default_rng((seed, 2)))
    head_scale = plan.head_motion_scale(frames)
    return Acting(
        blendshapes=expression + actions.blendshapes,
        rotation=np.radians(posture[:, :3]) + actions.rotation,
        translation=np.pad(posture[:, 3:], ((0, 0), (2, 0))) + actions.translation,
        head_range=np.exp(_RANGE * arousal) * head_scale,
        tempo=np.where(arousal < 0, arousal, 0.8 * arousal) - 0.8 * sadness,
        blink_rate=np.exp(_BLINKS * arousal) * plan.blink_rate_scale(frames),
        opening=opening,
    )


def _slowly(track: np.ndarray) -> np.ndarray:
    return gaussian_filter1d(np.asarray(track, np.float64), _POSTURE_SECONDS * FPS, axis=0, mode="nearest")
