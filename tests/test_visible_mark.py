"""The words AI-generated in the picture: where they stand, that they can be read, and that nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from synchrorama import GenerationSettings
from synchrorama.settings import MARKS
from synchrorama.visible_mark import VisibleMark

CORNERS = {"top_left": (0, 0), "top_right": (0, 1), "bottom_left": (1, 0), "bottom_right": (1, 1)}


@pytest.mark.parametrize("corner", CORNERS)
def test_the_mark_stands_in_its_corner_and_nowhere_else(corner):
    frame = np.full((360, 640, 3), 120, np.uint8)
    changed = (VisibleMark(640, 360, corner)(frame) != frame).any(-1)
    rows, columns = np.nonzero(changed)
    bottom, right = CORNERS[corner]
    assert changed.any() and 0 < changed.mean() < 0.02
    assert (rows > 180).all() if bottom else (rows < 180).all()
    assert (columns > 320).all() if right else (columns < 320).all()
    assert (frame == 120).all()  # the frame that was given is left alone


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_the_letters_stand_out_on_any_ground(ground):
    mark = VisibleMark(512, 512, "bottom_right")
    plate = mark(np.full((512, 512, 3), ground, np.uint8))[mark.place].astype(int)
    assert plate.max() - np.median(plate) > 75


def test_a_frame_smaller_than_the_words_is_not_left_half_marked():
    assert VisibleMark(16, 16, "top_right")(np.zeros((16, 16, 3), np.uint8)).any()


def test_control_mark(pipeline, photo_path, speech_path):
    def frame(**changed):
        settings = GenerationSettings(seed=1, diffusion_strength=0, preview=True, **changed)
        return next(pipeline(photo_path, speech_path, settings).frames).astype(int)

    plain = frame(mark="none")
    places = {}
    for corner in CORNERS:
        different = np.abs(frame(mark=corner) - plain).sum(-1) > 0
        places[corner] = tuple(np.argwhere(different).mean(0) > 128)
    assert {corner: tuple(map(bool, place)) for corner, place in CORNERS.items()} == places
    assert (frame() == frame(mark="bottom_right")).all()
    assert set(MARKS) == {*CORNERS, "none"}


def test_without_the_mark_the_file_still_says_it(pipeline, photo_path, speech_path):
    result = pipeline(photo_path, speech_path, GenerationSettings(mark="none"))
    assert "AI-generated" in result.metadata()["comment"]
