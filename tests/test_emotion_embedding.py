"""Fusing what words, voice, valence-arousal and photo say; and choosing an emotion instead."""

from __future__ import annotations

import numpy as np
import pytest

from synchrorama.emotion.categories import CIRCUMPLEX, EMOTION_INDEX, EMOTIONS
from synchrorama.emotion.direction import parse_keyframes
from synchrorama.emotion.embedding import EMBEDDING_CHANNELS, SOURCES, blended, chosen, chosen_point, emotions_at, fuse

FRAMES = 60


def says(emotion: str, share: float, frames: int = FRAMES) -> np.ndarray:
    probabilities = np.zeros((frames, 8), np.float32)
    probabilities[:, EMOTION_INDEX[emotion]] = share
    probabilities[:, 0] += 1 - share
    return probabilities


def fused(weights=None, **sources):
    silent = np.zeros(FRAMES)
    return fuse(sources, weights or {}, silent, silent)


def share(track, emotion: str) -> float:
    return float(track.probabilities[:, EMOTION_INDEX[emotion]].mean())


def test_a_track_is_a_distribution_and_its_embedding_the_outer_product():
    track = fused(text=says("happy", 0.7), voice=says("angry", 0.5))
    assert track.probabilities.shape == (FRAMES, 8)
    np.testing.assert_allclose(track.probabilities.sum(1), 1, atol=1e-5)
    assert track.embedding.shape == (FRAMES, EMBEDDING_CHANNELS) and track.embedding.dtype == np.float32
    np.testing.assert_allclose(track.embedding[:, :8], track.probabilities)
    np.testing.assert_allclose(track.embedding[:, 8:16], track.probabilities * track.valence[:, None], atol=1e-6)
    np.testing.assert_allclose(track.embedding[:, 16:], track.probabilities * track.arousal[:, None], atol=1e-6)


@pytest.mark.parametrize("source", SOURCES)
def test_each_source_alone_is_what_it_says_and_without_weight_nothing(source):
    sources = {name: says("neutral", 1.0) for name in SOURCES} | {source: says("sad", 0.8)}
    alone = fused({name: float(name == source) for name in SOURCES}, **sources)
    without = fused({name: float(name != source) for name in SOURCES}, **sources)
    assert share(alone, "sad") == pytest.approx(0.8, abs=1e-4)
    assert share(without, "sad") == 0 and without.prevailing == "neutral"


def test_a_weight_moves_the_result_steadily():
    shares = [share(fused({"text": w}, text=says("happy", 0.9)), "happy") for w in np.linspace(0, 1, 6)]
    assert (np.diff(shares) > 0.05).all()


def test_a_source_that_hears_nothing_takes_nothing_away_and_agreement_strengthens_within_bounds():
    alone = share(fused(voice=says("angry", 0.6)), "angry")
    beside = share(fused(voice=says("angry", 0.6), text=says("neutral", 1.0)), "angry")
    agreeing = share(fused(voice=says("angry", 0.6), text=says("angry", 0.6)), "angry")
    assert beside == pytest.approx(alone) and alone < agreeing < 1


def test_disagreement_shares_the_face():
    track = fused(voice=says("angry", 0.9), text=says("happy", 0.9))
    assert share(track, "angry") == pytest.approx(share(track, "happy"), abs=1e-6)
    assert share(track, "neutral") < 0.05


def test_a_change_is_smooth():
    voice = says("neutral", 1.0)
    voice[30:] = says("angry", 1.0)[30:]
    track = fused(voice=voice)
    assert np.abs(np.diff(track.probabilities, axis=0)).max() < 0.1
    assert track.probabilities[0, 0] > 0.95 and track.probabilities[-1, EMOTION_INDEX["angry"]] > 0.95


def test_the_voices_arousal_counts_by_its_weight():
    neutral, excited = says("neutral", 1.0), np.full(FRAMES, 0.8)
    heard, deaf = (
        fuse({"voice": neutral}, {"valence_arousal": weight}, excited * 0, excited) for weight in (1.0, 0.0)
    )
    assert heard.arousal.mean() > 0.3 and deaf.arousal.mean() == 0


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_an_emotion_lies_where_the_circumplex_puts_it(emotion):
    track = chosen({emotion: 1.0}, FRAMES)
    assert track.prevailing == emotion and share(track, emotion) == 1
    np.testing.assert_allclose([track.valence[0], track.arousal[0]], CIRCUMPLEX[EMOTION_INDEX[emotion]])


def test_a_mix_leaves_the_rest_to_neutral():
    track = chosen({"happy": 0.5, "surprised": 0.2}, 3)
    assert share(track, "neutral") == pytest.approx(0.3)


def test_a_point_of_the_plane_shows_the_emotions_near_it():
    assert EMOTIONS[int(emotions_at(np.array([0.8]), np.array([0.5]))[0].argmax())] == "happy"
    assert EMOTIONS[int(emotions_at(np.array([-0.65]), np.array([-0.35]))[0].argmax())] == "sad"
    assert chosen_point(0, 0, 5).prevailing == "neutral"
    track = chosen_point(-0.3, 0.9, 5)
    assert track.valence[0] == pytest.approx(-0.3) and track.arousal[0] == pytest.approx(0.9)


def test_keyframes_blend_and_hold_at_both_ends():
    track = blended(parse_keyframes("1 happy 2; 3 sad 0.5"), 100)
    happy, sad = (track.probabilities[:, EMOTION_INDEX[name]] for name in ("happy", "sad"))
    assert (happy[:25] == 1).all() and (sad[76:] == 1).all()
    assert happy[50] == pytest.approx(0.5, abs=0.03) and (np.diff(sad[25:75]) >= 0).all()
    assert track.strength[0] == 2 and track.strength[-1] == 0.5
    np.testing.assert_allclose(track.probabilities.sum(1), 1, atol=1e-5)


def test_one_keyframe_holds_throughout():
    track = blended(parse_keyframes("2 angry 1.5"), 20)
    assert share(track, "angry") == 1 and (track.strength == 1.5).all()
