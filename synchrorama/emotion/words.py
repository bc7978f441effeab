"""What a recording says: words with their times, and how surely they were understood."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

USABLE_CONFIDENCE = 0.5  # below it more words are wrong than right, or the language is another one
_PAUSE = 0.5  # seconds of silence that end an utterance
_BREATH, _MANY_WORDS = 0.15, 6  # after so many words a shorter silence does: heard words have no full stops
_SENTENCE_END = re.compile(r"[.!?…。！？؟।]+[\"'’”»)\]]*$")


@dataclass(frozen=True)
class Word:
    """A word and when it is spoken."""

    text: str
    start: float  # seconds
    end: float  # seconds
    confidence: float  # 0 … 1: how likely it is the right word


@dataclass(frozen=True)
class Transcript:
    """The words of a recording in the order in which they are spoken."""

    words: tuple[Word, ...] = ()
    confidence: float = 0.0  # 0 … 1: how surely the whole was understood
    english: bool = False
    language: str = ""  # its English name, where it is known
    typed: bool = False  # given by the user, and hence certain
    notes: tuple[str, ...] = ()  # sentences for the user
    punctuated: bool = False  # heard by a recogniser that writes sentences; to others "dr." and "a.m." are words

    @property
    def text(self) -> str:
        """All words, with one space between them."""
        return " ".join(word.text for word in self.words)

    @property
    def usable(self) -> bool:
        """Whether they are English and were understood surely enough to be read for their sentiment."""
        return bool(self.words) and self.english and self.confidence >= USABLE_CONFIDENCE

    @functools.cached_property
    def utterances(self) -> tuple[tuple[Word, ...], ...]:
        """The words, parted at pauses (half a second; less after many words) and at the full stops of sentences."""
        parts: list[list[Word]] = []
        for word in self.words:
            if not parts or self._ends(parts[-1], word):
                parts.append([])
            parts[-1].append(word)
        return tuple(map(tuple, parts))

    def _ends(self, utterance: list[Word], following: Word) -> bool:
        silence = following.start - utterance[-1].end
        if (self.typed or self.punctuated) and _SENTENCE_END.search(utterance[-1].text):
            return True
        return silence >= (_BREATH if len(utterance) >= _MANY_WORDS else _PAUSE)
