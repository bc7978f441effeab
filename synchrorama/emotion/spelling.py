"""From how a word is written to how it sounds: numbers in words, rough phones for unknown words, syllables."""

from __future__ import annotations

import re
import unicodedata

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SIGNS = {"%": " percent", "&": " and ", "+": " plus ", "$": " dollars", "€": " euros", "£": " pounds", "@": " at "}
_VOWELS = re.compile(r"[aeiouy]+")

# What the lips and the recogniser need is a rough sound, not a correct one; the longest spelling counts.
_SOUNDS = {
    "sch": "SH", "tch": "CH", "eau": "OW", "igh": "AY", "ch": "CH", "sh": "SH", "th": "TH", "ph": "F", "ck": "K",
    "ng": "NG", "qu": "K W", "wh": "W", "ee": "IY", "ea": "IY", "ie": "IY", "ei": "AY", "ey": "IY", "ay": "EY",
    "ai": "EY", "oo": "UW", "ou": "AW", "ow": "OW", "oa": "OW", "oi": "OY", "oy": "OY", "au": "AO", "aw": "AO",
    "eu": "OY", "ar": "AA R", "er": "ER", "ir": "ER", "ur": "ER", "or": "AO R", "a": "AE", "b": "B", "c": "K",
    "d": "D", "e": "EH", "f": "F", "g": "G", "h": "HH", "i": "IH", "j": "JH", "k": "K", "l": "L", "m": "M",
    "n": "N", "o": "OW", "p": "P", "q": "K", "r": "R", "s": "S", "t": "T", "u": "AH", "v": "V", "w": "W",
    "x": "K S", "y": "IY", "z": "Z",
}  # fmt: skip


def spoken_form(token: str) -> str:
    """A written token → the words that are said for it: lower case, no punctuation, numbers spelled out.

    ``"Café,"`` → ``"cafe"``, ``"24%"`` → ``"twenty four percent"``; other scripts than Latin stay as they are.
    """
    text = unicodedata.normalize("NFKC", token).lower().replace("’", "'").replace("ß", "ss")
    for sign, word in _SIGNS.items():
        text = text.replace(sign, word)
    text = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c) or ord(c) > 0x36F)
    text = re.sub(r"[0-9]+(,[0-9]{3})*", lambda match: f" {_number(match[0])} ", text)
    words = re.split(r"[^\w']+|_", text)
    return " ".join(word.strip("'") for word in words if word.strip("'"))


def is_latin(word: str) -> bool:
    """Whether a word of ``spoken_form`` is written with the letters a to z."""
    return re.fullmatch(r"[a-z']+", word) is not None


def rough_phones(word: str) -> list[str]:
    """ARPAbet phones that a Latin word, which no dictionary has, may sound like."""
    phones: list[str] = []
    place = 0
    while place < len(word):
        length = next((n for n in (3, 2, 1) if word[place : place + n] in _SOUNDS), 0)
        if length:
            phones += _SOUNDS[word[place : place + length]].split()
            while place + length < len(word) and word[place + length] == word[place + length - 1]:
                length += 1  # a doubled letter is said once
        place += length or 1
    return phones


def syllables(words: str) -> float:
    """How long words take to say, in syllables: groups of vowels, or letters of other scripts."""
    return sum(
        len(_VOWELS.findall(word)) or 1 if is_latin(word) else _syllables_of_script(word) for word in words.split()
    )


def wide_letters(text: str) -> int:
    """How many Chinese, Japanese and Korean signs there are; each is about one syllable."""
    return sum(unicodedata.east_asian_width(c) == "W" and c.isalnum() for c in text)


def _syllables_of_script(word: str) -> float:
    dense = wide_letters(word)
    return max(1.0, dense + 0.45 * (len(word) - dense))


def _number(written: str) -> str:
    digits = written.replace(",", "")
    if len(digits) > 6 or (len(digits) > 1 and digits[0] == "0"):
        return " ".join(_ONES[int(digit)] for digit in digits)
    number = int(digits)
    is_year = digits == written and (1100 <= number < 2000 or 2010 <= number < 2100)
    return _year(number) if is_year else _cardinal(number)


def _year(number: int) -> str:
    century, rest = divmod(number, 100)
    return f"{_cardinal(century)} " + ("hundred" if not rest else f"oh {_ONES[rest]}" if rest < 10 else _cardinal(rest))


def _cardinal(number: int) -> str:
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = f" {_cardinal(number % size)}" if number % size else ""
            return f"{_cardinal(number // size)} {name}{rest}"
    if number < 20:
        return _ONES[number]
    return _TENS[number // 10 - 2] + (f" {_ONES[number % 10]}" if number % 10 else "")
