"""What is said: words from the sound with a confidence, and typed words aligned to it."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import ASSETS, SAMPLE_RATE
from media_samples import is_one_sentence

from synchrorama.emotion.alignment import MAX_WORDS
from synchrorama.emotion.sentiment import read_sentiment
from synchrorama.emotion.spelling import rough_phones, spoken_form, syllables
from synchrorama.emotion.stretches import stretches_of_speech
from synchrorama.emotion.transcript import Transcript, Word, align, transcribe, transcribe_as_it_comes
from synchrorama.errors import InputError
from synchrorama.media import read_speech

MEDIA = Path(__file__).parent / "media"
HAPPY = "I am so happy today. This is wonderful, and I love it!"


@pytest.fixture(scope="module")
def happy() -> np.ndarray:
    """Four seconds in which flite says ``HAPPY``."""
    return read_speech(MEDIA / "happy_words.flac").samples


@pytest.fixture(scope="module")
def heard(happy: np.ndarray) -> Transcript:
    return transcribe(happy)


def test_english_is_understood(heard, happy):
    assert heard.usable and heard.english and not heard.typed and not heard.notes
    assert {"happy", "this", "is", "wonderful", "love"} <= set(heard.text.split())
    assert heard.confidence > 0.8
    assert all(0.3 < word.confidence <= 1 for word in heard.words if word.text in ("happy", "wonderful"))
    times = [time for word in heard.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[0] >= 0 and times[-1] <= len(happy) / SAMPLE_RATE + 0.02


def test_what_is_heard_does_not_depend_on_what_was_heard_before(heard, happy, speech_samples):
    """Times and confidences too: the words of clear speech stay the same when the recogniser's state does not."""
    assert transcribe(speech_samples).text != heard.text
    assert transcribe(happy) == heard
    noise = np.random.default_rng(3).standard_normal(2 * SAMPLE_RATE).astype(np.float32)
    transcribe(noise * 0.1)
    assert transcribe(happy) == heard


def test_recordings_that_are_heard_in_turns_do_not_disturb_each_other(happy, speech_samples):
    """The recogniser is lent for one stretch at a time, so stretches of several users follow each other."""
    pause = np.zeros(2 * SAMPLE_RATE, np.float32)
    long = np.concatenate([happy, pause, speech_samples])
    alone = list(transcribe_as_it_comes(long))
    in_turns = []
    for transcript in transcribe_as_it_comes(long):
        in_turns.append(transcript)
        transcribe(speech_samples[: 2 * SAMPLE_RATE] * 0.3)
    assert len(alone) >= 2 and in_turns == alone


def test_the_level_makes_no_difference(heard, happy):
    assert transcribe(happy * 0.05).text == heard.text


