"""Whether typed words are English."""

from __future__ import annotations

from collections.abc import Sequence

from synchrorama.emotion.recogniser import in_english_use
from synchrorama.emotion.spelling import is_latin

_KNOWN_SHARE = 0.75  # of the words; the recogniser knows a few foreign ones and many names, but not every English one
_FOREIGN_SHARE = 0.15
# The commonest words of European languages that English does not have; they also stand in the recogniser's list,
# because English texts quote them. After spelling.spoken_form: no accents.
_FOREIGN = frozenset((
    "der", "das", "und", "ist", "nicht", "ich", "ein", "eine", "mit", "von", "auf", "wir", "sie", "zu", "dem",
    "den", "les", "des", "et", "est", "dans", "une", "un", "je", "nous", "vous", "avec", "pour", "du", "le", "la",
    "ne", "pas", "el", "las", "una", "y", "es", "por", "para", "con", "que", "de", "muy", "mi", "su", "il", "che",
    "di", "e", "sono", "non", "della", "o", "os", "um", "uma", "muito", "nao", "esta", "het", "een", "van", "en",
    "ik", "niet", "och", "det", "jag", "som", "att", "og", "jeg", "til", "av", "af", "ikke", "jest", "nie", "na",
    "w", "z", "dan", "yang",
))  # fmt: skip


def seems_english(words: Sequence[str]) -> bool:
    """Whether words, as ``spelling.spoken_form`` gives them, are mostly English ones; False for no words."""
    if not words:
        return False
    known = sum(is_latin(word) and in_english_use(word) for word in words)
    foreign = sum(word in _FOREIGN for word in words)
    return known >= _KNOWN_SHARE * len(words) and foreign < _FOREIGN_SHARE * len(words)
