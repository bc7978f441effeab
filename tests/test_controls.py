"""Every control moves the result as its help text says; no control is without its test."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import write_wav
from motion_measures import blinks, gaps, nodding, opening, same, spread, video_streams
from PIL import Image

from synchrorama import GenerationSettings, InputError, Motion
from synchrorama.media import read_photo
from synchrorama.settings import controls

CALM = GenerationSettings(seed=1)


@pytest.fixture(scope="module")
def motion_for(pipeline, photo_path, speech_samples, tmp_path_factory):
    """The motion of 24 s of speech for given settings; kept, because several tests compare with the same one."""
    path = write_wav(tmp_path_factory.mktemp("speech") / "long.wav", np.tile(speech_samples, 6))
    photo, made = read_photo(photo_path), {}

    def motion(**settings) -> Motion:
        key = tuple(sorted(settings.items()))
        if key not in made:
            made[key] = pipeline(photo, path, GenerationSettings(**{"seed": 1, **settings})).motion
        return made[key]

    return motion


def test_no_control_is_left_without_a_test():
    import test_diffusion_stage
    import test_emotion_controls
    import test_visible_mark

    modules = (test_emotion_controls, test_diffusion_stage, test_visible_mark)
    names = [*globals(), *(name for module in modules for name in vars(module))]
    tested = {name.removeprefix("test_control_") for name in names if name.startswith("test_control_")}
    assert tested == set(controls())


def test_control_seed(pipeline, photo_path, speech_path, motion_for):
    again = pipeline(photo_path, speech_path, CALM).motion
    assert same(again, pipeline(photo_path, speech_path, CALM).motion)
    assert not same(motion_for(seed=1), motion_for(seed=2))
    drawn = pipeline(photo_path, speech_path).settings.seed
    assert isinstance(drawn, int)


def test_control_head_motion(motion_for):
    still, natural, lively = (np.std(motion_for(head_motion=x).rotation, axis=0).sum() for x in (0, 1, 2))
    assert still < 0.1 * natural
    assert 1.5 * natural < lively < 2.5 * natural


def test_control_motion_diversity(motion_for):
    calm, natural, wild = (
        spread(motion_for(seed=1, motion_diversity=x), motion_for(seed=2, motion_diversity=x)) for x in (0, 1, 2)
    )
    assert calm < 1e-6
    assert calm < 0.8 * natural < 0.8 * 0.8 * wild


def test_control_blink_rate(motion_for):
    assert blinks(motion_for(blink_rate=0)) == 0
    minutes = len(motion_for()) / 25 / 60
    assert 6 <= blinks(motion_for(blink_rate=15)) / minutes <= 26
    assert blinks(motion_for(blink_rate=40)) > 1.5 * blinks(motion_for(blink_rate=15))


def test_control_expressiveness(pipeline, motion_for):
    shut, natural, exaggerated = (opening(pipeline, motion_for(expressiveness=x)) for x in (0, 1, 2))
    assert shut < 0.1 * natural
    assert exaggerated > 1.25 * natural


def test_control_articulation(pipeline, motion_for):
    """Crisper lips: shut more often while speaking."""
    casual, crisp = (gaps(pipeline, motion_for(articulation=x)) for x in (0, 1))
    assert (crisp < 0.05).mean() > (casual < 0.05).mean()


def test_control_framing(pipeline, photo_path, speech_path):
    picture = read_photo(photo_path)
    height, width = picture.shape[:2]
    result = pipeline(picture, speech_path, replace(CALM, framing="full_picture"))
    assert result.size == (width // 2 * 2, height // 2 * 2)
    frame = next(result.frames)
    assert frame.shape[:2] == result.size[::-1]
    corner = np.s_[: height // 20, : width // 20]
    assert np.array_equal(frame[corner], picture[corner])  # far from the head the photo stays as it is


def test_control_face_index(pipeline, photo_path, speech_path):
    large = Image.open(photo_path).convert("RGB")
    small = large.resize((large.width * 2 // 3, large.height * 2 // 3))
    two = Image.new("RGB", (large.width + small.width, large.height), "white")
    two.paste(small, (0, 0))
    two.paste(large, (small.width, 0))
    centres = {}
    for index in (None, 0, 1):
        portrait = pipeline(two, speech_path, replace(CALM, face_index=index)).portrait
        left, _, right, _ = portrait.faces[portrait.face_index]
        centres[index] = (left + right) / 2
    assert centres[1] < small.width < centres[0] == centres[None]
    with pytest.raises(InputError, match="2 faces"):
        pipeline(two, speech_path, replace(CALM, face_index=2))


def test_control_preview(pipeline, photo_path, speech_samples, tmp_path):
    speech = write_wav(tmp_path / "eight.wav", np.tile(speech_samples, 2))
    unmarked = replace(CALM, mark="none")
    whole = pipeline(photo_path, speech, unmarked)
    preview = pipeline(photo_path, speech, replace(unmarked, preview=True))
    assert len(whole) == 200 and len(preview) == 125
    assert preview.size == (256, 256) and same(preview.motion, whole.motion[:125])
    expected = cv2.resize(whole.frame(0), (256, 256), interpolation=cv2.INTER_AREA)
    assert np.array_equal(next(preview.frames), expected)  # motion frames, no diffusion
    preview.motion = preview.motion[:10]
    frames, _, told = video_streams(preview.save(tmp_path / "preview.mp4"))
    assert frames == 10 and "256x256" in told and "Audio" in told


def test_control_max_seconds(pipeline, photo_path, speech_path):
    with pytest.raises(InputError, match="longer than 1 seconds"):
        pipeline(photo_path, speech_path, replace(CALM, max_seconds=1))
    with pytest.raises(InputError, match="at most 1 s"):
        pipeline(photo_path, motion=nodding(30), settings=replace(CALM, max_seconds=1))
