"""What a person in a described scene does: actions, and the motion each of them causes.

Left and right are those of the picture, as whoever looks at it sees them. Sizes are what a single photo bears and what
reads at a glance; a nod of 6° lasts about half a second (Hadar et al. 1983, "Kinematics of head movements accompanying
speech during conversation").
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter1d

from synchrorama.blendshapes import BLENDSHAPE_NAMES, columns_of
from synchrorama.motion import FPS, Motion, set_gaze

MAX_STAGES = 4
_EASE = 0.35  # seconds in which an action comes and goes
_GAZE_EASE = 0.08  # eyes jump
_REPEAT = 2.6  # seconds from one nod, shake or wink to the next
_BRIEF = 0.5  # seconds that a wink lasts


@dataclass(frozen=True)
class Action:
    """What an action does while it is on.

    Attributes:
        shapes: blendshape → coefficient; names without a side stand for both.
        turn: pitch, yaw, roll of the head in degrees, as in ``Motion``.
        forward: towards the camera, in face heights.
        gaze: to the right and down of the picture, in eyeLook coefficients.
        waves: head angle (0 pitch, 1 yaw) that swings, its size in degrees and swings a second; None for none.
        brief: it is done for a moment, and again every few seconds.
        still: the head's other motion stops.
        blink_rate: factor of how often the eyes blink.
        opposites: actions that cannot be done at the same time.
    """

    shapes: dict[str, float] = field(default_factory=dict)
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)
    forward: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    waves: tuple[int, float, float] | None = None
    brief: bool = False
    still: bool = False
    blink_rate: float = 1.0
    opposites: tuple[str, ...] = ()


ACTIONS: dict[str, Action] = {
    "smiles": Action({"mouthSmile": 0.8, "cheekSquint": 0.5}, opposites=("frowns",)),
    "frowns": Action({"mouthFrown": 0.8}, opposites=("smiles",)),
    "raises_brows": Action({"browInnerUp": 1.0, "browOuterUp": 0.9}, opposites=("furrows_brows",)),
    "furrows_brows": Action({"browDown": 1.2}, opposites=("raises_brows",)),
    "closes_eyes": Action({"eyeBlink": 1.0}, blink_rate=0.0, opposites=("opens_eyes_wide", "winks")),
    "opens_eyes_wide": Action({"eyeWide": 0.55}, opposites=("closes_eyes", "squints")),
    "squints": Action({"eyeSquint": 0.9, "eyeBlink": 0.25}, opposites=("opens_eyes_wide",)),
    "winks": Action(
        {"eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.5, "mouthSmileLeft": 0.25}, brief=True, opposites=("closes_eyes",)
    ),
    "blinks_often": Action(blink_rate=2.6),
    "looks_left": Action(gaze=(-0.65, 0.0), turn=(0, -4, 0), opposites=("looks_right",)),
    "looks_right": Action(gaze=(0.65, 0.0), turn=(0, 4, 0), opposites=("looks_left",)),
    "looks_up": Action(gaze=(0.0, -0.55), turn=(-3, 0, 0), opposites=("looks_down",)),
    "looks_down": Action(gaze=(0.0, 0.55), turn=(3, 0, 0), opposites=("looks_up",)),
    "turns_left": Action(turn=(0, -12, 0), opposites=("turns_right",)),
    "turns_right": Action(turn=(0, 12, 0), opposites=("turns_left",)),
    "nods": Action(waves=(0, 6.5, 2.0)),
    "shakes_head": Action(waves=(1, 8.0, 1.7)),
    "tilts_left": Action(turn=(0, 0, 8), opposites=("tilts_right",)),
    "tilts_right": Action(turn=(0, 0, -8), opposites=("tilts_left",)),
    "lowers_head": Action(turn=(7, 0, 0), opposites=("raises_head",)),
    "raises_head": Action(turn=(-7, 0, 0), opposites=("lowers_head",)),
    "leans_forward": Action(forward=0.05),
    "keeps_still": Action(still=True),
    "puckers_lips": Action({"mouthPucker": 0.8}),
    "wrinkles_nose": Action({"noseSneer": 0.8}),
}
"""Every action that a description can ask for."""

Stage = dict[str, float]
"""Action → how strongly it is done, about 1; negative when it is said not to be done."""


@dataclass(frozen=True)
class ScenePlan:
    """What is done, in order; the stages share a recording equally."""

    stages: tuple[Stage, ...] = ()

    def motion(self, frames: int, generator: np.random.Generator) -> Motion:
        """What the actions add to a motion of ``frames`` frames."""
        blendshapes = np.zeros((frames, len(BLENDSHAPE_NAMES)))
        angles, forward, gaze = np.zeros((frames, 3)), np.zeros(frames), np.zeros((frames, 2))
        for stage, on in zip(self.stages, self._times(frames), strict=True):
            for name, amount in stage.items():
                if amount <= 0:
                    continue
                action = ACTIONS[name]
                size = amount * (1 + 0.05 * float(np.clip(generator.normal(), -2, 2)))
                eased = _moments(on) if action.brief else _eased(on, _EASE)
                for shape, value in action.shapes.items():
                    for column in columns_of(shape):
                        # the lids take no less than all, lest shut eyes stand open a crack
                        most = min(1.0, amount) * value if shape.startswith("eyeBlink") else size * value
                        blendshapes[:, column] += _eased(on, _GAZE_EASE) * most if shape == "eyeBlink" else eased * most
                angles += eased[:, None] * size * np.array(action.turn)
                forward += eased * size * action.forward
                gaze += _eased(on, _GAZE_EASE)[:, None] * size * np.array(action.gaze)
                if action.waves is not None:
                    axis, degrees, rate = action.waves
                    angles[:, axis] += eased * _swings(on, rate, generator) * size * degrees
        set_gaze(blendshapes, gaze[:, 0], gaze[:, 1])
        blendshapes = np.clip(blendshapes, 0, [0.6 if "eyeWide" in name else 1.6 for name in BLENDSHAPE_NAMES])
        return Motion(blendshapes, np.radians(angles), np.pad(forward[:, None], ((0, 0), (2, 0))))

    def head_motion_scale(self, frames: int) -> np.ndarray:
        """(frames,) factor of the head motion that is not the scene's: 0 while the person keeps still."""
        return self._factor(frames, lambda action: 0.0 if action.still else 1.0)

    def blink_rate_scale(self, frames: int) -> np.ndarray:
        """(frames,) factor of the blink rate; 0 while eyes are shut, or are said not to blink."""
        factor = self._factor(frames, lambda action: action.blink_rate)
        for stage, on in zip(self.stages, self._times(frames), strict=True):
            if stage.get("blinks_often", 0) < 0:
                factor = np.where(on > 0, 0.0, factor)
        return factor

    def suppressed(self, frames: int) -> np.ndarray:
        """(frames, 52) in [0, 1]: how much of a shape is held back, because its action is said not to be done."""
        held = np.zeros((frames, len(BLENDSHAPE_NAMES)))
        for stage, on in zip(self.stages, self._times(frames), strict=True):
            for name, amount in stage.items():
                if amount < 0:
                    for shape in ACTIONS[name].shapes:
                        for column in columns_of(shape):
                            held[:, column] = np.maximum(held[:, column], _eased(on, _EASE))
        return held

    def _times(self, frames: int) -> list[np.ndarray]:
        """For each stage (frames,): 1 while it lasts."""
        edges = np.round(np.linspace(0, frames, len(self.stages) + 1)).astype(int)
        clock = np.arange(frames)
        return [
            ((clock >= start) & (clock < end)).astype(float) for start, end in itertools.pairwise(edges)
        ]

    def _factor(self, frames: int, of: Callable[[Action], float]) -> np.ndarray:
        factor = np.ones(frames)
        for stage, on in zip(self.stages, self._times(frames), strict=True):
            for name, amount in stage.items():
                if amount > 0:
                    factor *= 1 + (of(ACTIONS[name]) - 1) * _eased(on, _EASE)
        return np.where(factor < 0.02, 0.0, factor)


