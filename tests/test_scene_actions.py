"""Every action of a scene description, by the motion that it causes."""

from __future__ import annotations

import numpy as np
import pytest

from synchrorama.motion import Motion, gaze
from synchrorama.scene import ACTIONS, ScenePlan
from synchrorama.scene.actions import resolve

FRAMES = 125


def done(*names: str, frames: int = FRAMES, seed: int = 0) -> Motion:
    return ScenePlan((dict.fromkeys(names, 1.0),)).motion(frames, np.random.default_rng(seed))


def shape(name: str, *actions: str) -> float:
    return float(done(*actions).column(name).mean())


def angle(axis: int, *actions: str) -> np.ndarray:
    return np.degrees(done(*actions).rotation[:, axis])


PITCH, YAW, ROLL = 0, 1, 2
# What each action is seen by: greater than the given number.
SEEN = {
    "smiles": lambda: shape("mouthSmileLeft", "smiles") - 0.5,
    "frowns": lambda: shape("mouthFrownRight", "frowns") - 0.5,
    "raises_brows": lambda: min(shape("browInnerUp", "raises_brows"), shape("browOuterUpLeft", "raises_brows")) - 0.5,
    "furrows_brows": lambda: shape("browDownLeft", "furrows_brows") - 0.7,
    "closes_eyes": lambda: shape("eyeBlinkLeft", "closes_eyes") - 0.97,
    "opens_eyes_wide": lambda: shape("eyeWideLeft", "opens_eyes_wide") - 0.4,
    "squints": lambda: shape("eyeSquintRight", "squints") - 0.5,
    "winks": lambda: done("winks").column("eyeBlinkLeft").max() - done("winks").column("eyeBlinkRight").max() - 0.9,
    "blinks_often": lambda: ScenePlan(({"blinks_often": 1.0},)).blink_rate_scale(FRAMES).mean() - 2,
    "looks_left": lambda: -gaze(done("looks_left").blendshapes)[:, 0].mean() - 0.4,
    "looks_right": lambda: gaze(done("looks_right").blendshapes)[:, 0].mean() - 0.4,
    "looks_up": lambda: -gaze(done("looks_up").blendshapes)[:, 1].mean() - 0.4,
    "looks_down": lambda: gaze(done("looks_down").blendshapes)[:, 1].mean() - 0.4,
    "turns_left": lambda: -angle(YAW, "turns_left").mean() - 8,
    "turns_right": lambda: angle(YAW, "turns_right").mean() - 8,
    "nods": lambda: np.ptp(angle(PITCH, "nods")) - 7,
    "shakes_head": lambda: np.ptp(angle(YAW, "shakes_head")) - 8,
    "tilts_left": lambda: angle(ROLL, "tilts_left").mean() - 5,
    "tilts_right": lambda: -angle(ROLL, "tilts_right").mean() - 5,
    "lowers_head": lambda: angle(PITCH, "lowers_head").mean() - 4,
    "raises_head": lambda: -angle(PITCH, "raises_head").mean() - 4,
    "leans_forward": lambda: done("leans_forward").translation[:, 2].mean() - 0.03,
    "keeps_still": lambda: 0.01 - ScenePlan(({"keeps_still": 1.0},)).head_motion_scale(FRAMES).max(),
    "puckers_lips": lambda: shape("mouthPucker", "puckers_lips") - 0.5,
    "wrinkles_nose": lambda: shape("noseSneerLeft", "wrinkles_nose") - 0.5,
}


def test_every_action_is_tested_here():
    assert set(SEEN) == set(ACTIONS) and len(ACTIONS) >= 16


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_does_what_it_says(action):
    assert SEEN[action]() > 0


def test_a_wink_is_brief_and_comes_again():
    shut = done("winks").column("eyeBlinkLeft") > 0.5
    starts = np.flatnonzero(shut[1:] & ~shut[:-1])
    assert 1 <= len(starts) <= 3 and 0.1 < shut.mean() < 0.35