def test_threads_do_not_disturb_each_other(heard, happy):
    transcripts: list[Transcript] = []
    threads = [threading.Thread(target=lambda: transcripts.append(transcribe(happy))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert transcripts == [heard] * 2


def test_the_transcript_grows_as_it_comes(happy):
    """Two stretches with a long pause: the first is shown before the second is read."""
    first = happy[: round(1.75 * SAMPLE_RATE)]
    transcripts = list(transcribe_as_it_comes(np.concatenate([first, np.zeros(2 * SAMPLE_RATE, np.float32), happy])))
    assert len(transcripts) >= 2
    counts = [len(transcript.words) for transcript in transcripts]
    assert counts == sorted(counts) and counts[0] < counts[-1]
    assert "happy" in transcripts[0].text and "wonderful" in transcripts[-1].text
    pause = [word for word in transcripts[-1].words if word.start < 3.6 and word.end > 2.2]
    assert not pause
    assert len(transcripts[-1].utterances) >= 2


def test_german_is_not_taken_for_english():
    transcript = transcribe(read_speech(ASSETS / "german_espeak.flac").samples[: 7 * SAMPLE_RATE])
    assert not transcript.usable and not transcript.english
    assert "English" in transcript.notes[0] and "type the transcript" in transcript.notes[0]


def test_what_is_hopeless_is_not_read_to_the_end(monkeypatch):
    samples = read_speech(ASSETS / "german_espeak.flac").samples[: 7 * SAMPLE_RATE]
    monkeypatch.setattr("synchrorama.emotion.transcript._PATIENCE", 0.5)
    assert len(list(transcribe_as_it_comes(samples))) < len(stretches_of_speech(samples))


def test_stretches_are_short_and_leave_silence_out(happy):
    noise = np.random.default_rng(1).standard_normal(25 * SAMPLE_RATE).astype(np.float32)
    silence = np.zeros(3 * SAMPLE_RATE, np.float32)
    stretches = stretches_of_speech(np.concatenate([silence, happy * 3, silence, noise * 0.2]))
    bounds = [bound for stretch in stretches for bound in (stretch.start, stretch.stop)]
    assert bounds == sorted(bounds)
    assert max(stretch.stop - stretch.start for stretch in stretches) <= 10 * SAMPLE_RATE
    assert bounds[0] > 2.7 * SAMPLE_RATE
    covered = np.zeros(len(happy) + len(noise) + 2 * len(silence), bool)
    for stretch in stretches:
        covered[stretch] = True
    assert covered[-len(noise) :].mean() > 0.99
    pause = len(silence) + len(happy)
    assert not covered[pause + SAMPLE_RATE : pause + 2 * SAMPLE_RATE].any()


@pytest.mark.parametrize("sound", ["silence", "hiss", "noise", "hum", "nothing"])
def test_where_nobody_speaks_there_are_no_words(sound):
    noise = np.random.default_rng(7).standard_normal(3 * SAMPLE_RATE).astype(np.float32)
    time = np.arange(3 * SAMPLE_RATE, dtype=np.float32) / SAMPLE_RATE
    samples = {
        "silence": 0 * noise, "hiss": 1e-4 * noise, "noise": 0.1 * noise,
        "hum": 0.2 * np.sin(2 * np.pi * 220 * time) * (1 + np.sin(2 * np.pi * 2 * time)), "nothing": noise[:0],
    }[sound]  # fmt: skip
    transcript = transcribe(samples)
    assert not transcript.words and not transcript.usable
    assert len(transcript.notes) == 1 and transcript.text == ""


def test_utterances_end_at_pauses_and_at_typed_full_stops():
    words = (Word("One.", 0.0, 0.4, 1.0), Word("Two", 0.5, 0.9, 1.0), Word("three", 2.0, 2.4, 1.0))
    parts = [[word.text for word in part] for part in Transcript(words, 1.0, True, typed=True).utterances]
    assert parts == [["One."], ["Two"], ["three"]]
    heard = Transcript(words, 1.0, True, typed=False).utterances
    assert [len(part) for part in heard] == [2, 1]


def test_typed_words_are_found_in_the_sound(happy, heard):
    transcript = align(HAPPY, happy)
    assert transcript.usable and transcript.typed and transcript.english
    assert transcript.text == HAPPY
    assert {word.confidence for word in transcript.words} == {1.0}
    typed = {word.text.strip(".,!").lower(): word.start for word in transcript.words}
    for word in heard.words:
        if word.text in ("happy", "wonderful", "love"):
            assert abs(typed[word.text] - word.start) < 0.15


def test_a_word_that_no_dictionary_has_is_placed_by_its_spelling(happy):
    known = {word.text: word for word in align(HAPPY, happy).words}
    spelled = {word.text: word for word in align(HAPPY.replace("wonderful", "wunderfull"), happy).words}
    assert abs(spelled["wunderfull,"].start - known["wonderful,"].start) < 0.15
    assert abs(spelled["wunderfull,"].end - known["wonderful,"].end) < 0.15


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("So happy!", True),
        ("Guten Morgen! Mein Name ist Kofi, und ich habe mir heute viel vorgenommen.", False),
        ("Bonjour mes amis, il fait très beau aujourd'hui et nous allons à la mer.", False),
        ("今日は とても 良い 天気 です。", False),
        ("今天天气很好，我们去海边。", False),
        ("odd\ud800text", True),
        ("Сегодня очень хорошая погода", False),
        ("أنا سعيد جدا اليوم", False),
        ("<b>I am</b> <script>alert('happy')</script> today", True),
        ("I was born in 1984, and 24% of that is fine & good.", True),
        ("word " * 600, True),
    ],
)
def test_any_text_gets_times_in_order_within_the_recording(text, english, happy):
    transcript = align(text, happy)
    assert transcript.english == english == transcript.usable
    assert bool(read_sentiment(transcript, 50).notes) != english
    assert not set("<>&;") & set(transcript.text.replace(" & ", ""))
    times = [time for word in transcript.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[0] >= 0 and times[-1] <= len(happy) / SAMPLE_RATE


def test_words_of_another_script_keep_out_of_the_pauses(happy):
    silence = np.zeros(2 * SAMPLE_RATE, np.float32)
    transcript = align("Сегодня очень хорошая погода", np.concatenate([silence, happy, silence]))
    assert transcript.words[0].start > 1.9
    assert transcript.words[-1].end < 2.1 + len(happy) / SAMPLE_RATE


@pytest.mark.parametrize("text", ["", " \n\t", "...", "</>"])
def test_no_text_is_no_words(text, happy):
    transcript = align(text, happy)
    assert not transcript.words and not transcript.usable and transcript.notes


def test_typed_words_on_silence_are_spread_over_it():
    transcript = align("Nobody says this", np.zeros(SAMPLE_RATE, np.float32))
    assert [word.text for word in transcript.words] == ["Nobody", "says", "this"]
    assert transcript.words[-1].end == pytest.approx(1.0, abs=0.05)


def test_too_many_words_are_refused_in_one_sentence(happy):
    with pytest.raises(InputError, match="10,000 words") as error:
        align("word " * 10_000, happy)
    assert is_one_sentence(error)
    for text in ("word" * 20_000, "语" * 3000):
        with pytest.raises(InputError, match=r"3,000 words|80,000 characters") as error:
            align(text, happy)
        assert is_one_sentence(error)
    assert len(align("слово " * MAX_WORDS, happy).words) == MAX_WORDS


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Café,", "cafe"), ("don’t", "don't"), ("well-known", "well known"), ("24%", "twenty four percent"),
        ("1984", "nineteen eighty four"), ("1,250", "one thousand two hundred fifty"), ("007", "zero zero seven"),
        ("2005", "two thousand five"), ("Straße", "strasse"), ("...", ""),
    ],
)  # fmt: skip
def test_numbers_and_signs_are_spelled_as_they_are_spoken(written, spoken):
    assert spoken_form(written) == spoken


def test_rough_phones_and_syllables():
    assert rough_phones("ship") == ["SH", "IH", "P"]
    assert rough_phones("butter") == ["B", "AH", "T", "ER"]
    assert syllables("wonderful day") == 4
    assert syllables("天気") == 2