def resolve(mentions: list[tuple[str, float]]) -> tuple[Stage, list[str]]:
    """What is said of one stage, in order → what is done. Where two things contradict each other the last one wins.

    Returns:
        The stage, and a sentence for the user about each contradiction.
    """
    stage: Stage = {}
    notes = []
    for name, amount in mentions:
        earlier = [name] if stage.get(name, amount) * amount < 0 else []
        if amount > 0:
            earlier += [other for other in ACTIONS[name].opposites if stage.get(other, 0) > 0]
        for other in earlier:
            del stage[other]
            notes.append(
                f"The description asks for {spoken(other)} and for its opposite at the same time; the last one counts."
            )
        stage[name] = amount
    return stage, notes


def spoken(action: str) -> str:
    """The name of an action in words."""
    return action.replace("_", " ")


def _eased(on: np.ndarray, seconds: float) -> np.ndarray:
    """A smooth way in and out for a track that is 0 or 1; it starts and ends as it is at the video's ends."""
    return gaussian_filter1d(on, seconds * FPS / 2, mode="nearest")


def _moments(on: np.ndarray) -> np.ndarray:
    """Like ``_eased``, but for half a second at a time."""
    since = np.arange(len(on)) - int(on.argmax())
    begun = (since >= 0) & (since % round(_REPEAT * FPS) < round(_BRIEF * FPS))
    return gaussian_filter1d(on * begun, _GAZE_EASE * FPS / 2, mode="nearest")


def _swings(on: np.ndarray, rate: float, generator: np.random.Generator) -> np.ndarray:
    """(T,) in about -1 to 1: swings that die away and begin again, as people nod."""
    start = int(on.argmax())
    seconds = np.clip((np.arange(len(on)) - start) / FPS, 0, None)
    period = _REPEAT * float(generator.uniform(0.9, 1.1))
    within = seconds % period
    tempo = rate * float(generator.uniform(0.92, 1.08))
    return 1.5 * np.sin(2 * np.pi * tempo * within) * np.exp(-within / 0.7) * (1 - np.exp(-within / 0.12))