def test_nods_and_shakes_swing_and_come_back():
    for action, axis in (("nods", PITCH), ("shakes_head", YAW)):
        swings = angle(axis, action)
        crossings = int((np.diff(np.sign(swings)) != 0).sum())
        assert crossings >= 6 and abs(swings.mean()) < 0.2 * np.ptp(swings)


@pytest.mark.parametrize("action", ACTIONS)
def test_actions_are_smooth_and_within_what_a_photo_bears(action):
    plan = ScenePlan(({}, {action: 1.3}, {}))
    motion = plan.motion(3 * FRAMES, np.random.default_rng(1))
    assert np.abs(np.diff(np.degrees(motion.rotation), axis=0)).max() < 5  # degrees a frame
    slow = [i for i, name in enumerate(ACTIONS[action].shapes) if "Blink" not in name]
    assert np.abs(np.diff(motion.blendshapes, axis=0))[:, slow].max(initial=0) < 0.25
    assert (np.abs(np.degrees(motion.rotation)).max(axis=0) < (10, 16, 11)).all()
    assert motion.column("eyeWideLeft").max() <= 0.6 + 1e-6
    assert np.abs(motion.rotation[:50]).max() < 0.01 and np.abs(motion.rotation[-50:]).max() < 0.01


def test_stages_follow_each_other():
    plan = ScenePlan(({"smiles": 1.0}, {"looks_left": 1.0, "nods": 1.0}))
    motion = plan.motion(200, np.random.default_rng(0))
    smile, look = motion.column("mouthSmileLeft"), gaze(motion.blendshapes)[:, 0]
    assert smile[:80].min() > 0.5 and smile[120:].max() < 0.01
    assert np.abs(look[:90]).max() < 0.01 and look[110:].max() < -0.4
    assert np.abs(motion.rotation[:80]).max() < 0.01 < np.ptp(motion.rotation[110:, 0])


def test_what_is_denied_is_held_back_and_nothing_else():
    plan = ScenePlan(({"smiles": -1.0, "blinks_often": -1.0},))
    motion = plan.motion(50, np.random.default_rng(0))
    assert np.abs(motion.blendshapes).max() == 0 and np.abs(motion.rotation).max() == 0
    held = Motion(plan.suppressed(50), np.zeros((50, 3)), np.zeros((50, 3)))
    assert held.column("mouthSmileLeft").min() == pytest.approx(1) and held.column("mouthFrownLeft").max() == 0
    assert plan.blink_rate_scale(50).max() == 0
    assert plan.head_motion_scale(50).min() == 1


def test_an_empty_plan_changes_nothing():
    plan = ScenePlan()
    assert np.abs(plan.motion(30, np.random.default_rng(0)).blendshapes).max() == 0
    assert (plan.head_motion_scale(30) == 1).all() and (plan.blink_rate_scale(30) == 1).all()
    assert plan.suppressed(30).max() == 0


def test_strength_scales_and_seeds_repeat():
    weak, strong = (
        ScenePlan(({"turns_left": amount},)).motion(50, np.random.default_rng(0)).rotation[25, 1]
        for amount in (0.6, 1.3)
    )
    assert strong < 1.8 * weak < 0
    assert np.array_equal(done("nods", seed=3).rotation, done("nods", seed=3).rotation)
    assert not np.array_equal(done("nods", seed=3).rotation, done("nods", seed=4).rotation)


@pytest.mark.parametrize(
    ("mentions", "stage", "notes"),
    [
        ([("looks_left", 1.0), ("nods", 1.0)], {"looks_left": 1.0, "nods": 1.0}, 0),
        ([("looks_left", 1.0), ("looks_right", 1.0)], {"looks_right": 1.0}, 1),
        ([("smiles", 1.0), ("smiles", -1.0)], {"smiles": -1.0}, 1),
        ([("smiles", -1.0), ("frowns", -1.0)], {"smiles": -1.0, "frowns": -1.0}, 0),
        ([("smiles", 1.0), ("smiles", 0.6)], {"smiles": 0.6}, 0),
    ],
)
def test_of_two_contradictions_the_last_one_counts_and_is_told(mentions, stage, notes):
    resolved, told = resolve(mentions)
    assert resolved == stage and len(told) == notes
    assert all("the last one counts." in note for note in told)
