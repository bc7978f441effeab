"""Backends that see: CLIP, the face embedding on ONNX, descriptions by a vision-language model."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import onnx
import pytest
import torch
from conftest import ASSETS
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tiny_networks import clip_folder, vision_language_folder
from transformers import CLIPModel

from synchrorama.backends import vision_language
from synchrorama.backends.arcface import ArcFaceEmbedding, aligned_face, five_points, similarity
from synchrorama.backends.clip import ClipImageEncoder, ClipTextEncoder
from synchrorama.backends.vision_language import VisionLanguageDescriber, statements
from synchrorama.errors import InputError
from synchrorama.face import find_portrait
from synchrorama.scene import is_statement


@pytest.fixture(scope="module")
def portrait(photo_path):
    return find_portrait(np.array(Image.open(photo_path).convert("RGB")))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def text_encoder(clip):
    return ClipTextEncoder.from_pretrained(clip)


def test_text_is_encoded_as_by_all_of_clip(clip, text_encoder):
    found = text_encoder.encode("she smiles, then nods.")
    tokens = text_encoder.tokenizer("she smiles, then nods.", padding="max_length", max_length=77, return_tensors="pt")
    with torch.no_grad():
        expected = CLIPModel.from_pretrained(clip).eval().text_model(tokens.input_ids).last_hidden_state[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert found.shape == (77, 32)
    assert not torch.allclose(found, text_encoder.encode("he frowns."), atol=0.01)


def test_texts_of_any_length(text_encoder, capfd):
    assert text_encoder.encode("").shape == (77, 32)
    long = text_encoder.encode("a" * 75 + " smiles")
    assert long.shape == (154, 32) and not torch.allclose(long[:77], long[77:])
    assert capfd.readouterr() == ("", "")
    with pytest.raises(InputError, match=r"^The description has 601 words; give at most 600\.$"):
        text_encoder.encode("nods " * 601)


def test_pictures_are_encoded_as_by_all_of_clip(clip, portrait):
    encoder = ClipImageEncoder.from_pretrained(clip)
    found = encoder(portrait.crop, portrait.landmarks)
    small = np.asarray(Image.fromarray(portrait.crop).resize((32, 32), Image.Resampling.BICUBIC), np.float32) / 255
    mean, spread = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    pixels = torch.from_numpy(((small - mean) / spread).astype(np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        network = CLIPModel.from_pretrained(clip).eval()
        expected = network.visual_projection(network.vision_model(pixels).pooler_output)[0]
    assert found.shape == (24,)
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-3)
    assert not torch.allclose(found, encoder(255 - portrait.crop, portrait.landmarks), atol=0.01)


def test_half_precision_is_nearly_the_same(clip, text_encoder, portrait):
    halves = [kind.from_pretrained(clip, dtype=torch.bfloat16) for kind in (ClipTextEncoder, ClipImageEncoder)]
    whole = ClipImageEncoder.from_pretrained(clip)
    pairs = [
        (halves[0].encode("she nods."), text_encoder.encode("she nods.")),
        (halves[1](portrait.crop, portrait.landmarks), whole(portrait.crop, portrait.landmarks)),
    ]
    for half, exact in pairs:
        assert half.dtype == torch.bfloat16
        assert 0 < (half.float() - exact).norm() < 0.1 * exact.norm()


# ------------------------------------------------------------------------------------------------ ArcFace


def onnx_file(path, size=112, outputs=512):
    """A network that gives the mean of each channel, and of the left half of the picture, in its first six numbers."""
    weight = np.zeros((6, outputs), np.float32)
    weight[range(6), range(6)] = 1
    nodes = [
        helper.make_node("GlobalAveragePool", ["input.1"], ["mean"]),
        helper.make_node("Slice", ["input.1", "begin", "end", "axis"], ["left"]),
        helper.make_node("GlobalAveragePool", ["left"], ["left mean"]),
        helper.make_node("Concat", ["mean", "left mean"], ["both"], axis=1),
        helper.make_node("Flatten", ["both"], ["six"]),
        helper.make_node("MatMul", ["six", "weight"], ["683"]),
    ]
    constants = {"begin": np.array([0]), "end": np.array([size // 2]), "axis": np.array([3]), "weight": weight}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, ["batch", 3, size, size])],
        [helper.make_tensor_value_info("683", TensorProto.FLOAT, ["batch", outputs])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


@pytest.fixture(scope="module")
def arcface(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hallo")
    onnx_file(folder / "face_analysis" / "models" / "glintr100.onnx")
    onnx_file(folder / "face_analysis" / "models" / "genderage.onnx", size=96, outputs=8)
    return ArcFaceEmbedding.from_pretrained(folder)


def test_the_embedding_is_of_the_aligned_face(arcface, portrait):
    """RGB, (x - 127.5) / 127.5, and not normalised: the network gives means that can be reckoned by hand."""
    found = arcface(portrait.crop, portrait.landmarks)
    assert found.shape == (512,) and found.dtype == torch.float32
    face = aligned_face(portrait.crop, portrait.landmarks).astype(np.float64)
    expected = np.concatenate([face.mean((0, 1)), face[:, :56].mean((0, 1))]) / 127.5 - 1
    np.testing.assert_allclose(found[:6], expected, atol=1e-4)
    assert found[0] > found[2]  # skin is more red than blue
    torch.testing.assert_close(arcface(portrait.crop, portrait.landmarks[:, :2]), found)


def test_turned_and_larger_faces_are_aligned_alike(portrait):
    """The embedding of a face does not depend on where and how large it is in the picture."""
    matrix = cv2.getRotationMatrix2D((256, 256), 20, 0.8)
    turned = cv2.warpAffine(portrait.crop, matrix, (512, 512), flags=cv2.INTER_AREA)
    landmarks = portrait.landmarks[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    faces = ((portrait.crop, portrait.landmarks), (turned, landmarks))
    one, two = (aligned_face(*each).astype(float) for each in faces)
    assert np.abs(one - two)[20:90, 20:90].mean() < 8
    assert np.abs(one - two[:, ::-1])[20:90, 20:90].mean() > 16


def test_the_five_points_lie_on_the_template():
    face = find_portrait(np.array(Image.open(ASSETS / "painted_ada.jpg").convert("RGB")))
    points = five_points(face.landmarks)
    template = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]])
    matrix = similarity(points, template)
    assert np.abs(points @ matrix[:, :2].T + matrix[:, 2] - template).max() < 2.5  # pixels of 112
    assert matrix[0, 0] == pytest.approx(matrix[1, 1]) and matrix[0, 1] == pytest.approx(-matrix[1, 0])


def test_a_similarity_is_found_exactly():
    points = np.array([[1.0, 2.0], [5.0, 1.0], [3.0, 7.0]])
    turn = 2.5 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    matrix = similarity(points, points @ turn.T + (3, -4))
    np.testing.assert_allclose(matrix, np.c_[turn, [3, -4]], atol=1e-9)


def test_files_that_are_no_face_embedding_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"^There is no folder with the weights of the face embedding"):
        ArcFaceEmbedding.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"^The folder of the face embedding \(ArcFace\) has no glintr100\.onnx"):
        ArcFaceEmbedding.from_pretrained(tmp_path)
    (tmp_path / "glintr100.onnx").write_bytes(b"nothing that is a network")
    with pytest.raises(InputError, match=r"^The file of the face embedding \(ArcFace\) is damaged"):
        ArcFaceEmbedding.from_pretrained(tmp_path)
    onnx_file(tmp_path / "glintr100.onnx", size=96)
    with pytest.raises(InputError, match=r"does not turn faces of 112 × 112 pixels into vectors"):
        ArcFaceEmbedding.from_pretrained(tmp_path)


def test_without_onnxruntime_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"^The face embedding \(ArcFace\) needs the package onnxruntime; install"):
        ArcFaceEmbedding.from_pretrained(tmp_path)


# ------------------------------------------------------------------------------------------------ descriptions


@pytest.fixture(scope="module")
def describer(tmp_path_factory):
    return VisionLanguageDescriber.from_pretrained(vision_language_folder(tmp_path_factory.mktemp("vlm")))


def described(describer, portrait):
    return describer(portrait.crop, portrait.landmarks, np.zeros(52, np.float32), np.zeros(3))


def test_the_model_is_asked_about_the_photo(describer, portrait, monkeypatch, capfd):
    capfd.readouterr()
    answer = describer._answer(portrait.crop)
    assert capfd.readouterr() == ("", "")
    assert answer and answer == describer._answer(portrait.crop)
    assert answer != describer._answer(255 - portrait.crop)
    assert "Describe" not in answer and "<image>" not in answer
    monkeypatch.setattr(describer, "_answer", lambda crop: "A man with dark hair smiles at the camera. He")
    assert described(describer, portrait) == "In the photo, a man with dark hair smiles at the camera."


def test_where_the_model_says_nothing_the_photo_is_measured(describer, portrait, monkeypatch):
    monkeypatch.setattr(describer, "_answer", lambda crop: " . ")
    monkeypatch.setattr(vision_language, "describe", lambda *arguments: f"measured {len(arguments)}")
    assert described(describer, portrait) == "measured 4"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("The image shows a man in red.\nHe looks down!", "In the photo, a man in red. In the photo, he looks down."),
        ("Assistant: A NASA astronaut smiles, hands folded", "In the photo, a NASA astronaut smiles, hands folded."),
        ("**In this photo**, a boy waves. Oh. And so on.", "In the photo, a boy waves."),
        ("A boy waves. A girl nods. A dog barks.", "In the photo, a boy waves. In the photo, a girl nods."),
        ("A man nods. A man nods. A man nods.", "In the photo, a man nods."),
        ("hair hair hair hair hair hair hair hair hair hair hair hair hair hair hair", ""),
        ("<b></b> 12 34.", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_what_is_said_becomes_statements(answer, said):
    assert statements(answer) == said


def test_descriptions_are_short_statements():
    things = (
        "hair",
        "collar",
        "window",
        "curtain",
        "table",
        "lamp",
        "flower",
        "picture",
        "wall",
        "chair",
        "book",
        "cup",
    )
    text = statements("A person with " + ", ".join(f"a {i} foot tall {thing}" for i, thing in enumerate(things)))
    assert 150 < len(text) < 230 and "\n" not in text and is_statement(text) and text.endswith(".")
