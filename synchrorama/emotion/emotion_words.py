"""English words that name an emotion or what stirs it: they tell kinds of negative sentiment apart.

Our own list, short on purpose: VADER's lexicon has the strength, this one has the kind.
"""

from __future__ import annotations

import functools
import re

import numpy as np

from synchrorama.emotion.categories import EMOTION_INDEX, EMOTIONS

# A star stands for any ending, an underscore for the blank within an expression.
_WORDS: dict[str, str] = {
    "happy": (
        "happy happi* glad* joy* delight* cheer cheers cheerful* wonderful* lovely love loves loved loving laugh* "
        "smil* celebrat* fun hooray hurray yay thrilled pleased grateful thankful thank_you proud paradise bliss* "
        "excited fantastic awesome brilliant marvelous marvellous terrific amazing congratulations enjoy* blessed"
    ),
    "sad": (
        "sad sadly sadden* sadness unhapp* sorrow* cry cries cried crying tears weep* wept mourn* grief griev* "
        "lonely loneliness alone lost loss died dead death funeral miss_you miss_him miss_her goodbye farewell "
        "heartbroken heartbreak* broke_my_heart hopeless* depress* miserable misery despair* regret* sorry "
        "disappoint* gloom* tragic tragedy hurts abandoned homesick melanchol* sob sobbing"
    ),
    "angry": (
        "angry anger* furious fury rage raging mad hate hates hated hating hatred outrag* annoy* irritat* liar "
        "liars lied shut_up get_out how_dare damn damned betray* enemy enemies revenge yell* shout* fight "
        "fighting unfair infuriat* fed_up sick_of stop_it leave_me_alone your_fault resent* hostile insult* "
        "cheated"
    ),
    "fearful": (
        "afraid fear fears feared fearful* fearsome scare* scary scaring fright* terrif* terror* horrif* panic* "
        "danger* threat* help_me nightmare* dread* worr* anxious anxiety nervous* alarm* scream* hide hiding "
        "haunted ghost* monster* trembl* shaking run_away petrified helpless"
    ),
    "disgusted": (
        "disgust* gross nasty filth* vomit* puke* stink* stinks stank stench smelly rotten revolt* repuls* "
        "repulsive yuck yucky eww ew sickening nauseat* nausea dirty vile slimy maggot* mold mouldy moldy rancid "
        "foul garbage"
    ),
    "surprised": (
        "surpris* astonish* amazed amazement astound* wow whoa unexpected* unbelievable incredibl* suddenly "
        "shock* startl* oh_my_god oh_my no_way really_? cannot_believe can't_believe never_expected what_? "
        "speechless stunned"
    ),
    "contempt": (
        "pathetic contempt* despis* ridiculous loser losers worthless idiot* stupid* fool fools foolish moron* "
        "laughable scorn* disdain* beneath_me who_cares so_what amateur* coward* mediocre useless inferior sneer* "
        "mock mocking"
    ),
}  # fmt: skip
_NEGATIONS = frozenset((
    "not", "no", "never", "none", "neither", "nor", "nothing", "nobody", "without", "hardly", "barely", "cannot",
    "ain't", "isn't", "wasn't", "aren't", "weren't", "don't", "doesn't", "didn't", "won't", "wouldn't", "can't",
    "couldn't", "shouldn't", "haven't", "hasn't", "hadn't", "stop", "stopped", "nobody's",
))  # fmt: skip
_REACH = 3  # a negation counts for this many words after it
_OPPOSITE = {"happy": "sad"}  # who is not happy is a little sad; who is not afraid need not be happy


def emotion_words(text: str) -> np.ndarray:
    """(8,) how often the words of an English text point to each of the eight emotions; negated ones do not."""
    words = re.findall(r"[a-z']+|\?", text.lower().replace("’", "'"))
    counts = np.zeros(len(EMOTIONS), np.float32)
    place = 0
    while place < len(words):
        found = _match(words, place)
        if not found:
            place += 1
            continue
        emotion, length = found
        negated = _is_negated(words, place)
        if not negated:
            counts[EMOTION_INDEX[emotion]] += 1
        elif emotion in _OPPOSITE:
            counts[EMOTION_INDEX[_OPPOSITE[emotion]]] += 0.5
        place += length
    return counts


def _is_negated(words: list[str], place: int) -> bool:
    before = words[max(0, place - _REACH) : place]
    if "but" in before:  # "no, but I love it"
        before = before[len(before) - before[::-1].index("but") :]
    return any(word in _NEGATIONS for word in before)


def _match(words: list[str], place: int) -> tuple[str, int] | None:
    """The longest expression that begins at a place: its emotion and its number of words."""
    for length in (3, 2, 1):
        for pattern, emotion in _patterns()[length]:
            if place + length <= len(words) and pattern.fullmatch(" ".join(words[place : place + length])):
                return emotion, length
    return None


@functools.cache
def _patterns() -> dict[int, list[tuple[re.Pattern[str], str]]]:
    """Number of words → a pattern and the emotion it speaks for, one pattern an emotion."""
    patterns: dict[int, list[tuple[re.Pattern[str], str]]] = {1: [], 2: [], 3: []}
    for emotion, listed in _WORDS.items():
        for length in patterns:
            entries = [entry for entry in listed.split() if entry.count("_") == length - 1]
            if entries:
                joined = "|".join(re.escape(entry.replace("_", " ")).replace(r"\*", "[a-z]*") for entry in entries)
                patterns[length].append((re.compile(joined), emotion))
    return patterns
