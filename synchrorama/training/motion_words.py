"""A tracked motion put into words, so that A2M can learn what a scene description looks like in motion."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from synchrorama.motion import FPS, Motion, gaze
from synchrorama.scene.actions import Stage
from synchrorama.training.scene import Grammar, Written


def describe_motion(motion: Motion) -> Stage:
    """What a motion, relative to its rest, does for most of its time, as actions; empty when nothing stands out.

    Something stands out where it is among the most that one in about ten windows of 3 s of the training clips does;
    talking people always move a little, and to call every sway of the head a nod would teach nothing.
    """

    def level(name: str) -> float:
        return float(np.mean([np.median(motion.column(name + side)) for side in ("Left", "Right")]))

    pitch, yaw, roll = np.degrees(np.median(motion.rotation, axis=0))
    right, down = np.median(gaze(motion.blendshapes), axis=0)
    swings = np.degrees(motion.rotation - _slow(motion.rotation)).std(axis=0)
    lids = motion.column("eyeBlinkLeft") > 0.6
    blinks = np.diff(lids.astype(int)).clip(0).sum() * 60 * FPS / max(len(motion), 1)
    measured = {
        "smiles": level("mouthSmile") / 0.3, "frowns": level("mouthFrown") / 0.42,
        "raises_brows": max(level("browOuterUp") / 0.07, float(np.median(motion.column("browInnerUp"))) / 0.13),
        "furrows_brows": level("browDown") / 0.06, "squints": level("eyeSquint") / 0.05,
        "opens_eyes_wide": level("eyeWide") / 0.035, "closes_eyes": float(lids.mean()) / 0.5,
        "looks_left": -right / 0.1, "looks_right": right / 0.1, "looks_up": -down / 0.06, "looks_down": down / 0.06,
        "turns_left": -yaw / 3.5, "turns_right": yaw / 3.5, "tilts_left": roll / 2.6, "tilts_right": -roll / 2.6,
        "lowers_head": pitch / 2.4, "raises_head": -pitch / 2.4,
        "nods": min(swings[0] / 2.6, swings[0] / max(0.8 * swings[1], 1e-3)),
        "shakes_head": min(swings[1] / 4.0, swings[1] / max(1.2 * swings[0], 1e-3)),
        "blinks_often": blinks / 70, "leans_forward": float(np.median(motion.translation[:, 2])) / 0.012,
        "keeps_still": 0.55 / max(float(swings.max()), 1e-3),
    }  # fmt: skip
    return {action: float(np.clip(size, 0.6, 1.3)) for action, size in measured.items() if size >= 1}


def write_description(stage: Stage, generator: np.random.Generator) -> str:
    """Actions in words, another way each time."""
    grammar, written = Grammar(generator), Written()
    grammar.subject(written)
    for i, (action, amount) in enumerate(stage.items()):
        if i:
            written.add("and")
        grammar.mention(written, action, amount)
    return " ".join(written.words)


def _slow(track: np.ndarray) -> np.ndarray:
    return gaussian_filter1d(track, FPS / 2, axis=0, mode="nearest")
