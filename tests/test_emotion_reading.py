"""Reading an emotion back from landmarks, by the rule in evaluation/emotion.py."""

from __future__ import annotations

import numpy as np
import pytest

from synchrorama.blendshapes import BLENDSHAPE_INDEX, MotionSpace
from synchrorama.emotion.categories import EMOTION_INDEX
from synchrorama.emotion.expressions import emotion_table
from synchrorama.evaluation.emotion import (
    DISTANCES,
    PROTOTYPES,
    distances,
    photo_smile,
    projection,
    read_emotion,
)
from synchrorama.tracking import LandmarkTrack

FRAMES = 10


@pytest.fixture(scope="module")
def space(pipeline) -> MotionSpace:
    return pipeline.motion_space


def tracked(space: MotionSpace, coefficients: np.ndarray) -> LandmarkTrack:
    """A face of 200 pixels that shows these coefficients (52,) and turns its head meanwhile."""
    shapes = np.pad(np.tile(space.apply(coefficients), (FRAMES, 1, 1)), ((0, 0), (0, 10), (0, 0)))
    angles = np.linspace(-0.2, 0.2, FRAMES)
    turns = np.stack([[[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]] for a in angles])
    landmarks = space.project(shapes, np.full(FRAMES, 12.0), turns, np.tile([256.0, -256.0, 0.0], (FRAMES, 1)))
    return LandmarkTrack(landmarks.astype(np.float32), np.ones(FRAMES, bool), 512, 512)


@pytest.mark.parametrize("emotion", PROTOTYPES)
def test_each_expression_is_read_as_what_it_is(space, emotion):
    shown = distances(tracked(space, emotion_table()[EMOTION_INDEX[emotion]]), space)
    neutral = distances(tracked(space, np.zeros(52)), space)
    assert read_emotion(shown, neutral).emotion == emotion


def test_a_still_face_is_neutral(space):
    still = distances(tracked(space, np.zeros(52)), space)
    read = read_emotion(still, still)
    assert read.emotion == "neutral" and np.abs(read.units).max() == 0


@pytest.mark.parametrize("emotion", PROTOTYPES)
def test_more_of_it_has_moved_further(space, emotion):
    neutral = distances(tracked(space, np.zeros(52)), space)
    table = emotion_table()[EMOTION_INDEX[emotion]]
    moved = [
        projection(read_emotion(distances(tracked(space, share * table), space), neutral).units, emotion)
        for share in (0, 0.3, 0.6, 1)
    ]
    assert (np.diff(moved) > 0.1).all()


def test_a_smile_in_the_photo_counts_as_shown(space):
    photo = np.zeros(52)
    for side in ("Left", "Right"):
        photo[BLENDSHAPE_INDEX["mouthSmile" + side]] = 0.7
    smiling, calm = (distances(tracked(space, each), space) for each in (photo, np.zeros(52)))
    change = photo_smile(photo, space)
    corners = DISTANCES.index("mouth corners up")
    assert change[corners] > 0.3 and np.count_nonzero(change) == 1
    assert smiling[corners] - change[corners] == pytest.approx(calm[corners], abs=0.05)
    assert not photo_smile(np.zeros(52), space).any()
