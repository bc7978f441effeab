"""pocketsphinx and the English model that its wheel carries, as this package uses them.

A process has one recogniser for dictation and one for alignment. They are slow to build and not made for several
threads, so each is kept, and a lock lends it to one thread at a time, for one stretch of speech. Every stretch starts
from the same state: what a recording yields does not depend on what was heard before it.
"""

from __future__ import annotations

import functools
import math
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synchrorama.audio import SAMPLE_RATE

_FRAMES = 100  # of pocketsphinx in a second
_BLOCK = SAMPLE_RATE // 4  # samples between which other threads get their turn: the decoder holds Python's lock
_PEAK = 0.7
_LONGEST_WORD = 1.5  # seconds
_CHANNEL_SECONDS = 60  # enough to know a microphone and a room
# Chosen on flite's voices, RAVDESS and LibriSpeech: the second pass over the words and more Gaussians cost a half more
# time for little, and scoring every second frame only (ds=2) doubles the errors of clean speech.
_DICTATION = {"fwdflat": False, "bestpath": True, "ds": 1, "topn": 2, "maxhmmpf": 3000}
_SOUND_CHECK = "#JSGF V1.0; grammar sound; public <sound> = a;"


@dataclass(frozen=True)
class HeardWord:
    """A word, or a filler such as a silence, that pocketsphinx has put between two times."""

    text: str  # "" for a filler
    start: float  # seconds
    end: float  # seconds
    posterior: float  # 0 … 1 within the lattice of what else it could be
    acoustic: float  # mean log likelihood of a frame, relative to the best sound at that frame; ≤ 0, nan when unknown

    @property
    def is_word(self) -> bool:
        """Whether it is a word; not a filler, nor a word drawn over a hum or a noise."""
        return bool(self.text) and self.end - self.start < _LONGEST_WORD


class Channel:
    """The mean spectrum of a recording, which is taken off before recognition: microphones and rooms differ."""

    def __init__(self, stretches: Sequence[np.ndarray]) -> None:
        samples = np.concatenate(stretches)[: _CHANNEL_SECONDS * SAMPLE_RATE]
        self.peak = float(np.abs(samples).max(initial=0.0)) + 1e-6
        with _dictation_lock:
            decoder = _dictation()
            decoder.activate_search("sound")  # a grammar of one word: its features cost nothing to search
            try:
                decoder.reinit_feat()  # see _decode
                decoder.start_utt()
                decoder.process_raw(self.pcm(samples), full_utt=True)
                decoder.end_utt()
                self.mean = decoder.get_cmn(True)
            finally:
                decoder.activate_search("_default")

    def pcm(self, samples: np.ndarray) -> bytes:
        """(n,) float samples → bytes of 16-bit integers, at the level of the whole recording."""
        return (np.clip(samples * (_PEAK / self.peak), -1, 1) * 32767).astype("<i2").tobytes()


def recognise(channel: Channel, samples: np.ndarray, offset: float) -> list[HeardWord]:
    """Understand one stretch of English speech that begins ``offset`` seconds into its recording."""
    with _dictation_lock:
        decoder = _dictation()
        _decode(decoder, channel, samples)
        return list(_heard(decoder, offset))


def force(channel: Channel, samples: np.ndarray, sounds: str, give_up: Callable[[], bool]) -> list[HeardWord] | None:
    """Find when known words are spoken.

    Args:
        channel: of the recording.
        samples: (n,) the recording.
        sounds: words of the pronunciation dictionary, or single phones written as ``"_AH"``, between blanks.
        give_up: is asked every quarter of a second of speech whether to stop.

    Returns:
        The words and the fillers between them, or None when no way through the recording is found (in time).
    """
    with _alignment_lock:
        decoder = _alignment()
        try:
            decoder.set_align_text(sounds)
            if not _decode(decoder, channel, samples, give_up) or decoder.hyp() is None:
                return None
            return list(_heard(decoder, 0.0))
        except RuntimeError:
            return None


def pronounceable(word: str) -> bool:
    """Whether the pronunciation dictionary (CMU, 134,000 words and names) has this lower-case word."""
    with _alignment_lock:
        return _alignment().lookup_word(word) is not None


def in_english_use(word: str) -> bool:
    """Whether a lower-case word is among the 20,000 that the English language model knows."""
    with _dictation_lock:
        return _dictation().get_lm("_default").prob([word]) > -(2**28)


_dictation_lock = threading.Lock()
_alignment_lock = threading.Lock()


@functools.cache
def _dictation() -> Any:
    from pocketsphinx import Decoder

    decoder = Decoder(loglevel="FATAL", **_DICTATION)
    decoder.add_jsgf_string("sound", _SOUND_CHECK)
    return decoder


@functools.cache
def _alignment() -> Any:
    from pocketsphinx import Decoder

    decoder = Decoder(lm=None, loglevel="FATAL")
    for phone in PHONES:  # words for single phones spell what the dictionary lacks, and it need not grow
        decoder.add_word(f"_{phone}", phone, phone == PHONES[-1])
    return decoder


PHONES = (
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH", "IY", "JH", "K",
    "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH",
)  # fmt: skip
"""ARPAbet, as the dictionary writes it."""


def _decode(decoder: Any, channel: Channel, samples: np.ndarray, give_up: Callable[[], bool] = lambda: False) -> bool:
    # Its noise removal keeps what it has learned of the sound before, which may be another user's; this forgets it.
    decoder.reinit_feat()
    decoder.set_cmn(channel.mean)
    decoder.start_utt()
    try:
        for start in range(0, len(samples), _BLOCK):
            decoder.process_raw(channel.pcm(samples[start : start + _BLOCK]))
            if give_up():
                return False
        return True
    finally:
        decoder.end_utt()


def _heard(decoder: Any, offset: float) -> Iterator[HeardWord]:
    for segment in decoder.seg() or ():
        spoken = segment.word[0] not in "<[+"
        frames = segment.end_frame + 1 - segment.start_frame
        if frames < 1:
            continue
        yield HeardWord(
            text=re.sub(r"\(\d+\)$", "", segment.word) if spoken else "",  # "read(2)" is another pronunciation
            start=offset + segment.start_frame / _FRAMES,
            end=offset + (segment.end_frame + 1) / _FRAMES,
            posterior=min(segment.prob, 1.0),
            acoustic=math.log(segment.ascore) / frames if segment.ascore > 0 else math.nan,
        )
