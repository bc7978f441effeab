"""Backends that hear: wav2vec 2.0 features as Hallo takes them, emotions, valence and arousal of a voice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import SAMPLE_RATE
from tiny_networks import wav2vec2_folder
from transformers import Wav2Vec2ForCTC, Wav2Vec2ForSequenceClassification, Wav2Vec2Model

from synchrorama.audio import frame_count
from synchrorama.backends import wav2vec2
from synchrorama.backends.valence_arousal import VoiceDimensions, _DimensionsNetwork
from synchrorama.backends.voice_emotion import VoiceEmotionClassifier, emotion_of_label
from synchrorama.backends.wav2vec2 import Wav2Vec2Features
from synchrorama.emotion.categories import CIRCUMPLEX, EMOTION_INDEX
from synchrorama.errors import Cancelled, InputError

LABELS = ("neu", "hap", "ang", "sad")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return wav2vec2_folder(tmp_path_factory.mktemp("wav2vec2"), Wav2Vec2Model)


@pytest.fixture(scope="module")
def features(folder):
    return Wav2Vec2Features.from_pretrained(folder)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return VoiceEmotionClassifier.from_pretrained(classifier_folder(tmp_path_factory.mktemp("emotion"), LABELS))


@pytest.fixture(scope="module")
def dimensions(tmp_path_factory):
    return VoiceDimensions.from_pretrained(dimensions_folder(tmp_path_factory.mktemp("dimensions")))


def classifier_folder(path, labels):
    labels = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    return wav2vec2_folder(path, Wav2Vec2ForSequenceClassification, safe=False, **labels)


def dimensions_folder(path, labels=("arousal", "dominance", "valence")):
    labels = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    stable = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
    return wav2vec2_folder(path, _DimensionsNetwork, **labels, **stable)


def as_hallo(folder, samples, frames, padding=0):
    """HALLO_ARCH §3 by the library's own forward: normalise, pad, convolve, interpolate, encode, stack five frames."""

    class Interpolated(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return F.interpolate(self.inner(x), size=frames, mode="linear", align_corners=True)

    network = Wav2Vec2Model.from_pretrained(folder).eval()
    network.feature_extractor = Interpolated(network.feature_extractor)
    samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    samples = torch.from_numpy(np.pad(samples, (0, padding)))[None]
    with torch.no_grad():
        output = network(samples, output_hidden_states=True)
    # with "stable" norms the last state was normalised when Hallo was written, as the library's last_hidden_state is
    hidden = torch.stack([*output.hidden_states[1:-1], output.last_hidden_state], 2)[0]
    near = (torch.arange(frames)[:, None] + torch.arange(-2, 3)).clamp(0, frames - 1)
    return hidden[near]


@pytest.mark.parametrize(("samples", "frames", "padding"), [(2 * SAMPLE_RATE, 50, 0), (20_000, 48, 16 * 640)])
def test_the_features_are_those_of_hallo(folder, features, speech_samples, samples, frames, padding):
    """The second case is a last clip of 16 frames that silence fills up."""
    found = features(speech_samples[:samples], frames)
    assert found.shape == (frames, 5, 3, 16) and found.dtype == torch.float32
    torch.testing.assert_close(found, as_hallo(folder, speech_samples[:samples], frames, padding), atol=1e-5, rtol=1e-5)


def test_networks_that_normalise_before_each_layer_are_read_as_well(tmp_path, speech_samples):
    folder = wav2vec2_folder(tmp_path, Wav2Vec2Model, feat_extract_norm="layer", do_stable_layer_norm=True)
    found = Wav2Vec2Features.from_pretrained(folder)(speech_samples[:16_000], 25)
    torch.testing.assert_close(found, as_hallo(folder, speech_samples[:16_000], 25), atol=1e-5, rtol=1e-5)


def test_weights_as_older_versions_of_the_library_named_them(tmp_path, features, speech_samples):
    """facebook/wav2vec2-base-960h: a head beside, other names in the positional convolution, no mask embedding."""
    folder = wav2vec2_folder(tmp_path, Wav2Vec2ForCTC, safe=False)
    tensors = {f"wav2vec2.{name}": tensor for name, tensor in features.network.state_dict().items()}
    tensors |= {"lm_head.weight": torch.zeros(32, 16), "lm_head.bias": torch.zeros(32)}
    del tensors["wav2vec2.masked_spec_embed"]
    for number, old in enumerate(("weight_g", "weight_v")):
        new = f"parametrizations.weight.original{number}"
        tensors = {name.replace(new, old): tensor for name, tensor in tensors.items()}
    torch.save(tensors, folder / "pytorch_model.bin")
    sound = speech_samples[:SAMPLE_RATE]
    torch.testing.assert_close(Wav2Vec2Features.from_pretrained(folder)(sound, 25), features(sound, 25))


def test_neighbours_are_clamped_at_the_ends(features, speech_samples):
    found = features(speech_samples[:SAMPLE_RATE], 25)
    assert torch.equal(found[0, 0], found[0, 2]) and torch.equal(found[24, 4], found[24, 2])
    assert torch.equal(found[10, 4], found[12, 2]) and not torch.equal(found[10, 4], found[10, 2])


def test_the_features_of_a_frame_move_with_the_sound(features, speech_samples):
    """A word that comes ten frames later is heard ten frames later."""
    noise = np.random.default_rng(0).normal(0, 0.01, 6400).astype(np.float32)  # as long as the shift, and repeated
    sounds = [np.tile(noise, 10) for _ in range(2)]
    for sound, start in zip(sounds, (SAMPLE_RATE, SAMPLE_RATE + 6400), strict=True):
        sound[start : start + SAMPLE_RATE] += speech_samples[:SAMPLE_RATE]
    early, late = (features(sound, 100)[:, 2, 0] for sound in sounds)
    distances = [float((early[30:50] - late[30 + shift : 50 + shift]).norm()) for shift in range(21)]
    assert int(np.argmin(distances)) == 10
    assert distances[10] < 0.1 * min(distances[:10] + distances[11:])


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_long_recordings_in_pieces_are_nearly_those_of_one_pass(tmp_path, monkeypatch, speech_samples, norm):
    features = Wav2Vec2Features.from_pretrained(wav2vec2_folder(tmp_path, Wav2Vec2Model, feat_extract_norm=norm))
    sound = np.tile(speech_samples, 4)
    frames = frame_count(len(sound) / SAMPLE_RATE)
    whole = features(sound, frames)
    convolved = features._convolved(features._prepared(sound, frames))
    monkeypatch.setattr(wav2vec2, "_ONE_PASS", 200)
    monkeypatch.setattr(wav2vec2, "_PIECE", 110)
    monkeypatch.setattr(wav2vec2, "_CONTEXT", 50)
    pieces = features(sound, frames)
    torch.testing.assert_close(
        features._convolved(features._prepared(sound, frames)), convolved, atol=1e-5, rtol=1e-4
    )  # fmt: skip
    assert pieces.shape == whole.shape
    difference, spread = (pieces - whole).norm(), (whole - whole.mean(0)).norm()
    assert 0 < difference < 0.15 * spread


@pytest.mark.parametrize(("samples", "frames"), [(0, 1), (100, 1), (4800, 8), (16_100, 25), (16_500, 26)])
def test_any_length_gives_the_frames_that_are_asked_for(features, speech_samples, samples, frames):
    found = features(speech_samples[:samples], frames)
    assert found.shape[0] == frames and torch.isfinite(found).all()


def test_precision_is_that_which_is_asked_for(folder, features, speech_samples):
    half = Wav2Vec2Features.from_pretrained(folder, dtype=torch.bfloat16)
    assert half.network.dtype == torch.bfloat16 and not half.network.training
    found, exact = half(speech_samples[:SAMPLE_RATE], 25), features(speech_samples[:SAMPLE_RATE], 25)
    assert found.dtype == torch.float32
    assert 0 < (found - exact).norm() < 0.1 * exact.norm()


# ------------------------------------------------------------------------------------------------ emotions of a voice


@pytest.mark.parametrize("samples", [0, 100, 4800, 47_999, 64_000])
def test_any_length_is_read_on_the_frame_clock(classifier, dimensions, speech_samples, samples):
    reading = classifier.read(speech_samples[:samples])
    frames = frame_count(samples / SAMPLE_RATE)
    assert reading.probabilities.shape == (frames, 8) and reading.probabilities.dtype == np.float32
    np.testing.assert_allclose(reading.probabilities.sum(1), 1, atol=1e-5)
    assert reading.probabilities.min() >= 0
    assert reading.valence.shape == reading.arousal.shape == reading.voiced.shape == (frames,)
    np.testing.assert_allclose(np.stack([reading.valence, reading.arousal], 1), reading.probabilities @ CIRCUMPLEX)
    valence, arousal = dimensions.read(speech_samples[:samples])
    assert valence.shape == arousal.shape == (frames,) and valence.dtype == arousal.dtype == np.float32
    assert np.abs([valence, arousal]).max() <= 1


def test_only_what_the_labels_name_is_felt(classifier, speech_samples):
    reading = classifier.read(speech_samples)
    felt = reading.probabilities.max(0) > 1e-6
    assert [name for name, i in EMOTION_INDEX.items() if felt[i]] == ["neutral", "happy", "sad", "angry"]


def test_labels_are_taken_by_name_and_not_by_place(tmp_path, classifier, speech_samples):
    other = VoiceEmotionClassifier.from_pretrained(classifier_folder(tmp_path, ("Calm", "male_anger", "joy", "fear")))
    one, two = classifier.read(speech_samples).probabilities, other.read(speech_samples).probabilities
    for left, right in (("happy", "angry"), ("angry", "happy"), ("sad", "fearful"), ("neutral", "neutral")):
        np.testing.assert_allclose(one[:, EMOTION_INDEX[left]], two[:, EMOTION_INDEX[right]], atol=1e-5)


@pytest.mark.parametrize(
    ("label", "emotion"),
    [("Happiness", "happy"), ("hap", "happy"), ("neu", "neutral"), ("calm", "neutral"), ("ANG", "angry"),
     ("fear", "fearful"), ("disgust", "disgusted"), ("surprised", "surprised"), ("female_sad", "sad"),
     ("生气/angry", "angry"), ("contempt", "contempt"), ("other", None), ("LABEL_0", None)],
)  # fmt: skip
def test_label_words(label, emotion):
    assert emotion_of_label(label) == emotion


def test_labels_that_name_no_emotions_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"^The labels of the voice emotion classifier \(yes, no, happy\) name fewer"):
        VoiceEmotionClassifier.from_pretrained(classifier_folder(tmp_path, ("yes", "no", "happy")))


