"""Small real inputs that the tests share. Everything is seeded, offline and on the processor."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
ASSETS = REPOSITORY / "assets"
SAMPLE_RATE = 16_000

# One thread for each process: threads of several processes that wait for each other on few cores are far slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def photo_path() -> Path:
    """A photo with one face that looks at the camera, lips a little open."""
    return ASSETS / "eileen_collins.jpg"


@pytest.fixture(scope="session")
def speech_samples() -> np.ndarray:
    """Four seconds of clear English speech: (64000,) float32 at 16 kHz."""
    from synchrorama.media import read_speech

    return read_speech(ASSETS / "english_slt.flac").samples[: 4 * SAMPLE_RATE]


@pytest.fixture(scope="session")
def speech_path(speech_samples: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first two seconds of ``speech_samples`` as a wav."""
    return write_wav(tmp_path_factory.mktemp("speech") / "two seconds.wav", speech_samples[: 2 * SAMPLE_RATE])


@pytest.fixture(scope="session")
def pipeline():
    """The pipeline with the shipped weights, loaded once for all tests."""
    from synchrorama import SynchroRaMaPipeline

    return SynchroRaMaPipeline.from_pretrained("checkpoints/mini")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub with a copy of checkpoints/mini, to which huggingface_hub is set as by the environment variables."""
    from hub_server import HubServer, files_of
    from huggingface_hub import constants

    with HubServer() as server:
        server.commit(files_of(REPOSITORY / "checkpoints" / "mini"))
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", server.url)  # the variables themselves are read at import
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
        yield server


@pytest.fixture(scope="session")
def tiny_repositories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """What the full profile names, in miniature."""
    from tiny_profile import repositories

    return repositories(tmp_path_factory.mktemp("repositories"))


@pytest.fixture
def full_hub(hub, tiny_repositories, tmp_path, monkeypatch):
    """The Hub with all that the full profile names, and a working directory whose full profile fits that."""
    from tiny_profile import serve, write_profile

    serve(hub, tiny_repositories)
    write_profile(tmp_path)
    monkeypatch.chdir(tmp_path)
    return hub


def write_wav(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path
