"""What is said, understood from the sound: English words with times and a confidence, as they come.

pocketsphinx understands clear English; more than half of what it makes of other languages, songs and noise is plain
wrong, and it never says so by itself. So the confidence of a transcript is measured: see ``_understood``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from synchrorama.audio import SAMPLE_RATE
from synchrorama.emotion.alignment import align
from synchrorama.emotion.recogniser import Channel, HeardWord, recognise
from synchrorama.emotion.stretches import stretches_of_speech
from synchrorama.emotion.words import USABLE_CONFIDENCE, Transcript, Word

__all__ = ["Transcript", "Word", "align", "transcribe", "transcribe_as_it_comes"]

_WORTH_SHOWING = 0.25  # confidence below which the words are not worth correcting: they are not even shown
_HOPELESS, _PATIENCE = 0.05, 60.0  # confidence so low after so many seconds of speech: the rest is not read
_PRIOR_WORDS, _PRIOR_SECONDS, _FOREIGN_POSTERIOR, _FOREIGN_ACOUSTIC = 3.0, 0.9, 0.35, -5.0
_BIAS, _POSTERIOR_SLOPE, _ACOUSTIC_SLOPE = -0.6, 17.0, 3.6  # see _understood


def transcribe(samples: np.ndarray) -> Transcript:
    """Understand English speech.

    Args:
        samples: (n,) float32 mono at 16 kHz.

    Returns:
        The words; none when there is silence, noise or music. ``usable`` is False, and a note says why, when they were
        not understood surely enough or the language seems not to be English.
    """
    transcript = Transcript()
    for transcript in transcribe_as_it_comes(samples):  # noqa: B007 - the last one is the whole
        pass
    return transcript


def transcribe_as_it_comes(samples: np.ndarray) -> Iterator[Transcript]:
    """``transcribe``, with a growing transcript after each stretch of speech; the last one is final.

    The time between two of them is a tenth of the stretch's length, which is 10 s at most.
    """
    samples = np.asarray(samples, np.float32)
    stretches = stretches_of_speech(samples)
    heard: list[HeardWord] = []
    if stretches:
        channel = Channel([samples[stretch] for stretch in stretches])
        read = 0.0
        for stretch in stretches[:-1]:
            heard += recognise(channel, samples[stretch], stretch.start / SAMPLE_RATE)
            read += (stretch.stop - stretch.start) / SAMPLE_RATE
            transcript = _transcript(heard)
            yield transcript
            if read > _PATIENCE and transcript.confidence < _HOPELESS:
                return
        heard += recognise(channel, samples[stretches[-1]], stretches[-1].start / SAMPLE_RATE)
    yield _transcript(heard)


def _transcript(heard: Sequence[HeardWord]) -> Transcript:
    confidence = _understood(heard)
    words = tuple(
        Word(word.text, word.start, word.end, confidence * (0.5 + 0.5 * word.posterior))
        for word in heard
        if word.is_word
    )
    if not words:
        return Transcript(notes=("No words were heard, so none weigh in; type the transcript if there are any.",))
    if confidence >= USABLE_CONFIDENCE:
        return Transcript(words, confidence, english=True)
    note = (
        f"The words were not understood surely enough (confidence {confidence:.2f}; is it English?), "
        "so they do not weigh in; type the transcript to use them."
    )
    return Transcript(words if confidence >= _WORTH_SHOWING else (), confidence, notes=(note,))


def _understood(heard: Sequence[HeardWord]) -> float:
    """0 … 1: how sure it is that this is English and was understood.

    Two numbers tell: the mean posterior of the words (of another language many words fit equally badly) and how far
    the sounds of the words are from the best sounds, frame by frame. A logistic regression on 97 recordings (English:
    LibriSpeech, flite, others; not English: nEMO, EmoDB, URDU, espeak-ng in six languages, other speech in seven
    languages, songs, noises) gave the slopes; its threshold is set higher than the best one, because no words are
    better than wrong ones. Few words are drawn towards what foreign speech gives.
    Of other draws from the same corpora (a few recordings in both), usable are 50 of 58 from LibriSpeech's clean part
    and 4 of 22 from its hard part; in Polish, German and Urdu none of 18 of 5 to 10 s, but 7 of 174 single
    clips of two to three seconds: a short recording fits English by chance more easily.
    """
    words = [word for word in heard if word.is_word and not math.isnan(word.acoustic)]
    seconds = sum(word.end - word.start for word in words)
    posterior = sum(word.posterior for word in words) + _PRIOR_WORDS * _FOREIGN_POSTERIOR
    acoustic = sum(word.acoustic * (word.end - word.start) for word in words) + _PRIOR_SECONDS * _FOREIGN_ACOUSTIC
    logit = (
        _BIAS
        + _POSTERIOR_SLOPE * (posterior / (len(words) + _PRIOR_WORDS) - 0.5)
        + _ACOUSTIC_SLOPE * (acoustic / (seconds + _PRIOR_SECONDS) + 4.3)
    )
    return 1 / (1 + math.exp(-logit))
