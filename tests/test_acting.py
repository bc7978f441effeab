"""What emotion and scene change in a motion: posture, head, blinks, and lips that still close."""

from __future__ import annotations

import numpy as np
import pytest

from synchrorama.acting import Acting, act
from synchrorama.audio import loudness
from synchrorama.blendshapes import BLENDSHAPE_INDEX, lip_gap
from synchrorama.emotion.embedding import chosen
from synchrorama.emotion.expressions import EMFACS
from synchrorama.scene import ScenePlan

FRAMES = 100


def acting(emotion: str, strength: float = 1.0, plan: ScenePlan | None = None, photo=None) -> Acting:
    track, loud = chosen({emotion: 1.0}, FRAMES), np.full(FRAMES, 0.5, np.float32)
    photo = np.zeros(52) if photo is None else photo
    return act(track, strength, photo, loud, plan or ScenePlan(), seed=1)


@pytest.mark.parametrize("emotion", ["neutral", "angry"])
def test_without_emotion_nothing_changes(emotion):
    nothing = acting(emotion, strength=0.0)
    assert np.abs(nothing.blendshapes).max() == 0
    assert np.abs(nothing.rotation).max() == 0 and np.abs(nothing.translation).max() == 0
    for factor in (nothing.head_range, nothing.blink_rate, nothing.opening):
        np.testing.assert_allclose(factor, 1)
    head = np.random.default_rng(0).normal(size=(FRAMES, 6))
    np.testing.assert_allclose(nothing.move_head(head), head)


def test_arousal_moves_further_faster_and_blinks_more_and_sadness_less():
    angry, sad = acting("angry"), acting("sad")
    assert angry.head_range.mean() > 1.15 and sad.head_range.mean() < 0.95
    assert angry.blink_rate.mean() > 1.1 > 1 > sad.blink_rate.mean()
    assert angry.opening.mean() > 1 > sad.opening.mean()
    head = np.cumsum(np.random.default_rng(0).normal(size=(FRAMES, 6)), axis=0)
    quick, usual, slow = (np.abs(np.diff(h, axis=0)).mean() for h in (angry.move_head(head), head, sad.move_head(head)))
    assert quick > 1.2 * usual > 2 * slow


def test_sadness_lowers_head_and_gaze():
    sad = acting("sad")
    assert np.degrees(sad.rotation[:, 0]).mean() > 3
    assert sad.blendshapes[:, BLENDSHAPE_INDEX["eyeLookDownLeft"]].mean() > 0.1
    assert np.degrees(acting("sad", 2.0).rotation[:, 0]).mean() > np.degrees(sad.rotation[:, 0]).mean()


def test_what_the_scene_denies_the_emotion_does_not_show():
    smile = BLENDSHAPE_INDEX["mouthSmileLeft"]
    denied = ScenePlan(({"smiles": -1.0},))
    assert acting("happy").blendshapes[50:, smile].min() > 0.5
    assert np.abs(acting("happy", plan=denied).blendshapes[50:, smile]).max() < 0.01
    photo = np.zeros(52)
    photo[smile] = 0.6
    assert acting("neutral", plan=denied, photo=photo).blendshapes[50, smile] == pytest.approx(-0.6, abs=0.01)


def test_actions_of_the_scene_are_added():
    nodding = acting("neutral", plan=ScenePlan(({"nods": 1.0, "keeps_still": 1.0},)))
    assert np.ptp(np.degrees(nodding.rotation[:, 0])) > 7 and nodding.head_range.max() == 0


@pytest.mark.parametrize("emotion", EMFACS)
def test_no_emotion_opens_lips_that_close_or_shuts_those_that_open(pipeline, speech_samples, emotion):
    """The same closures, frame by frame, and otherwise the lips stay as far apart as speech has them."""
    frames = len(speech_samples) * 25 // 16_000
    track = chosen({emotion: 1.0}, frames)
    shown = act(track, 1.0, np.zeros(52), loudness(speech_samples), ScenePlan(), seed=1)
    space = pipeline.motion_space
    plain, acted = (
        lip_gap(space.apply(pipeline.a2m.generate(speech_samples, seed=1, acting=each).blendshapes))
        for each in (None, shown)
    )
    shut = plain < 0.02
    assert shut.sum() > 5 and (acted[shut] < 0.08).all()
    assert np.corrcoef(plain, acted)[0, 1] > 0.97
    assert acted.std() == pytest.approx(plain.std(), rel=0.3)