def test_reading_follows_the_voice_over_time(classifier, dimensions, speech_samples):
    """What is heard in a part depends on that part: another sound in front leaves a distant part as it is."""
    noise = np.random.default_rng(1).normal(0, 0.1, 8 * SAMPLE_RATE).astype(np.float32)
    speech = np.tile(speech_samples, 2)
    joined = np.concatenate([noise, speech])
    alone = np.stack(dimensions.read(speech))
    behind = np.stack(dimensions.read(joined))[:, -len(alone[0]) :]
    noisy = np.stack(dimensions.read(joined))[:, : len(alone[0])]
    np.testing.assert_allclose(alone[:, 120:], behind[:, 120:], atol=0.05)
    assert np.abs(noisy[:, 50:100] - behind[:, 120:170]).max() > 0.05
    repeated = classifier.read(joined)
    np.testing.assert_array_equal(repeated.probabilities, classifier.read(joined).probabilities)


def test_silence_is_neutral(classifier, dimensions, speech_samples):
    sound = np.concatenate([speech_samples, np.zeros(8 * SAMPLE_RATE, np.float32)])
    reading = classifier.read(sound)
    assert reading.probabilities[-1, 0] > 0.99 and reading.voiced[-100:].max() == 0
    assert reading.probabilities[50, 0] < 0.95 and reading.voiced[:100].max() == 1
    assert np.abs(np.stack(dimensions.read(sound))[:, -1]).max() < 0.01


