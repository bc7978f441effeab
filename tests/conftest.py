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


TALKING_FRAMES = 40


@pytest.fixture(scope="session")
def talking_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mouth that opens and shuts twice a second, and smiles in the second half, with noise for a sound."""
    from synchrorama.blendshapes import BLENDSHAPE_INDEX, MotionSpace
    from synchrorama.face import find_portrait
    from synchrorama.media import Speech, read_photo
    from synchrorama.motion import Motion
    from synchrorama.motion_frames import MotionFrameRenderer
    from synchrorama.video_writer import VideoWriter

    folder, frames = tmp_path_factory.mktemp("video"), TALKING_FRAMES
    space = MotionSpace.from_pretrained(REPOSITORY / "checkpoints" / "mini" / "motion_space")
    portrait = find_portrait(read_photo(ASSETS / "eileen_collins.jpg"))
    motion = Motion.rest(frames)
    motion.column("jawOpen")[:] = 0.5 * np.sin(np.arange(frames) * np.pi / 12) ** 2
    for side in ("Left", "Right"):
        motion.blendshapes[frames // 2 :, BLENDSHAPE_INDEX["mouthSmile" + side]] = 0.6
    sound = 0.1 * np.random.default_rng(0).standard_normal(frames * SAMPLE_RATE // 25).astype(np.float32)
    speech = Speech(sound, len(sound) / SAMPLE_RATE, write_wav(folder / "sound.wav", sound))
    with VideoWriter(folder / "Ada1_0.mp4", 512, 512, speech) as writer:
        for frame in MotionFrameRenderer(portrait.crop, portrait.landmarks, space).frames(motion):
            writer.write(frame)
    return folder / "Ada1_0.mp4"


@pytest.fixture(scope="session")
def pieces(tmp_path_factory: pytest.TempPathFactory, talking_video: Path) -> Path:
    """The video as a piece with latents, by the commands, with tiny networks in the layout of the published ones."""
    import torch
    from diffusers import AutoencoderKL
    from tiny_networks import wav2vec2_folder
    from transformers import Wav2Vec2Model

    from synchrorama.__main__ import main

    folder, networks = tmp_path_factory.mktemp("pieces"), tmp_path_factory.mktemp("networks")
    assert not main(["prepare", "clips", str(talking_video), "--layout", "hdtf", "-o", str(folder)])
    torch.manual_seed(0)
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 6, up_block_types=("UpDecoderBlock2D",) * 6,
        block_out_channels=(4,) * 6, norm_num_groups=2, latent_channels=4, mid_block_add_attention=False,
    ).save_pretrained(networks / "autoencoder")  # fmt: skip
    wav2vec2_folder(networks / "wav2vec2", Wav2Vec2Model)
    encoders = ["--autoencoder", str(networks / "autoencoder"), "--wav2vec2", str(networks / "wav2vec2")]
    for _ in range(2):
        assert not main(["prepare", "latents", str(folder), *encoders])
    return folder


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
