"""What the words feel like: directions, negation, and tracks on the frame clock."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synchrorama.audio import frame_count
from synchrorama.emotion.categories import EMOTION_INDEX
from synchrorama.emotion.sentiment import read_sentiment
from synchrorama.emotion.transcript import Transcript, Word, transcribe
from synchrorama.media import read_speech

MEDIA = Path(__file__).parent / "media"


def typed(text: str, start: float = 1.0, pace: float = 0.3) -> Transcript:
    words = tuple(
        Word(word, start + i * pace, start + (i + 1) * pace, 1.0) for i, word in enumerate(text.split())
    )  # fmt: skip
    return Transcript(words, 1.0, english=True, typed=True)


def strongest(probabilities: np.ndarray) -> str:
    return list(EMOTION_INDEX)[int(probabilities.argmax())]


@pytest.mark.parametrize(
    ("text", "emotion", "sign"),
    [
        ("I am so happy today, this is wonderful.", "happy", 1),
        ("My father died and I feel lonely and sad.", "sad", -1),
        ("I hate you, get out of my house!", "angry", -1),
        ("There is danger, I am scared and afraid.", "fearful", -1),
        ("This rotten food is disgusting.", "disgusted", -1),
        ("Oh my god, I never expected that.", "surprised", 0),
        ("You are a pathetic and worthless loser.", "contempt", -1),
        ("The train leaves at seven from the station.", "neutral", 0),
        ("I am not happy.", "sad", -1),
        ("I am not angry.", "neutral", 0),
        ("No, but I love it.", "happy", 1),
    ],
)
def test_words_point_to_their_emotion(text, emotion, sign):
    sentiment = read_sentiment(typed(text), frames=150)
    (utterance,) = sentiment.utterances
    assert strongest(utterance.probabilities) == emotion
    assert utterance.probabilities.sum() == pytest.approx(1)
    middle = round(25 * (utterance.start + utterance.end) / 2)
    assert strongest(sentiment.probabilities[middle]) == emotion
    if sign:
        assert sign * utterance.polarity > 0.3
        assert sign * sentiment.polarity[middle] > 0.3 and sign * sentiment.valence[middle] > 0.3


def test_negative_words_without_a_kind_are_spread():
    (utterance,) = read_sentiment(typed("This is bad."), frames=75).utterances
    negative = [utterance.probabilities[EMOTION_INDEX[name]] for name in ("sad", "angry", "fearful", "disgusted")]
    assert min(negative) > 0.02
    assert utterance.probabilities[EMOTION_INDEX["happy"]] == 0


def test_stronger_words_leave_less_neutral():
    neutral = [
        read_sentiment(typed(text), frames=75).utterances[0].probabilities[0]
        for text in ("It is fine.", "It is good.", "It is great!", "It is great, I love it so much!")
    ]
    assert neutral == sorted(neutral, reverse=True)
    assert neutral[0] > 0.5 > 0.2 > neutral[-1]


def test_tracks_begin_before_the_words_and_fade_after_them():
    sentiment = read_sentiment(typed("wonderful!", start=2.0), frames=250)
    polarity = sentiment.polarity
    assert polarity.shape == sentiment.valence.shape == (250,)
    assert sentiment.probabilities.shape == (250, 8)
    assert np.allclose(sentiment.probabilities.sum(1), 1, atol=1e-5) and (sentiment.probabilities >= 0).all()
    peak = polarity.max()
    assert abs(polarity[:25]).max() < 0.01 and sentiment.probabilities[:25, 0].min() > 0.99
    assert polarity[48] > 0.3 * peak  # 0.08 s before the word
    assert 0.1 * peak < polarity[round(25 * 4.3)] < 0.5 * peak and polarity[-1] < 0.02
    assert np.abs(np.diff(polarity)).max() < 0.1 * peak
    assert np.abs(np.diff(sentiment.probabilities, axis=0)).max() < 0.1


def test_sentiment_changes_smoothly_between_sentences():
    sentiment = read_sentiment(typed("I love this wonderful day. But now I hate you, you liar!"), frames=150)
    assert len(sentiment.utterances) == 2
    assert strongest(sentiment.probabilities[38]) == "happy" and strongest(sentiment.probabilities[85]) == "angry"
    assert np.abs(np.diff(sentiment.polarity)).max() < 0.15


def test_words_that_may_not_weigh_in_are_neutral():
    words = typed("I hate you").words
    for transcript in (Transcript(words, 0.2, english=True), Transcript(words, 1.0, english=False), Transcript()):
        sentiment = read_sentiment(transcript, frames=100)
        assert not sentiment.utterances
        assert not sentiment.polarity.any() and not sentiment.valence.any()
        assert (sentiment.probabilities[:, 0] == 1).all() and not sentiment.probabilities[:, 1:].any()


def test_words_that_were_understood_less_surely_count_for_less():
    words = typed("I love this").words
    unsure = tuple(Word(word.text, word.start, word.end, 0.5) for word in words)
    sure, less = (
        read_sentiment(Transcript(given, 0.8, english=True), frames=75).polarity.max() for given in (words, unsure)
    )
    assert less == pytest.approx(sure / 2, rel=0.01)


@pytest.mark.parametrize(("name", "emotion", "sign"), [("happy_words", "happy", 1), ("sad_words", "sad", -1)])
def test_what_is_heard_in_a_neutral_voice_has_its_sentiment(name, emotion, sign):
    samples = read_speech(MEDIA / f"{name}.flac").samples
    frames = frame_count(len(samples) / 16_000)
    sentiment = read_sentiment(transcribe(samples), frames)
    assert sign * sentiment.valence.mean() > 0.3
    assert strongest(sentiment.probabilities.mean(0)) == emotion
