"""Backends for words: Whisper's transcripts as they come, and sentiment in many languages."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import SAMPLE_RATE
from tiny_networks import sentiment_folder, whisper_folder
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaForSequenceClassification

from synchrorama.backends.repetition import repeats_itself
from synchrorama.backends.sentiment import MultilingualSentiment
from synchrorama.backends.whisper import WhisperTranscriber, _windows
from synchrorama.emotion.categories import EMOTION_INDEX
from synchrorama.emotion.sentiment import read_sentiment
from synchrorama.emotion.transcript import Transcript, Word
from synchrorama.errors import InputError

HELLO = " Hello there, how are you today?"


def transcriber(folder, says=HELLO, **options):
    return WhisperTranscriber.from_pretrained(whisper_folder(folder / "whisper", says, **options))


def times(transcript):
    return [time for word in transcript.words for time in (word.start, word.end)]


@pytest.mark.parametrize("alignment", [True, False])
def test_words_and_their_times(tmp_path, speech_samples, alignment):
    whisper = transcriber(tmp_path, alignment=alignment, stamps=(0.5, 3.5))
    *_, transcript = whisper(speech_samples)
    assert [word.text for word in transcript.words] == ["Hello", "there,", "how", "are", "you", "today?"]
    assert transcript.usable and transcript.english and not transcript.typed and not transcript.notes
    assert transcript.confidence > 0.9 and all(0.9 < word.confidence <= 1 for word in transcript.words)
    assert times(transcript) == sorted(times(transcript))
    assert times(transcript)[0] >= 0 and times(transcript)[-1] <= len(speech_samples) / SAMPLE_RATE
    assert times(transcript)[-1] - times(transcript)[0] > 1
    *_, again = whisper(speech_samples)
    assert again == transcript


def test_half_precision_hears_the_same_words_and_prints_nothing(tmp_path, speech_samples, capfd):
    folder = whisper_folder(tmp_path / "whisper", HELLO)
    capfd.readouterr()
    *_, transcript = WhisperTranscriber.from_pretrained(folder, dtype=torch.bfloat16)(speech_samples)
    assert transcript.text == HELLO.strip() and times(transcript) == sorted(times(transcript))
    assert capfd.readouterr() == ("", "")


def test_without_alignment_words_lie_between_the_time_stamps_in_proportion_to_their_length(tmp_path, speech_samples):
    sound = np.random.default_rng(0).normal(0, 0.1, 4 * SAMPLE_RATE).astype(np.float32)  # without pauses
    *_, transcript = transcriber(tmp_path, " Hello day", alignment=False, stamps=(1.0, 3.0))(sound)
    hello, day = transcript.words
    assert hello.start == pytest.approx(1, abs=0.1) and day.end == pytest.approx(3, abs=0.1)
    assert hello.end == pytest.approx(1 + 2 / 3 * 2, abs=0.1) and day.start >= hello.end  # two syllables and one


def test_the_transcript_grows_window_by_window(tmp_path, speech_samples):
    """Each window ends in a pause; a minute needs three of at most 30 s."""
    stretch = np.concatenate([np.tile(speech_samples, 5), np.zeros(2 * SAMPLE_RATE, np.float32)])
    sound = np.tile(stretch, 3)
    windows = [(window.start, window.stop) for window in _windows(sound)]
    transcripts = list(transcriber(tmp_path)(sound))
    assert [len(transcript.words) for transcript in transcripts] == [6, 12, 18]
    assert transcripts[1].words[:6] == transcripts[0].words
    for i, (start, stop) in enumerate(windows):
        assert stop - start <= 30 * SAMPLE_RATE
        for word in transcripts[-1].words[6 * i : 6 * i + 6]:
            assert start / SAMPLE_RATE <= word.start <= word.end <= stop / SAMPLE_RATE


def test_long_pauses_are_left_out(speech_samples):
    pause = np.zeros(6 * SAMPLE_RATE, np.float32)
    first, second = _windows(np.concatenate([speech_samples, pause, speech_samples]))
    assert first.stop <= 5 * SAMPLE_RATE and second.start >= 9 * SAMPLE_RATE


def test_another_language_is_named(tmp_path, speech_samples):
    *_, transcript = transcriber(tmp_path, " Schöne Grüße!", language="de")(speech_samples)
    assert [word.text for word in transcript.words] == ["Schöne", "Grüße!"]
    assert not transcript.english and not transcript.usable and transcript.confidence > 0.9
    assert transcript.language == "German" and transcript.punctuated and not transcript.notes
    (note,) = read_sentiment(transcript, 50).notes
    assert "German" in note and "English" in note


def test_languages_without_blanks_give_a_word_for_each_sign(tmp_path, speech_samples):
    *_, transcript = transcriber(tmp_path, "你好，世界。", language="zh")(speech_samples)
    assert [word.text for word in transcript.words] == ["你", "好，", "世", "界。"]


def test_quotation_marks_stay_with_their_word(tmp_path, speech_samples):
    *_, transcript = transcriber(tmp_path, ' "Hello" (there) - you...')(speech_samples)
    assert [word.text for word in transcript.words] == ['"Hello"', "(there)", "- you..."]


def test_a_network_for_english_alone(tmp_path, speech_samples):
    *_, transcript = transcriber(tmp_path, " Hello there", language=None)(speech_samples)
    assert transcript.text == "Hello there" and transcript.english and not transcript.notes


def test_where_whisper_hears_nobody_there_are_no_words(tmp_path, speech_samples):
    (transcript,) = transcriber(tmp_path, no_speech=True)(speech_samples)
    assert not transcript.words and not transcript.usable and "No words were heard" in transcript.notes[0]


def test_a_loop_is_not_taken_for_words(tmp_path, speech_samples):
    (transcript,) = transcriber(tmp_path, " day" * 20)(speech_samples)
    assert not transcript.words


@pytest.mark.parametrize("samples", [0, 4800, 5 * SAMPLE_RATE])
def test_silence_is_never_heard(tmp_path, samples):
    """Whisper writes words for it; here it would say hello."""
    (transcript,) = transcriber(tmp_path)(np.zeros(samples, np.float32))
    assert transcript == Transcript(notes=transcript.notes) and len(transcript.notes) == 1


def test_words_that_are_not_sure_do_not_weigh_in(tmp_path, speech_samples):
    whisper = transcriber(tmp_path)
    with torch.no_grad():
        whisper.network.model.decoder.layer_norm.weight.fill_(1.2)  # less sure of the same words
    *_, transcript = whisper(speech_samples)
    assert not transcript.usable and transcript.confidence < 0.5
    assert "not understood surely enough" in transcript.notes[0] and "type the transcript" in transcript.notes[0]


def test_settings_without_time_stamps_are_refused(tmp_path):
    folder = whisper_folder(tmp_path / "whisper", HELLO)
    (folder / "generation_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"^The generation settings of the speech recogniser \(Whisper\) have no time"):
        WhisperTranscriber.from_pretrained(folder)


def test_repetition():
    assert repeats_itself("I am the one. " * 10)
    assert not repeats_itself("The train leaves at seven, and I do not know whether he comes, nor why.")


# ------------------------------------------------------------------------------------------------ sentiment


@pytest.fixture(scope="module")
def sentiment(tmp_path_factory):
    return MultilingualSentiment.from_pretrained(sentiment_folder(tmp_path_factory.mktemp("s") / "sentiment"))


def transcript(text, english=True, confidence=1.0):
    words = [Word(word, 1 + 0.3 * i, 1.3 + 0.3 * i, confidence) for i, word in enumerate(text.split())]
    return Transcript(tuple(words), confidence, english, punctuated=True)


def felt(sentiment, text, **options):
    return sentiment(transcript(text, **options), 150)


def signed(sentiment, sign, ending=""):
    """A word that this random network finds positive, or negative."""
    words = [word + ending for word in ("gut", "love", "schlimm", "hate", "train", "das", "ist")]
    polarities = dict(zip(words, sentiment._polarities(words), strict=True))
    return max(words, key=lambda word: sign * polarities[word])


def test_sentiment_is_as_that_of_mini(sentiment):
    for sign, emotion in ((1, "happy"), (-1, "sad")):
        found = felt(sentiment, signed(sentiment, sign), english=False)
        (utterance,) = found.utterances
        assert sign * utterance.polarity > 0.1
        assert found.polarity.shape == found.valence.shape == (150,) and found.probabilities.shape == (150, 8)
        np.testing.assert_allclose(found.probabilities.sum(1), 1, atol=1e-5)
        assert sign * found.valence[28] > 0.05 and abs(found.polarity[5]) < 0.02
        assert found.probabilities[28].argsort()[-2:].tolist().count(EMOTION_INDEX[emotion]) == 1


def test_every_sentence_is_read_by_itself(sentiment):
    good, bad = signed(sentiment, 1, "."), signed(sentiment, -1, "!")
    found = felt(sentiment, f"{good} {bad}", english=False)
    assert [utterance.text for utterance in found.utterances] == [good, bad]
    assert [utterance.polarity for utterance in found.utterances] == sentiment._polarities([good, bad])


def test_labels_are_taken_by_name_and_not_by_place(tmp_path, sentiment):
    turned = sentiment_folder(tmp_path / "turned", ("Positive", "neutral", "Negative"))
    texts = ["gut", "love", "hate the train"]
    there, back = sentiment._polarities(texts), MultilingualSentiment.from_pretrained(turned)._polarities(texts)
    np.testing.assert_allclose(there, [-polarity for polarity in back], atol=1e-6)
    assert max(map(abs, there)) > 0.1


def test_labels_without_signs_are_refused(tmp_path):
    folder = sentiment_folder(tmp_path / "stars", ("1 star", "2 stars", "3 stars"))
    with pytest.raises(InputError, match=r"^The labels of the sentiment classifier \(1 star, 2 stars, 3 stars\)"):
        MultilingualSentiment.from_pretrained(folder)


def test_kinds_of_emotion_are_told_apart_in_english_only(sentiment):
    """What a word means in English counts where English is spoken."""
    bad = signed(sentiment, -1)
    english, other = (felt(sentiment, f"{bad} funeral", english=english) for english in (True, False))
    sad = [found.utterances[0].probabilities[EMOTION_INDEX["sad"]] for found in (english, other)]
    assert sad[0] > sad[1] + 0.05
    assert english.utterances[0].polarity == pytest.approx(other.utterances[0].polarity)
    assert not other.notes  # what is said weighs in, whatever the language


def test_words_that_were_not_understood_are_not_read(sentiment):
    found = felt(sentiment, "love love", confidence=0.4)
    assert not found.utterances and not found.polarity.any() and (found.probabilities[:, 0] == 1).all()
    assert not sentiment(Transcript(), 10).utterances


def test_long_and_many_utterances_are_read(sentiment):
    found = felt(sentiment, " ".join(["love"] * 400) + "." + " gut." * 40)
    assert len(found.utterances) == 41 and np.isfinite(found.polarity).all()


def test_the_order_of_reading_does_not_matter(sentiment):
    """Padding beside a longer text changes nothing."""
    alone, beside = sentiment._polarities(["gut"])[0], sentiment._polarities(["gut", "das ist the train " * 5])[0]
    assert alone == pytest.approx(beside, abs=1e-5)


def test_pieces_are_those_of_fairseq(sentiment):
    """Numbers from 0: <s>, <pad>, </s>, <unk>, then the pieces of the file after its first three."""
    found = sentiment.tokenizer(["gut", "das ist", "ツ"], 20)
    pieces = sentiment.tokenizer._pieces
    assert found["input_ids"][0].tolist()[0] == 0 and 1 in found["input_ids"][0].tolist()
    numbers = [piece + 1 for piece in pieces.encode("das ist")]
    assert found["input_ids"][1].tolist()[: len(numbers) + 2] == [0, *numbers, 2]
    assert 3 in found["input_ids"][2].tolist()
    assert found["attention_mask"].tolist() == (found["input_ids"] != 1).long().tolist()


def test_tokenizers_of_the_library_serve_as_well(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    inner = Tokenizer(models.WordLevel({"<unk>": 0, "<pad>": 1, "good": 2, "bad": 3}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>").save_pretrained(tmp_path)
    config = XLMRobertaConfig(
        vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=34, pad_token_id=1, id2label={0: "NEG", 1: "POS"}, label2id={"NEG": 0, "POS": 1},
    )  # fmt: skip
    torch.manual_seed(0)
    XLMRobertaForSequenceClassification(config).save_pretrained(tmp_path)
    sentiment = MultilingualSentiment.from_pretrained(tmp_path)
    assert len(felt(sentiment, "good bad good " * 30).utterances) > 0
