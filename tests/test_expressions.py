"""How a face shows an emotion: action units, their course over time, and what the photo already shows."""

from __future__ import annotations

import numpy as np
import pytest

from synchrorama.blendshapes import BLENDSHAPE_INDEX, MAX_COEFFICIENTS
from synchrorama.emotion.categories import EMOTION_INDEX, EMOTIONS
from synchrorama.emotion.embedding import EmotionTrack, chosen
from synchrorama.emotion.expressions import EMFACS, accents, emotion_table, express, photo_emotion

FRAMES = 100
CALM_VOICE = np.full(FRAMES, 0.5, np.float32)


def shown(emotion: str, strength: float = 1.0, photo=None, loudness=CALM_VOICE, seed=0, track=None) -> np.ndarray:
    photo = np.zeros(52) if photo is None else photo
    track = chosen({emotion: 1.0}, FRAMES) if track is None else track
    return express(track, strength, photo, loudness, np.random.default_rng(seed))


def column(coefficients: np.ndarray, name: str) -> np.ndarray:
    return coefficients[:, BLENDSHAPE_INDEX[name]]


def photo_with(**coefficients: float) -> np.ndarray:
    photo = np.zeros(52)
    for name, value in coefficients.items():
        for side in ("Left", "Right"):
            photo[BLENDSHAPE_INDEX[name + side]] = value
    return photo


@pytest.mark.parametrize(
    ("emotion", "shapes"),
    [
        ("happy", ("mouthSmileLeft", "mouthSmileRight", "cheekSquintLeft")),
        ("sad", ("browInnerUp", "mouthFrownLeft", "browDownRight")),
        ("angry", ("browDownLeft", "eyeSquintRight", "mouthPressLeft")),
        ("fearful", ("browInnerUp", "browOuterUpLeft", "eyeWideLeft", "mouthStretchRight")),
        ("disgusted", ("noseSneerLeft", "noseSneerRight", "mouthFrownLeft")),
        ("surprised", ("browInnerUp", "browOuterUpRight", "eyeWideRight", "jawOpen")),
        ("contempt", ("mouthSmileLeft", "mouthDimpleLeft")),
    ],
)
def test_every_emotion_moves_its_action_units_and_more_with_strength(emotion, shapes):
    levels = [np.array([column(shown(emotion, s), name)[50:].mean() for name in shapes]) for s in (0, 0.5, 1)]
    assert (levels[0] == 0).all()
    assert (levels[1] > 0.02).all() and (levels[2] > levels[1]).all()


def test_contempt_is_one_sided_and_the_others_nearly_even():
    contempt, happy = shown("contempt"), shown("happy")
    assert column(contempt, "mouthSmileRight").max() == 0
    left, right = column(happy, "mouthSmileLeft")[50:].mean(), column(happy, "mouthSmileRight")[50:].mean()
    assert left != right and left == pytest.approx(right, rel=0.3)


def test_neutral_shows_nothing():
    assert np.abs(shown("neutral", 2.0)).max() == 0
    assert set(EMFACS) | {"neutral"} == set(EMOTIONS)
    assert np.abs(emotion_table()[EMOTION_INDEX["neutral"]]).max() == 0


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_the_strongest_stays_within_what_the_renderer_bears(emotion):
    coefficients = shown(emotion, 2.0, loudness=np.random.default_rng(0).random(FRAMES).astype(np.float32))
    assert (coefficients <= MAX_COEFFICIENTS + 1e-6).all()
    assert column(coefficients, "eyeWideLeft").max() <= 0.6 + 1e-6


def test_an_expression_comes_faster_than_it_goes():
    track = chosen({"happy": 1.0}, FRAMES)
    probabilities = np.zeros((FRAMES, 8), np.float32)
    probabilities[:, 0] = 1
    probabilities[30:60] = track.probabilities[30:60]
    passing = EmotionTrack(probabilities, *np.zeros((2, FRAMES)), np.ones(FRAMES))
    smile = column(shown("happy", track=passing), "mouthSmileLeft")
    peak = smile.max()
    assert smile[29] < 0.01 * peak and smile[38] > 0.7 * peak  # there after a third of a second
    assert smile[64] > 0.4 * peak and smile[95] < 0.1 * peak  # lingers
    assert np.abs(np.diff(smile)).max() < 0.35 * peak


def test_stressed_syllables_show_more():
    loudness = np.full(FRAMES, 0.3, np.float32)
    loudness[48:53] = 1.0
    plain, stressed = (column(shown("angry", 0.5, loudness=loud), "browDownLeft") for loud in (CALM_VOICE, loudness))
    assert stressed[50] > 1.08 * plain[50]
    assert stressed[80] == pytest.approx(plain[80], rel=0.05)
    assert accents(loudness).argmax() == pytest.approx(50, abs=3) and accents(CALM_VOICE).max() < 0.01


def test_keyframe_strength_multiplies():
    half = chosen({"sad": 1.0}, FRAMES)
    half = EmotionTrack(half.probabilities, half.valence, half.arousal, np.full(FRAMES, 0.5, np.float32))
    np.testing.assert_allclose(shown("sad", 1.0, track=half), shown("sad", 0.5), atol=1e-6)


def test_a_smiling_photo_smiles_more_but_never_twice():
    photo = photo_with(mouthSmile=0.7)
    total = 0.7 + column(shown("happy", 1.0, photo), "mouthSmileLeft")[50:]
    assert (total > 0.75).all() and (total <= 1.0).all()
    plain = column(shown("happy", 1.0), "mouthSmileLeft")[50:]
    assert (total < 0.7 + plain).all()


def test_a_smile_gives_way_to_what_cannot_be_felt_with_it():
    photo = photo_with(mouthSmile=0.7)
    assert 0.7 + column(shown("sad", 1.0, photo), "mouthSmileLeft")[50:].mean() < 0.1
    assert column(shown("sad", 0.5, photo), "mouthSmileLeft")[50:].mean() == pytest.approx(-0.35, abs=0.1)
    assert column(shown("neutral", 1.0, photo), "mouthSmileLeft").max() == 0  # not lost without a reason


def test_the_photos_expression_is_read_with_care():
    assert EMOTIONS[photo_emotion(photo_with(mouthSmile=0.6)).argmax()] == "happy"
    assert EMOTIONS[photo_emotion(np.zeros(52)).argmax()] == "neutral"
    assert photo_emotion(photo_with(mouthFrown=0.9))[EMOTION_INDEX["sad"]] > 0.3
    assert photo_emotion(photo_with(browDown=1.0))[0] == 1  # low brows are how somebody looks
    assert photo_emotion(photo_with(mouthSmile=0.4)).sum() == pytest.approx(1)


def test_a_seed_repeats_the_small_variation():
    assert np.array_equal(shown("happy", seed=3), shown("happy", seed=3))
    assert not np.array_equal(shown("happy", seed=3), shown("happy", seed=4))
