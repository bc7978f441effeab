"""Folders of published weights that are damaged, foreign or hostile: one sentence each, and nothing is run."""

from __future__ import annotations

import importlib
import json
import os
import pickle

import pytest
import torch
from tiny_networks import (
    as_pickle,
    clip_folder,
    sentiment_folder,
    vision_language_folder,
    wav2vec2_folder,
    whisper_folder,
)
from transformers import Wav2Vec2ForSequenceClassification, Wav2Vec2Model

from synchrorama.errors import InputError

EMOTIONS = {"id2label": {0: "hap", 1: "sad"}, "label2id": {"hap": 0, "sad": 1}}
DIMENSIONS = ("arousal", "dominance", "valence")


def dimensions_folder(folder):
    from synchrorama.backends.valence_arousal import _DimensionsNetwork

    labels = {"id2label": dict(enumerate(DIMENSIONS)), "label2id": {name: i for i, name in enumerate(DIMENSIONS)}}
    return wav2vec2_folder(folder, _DimensionsNetwork, **labels)


BACKENDS = {
    "wav2vec2.Wav2Vec2Features": (lambda folder: wav2vec2_folder(folder, Wav2Vec2Model), "the sound features"),
    "whisper.WhisperTranscriber": (lambda folder: whisper_folder(folder, " Hello"), "the speech recogniser"),
    "sentiment.MultilingualSentiment": (sentiment_folder, "the sentiment classifier"),
    "voice_emotion.VoiceEmotionClassifier": (
        lambda folder: wav2vec2_folder(folder, Wav2Vec2ForSequenceClassification, **EMOTIONS),
        "the voice emotion classifier",
    ),
    "valence_arousal.VoiceDimensions": (dimensions_folder, "the valence-arousal network"),
    "clip.ClipTextEncoder": (clip_folder, "the text encoder"),
    "clip.ClipImageEncoder": (clip_folder, "the image encoder"),
    "vision_language.VisionLanguageDescriber": (vision_language_folder, "the vision-language model"),
}


pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")


@pytest.fixture(params=BACKENDS, ids=lambda name: name.split(".")[1])
def backend(request, tmp_path):
    """The class, a folder of its own, and what messages call it."""
    module, name = request.param.split(".")
    make, part = BACKENDS[request.param]
    return getattr(importlib.import_module(f"synchrorama.backends.{module}"), name), make(tmp_path / "weights"), part


def refusal(kind, folder):
    with pytest.raises(InputError) as caught:
        kind.from_pretrained(folder)
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence and os.fspath(folder.parent) not in sentence
    return sentence


def test_both_forms_of_weights_give_the_same_network(backend):
    kind, folder, _ = backend
    safe = kind.from_pretrained(folder).network.state_dict()
    pickled = kind.from_pretrained(as_pickle(folder)).network.state_dict()
    assert safe.keys() == pickled.keys() and all(torch.equal(safe[name], pickled[name]) for name in safe)


def test_networks_do_not_train_and_have_the_precision_that_is_asked_for(backend):
    kind, folder, _ = backend
    network = kind.from_pretrained(folder, dtype=torch.bfloat16).network
    assert not any(module.training for module in network.modules())
    assert {weight.dtype for weight in network.parameters()} == {torch.bfloat16}


def test_damaged_folders_are_explained(backend):
    kind, folder, part = backend
    weights, config = folder / "model.safetensors", folder / "config.json"
    whole, settings = weights.read_bytes(), config.read_text()
    weights.write_bytes(whole[: len(whole) // 2])
    assert f"of {part}" in refusal(kind, folder) and "damaged" in refusal(kind, folder)
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "damaged" in refusal(kind, folder)
    weights.unlink()
    assert f"The folder of {part}" in refusal(kind, folder) and "has no weights" in refusal(kind, folder)
    weights.write_bytes(whole)
    config.write_text(settings[: len(settings) // 2])
    assert f"of {part}" in refusal(kind, folder)
    config.unlink()
    assert f"of {part}" in refusal(kind, folder)
    assert f"There is no folder with the weights of {part}" in refusal(kind, folder / "nowhere")


def test_weights_that_are_not_all_there_are_refused(backend):
    """A network would start with random numbers where the file has none."""
    from safetensors.torch import load_file, save_file

    kind, folder, part = backend
    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for i, (name, tensor) in enumerate(sorted(tensors.items())) if i % 2}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    assert f"The weights of {part}" in refusal(kind, folder) and "lack" in refusal(kind, folder)


class _Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (os.fspath(self.path),)


def test_code_in_a_pickle_is_not_run(backend, tmp_path):
    kind, folder, part = backend
    (folder / "model.safetensors").unlink()
    torch.save({"weight": _Hostile(tmp_path / "run")}, folder / "pytorch_model.bin")
    assert f"The weights of {part}" in refusal(kind, folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Hostile(tmp_path / "run")))
    refusal(kind, folder)
    assert not (tmp_path / "run").exists()


def test_code_in_the_folder_is_not_run(backend, tmp_path):
    """What a repository would have run with trust_remote_code."""
    kind, folder, _ = backend
    (folder / "own.py").write_text(f"import os\nos.mkdir({os.fspath(tmp_path / 'run')!r})\nclass Own: pass\n")
    kinds = ("Config", "Model", "Tokenizer", "FeatureExtractor", "Processor", "ImageProcessor",
             "ModelForImageTextToText", "ModelForAudioClassification", "ModelForSequenceClassification")  # fmt: skip
    own = {"auto_map": {f"Auto{kind}": "own.Own" for kind in kinds}}
    for path in folder.glob("*.json"):
        settings = json.loads(path.read_text(encoding="utf-8"))
        if path.name.endswith("config.json"):
            path.write_text(json.dumps(settings | own))
    kind.from_pretrained(folder)
    assert not (tmp_path / "run").exists()


def test_library_messages_do_not_reach_the_user(backend, capfd):
    """Progress bars and reports of weights that are not needed are for those who program with the library."""
    kind, folder, _ = backend
    capfd.readouterr()
    kind.from_pretrained(folder)
    assert capfd.readouterr() == ("", "")
