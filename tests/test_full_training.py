"""Training of the full networks: pieces of a video that the test renders, and both stages with tiny networks on them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_wav
from diffusers import AutoencoderKL
from safetensors.torch import load_file

from synchrorama import InputError
from synchrorama.__main__ import main as command_line
from synchrorama.blendshapes import BLENDSHAPE_INDEX, MotionSpace
from synchrorama.diffusion import DiffusionNetworks
from synchrorama.diffusion.autoencoder import KLAutoencoder
from synchrorama.diffusion.frame_denoiser import FrameDenoiser
from synchrorama.diffusion_stage import read_networks
from synchrorama.emotion.categories import EMOTION_INDEX
from synchrorama.face import find_portrait
from synchrorama.media import SPEECH_SAMPLE_RATE, Speech, read_photo
from synchrorama.motion import Motion
from synchrorama.motion_frames import MotionFrameRenderer
from synchrorama.scene import TextEncoder
from synchrorama.training import frame_diffusion
from synchrorama.training.clips import Piece, prepare_clips
from synchrorama.training.frame_batches import PieceClips
from synchrorama.training.frame_config import FrameRunConfig
from synchrorama.training.latents import Encoders, encode_pieces, read_video
from synchrorama.training.layouts import Source, find_sources, part
from synchrorama.training.starting_weights import TRAINED, start_from
from synchrorama.video_writer import VideoWriter

ROOT = Path(__file__).resolve().parent.parent
MINI = ROOT / "checkpoints" / "mini"
PHOTO = ROOT / "assets" / "eileen_collins.jpg"
T = 40
CELLS = 16  # of 32 pixels
UNET = {"block_out_channels": [8, 8, 16], "layers_per_block": 1, "attention_levels": [1, 2], "heads": 2, "groups": 4}
UNET |= {"image_width": 8}
STAGE_1 = {
    "reference_net": UNET,
    "denoising_unet": {**UNET, "audio_width": None, "max_frames": 0, "stored_temporal": False},
    "image_projection": {"width_in": 6, "tokens": 2, "width": 8},
    "face_locator": {"channels": 8, "widths": [4, 4, 4, 4, 4, 8]},
    "motion_guide": {"channels": 8, "pixels": 32},
}  # fmt: skip
STAGE_2 = {
    **STAGE_1,
    "denoising_unet": {**UNET, "audio_width": 8, "max_frames": 8, "condition_widths": {"emotion": 8, "text": 8}},
    "audio_projection": {"width_in": 5 * 2 * 3, "hidden": 8, "tokens": 2, "width": 8},
    "emotion_projection": {"width_in": 24, "tokens": 2, "width": 8},
    "text_projection": {"width_in": 32, "tokens": 1, "width": 8},
}
FEW = {
    1: {"clip_frames": 1, "frames_before": 0, "clips_per_step": 2, "networks": STAGE_1},
    2: {"clip_frames": 4, "frames_before": 2, "clips_per_step": 1, "networks": STAGE_2},
}


@pytest.fixture(scope="module")
def space() -> MotionSpace:
    return MotionSpace.from_pretrained(MINI / "motion_space")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, space: MotionSpace) -> Path:
    """A mouth that opens and shuts twice a second, and smiles in the second half, with noise for a sound."""
    folder = tmp_path_factory.mktemp("video")
    portrait = find_portrait(read_photo(PHOTO))
    blendshapes = np.zeros((T, 52))
    blendshapes[:, BLENDSHAPE_INDEX["jawOpen"]] = 0.5 * np.sin(np.arange(T) * np.pi / 12) ** 2
    for side in ("Left", "Right"):
        blendshapes[T // 2 :, BLENDSHAPE_INDEX["mouthSmile" + side]] = 0.6
    sound = 0.1 * np.random.default_rng(0).standard_normal(T * SPEECH_SAMPLE_RATE // 25).astype(np.float32)
    speech = Speech(sound, len(sound) / SPEECH_SAMPLE_RATE, write_wav(folder / "sound.wav", sound))
    motion = Motion(blendshapes, np.zeros((T, 3)), np.zeros((T, 3)))
    with VideoWriter(folder / "Ada1_0.mp4", 512, 512, speech) as writer:
        for frame in MotionFrameRenderer(portrait.crop, portrait.landmarks, space).frames(motion):
            writer.write(frame)
    return folder / "Ada1_0.mp4"


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory, video: Path, space: MotionSpace) -> Path:
    """The video as a piece, with latents of a tiny autoencoder, two layers of three features of the sound, and text."""
    folder = tmp_path_factory.mktemp("pieces")
    source = Source(video, video, "Ada1_0", "Ada", {"happy": 0.7})
    assert list(prepare_clips([source], space, folder)) == ["Ada1_0: 1 pieces, 1.6 s"]
    torch.manual_seed(0)
    autoencoder = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 6, up_block_types=("UpDecoderBlock2D",) * 6,
        block_out_channels=(4,) * 6, norm_num_groups=2, latent_channels=4, mid_block_add_attention=False,
    ).eval()  # fmt: skip
    text = TextEncoder.from_pretrained(MINI / "scene_encoder", low_cpu_mem_usage=False).eval()
    encoders = Encoders(
        KLAutoencoder(autoencoder),
        lambda samples, frames: torch.arange(frames)[:, None, None, None].expand(-1, 5, 2, 3) / frames,
        lambda description: text.encode(description).tokens[:1],
        lambda photo, landmarks: torch.full((6,), float(photo.mean() / 255)),
        torch.device("cpu"),
    )
    assert len(list(encode_pieces(folder, encoders))) == 1
    assert list(encode_pieces(folder, encoders)) == []
    return folder


def config(pieces: Path, folder: Path, stage: int, **settings: object) -> FrameRunConfig:
    few = {"steps": 1, "learning_rate": 1e-3, "warm_up": 1, "log_every": 10, "save_every": 100, "moving_average": 0.0}
    given = {**few, **FEW[stage], **settings}
    return FrameRunConfig(pieces=pieces, run=folder / "run", output=folder / "diffusion", stage=stage, **given)


# ------------------------------------------------------------------------------------------ pieces


def test_a_piece_shows_the_face_and_its_motion_frames_in_the_same_place(pieces: Path) -> None:
    (path,) = pieces.glob("*.npz")
    piece = Piece.load(path)
    assert len(piece) == T and piece.identity == "Ada" and path.stem.split("__")[0] in ("train", "dev")
    frames, motion = (read_video(path.with_name(f"{path.stem}.{kind}.mp4"), range(T)) for kind in ("frames", "motion"))
    assert frames.shape == motion.shape == (T, 512, 512, 3)
    assert np.median(np.abs(frames.astype(float) - motion)) < 4
    opening = piece.blendshapes[:, BLENDSHAPE_INDEX["jawOpen"]]
    lips = np.ptp(piece.mouth[..., 1], axis=1)
    assert np.corrcoef(opening, lips)[0, 1] > 0.9 and opening[piece.photo] < np.median(opening)
    assert len(piece.samples) == T * 640 and np.std(piece.samples) == pytest.approx(0.1, rel=0.2)
    assert piece.acted and piece.emotion[:, EMOTION_INDEX["happy"]] == pytest.approx(0.7, abs=1e-3)


def test_without_a_label_the_emotion_is_what_the_face_shows(video: Path, space: MotionSpace, tmp_path: Path) -> None:
    list(prepare_clips([Source(video, video, "Ada1_0", "Ada")], space, tmp_path))
    piece = Piece.load(next(tmp_path.glob("*.npz")))
    happy = piece.emotion[:, EMOTION_INDEX["happy"]]
    assert not piece.acted and happy[-8:].mean() > 5 * happy[:8].mean()
    assert "smiles" in piece.texts[1] and "smiles" not in piece.texts[0]


def test_a_video_that_cannot_be_used_costs_no_other_and_is_tried_again(
    video: Path, space: MotionSpace, tmp_path: Path
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    broken = Source(tmp_path / "broken.mp4", tmp_path / "broken.mp4", "broken", "Bob")
    done = tmp_path / "Ada1_0.json"
    done.write_text("{}")
    sources = [broken, Source(video, video, "Ada1_0", "Ada")]
    for _ in range(2):
        (told,) = prepare_clips(sources, space, tmp_path)
        assert told.startswith("broken: ") and told.endswith(".") and str(tmp_path) not in told
    assert not list(tmp_path.glob("*.npz"))


def test_the_layouts_say_who_speaks_and_how(tmp_path: Path) -> None:
    for name in (
        "M003/video/front/angry/level_2/001.mp4", "M003/video/left_30/angry/level_2/001.mp4",
        "W021/video/1/front/neutral/level_1/030.mp4", "M003/audio/angry/level_2/001.m4a", "M003/video/notes.mp4",
    ):  # fmt: skip
        (tmp_path / "mead" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mead" / name).touch()
    angry, neutral = find_sources([tmp_path / "mead"], "mead")
    assert (angry.identity, angry.name) == ("M003", "M003_front_angry_level_2_001")
    assert angry.sound.suffix == ".m4a" and neutral.sound == neutral.video
    assert angry.embedding(3)[:, EMOTION_INDEX["angry"]] == pytest.approx(0.7)
    assert neutral.embedding(3)[:, EMOTION_INDEX["neutral"]] == pytest.approx(1.0)
    assert [each.name for each in find_sources([tmp_path / "mead"], "mead", "left_30")] == ["M003_left_30_angry_level_2_001"]
    (tmp_path / "hdtf").mkdir()
    for name in ("AmyKlobuchar0_1", "AmyKlobuchar1_0", "Radio11_0", "Radio12_0"):
        (tmp_path / "hdtf" / f"{name}.mp4").touch()
    people = [each.identity for each in find_sources([tmp_path / "hdtf"], "hdtf")]
    assert people == ["AmyKlobuchar", "AmyKlobuchar", "Radio11", "Radio12"]
    with pytest.raises(InputError, match="is named as the layout mead says"):
        find_sources([tmp_path / "hdtf"], "mead")
    people = {"train", "dev"}
    splits = [Source(Path(), Path(), "", f"person {i}").split for i in range(200)]
    assert set(splits) == people and splits.count("dev") < 25
    assert [list(range(5))[part(each)] for each in ("1/2", "2/2")] == [[0, 2, 4], [1, 3]]
    with pytest.raises(InputError, match="write 1/8"):
        part("0/2")


def test_a_batch_is_what_a_generation_tells_the_networks(pieces: Path) -> None:
    clips = PieceClips(pieces, _split(pieces), 6)
    batch, again = (clips.draw(np.random.default_rng(1), 2, 4, 2, 0.0) for _ in range(2))
    assert torch.equal(batch.latents, again.latents)
    assert batch.latents.shape == (2, 4, 4, CELLS, CELLS) and batch.before.shape == (2, 2, 4, CELLS, CELLS)
    assert batch.clip.motion.shape == (2, 4, 3, 512, 512) and batch.clip.place.shape == (2, 4, 1, 512, 512)
    assert batch.clip.sound.shape == (2, 4, 5, 2, 3) and batch.clip.text.shape == (2, 4, 1, 32)
    # frame t is told of sound t in the middle of five
    assert torch.allclose(batch.clip.sound[:, 1:, 1], batch.clip.sound[:, :-1, 2], atol=1e-3)
    assert batch.clip.regions["lip"].amax() > 0.9 and batch.face.min() > 0.1
    start = clips.draw(np.random.default_rng(1), 1, 4, 2, 1.0)
    assert torch.equal(start.before[0, 0], start.photo[0]) and torch.equal(start.before[0, 1], start.photo[0])


# ------------------------------------------------------------------------------------------ stages


@pytest.mark.parametrize("stage", [1, 2])
def test_a_step_moves_what_the_stage_trains_and_nothing_else(pieces: Path, tmp_path: Path, stage: int) -> None:
    everything = dict.fromkeys(("without_image", "without_sound", "without_emotion", "without_guide"), 0.0)
    # What is zero at first stops the gradient of what stands before it: so a second step.
    settings = config(pieces, tmp_path, stage, steps=2, weight_decay=0.0, **everything)
    torch.manual_seed(settings.seed)
    before = {name: each.clone() for name, each in frame_diffusion.make_networks(settings).named_parameters()}
    frame_diffusion.train(settings)
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    after = load_file(tmp_path / "diffusion" / "diffusion_pytorch_model.safetensors")
    moved = {name for name in before if not torch.equal(before[name].half(), after[name])}
    wanted = {name for name in before if re.match(TRAINED[stage], name)}
    idle = {name for name in wanted if re.search(IDLE, name)}
    assert moved == wanted - idle == set(state["networks"])
    assert all(name_of in {name.split(".")[0] for name in moved} for name_of in LEARNS[stage])


LEARNS = {
    1: ("reference_net", "denoising_unet", "image_projection", "face_locator", "motion_guide"),
    2: ("denoising_unet", "audio_projection", "emotion_projection", "text_projection"),
}
# Never run, or run and not read: temporal modules of levels without attentions; after ReferenceNet's last reading.
IDLE = (
    r"denoising_unet\.(down_blocks\.0|up_blocks\.2)\.motion_modules|reference_net\.up_blocks\.2"
    r"|reference_net\.up_blocks\.1\.upsamplers"
    r"|reference_net\.up_blocks\.1\.attentions\.1\.(proj_out|transformer_blocks\.0\.(?!norm1))"
)


def _split(pieces: Path) -> str:
    return next(pieces.glob("*.npz")).stem.split("__")[0]
