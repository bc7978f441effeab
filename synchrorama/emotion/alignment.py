"""When typed words are spoken: forced alignment of English spelling, or spread over the voiced parts."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import numpy as np

from synchrorama.audio import SAMPLE_RATE, loudness
from synchrorama.emotion.language import seems_english
from synchrorama.emotion.recogniser import Channel, force, pronounceable
from synchrorama.emotion.spelling import is_latin, rough_phones, spoken_form, syllables, wide_letters
from synchrorama.emotion.stretches import stretches_of_speech
from synchrorama.emotion.words import Transcript, Word
from synchrorama.errors import InputError
from synchrorama.motion import FPS

MAX_WORDS = 2000  # a Chinese, Japanese or Korean sign counts as one
MAX_LETTERS = 40_000
# Punctuation of scripts that need no blanks parts words; so does markup, which is never shown and never interpreted.
_SEPARATORS = re.compile(r"([，。！？、；：]+)|[<>{}\[\]|\\/=*_#~^`\x00-\x1f\x7f\ud800-\udfff]+")
_VOICED = 0.3  # of audio.loudness
_PATIENCE, _PATIENCE_PER_SECOND = 5.0, 0.3  # seconds; forced alignment takes 0.03 to 0.06 of each second


def align(text: str, samples: np.ndarray) -> Transcript:
    """Find when the words that a user typed are spoken.

    Args:
        text: any script; markup in it is taken as plain text.
        samples: (n,) float32 mono at 16 kHz.

    Returns:
        The typed words with times within the recording; ``usable`` is False when they are not English. Text without
        words gives a transcript without words, and a note.

    Raises:
        InputError: there are more than 2,000 words or 40,000 characters.
    """
    tokens = [token for token in _SEPARATORS.sub(r"\1 ", text).split() if any(c.isalnum() for c in token)]
    count = sum(max(1, wide_letters(token)) for token in tokens)
    if count > MAX_WORDS or len(text) > MAX_LETTERS:
        size = f"{count:,} words" if count > MAX_WORDS else f"{len(text):,} characters"
        raise InputError(
            f"The transcript has {size}; give at most {MAX_WORDS:,} words ({MAX_LETTERS:,} characters), or leave it "
            "empty to have it heard in the recording."
        )
    if not tokens:
        return Transcript(notes=("No words were typed.",))
    spoken = [spoken_form(token) for token in tokens]
    samples = np.asarray(samples, np.float32)
    times = _forced(spoken, samples) or spread(tokens, samples)
    words = tuple(Word(token, start, end, 1.0) for token, (start, end) in zip(tokens, times, strict=True))
    english = seems_english([word for words in spoken for word in words.split()])
    return Transcript(words, 1.0, english, typed=True)


def _forced(spoken: Sequence[str], samples: np.ndarray) -> list[tuple[float, float]] | None:
    """Start and end of each token by forced alignment; None where that does not succeed in time."""
    parts = [(index, sound) for index, words in enumerate(spoken) for sound in _sounds(words)]
    stretches = stretches_of_speech(samples)
    if len({index for index, _ in parts}) < len(spoken) or not stretches:
        return None
    deadline = time.monotonic() + _PATIENCE + _PATIENCE_PER_SECOND * len(samples) / SAMPLE_RATE
    channel = Channel([samples[stretch] for stretch in stretches])
    heard = force(channel, samples, " ".join(sound for _, sound in parts), lambda: time.monotonic() > deadline)
    heard = [word for word in heard or () if word.text]
    if [word.text for word in heard] != [sound for _, sound in parts]:
        return None
    starts, ends = {}, {}
    for (index, _), word in zip(parts, heard, strict=True):
        starts.setdefault(index, word.start)
        ends[index] = min(word.end, len(samples) / SAMPLE_RATE)
    return [(starts[index], ends[index]) for index in range(len(spoken))]


def _sounds(words: str) -> list[str]:
    """Words of ``spoken_form`` → what the aligner knows: words of its dictionary and single phones."""
    sounds: list[str] = []
    for word in words.split():
        if not is_latin(word):
            return []
        if pronounceable(word):
            sounds.append(word)
        else:
            sounds += [f"_{phone}" for phone in rough_phones(word)]
    return sounds


def spread(tokens: Sequence[str], samples: np.ndarray) -> list[tuple[float, float]]:
    """Share the voiced time out among the tokens in proportion to their syllables, which keeps pauses free of words."""
    voiced = loudness(samples) > _VOICED
    seconds = len(samples) / SAMPLE_RATE
    if not voiced.any():
        voiced[:] = True
    edges = np.minimum(np.arange(len(voiced) + 1) / FPS, seconds)
    passed = np.concatenate([[0.0], np.cumsum(voiced)]) + np.arange(len(voiced) + 1) * 1e-6  # strictly rising
    shares = np.cumsum([0.0, *(syllables(spoken_form(token)) or 1.0 for token in tokens)])
    # A word begins after a pause and ends before it, hence the two small steps.
    inside = shares / shares[-1] * passed[-1]
    starts = np.interp(inside[:-1] + 1e-3, passed, edges)
    ends = np.interp(inside[1:] - 1e-3, passed, edges)
    return [(float(start), float(max(start, end))) for start, end in zip(starts, ends, strict=True)]
