"""What the words feel like: the sentiment of each utterance, as valence and as emotions over time.

The strength is VADER's (Hutto & Gilbert, 2014, "VADER: a parsimonious rule-based model for sentiment analysis of social
media text"), which reads English only; our own short list of words tells the kinds of emotion apart.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from synchrorama.emotion.categories import CIRCUMPLEX, EMOTION_INDEX, EMOTIONS
from synchrorama.emotion.emotion_words import emotion_words
from synchrorama.emotion.words import USABLE_CONFIDENCE, Transcript, Word
from synchrorama.motion import FPS

_LEAD = 0.2  # seconds: a face shows what it is about to say slightly before the first sound
_FADE = 1.5  # seconds in which an utterance's sentiment falls to 37 % once it is over
_SMOOTHNESS = 0.24  # seconds, standard deviation of the Gaussian that joins utterances
_UNDECIDED = 0.05  # VADER's own bound: polarity below it is neutral
_CERTAINTY = 1.6  # P(neutral) = exp(-1.6 x evidence): 0.22 for VADER's 0.95 alone, 0.1 with a word of our list
_WORD_EVIDENCE = 0.5  # one word of our list is worth as much as a polarity of 0.5
# How negative words share out among emotions when none of them names one.
_NEGATIVE = {"sad": 0.4, "angry": 0.3, "fearful": 0.15, "disgusted": 0.15}


@dataclass(frozen=True)
class Utterance:
    """A few words that are spoken in one go, and what they feel like."""

    text: str
    start: float  # seconds
    end: float  # seconds
    polarity: float  # -1 … 1, VADER's compound score or that of another reader
    probabilities: np.ndarray  # (8,) over EMOTIONS, sums to 1


@dataclass(frozen=True)
class Sentiment:
    """The sentiment of the words, for each video frame."""

    utterances: tuple[Utterance, ...]
    polarity: np.ndarray  # (T,) -1 … 1
    valence: np.ndarray  # (T,) -1 … 1
    probabilities: np.ndarray  # (T, 8) over EMOTIONS, rows sum to 1
    notes: tuple[str, ...] = ()  # sentences for the user


def read_sentiment(transcript: Transcript, frames: int) -> Sentiment:
    """Read the sentiment of a transcript.

    Args:
        transcript: what is said; where it is not ``usable``, everything is neutral, and where another language is
            the reason, a note says so.
        frames: T, the video frames of the recording at 25 fps.

    Returns:
        Tracks that rise slightly before an utterance, hold while it lasts and fade after it. Words that were understood
        with less confidence count for less.
    """
    spoken = transcript.utterances if transcript.usable else ()
    sentiment = over_time([_read(words) for words in spoken], [confidence_of(words) for words in spoken], frames)
    return replace(sentiment, notes=_foreign(transcript))


def _foreign(transcript: Transcript) -> tuple[str, ...]:
    if not transcript.words or transcript.english or transcript.confidence < USABLE_CONFIDENCE:
        return ()
    what = f"words are in {transcript.language}" if transcript.language else "words do not seem to be English"
    typed = "typed " if transcript.typed else ""
    return (f"The {typed}{what}; sentiment is read in English alone, so they do not weigh in.",)


def over_time(utterances: Sequence[Utterance], confidences: Sequence[float], frames: int) -> Sentiment:
    """Utterances in order, and how surely each was understood (0 to 1) → tracks as those of ``read_sentiment``."""
    times = np.arange(frames) / FPS
    polarity = np.zeros(frames)
    emotions = np.zeros((frames, len(EMOTIONS)))  # of neutral nothing: it gets the rest
    for utterance, confidence in zip(utterances, confidences, strict=True):
        begun = times >= utterance.start - _LEAD  # later utterances write over the fading of earlier ones
        presence = confidence * np.exp(-np.maximum(times[begun] - utterance.end, 0) / _FADE)
        polarity[begun] = utterance.polarity * presence
        emotions[begun] = utterance.probabilities * presence[:, None]
    polarity, emotions = _smooth(polarity), _smooth(emotions)
    emotions[:, EMOTION_INDEX["neutral"]] = 0
    emotions[:, EMOTION_INDEX["neutral"]] = 1 - emotions.sum(1)
    valence = (polarity + emotions @ CIRCUMPLEX[:, 0]) / 2
    return Sentiment(
        tuple(utterances), polarity.astype(np.float32), valence.astype(np.float32), emotions.astype(np.float32)
    )


def confidence_of(words: Sequence[Word]) -> float:
    """0 … 1: how surely the words of an utterance were understood."""
    return float(np.mean([word.confidence for word in words]))


def _read(words: tuple[Word, ...]) -> Utterance:
    text = " ".join(word.text for word in words)
    polarity = float(_vader().polarity_scores(text)["compound"])
    return Utterance(text, words[0].start, words[-1].end, polarity, emotions_of(polarity, emotion_words(text)))


def emotions_of(polarity: float, named: np.ndarray) -> np.ndarray:
    """(8,) probabilities: evidence for each emotion from the polarity and from emotion words; the rest is neutral.

    Args:
        polarity: -1 … 1.
        named: (8,) how often the words name each emotion, see ``emotion_words``; 0 where that is not known.
    """
    evidence = _WORD_EVIDENCE * named
    if polarity > _UNDECIDED:
        evidence[EMOTION_INDEX["happy"]] += polarity
    elif polarity < -_UNDECIDED:
        share = np.array([_NEGATIVE.get(emotion, 0.0) for emotion in EMOTIONS])
        negative = named * (share > 0)
        negative[EMOTION_INDEX["contempt"]] = named[EMOTION_INDEX["contempt"]]
        share = share if not negative.any() else 0.2 * share + 0.8 * negative / negative.sum()
        evidence = evidence - polarity * share
    total = float(evidence.sum())
    if not total:
        return np.eye(len(EMOTIONS), dtype=np.float32)[EMOTION_INDEX["neutral"]]
    neutral = np.exp(-_CERTAINTY * total)
    probabilities = (1 - neutral) * evidence / total
    probabilities[EMOTION_INDEX["neutral"]] = neutral
    return probabilities.astype(np.float32)


@functools.cache
def _vader() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


def _smooth(track: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(track, _SMOOTHNESS * FPS, axis=0, mode="nearest")
