"""The full profile in miniature: each repository that checkpoints/full.json names, with random weights of its kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conftest import REPOSITORY
from hallo_reference import named_tensors
from hub_server import Files, HubServer, files_of
from tiny_networks import clip_folder, sentiment_folder, vision_language_folder, wav2vec2_folder, whisper_folder

from synchrorama.diffusion.networks import DiffusionNetworks

FULL = json.loads((REPOSITORY / "checkpoints" / "full.json").read_text(encoding="utf-8"))
HALLO, AUDEERING = "fudan-generative-ai/hallo", "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim"
WHISPER, SMOLVLM, VAE = "openai/whisper-small", "HuggingFaceTB/SmolVLM-256M-Instruct", "stabilityai/sd-vae-ft-mse"
SENTIMENT, CLIP = "cardiffnlp/twitter-xlm-roberta-base-sentiment", "openai/clip-vit-large-patch14"
VOICE, SOUND = "superb/wav2vec2-base-superb-er", "facebook/wav2vec2-base-960h"
_UNET = {"block_out_channels": [8, 8, 16, 16], "attention_levels": [2], "heads": 2, "groups": 4, "image_width": 8}
PARTS = {
    "reference_net": _UNET,
    "denoising_unet": {**_UNET, "audio_width": 8},
    "image_projection": {"width": 8},
    "audio_projection": {"width_in": 5 * 12 * 8, "hidden": 16, "width": 8},
    "face_locator": {"channels": 8},
}
"""Hallo's networks, with attention where it is cheap: on 16 × 16 of the 64 × 64 latents."""

SAYS = "I love this wonderful day."


def _voice(folder: Path) -> None:
    from transformers import Wav2Vec2ForSequenceClassification

    labels = {0: "neu", 1: "hap", 2: "ang", 3: "sad"}
    wav2vec2_folder(folder, Wav2Vec2ForSequenceClassification, id2label=labels)


def _dimensions(folder: Path) -> None:
    from synchrorama.backends.valence_arousal import _DimensionsNetwork

    wav2vec2_folder(folder, _DimensionsNetwork, num_labels=3, id2label={0: "arousal", 1: "dominance", 2: "valence"})


def _sound(folder: Path) -> None:
    from transformers import Wav2Vec2Model

    width = PARTS["denoising_unet"]["audio_width"]
    wav2vec2_folder(folder, Wav2Vec2Model, hidden_size=width, num_hidden_layers=12)


def _vision_language(folder: Path) -> None:
    """With its chat template as the published repository has it, in a file that this library writes no more."""
    vision_language_folder(folder)
    template = folder / "chat_template.jinja"
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template.read_text()}))
    template.unlink()


def _autoencoder(folder: Path) -> None:
    from diffusers import AutoencoderKL

    torch.manual_seed(4)
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4,) * 4, layers_per_block=1, norm_num_groups=2, latent_channels=4, sample_size=512,
    ).save_pretrained(folder)  # fmt: skip


def _hallo(folder: Path) -> None:
    (folder / "hallo").mkdir(parents=True)
    torch.save(named_tensors(DiffusionNetworks(PARTS)), folder / "hallo" / "net.pth")
    _face_network(folder / "face_analysis" / "models" / "glintr100.onnx")


def _face_network(path: Path) -> None:
    """Faces of 112 × 112 pixels → 512 numbers that depend on their mean colour."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    path.parent.mkdir(parents=True)
    weights = np.random.default_rng(0).normal(size=(3, 512)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["face"], ["colour"]),
            helper.make_node("Flatten", ["colour"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["embedding"]),
        ],
        "face",
        [helper.make_tensor_value_info("face", TensorProto.FLOAT, ["batch", 3, 112, 112])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 512])],
        [numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


_MADE: dict[str, Callable[[Path], Any]] = {
    WHISPER: lambda folder: whisper_folder(folder, SAYS),
    SENTIMENT: sentiment_folder,
    VOICE: _voice,
    AUDEERING: _dimensions,
    SMOLVLM: _vision_language,
    SOUND: _sound,
    VAE: _autoencoder,
    CLIP: clip_folder,
    HALLO: _hallo,
}


def repositories(folder: Path) -> dict[str, Files]:
    """Repository → its files, made in ``folder``; those that these libraries write no more are there, but empty."""
    made = {}
    for name, make in _MADE.items():
        place = folder / name.replace("/", "--")
        make(place)
        files = files_of(place)
        for entry in entries(name):
            for file in entry["files"]:
                if "*" not in file and file not in files:
                    files[file] = b"{}" if file.endswith(".json") else b""
        made[name] = files
    return made


def entries(repository: str | None = None) -> list[dict[str, Any]]:
    """The entries of the full profile that name a repository; this one, if it is given."""
    found = [each for listed in FULL["components"].values() for each in listed if "repository" in each]
    return [each for each in found if repository in (None, each["repository"])]


def revision(repository: str) -> str:
    (found,) = {each["revision"] for each in entries(repository)}
    return found


def serve(hub: HubServer, made: dict[str, Files]) -> None:
    """Have the server hold the repositories, each under the commit that the profile names."""
    for name, files in made.items():
        hub.commit(files, repository=name, number=revision(name))


def write_profile(folder: Path, **changes: Any) -> Path:
    """checkpoints/full.json below ``folder``, for networks as small as the repositories have them."""
    profile = json.loads(json.dumps({**FULL, **changes}))
    for entry in profile["components"].get("diffusion", []):
        if "hallo" in entry:
            entry["hallo"]["parts"] = PARTS
    path = folder / "checkpoints" / "full.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(profile))
    if not (path.parent / "mini").exists():
        (path.parent / "mini").symlink_to(REPOSITORY / "checkpoints" / "mini")
    return path
