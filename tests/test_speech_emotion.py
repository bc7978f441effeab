"""What a voice sounds like: shapes and ranges, what must not matter, what must, and a training run in miniature."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from synchrorama.audio import SAMPLE_RATE, frame_count, log_mel
from synchrorama.emotion.categories import CIRCUMPLEX, EMOTION_INDEX, EMOTIONS
from synchrorama.emotion.speech import HEARD_EMOTIONS, SpeechEmotion, VoiceReading
from synchrorama.media import read_speech
from synchrorama.training import emotion as training
from synchrorama.training import voices

ROOT = Path(__file__).parents[1]
MEDIA = Path(__file__).parent / "media"
NEUTRAL, ANGRY, SAD = (EMOTION_INDEX[name] for name in ("neutral", "angry", "sad"))


@pytest.fixture(scope="module")
def network() -> SpeechEmotion:
    return SpeechEmotion.from_pretrained(ROOT / "checkpoints" / "mini" / "speech_emotion", low_cpu_mem_usage=False)


def mean(reading: VoiceReading) -> dict[str, float]:
    """Averages over where somebody speaks."""
    weights = reading.voiced / reading.voiced.sum()
    return {
        **dict(zip(EMOTIONS, weights @ reading.probabilities, strict=True)),
        "valence": float(weights @ reading.valence),
        "arousal": float(weights @ reading.arousal),
    }


def heard(network: SpeechEmotion, name: str) -> dict[str, float]:
    return mean(network.read(read_speech(MEDIA / f"{name}_voice.flac").samples))


@pytest.mark.parametrize("samples", [0, 1, 100, 4800, 47_999, 48_001, 100_000])
def test_any_length_gives_probabilities_on_the_frame_clock(
    network: SpeechEmotion, speech_samples: np.ndarray, samples: int
) -> None:
    sound = np.resize(speech_samples, samples)
    reading = network.read(sound)
    frames = frame_count(samples / SAMPLE_RATE)
    assert reading.probabilities.shape == (frames, 8) and reading.probabilities.dtype == np.float32
    assert reading.valence.shape == reading.arousal.shape == reading.voiced.shape == (frames,)
    np.testing.assert_allclose(reading.probabilities.sum(1), 1, atol=1e-5)
    assert reading.probabilities.min() >= 0
    assert np.abs([reading.valence, reading.arousal]).max() <= 1
    assert reading.voiced.min() >= 0 and reading.voiced.max() <= 1


def test_length_does_not_change_what_is_heard(network: SpeechEmotion, speech_samples: np.ndarray) -> None:
    """Long recordings are heard window by window: the middle of ten repetitions sounds like the middle of two."""
    few, many = network.read(np.tile(speech_samples, 2)), network.read(np.tile(speech_samples, 20))
    assert len(many.arousal) == 2000
    assert abs(few.arousal[50:150].mean() - many.arousal[900:1000].mean()) < 0.1


def test_nothing_is_heard_where_nobody_speaks(network: SpeechEmotion) -> None:
    generator = np.random.default_rng(3)
    clock = np.arange(5 * SAMPLE_RATE) / SAMPLE_RATE
    sounds = {
        "silence": np.zeros(5 * SAMPLE_RATE),
        "faint noise": generator.normal(0, 1e-4, 5 * SAMPLE_RATE),
        "white noise": generator.normal(0, 0.2, 5 * SAMPLE_RATE),
        "hum": 0.3 * np.sin(2 * np.pi * 100 * clock),
    }
    for name, sound in sounds.items():
        reading = network.read(sound.astype(np.float32))
        assert reading.probabilities[:, NEUTRAL].min() > 0.8, name
        assert max(np.abs(reading.arousal).max(), np.abs(reading.valence).max()) < 0.15, name
        assert reading.voiced.mean() < 0.2, name


def test_speech_is_voiced_and_pauses_are_not(network: SpeechEmotion, speech_samples: np.ndarray) -> None:
    pause = np.zeros(4 * SAMPLE_RATE, np.float32)
    reading = network.read(np.concatenate([speech_samples, pause, speech_samples]))
    assert reading.voiced[:100].mean() > 0.5
    assert reading.voiced[105:195].max() < 0.05
    assert reading.probabilities[140:160, NEUTRAL].min() > 0.8


def test_level_does_not_matter(network: SpeechEmotion) -> None:
    speech = read_speech(MEDIA / "angry_voice.flac").samples
    loud, soft = network.read(speech), network.read(speech * np.float32(0.05))
    np.testing.assert_allclose(loud.probabilities, soft.probabilities, atol=0.03)
    np.testing.assert_allclose(loud.arousal, soft.arousal, atol=0.03)


def test_same_recording_gives_same_reading(network: SpeechEmotion, speech_samples: np.ndarray) -> None:
    first, second = network.read(speech_samples), network.read(speech_samples)
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    np.testing.assert_array_equal(first.arousal, second.arousal)


def test_reading_glides(network: SpeechEmotion) -> None:
    sounds = [read_speech(MEDIA / f"{name}_voice.flac").samples for name in ("neutral", "angry", "neutral")]
    reading = network.read(np.concatenate(sounds))
    assert np.abs(np.diff(reading.probabilities, axis=0)).max() < 0.1
    assert np.abs(np.diff(reading.arousal)).max() < 0.1


def test_plain_speech_is_mostly_neutral(network: SpeechEmotion) -> None:
    told = mean(network.read(read_speech(ROOT / "assets" / "english_slt.flac").samples))
    assert told["neutral"] > 0.5
    assert max(told, key=told.get) == "neutral"
    assert abs(told["valence"]) < 0.35 and abs(told["arousal"]) < 0.35


def test_angry_voice_is_told_from_a_flat_one_by_sound_alone(network: SpeechEmotion) -> None:
    angry, neutral = heard(network, "angry"), heard(network, "neutral")
    assert angry["angry"] > neutral["angry"] + 0.25
    assert angry["arousal"] > neutral["arousal"] + 0.3
    assert neutral["neutral"] > angry["neutral"] + 0.25


def test_sad_voice_is_told_from_a_flat_one_by_sound_alone(network: SpeechEmotion) -> None:
    sad, neutral = heard(network, "sad"), heard(network, "neutral")
    assert sad["sad"] > neutral["sad"] + 0.15
    assert sad["valence"] < neutral["valence"]
    assert sad["arousal"] < heard(network, "angry")["arousal"] - 0.3


def test_contempt_is_never_claimed(network: SpeechEmotion, speech_samples: np.ndarray) -> None:
    assert network.read(speech_samples).probabilities[:, EMOTION_INDEX["contempt"]].max() <= 0.02


def test_temperature_and_bias_of_the_config_act(network: SpeechEmotion) -> None:
    speech = read_speech(MEDIA / "angry_voice.flac").samples
    warm = SpeechEmotion.from_config({**network.config, "temperature": 10.0})
    warm.load_state_dict(network.state_dict())
    calm = SpeechEmotion.from_config({**network.config, "bias": (5.0, 0, 0, 0, 0, 0, 0)})
    calm.load_state_dict(network.state_dict())
    usual = network.read(speech).probabilities
    assert warm.eval().read(speech).probabilities.max() < usual.max()
    assert calm.eval().read(speech).probabilities[:, NEUTRAL].mean() > usual[:, NEUTRAL].mean() + 0.1


def test_labels_lie_where_the_circumplex_says() -> None:
    for label, (name, valence, arousal) in voices.LABELS.items():
        if label not in ("calm", "bored"):
            assert (valence, arousal) == pytest.approx(tuple(CIRCUMPLEX[EMOTION_INDEX[name]]))
    assert voices.LABELS["calm"][0] == voices.LABELS["bored"][0] == "neutral"
    assert voices.LABELS["calm"][2] < -0.3 and voices.LABELS["bored"][2] < -0.3


def test_emotions_that_a_corpus_lacks_are_not_pushed_down() -> None:
    """Within the mask the loss is the usual one; outside, the pull is a quarter of what it would be."""
    target = torch.eye(7)[[ANGRY]]
    mask = torch.ones(1, 7)
    mask[0, EMOTION_INDEX["disgusted"]] = 0

    def pull(mask: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(1, 7, requires_grad=True)
        training.emotion_loss(logits, target, mask).sum().backward()
        return logits.grad[0]

    masked, whole = pull(mask), pull(torch.ones(1, 7))
    lacking = EMOTION_INDEX["disgusted"]
    assert 0 < masked[lacking] < 0.35 * masked[NEUTRAL]
    assert whole[lacking] == pytest.approx(whole[NEUTRAL].item())
    assert masked[ANGRY] < 0


def test_corpora_know_which_emotions_they_have() -> None:
    def voice(corpus: str, label: str) -> voices.Voice:
        return voices.Voice(Path("x"), corpus, "a", label, 1.0, [])

    masks = voices.corpus_emotions([voice("one", "angry"), voice("one", "calm"), voice("readers", "neutral")])
    assert [HEARD_EMOTIONS[k] for k in np.flatnonzero(masks["one"])] == ["neutral", "angry"]
    assert masks["readers"].all()  # read speech is neutral and indeed nothing else


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, speech_samples: np.ndarray) -> Path:
    """Acted speech in miniature: "angry" is bright and fast, "sad" is dull; three speakers, and two readers."""
    folder = tmp_path_factory.mktemp("voices")
    rows = []
    dull = np.convolve(speech_samples, np.ones(12) / 12, mode="same").astype(np.float32)
    bright = np.append(0, np.diff(voices.resample(speech_samples, 1.2))).astype(np.float32)
    for speaker, split, pitch in (("a", "train", 1.0), ("b", "train", 1.1), ("c", "dev", 1.05)):
        for label, sound in (("neutral", speech_samples), ("angry", bright), ("sad", dull)):
            for strength in ("01", "02"):
                name = f"ravdess_{speaker}__{label}__03-01-05-{strength}.flac"
                soundfile.write(folder / name, voices.resample(sound[:40_000], pitch), SAMPLE_RATE)
                rows.append((name, "emo_speech", split, f"ravdess_{speaker}", label, "True"))
    for i in range(8):
        soundfile.write(folder / f"{i}.flac", speech_samples[4000 * i : 4000 * i + 24_000], SAMPLE_RATE)
        rows.append((f"{i}.flac", "read_speech", "train", f"libri_{i}", "neutral", "True"))
    rows.append(("secret.flac", "emo_speech", "train", "ravdess_x", "angry", "False"))
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "class", "split", "identity", "emotion", "shippable"))
        writer.writerows(rows)
    return folder


def test_speakers_are_either_taught_or_measured(data: Path) -> None:
    taught, measured = (voices.list_voices(data, data / "manifest.csv", split) for split in ("train", "dev"))
    assert not {voice.speaker for voice in taught} & {voice.speaker for voice in measured}
    assert {"libri_7"} == {voice.speaker for voice in measured if voice.corpus == "libri"}
    assert "ravdess_x" not in {voice.speaker for voice in taught}
    strong = {voice.file.stem[-1]: voice.strength for voice in taught if voice.corpus == "ravdess"}
    assert strong == {"1": 0.75, "2": 1.0}


def test_variations_keep_words_and_change_sound(speech_samples: np.ndarray) -> None:
    generator = np.random.default_rng(0)
    mel = log_mel(speech_samples)
    for _ in range(12):
        varied = voices.vary(speech_samples, generator)
        assert np.isfinite(varied).all() and varied.dtype == np.float32
        assert 0.05 < np.abs(varied).max() <= 1
        assert 0.75 < len(varied) / len(speech_samples) < 1.35
        other = log_mel(varied)
        other = other[np.linspace(0, len(other) - 1, len(mel)).astype(int)]
        assert np.corrcoef(mel.mean(1), other.mean(1))[0, 1] > 0.3


def test_stretching_keeps_the_pitch() -> None:
    clock = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    tone = np.sin(2 * np.pi * 200 * clock).astype(np.float32)
    for factor in (0.8, 1.25):
        stretched = voices.stretch(tone, factor)
        assert len(stretched) == pytest.approx(factor * len(tone), rel=0.03)
        spectrum = np.abs(np.fft.rfft(stretched[2000:18_000]))
        assert spectrum.argmax() == pytest.approx(200, abs=3)


def test_training_lowers_the_loss_and_the_command_writes_a_network(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = [
        "--data", str(data), "--manifest", str(data / "manifest.csv"), "--cache", str(tmp_path / "cache"),
        "--output", str(tmp_path / "network"), "--steps", "20", "--measure-every", "20", "--batch-size", "12",
        "--variations", "1", "--noise-sounds", "2",
    ]  # fmt: skip
    training.main(options)
    assert '"uar"' in capsys.readouterr().out
    assert "/" not in (tmp_path / "network" / "config.json").read_text()
    taught = voices.list_voices(data, data / "manifest.csv", "train")
    voices.hear_voices(taught, tmp_path / "cache", 1, 0)
    batch = next(iter(training.Batches(taught, voices.noise_mels(2, 0), 48, 1)))
    trained = SpeechEmotion.from_pretrained(tmp_path / "network", low_cpu_mem_usage=False)
    torch.manual_seed(0)
    with torch.no_grad():
        answers = [each.eval().both(batch["mel"]) for each in (SpeechEmotion(), trained)]
        before, after = (sum(training.losses(answer, batch).values()).item() for answer in answers)
    assert after < before - 0.1
    training.main([*options, "--evaluate", str(tmp_path / "network")])
    assert '"arousal_auc"' in capsys.readouterr().out


def test_measures_count_what_they_say() -> None:
    assert training.area(np.array([2.0, 3.0]), np.array([1.0, 0.0])) == 1
    assert training.area(np.array([1.0, 1.0]), np.array([1.0])) == 0.5
    assert training.recalls(np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])) == {"neutral": 0.5, "happy": 1.0}
