"""Speech with known phone times: what the phonetic teacher reads.

Synthesisers print the times of the phones they speak, exactly and without limit; recordings are aligned with their
text by pocketsphinx, or its phones are guessed. All of this happens at training time only.
"""

from __future__ import annotations

import ctypes
import functools
import io
import shutil
import subprocess
import unicodedata
from dataclasses import dataclass

import numpy as np
import soundfile

from synchrorama.audio import SAMPLE_RATE
from synchrorama.errors import InputError

PHONES: tuple[str, ...] = (
    "aa", "ae", "ah", "ao", "aw", "ay", "eh", "er", "ey", "ih", "iy", "ow", "oy", "uh", "uw", "w", "y", "r", "l", "m",
    "b", "p", "f", "v", "th", "dh", "t", "d", "n", "s", "z", "sh", "zh", "ch", "jh", "k", "g", "ng", "hh", "sil",
)  # fmt: skip
"""ARPAbet, as the CMU pronouncing dictionary writes it, and silence."""
PHONE_INDEX = {phone: i for i, phone in enumerate(PHONES)}
VOWELS = PHONES[:15]
_ESPEAK_CLOSURE = 0.05  # seconds of silence before a voiceless burst, measured on its output

_SYNONYMS = {
    "ax": "ah", "axr": "er", "ix": "ih", "el": "l", "em": "m", "en": "n", "nx": "n", "dx": "d",
    "pau": "sil", "+spn+": "sil", "+nsn+": "sil", "+breath+": "sil", "+noise+": "sil", "+cough+": "sil",
    "+smack+": "sil",
}  # fmt: skip

# What the lips do for an IPA symbol, as the nearest English phone; looked up by its longest prefix.
_IPA = {
    "aɪ": "ay", "aʊ": "aw", "eɪ": "ey", "oʊ": "ow", "əʊ": "ow", "ɔɪ": "oy", "tʃ": "ch", "dʒ": "jh", "ts": "s",
    "dz": "z", "tɕ": "ch", "dʑ": "jh", "pf": "f", "ai": "ay", "au": "aw", "ei": "ey", "ou": "ow", "ɔʏ": "oy", "kw": "w",
    "a": "aa", "ɑ": "aa", "ɒ": "ao", "æ": "ae", "ʌ": "ah", "ə": "ah", "ɐ": "ah", "ɜ": "er", "ɚ": "er", "ɝ": "er",
    "ɔ": "ao", "o": "ow", "ɤ": "ah", "ɵ": "uh", "e": "eh", "ɛ": "eh", "œ": "er", "ø": "uh", "ɪ": "ih", "ɨ": "ih",
    "i": "iy", "ʏ": "uw", "y": "uw", "ʊ": "uh", "u": "uw", "ɯ": "uh", "w": "w", "ɥ": "w", "j": "y", "r": "r", "ɹ": "r",
    "ʁ": "g", "ʀ": "g", "ɾ": "d", "ɽ": "d", "ɻ": "r", "l": "l", "ɫ": "l", "ʎ": "y", "ɭ": "l", "m": "m", "ɱ": "m",
    "b": "b", "β": "b", "p": "p", "f": "f", "ɸ": "f", "v": "v", "ʋ": "v", "θ": "th", "ð": "dh", "t": "t", "ʈ": "t",
    "d": "d", "ɖ": "d", "n": "n", "ɲ": "n", "ɳ": "n", "ŋ": "ng", "s": "s", "z": "z", "ʃ": "sh", "ɕ": "sh", "ʂ": "sh",
    "ç": "sh", "ʒ": "zh", "ʐ": "zh", "ʑ": "zh", "k": "k", "c": "k", "q": "k", "x": "k", "χ": "k", "ɡ": "g", "g": "g",
    "ɣ": "g", "h": "hh", "ɦ": "hh", "ħ": "hh", "ʔ": "k",
}  # fmt: skip


@dataclass
class Utterance:
    """A recording and what is said in it."""

    speech: np.ndarray  # (n,) float32 mono 16 kHz
    phones: list[tuple[str, float, float]]  # phone of PHONES, start and end in seconds