def test_reading_can_be_stopped(classifier, dimensions, speech_samples):
    def stop():
        raise Cancelled

    for reader in (classifier, dimensions):
        calls = []
        reader.read(np.tile(speech_samples, 3), lambda calls=calls: calls.append(1))
        assert len(calls) > 1
        with pytest.raises(Cancelled):
            reader.read(speech_samples, stop)


def test_valence_and_arousal_are_the_third_and_first_of_three_outputs(tmp_path, dimensions, speech_samples):
    """As published: arousal, dominance, valence, in about 0 to 1. Names, where there are any, go before places."""
    window = speech_samples[: 3 * SAMPLE_RATE]
    window = (window - window.mean()) / np.sqrt(window.var() + 1e-7)
    with torch.no_grad():
        hidden = dimensions.network.wav2vec2(torch.from_numpy(window)[None]).last_hidden_state.mean(1)
        head = dimensions.network.classifier
        expected = 2 * head.out_proj(torch.tanh(head.dense(hidden)))[0] - 1
    heard = dimensions._hear([speech_samples[: 3 * SAMPLE_RATE]])[0]
    np.testing.assert_allclose(heard, expected[[2, 0]].clip(-1, 1), atol=1e-5)
    named = VoiceDimensions.from_pretrained(dimensions_folder(tmp_path, ("valence", "x", "arousal")))
    np.testing.assert_allclose(named._hear([speech_samples[: 3 * SAMPLE_RATE]])[0], heard[::-1], atol=1e-5)


def test_the_published_names_of_the_head(dimensions):
    names = set(dimensions.network.state_dict())
    assert {"classifier.dense.weight", "classifier.out_proj.bias", "wav2vec2.encoder.layer_norm.weight"} <= names
