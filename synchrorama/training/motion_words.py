"""A tracked motion put into words, so that A2M can learn what a scene description looks like in motion."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from synchrorama.motion import FPS, Motion, gaze
from synchrorama.scene.actions import Stage
from synchrorama.training.scene import Grammar, Written


def describe_motion(motion: Motion) -> Stage:
    """What a motion, relative to its rest, does for most of its time, as actions; empty when nothing stands out."""

    def level(name: str) -> float:
        return float(np.mean([np.median(motion.column(name + side)) for side in ("Left", "Right")]))

    pitch, yaw, roll = np.degrees(np.median(motion.rotation, axis=0))
    right, down = np.median(gaze(motion.blendshapes), axis=0)
    swings = np.degrees(motion.rotation - _slow(motion.rotation)).std(axis=0)
    blinks = np.diff((motion.column("eyeBlinkLeft") > 0.6).astype(int)).clip(0).sum() * 60 * FPS / max(len(motion), 1)
    measured = {
        "smiles": level("mouthSmile") / 0.35, "frowns": level("mouthFrown") / 0.45,
        "raises_brows": max(level("browOuterUp"), float(np.median(motion.column("browInnerUp")))) / 0.25,
        "furrows_brows": level("browDown") / 0.25, "squints": level("eyeSquint") / 0.3,
        "opens_eyes_wide": level("eyeWide") / 0.2, "looks_left": -right / 0.18, "looks_right": right / 0.18,
        "looks_up": -down / 0.18, "looks_down": down / 0.18, "turns_left": -yaw / 4, "turns_right": yaw / 4,
        "tilts_left": roll / 3, "tilts_right": -roll / 3, "lowers_head": pitch / 3.5, "raises_head": -pitch / 3.5,
        "nods": swings[0] / 1.4, "shakes_head": swings[1] / 1.6, "blinks_often": blinks / 50,
        "keeps_still": 0.35 / max(float(swings.max()), 1e-3), "wrinkles_nose": level("noseSneer") / 0.3,
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