def simplified(phones: list[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """Any recogniser's phone names → PHONES; neighbouring silences become one."""
    merged: list[tuple[str, float, float]] = []
    for phone, start, end in phones:
        phone = _SYNONYMS.get(phone.lower(), phone.lower())
        phone = phone if phone in PHONE_INDEX else "sil"
        if merged and phone == "sil" == merged[-1][0]:
            merged[-1] = ("sil", merged[-1][1], end)
        elif end > start:
            merged.append((phone, start, end))
    return merged


def flite(text: str, voice: str, pitch_hz: float | None = None, stretch: float | None = None) -> Utterance:
    """Speak with CMU Flite, which prints the exact end of each phone.

    Raises:
        InputError: flite is not installed.
    """
    if not shutil.which("flite"):
        raise InputError("The program flite is missing; install it (Debian: apt-get install flite).")
    command = ["flite", "-voice", voice, "-psdur", "-t", text, "-o", "/dev/stdout"]
    if pitch_hz:
        command += ["--setf", f"int_f0_target_mean={pitch_hz:.0f}"]
    if stretch:
        command += ["--setf", f"duration_stretch={stretch:.2f}"]
    output = subprocess.run(command, capture_output=True, check=True).stdout
    sound = output.index(b"RIFF")  # the phone table may come before or after the sound
    size = int.from_bytes(output[sound + 4 : sound + 8], "little") + 8
    table = (output[:sound] + output[sound + size :]).decode("ascii", "ignore")
    phones, start = [], 0.0
    for field in table.split():
        phone, _, end = field.rpartition(":")
        phones.append((phone, start, float(end)))
        start = float(end)
    samples, rate = soundfile.read(io.BytesIO(output[sound : sound + size]), dtype="float32")
    return Utterance(_to_16k(samples, rate), simplified(phones))


def espeak(text: str, voice: str, words_per_minute: int = 175, pitch: int = 50) -> Utterance:
    """Speak with espeak-ng, any of its languages and voice variants (``"de+f2"``), with the times of its phones.

    Raises:
        InputError: the espeak-ng library is not installed or has no such voice.
    """
    engine = _EspeakEngine.get()
    samples, phones = engine.speak(text, voice, words_per_minute, pitch)
    return Utterance(_to_16k(samples, engine.rate), simplified(phones))


def align(speech: np.ndarray, text: str) -> Utterance | None:
    """Align a recording with its (English, lower-case) text; None where pocketsphinx finds no way through."""
    decoder = _decoder("align")
    try:
        decoder.set_align_text(text)
        _decode(decoder, speech)
        decoder.set_alignment()
        _decode(decoder, speech)
        return Utterance(speech, _aligned_phones(decoder))
    except (RuntimeError, ValueError):
        return None


def recognise(speech: np.ndarray) -> Utterance | None:
    """Recognise English words and align them: far more phones are right than with ``guess_phones``."""
    decoder = _decoder("words")
    try:
        _decode(decoder, speech)
        if decoder.hyp() is None:
            return None
        decoder.set_alignment()
        _decode(decoder, speech)
        phones = _aligned_phones(decoder)
    except (RuntimeError, ValueError):
        phones = []
    finally:
        decoder.activate_search("_default")
    return Utterance(speech, phones) if phones else None


def guess_phones(speech: np.ndarray) -> Utterance:
    """Phones of any language as English ears hear them; about half are right, their timing is better than that."""
    decoder = _decoder("phones")
    _decode(decoder, speech)
    phones = [(s.word, s.start_frame / 100, (s.end_frame + 1) / 100) for s in decoder.seg()]
    return Utterance(speech, simplified(phones))


@functools.cache
def _decoder(kind: str) -> object:
    from pocketsphinx import Decoder, get_model_path

    if kind == "phones":
        return Decoder(
            allphone=get_model_path("en-us/en-us-phone.lm.bin"), hmm=get_model_path("en-us/en-us"), lm=None, dict=None,
            lw=2.0, beam=1e-20, pbeam=1e-20, loglevel="FATAL",
        )  # fmt: skip
    if kind == "align":
        return Decoder(lm=None, loglevel="FATAL")
    return Decoder(fwdflat=False, bestpath=False, maxhmmpf=6000, ds=2, loglevel="FATAL")


def _decode(decoder: object, speech: np.ndarray) -> None:
    pcm = np.clip(speech / (np.abs(speech).max() + 1e-6) * 0.7, -1, 1) * 32767
    decoder.start_utt()
    decoder.process_raw(pcm.astype(np.int16).tobytes(), full_utt=True)
    decoder.end_utt()


def _aligned_phones(decoder: object) -> list[tuple[str, float, float]]:
    return simplified(
        [
            (phone.name, phone.start / 100, (phone.start + phone.duration) / 100)
            for word in decoder.get_alignment()
            for phone in word
        ]
    )


def _to_16k(samples: np.ndarray, rate: int) -> np.ndarray:
    import librosa

    return librosa.resample(np.asarray(samples, np.float32), orig_sr=rate, target_sr=SAMPLE_RATE)


def _phone_of_ipa(symbol: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFD", symbol) if not unicodedata.combining(c))
    for length in (2, 1):
        if plain[:length] in _IPA:
            return _IPA[plain[:length]]
    return "sil"


def _with_closures(phones: list[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """espeak-ng reports a voiceless plosive when it bursts; its silent closure belongs to it as well."""
    moved = []
    for phone, start, end in phones:
        if phone in ("p", "t", "k", "ch") and moved:
            before, before_start, _ = moved[-1]
            start = max(start - _ESPEAK_CLOSURE, before_start + 0.01)
            moved[-1] = (before, before_start, start)
        moved.append((phone, start, end))
    return moved


class _EspeakEvent(ctypes.Structure):
    """espeak_EVENT of speak_lib.h; the last member is a union whose 8 bytes hold the phoneme's name."""

    _fields_ = (
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("name", ctypes.c_char * 8),
    )  # fmt: skip


class _EspeakEngine:
    """The espeak-ng library, which reports each phone's place in the sound through a callback."""

    _SYNCHRONOUS, _PHONEME_EVENTS, _PHONEME_IPA, _PHONEME, _UTF8 = 2, 1, 2, 7, 1
    _RATE, _PITCH = 1, 3  # espeak_PARAMETER

    @staticmethod
    @functools.cache
    def get() -> _EspeakEngine:
        return _EspeakEngine()

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libespeak-ng.so.1")
        except OSError:
            raise InputError(
                "The library espeak-ng is missing; install it (Debian: apt-get install espeak-ng)."
            ) from None
        self._samples: list[np.ndarray] = []
        self._events: list[tuple[str, float]] = []
        signature = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_EspeakEvent)
        )
        self._callback = signature(self._receive)  # kept: the library holds only a pointer to it
        options = self._PHONEME_EVENTS | self._PHONEME_IPA
        self.rate = self._library.espeak_Initialize(self._SYNCHRONOUS, 500, None, options)
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(
        self, text: str, voice: str, words_per_minute: int, pitch: int
    ) -> tuple[np.ndarray, list[tuple[str, float, float]]]:
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise InputError(f"espeak-ng has no voice {voice!r}; `espeak-ng --voices` lists them.")
        self._library.espeak_SetParameter(self._RATE, words_per_minute, 0)
        self._library.espeak_SetParameter(self._PITCH, pitch, 0)
        self._samples.clear()
        self._events.clear()
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, self._UTF8, None, None)
        self._library.espeak_Synchronize()
        samples = np.concatenate(self._samples).astype(np.float32) / 32768
        ends = [start for _, start in self._events[1:]] + [len(samples) / self.rate]
        phones = [(_phone_of_ipa(symbol), start, end) for (symbol, start), end in zip(self._events, ends, strict=True)]
        return samples, _with_closures(phones)

    def _receive(self, samples: object, count: int, events: object) -> int:
        if samples and count > 0:
            self._samples.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type:
            if events[index].type == self._PHONEME:
                name = events[index].name.decode("utf-8", "replace")
                self._events.append((name, events[index].sample / self.rate))
            index += 1
        return 0
