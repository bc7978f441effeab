"""A checkpoint of full size that somebody has trained with our code, in a repository of the Hub."""

from __future__ import annotations

import json

import frame_samples
import pytest
import tiny_profile
from conftest import REPOSITORY
from hub_server import NAME, files_of
from tiny_profile import CLIP, SOUND, VAE

from synchrorama import InputError, SynchroRaMaPipeline
from synchrorama.diffusion.networks import DiffusionNetworks
from synchrorama.frame_stage import FrameStage

MINI = REPOSITORY / "checkpoints" / "mini"


def entry(component: str, backend: str) -> dict:
    return next(each for each in tiny_profile.FULL["components"][component] if each["backend"] == backend)


@pytest.fixture
def trained(full_hub, tmp_path):
    """The Hub with such a checkpoint: it paints whole frames, and reads descriptions with CLIP."""
    components = {
        "diffusion": [{"backend": "frame"}],
        "autoencoder": [entry("autoencoder", "sd-vae")],
        "audio_features": [entry("audio_features", "wav2vec2")],
        "text_encoder": [entry("text_encoder", "clip")],
    }
    frame_samples.networks(ours=True).save_pretrained(tmp_path / "trained" / "diffusion")
    files = {name: data for name, data in files_of(MINI).items() if not name.startswith("diffusion/")}
    profile = json.dumps({"components": components, "defaults": {"inference_steps": 4}}).encode()
    full_hub.commit({**files, **files_of(tmp_path / "trained"), "profile.json": profile})
    return full_hub


def test_it_is_loaded_with_what_it_takes_from_others(trained):
    pipe = SynchroRaMaPipeline.from_pretrained(NAME)
    stage = pipe.diffusion
    assert isinstance(stage, FrameStage) and stage.networks.text_projection is not None
    assert trained.asked() == {NAME, VAE, SOUND, CLIP} and pipe.settings().inference_steps == 4
    assert {name.split("/")[0] for name in trained.fetched()} == {"profile.json", "diffusion"}
    trained.stop()
    assert isinstance(SynchroRaMaPipeline.from_pretrained(NAME).diffusion, FrameStage)


def test_a_text_encoder_of_another_width_is_told(trained, tmp_path):
    parts = frame_samples.networks(ours=True).config.parts
    parts = {**parts, "text_projection": {**parts["text_projection"], "width_in": 40}}
    DiffusionNetworks(parts).save_pretrained(tmp_path / "wide")
    files = dict(trained.commits[trained.branches["main"]])
    trained.commit({**files, **{f"diffusion/{name}": data for name, data in files_of(tmp_path / "wide").items()}})
    with pytest.raises(InputError, match="take 40 numbers from text_encoder and its backend gives 32; choose"):
        _ = SynchroRaMaPipeline.from_pretrained(NAME).diffusion
