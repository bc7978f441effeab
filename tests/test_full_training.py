"""Training of the full networks: pieces of a video that the test renders, and tiny networks in both stages."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_wav
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from tiny_networks import wav2vec2_folder
from transformers import Wav2Vec2Model

from synchrorama import InputError
from synchrorama.__main__ import main as command_line
from synchrorama.blendshapes import BLENDSHAPE_INDEX, MotionSpace
from synchrorama.diffusion import DiffusionNetworks
from synchrorama.diffusion.frame_denoiser import PASSES, FrameDenoiser
from synchrorama.diffusion.networks import HALLO_PARTS
from synchrorama.diffusion_stage import read_networks
from synchrorama.emotion.categories import EMOTION_INDEX
from synchrorama.face import find_portrait
from synchrorama.media import SPEECH_SAMPLE_RATE, Speech, ffmpeg_path, read_photo
from synchrorama.motion import Motion
from synchrorama.motion_frames import MotionFrameRenderer
from synchrorama.profile import find_profile
from synchrorama.push import files_to_push, model_card
from synchrorama.training import frame_diffusion
from synchrorama.training.clips import Piece, prepare_clips
from synchrorama.training.frame_batches import PieceClips
from synchrorama.training.frame_config import FrameRunConfig
from synchrorama.training.latents import read_video
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
    "audio_projection": {"width_in": 5 * 3 * 16, "hidden": 8, "tokens": 2, "width": 8},
    "emotion_projection": {"width_in": 24, "tokens": 2, "width": 8},
    "text_projection": {"width_in": 32, "tokens": 2, "width": 8},
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
def pieces(tmp_path_factory: pytest.TempPathFactory, video: Path) -> Path:
    """The video as a piece with latents, by the commands, with tiny networks in the layout of the published ones."""
    folder, networks = tmp_path_factory.mktemp("pieces"), tmp_path_factory.mktemp("networks")
    assert not command_line(["prepare", "clips", str(video), "--layout", "hdtf", "-o", str(folder)])
    torch.manual_seed(0)
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 6, up_block_types=("UpDecoderBlock2D",) * 6,
        block_out_channels=(4,) * 6, norm_num_groups=2, latent_channels=4, mid_block_add_attention=False,
    ).save_pretrained(networks / "autoencoder")  # fmt: skip
    wav2vec2_folder(networks / "wav2vec2", Wav2Vec2Model)
    encoders = ["--autoencoder", str(networks / "autoencoder"), "--wav2vec2", str(networks / "wav2vec2")]
    for _ in range(2):
        assert not command_line(["prepare", "latents", str(folder), *encoders])
    return folder


def config(pieces: Path, folder: Path, stage: int, **settings: object) -> FrameRunConfig:
    few = {"steps": 1, "learning_rate": 1e-3, "warm_up": 1, "log_every": 10, "save_every": 100, "moving_average": 0.0}
    given = {**few, **FEW[stage], "run": folder / "run", **settings}
    return FrameRunConfig(pieces=pieces, output=folder / "diffusion", stage=stage, **given)


# ------------------------------------------------------------------------------------------ pieces


def test_a_piece_shows_the_face_and_its_motion_frames_in_the_same_place(pieces: Path) -> None:
    (path,) = pieces.glob("*.npz")
    piece = Piece.load(path)
    assert len(piece) == T and piece.identity == "Ada" and path.stem.startswith("train__Ada__")
    frames, motion = (read_video(path.with_name(f"{path.stem}.{kind}.mp4"), range(T)) for kind in ("frames", "motion"))
    assert frames.shape == motion.shape == (T, 512, 512, 3)
    assert np.median(np.abs(frames.astype(float) - motion)) < 4
    opening = piece.blendshapes[:, BLENDSHAPE_INDEX["jawOpen"]]
    lips = np.ptp(piece.mouth[..., 1], axis=1)
    assert np.corrcoef(opening, lips)[0, 1] > 0.9 and opening[piece.photo] < np.median(opening)
    assert len(piece.samples) == T * 640 and np.std(piece.samples) == pytest.approx(0.1, rel=0.2)
    happy = piece.emotion[:, EMOTION_INDEX["happy"]]
    assert not piece.acted and happy[-8:].mean() > 5 * happy[:8].mean()
    assert "smiles" in piece.texts[1]


def test_an_acted_emotion_is_what_its_label_says_and_other_rates_become_25(
    video: Path, space: MotionSpace, tmp_path: Path
) -> None:
    faster = tmp_path / "faster.mp4"
    command = [ffmpeg_path(), "-i", str(video), "-vf", "fps=30", "-preset", "ultrafast", str(faster)]
    subprocess.run(command, check=True, capture_output=True)
    source = Source(faster, faster, "one", "M003", {"sad": 0.4})
    assert list(prepare_clips([source], space, tmp_path)) == ["one: 1 pieces, 1.6 s"]
    piece = Piece.load(next(tmp_path.glob("*.npz")))
    assert piece.acted and piece.emotion[:, EMOTION_INDEX["sad"]] == pytest.approx(0.4, abs=1e-3)
    opening = piece.blendshapes[:, BLENDSHAPE_INDEX["jawOpen"]]
    assert np.corrcoef(opening, np.sin(np.arange(T) * np.pi / 12) ** 2)[0, 1] > 0.9


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
    assert [each.name for each in find_sources([tmp_path / "mead"], "mead", "left_30")] == [
        "M003_left_30_angry_level_2_001"
    ]
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
    clips = PieceClips(pieces, "train", 6)
    batch, again = (clips.draw(np.random.default_rng(1), 2, 4, 2, 0.0) for _ in range(2))
    assert torch.equal(batch.latents, again.latents)
    assert batch.latents.shape == (2, 4, 4, CELLS, CELLS) and batch.before.shape == (2, 2, 4, CELLS, CELLS)
    assert batch.clip.motion.shape == (2, 4, 3, 512, 512) and batch.clip.place.shape == (2, 4, 1, 512, 512)
    assert batch.clip.sound.shape == (2, 4, 5, 3, 16) and batch.clip.text.shape == (2, 4, 1, 32)
    # frame t is told of sound t in the middle of five
    assert torch.allclose(batch.clip.sound[:, 1:, 1], batch.clip.sound[:, :-1, 2], atol=1e-3)
    assert batch.clip.regions["lip"].amax() > 0.9 and not batch.face.any()
    start = clips.draw(np.random.default_rng(1), 1, 4, 2, 1.0)
    assert torch.equal(start.before[0, 0], start.photo[0]) and torch.equal(start.before[0, 1], start.photo[0])


# ------------------------------------------------------------------------------------------ stages


@pytest.mark.parametrize("stage", [1, 2])
def test_a_step_moves_what_the_stage_trains_and_nothing_else(pieces: Path, tmp_path: Path, stage: int) -> None:
    everything = dict.fromkeys(("without_image", "without_sound", "without_emotion", "without_guide"), 0.0)
    # What is zero at first stops the gradient of what stands before it: so a few steps.
    settings = config(pieces, tmp_path, stage, steps=4, weight_decay=0.0, learning_rate=3e-3, **everything)
    torch.manual_seed(settings.seed)
    before = {name: each.detach().clone() for name, each in frame_diffusion.make_networks(settings).named_parameters()}
    frame_diffusion.train(settings)
    trained = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["networks"]
    moved = {name for name, each in trained.items() if not torch.equal(before[name], each)}
    wanted = {name for name in before if re.match(TRAINED[stage], name) and not re.search(IDLE, name)}
    assert set(trained) == wanted
    assert moved == wanted - {"image_projection.proj.weight"}  # of which zeros ask nothing: no face was embedded
    assert {name.split(".")[0] for name in moved} == LEARNS[stage]
    after = load_file(tmp_path / "diffusion" / "diffusion_pytorch_model.safetensors")
    for name in before:
        assert torch.equal(after[name], trained.get(name, before[name]).half()), name


LEARNS = {
    1: {"reference_net", "denoising_unet", "image_projection", "face_locator", "motion_guide"},
    2: {"denoising_unet", "audio_projection", "emotion_projection", "text_projection"},
}
# Never run, or run and not read: temporal modules of levels without attentions; after ReferenceNet's last reading.
IDLE = (
    r"denoising_unet\.(down_blocks\.0|up_blocks\.2)\.motion_modules|reference_net\.up_blocks\.2"
    r"|reference_net\.up_blocks\.1\.upsamplers"
    r"|reference_net\.up_blocks\.1\.attentions\.1\.(proj_out|transformer_blocks\.0\.(?!norm1))"
)


def test_fifty_steps_lower_the_loss(pieces: Path, tmp_path: Path) -> None:
    settings = config(pieces, tmp_path, 1, steps=50, learning_rate=1e-2, moving_average=0.9, clips_per_step=1)

    def judged(networks: DiffusionNetworks) -> float:
        """The loss of the same clips, noise and timesteps."""
        generator = np.random.default_rng(0)
        batch = PieceClips(pieces, "train", 6).draw(generator, 8, 1, 0, 0.0)
        with torch.no_grad():
            objective = frame_diffusion.FrameObjective(networks, settings)
            return float(objective(batch, *frame_diffusion._drawn(batch, settings, generator)))

    torch.manual_seed(settings.seed)
    before = judged(frame_diffusion.make_networks(settings))
    history = frame_diffusion.train(settings)
    assert len(history["denoising"]) == 50
    assert judged(read_networks(tmp_path / "diffusion")) < 0.8 * before


@pytest.mark.parametrize("settings", [{}, {"moving_average": 0.5, "accumulation": 2, "gradient_checkpointing": True}])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    pieces: Path, tmp_path: Path, settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"steps": 4, "save_every": 2, **settings}
    whole = frame_diffusion.train(config(pieces, tmp_path / "whole", 2, **few))
    forward = frame_diffusion.FrameObjective.forward
    calls = []

    def stopped(*args: object) -> torch.Tensor:
        calls.append(args)
        if len(calls) > 3 * few.get("accumulation", 1):  # one step after the state was saved
            raise KeyboardInterrupt
        return forward(*args)

    with monkeypatch.context() as patch:
        patch.setattr(frame_diffusion.FrameObjective, "forward", stopped)
        with pytest.raises(KeyboardInterrupt):
            frame_diffusion.train(config(pieces, tmp_path / "parts", 2, **few))
    rest = frame_diffusion.train(config(pieces, tmp_path / "parts", 2, **few), resume=True)
    assert rest["denoising"] == pytest.approx(whole["denoising"][2:], rel=1e-5)
    ends = [load_file(next((tmp_path / name / "diffusion").glob("*.safetensors"))) for name in ("whole", "parts")]
    assert all(torch.allclose(ends[0][name], ends[1][name], atol=1e-3) for name in ends[0])


def test_the_second_stage_goes_on_from_the_first_and_a_generation_takes_the_result(
    pieces: Path, tmp_path: Path
) -> None:
    frame_diffusion.train(config(pieces, tmp_path / "1", 1))
    second = config(pieces, tmp_path / "2", 2, run=tmp_path / "run", start=(tmp_path / "1" / "diffusion",))
    frame_diffusion.train(second)
    networks = read_networks(tmp_path / "2" / "diffusion")
    first = read_networks(tmp_path / "1" / "diffusion").state_dict()
    assert networks.config.parts == STAGE_2
    assert all(torch.equal(networks.state_dict()[name], tensor) for name, tensor in first.items())
    assert DiffusionNetworks.from_pretrained(tmp_path / "2" / "diffusion").config.parts == STAGE_2
    batch = PieceClips(pieces, "train", 6).draw(np.random.default_rng(0), 1, 4, 2, 0.0)
    denoiser = FrameDenoiser(networks)
    assert denoiser.order == "own" and denoiser.knows_meaning
    with torch.inference_mode():
        person = denoiser.person(batch.photo, batch.face)
        passes = list(PASSES.values())
        features = denoiser.features(person, batch.before, passes, 4)
        conditions = denoiser.conditions(batch.clip, person, features, passes)
        predicted = denoiser.predict(batch.latents.expand(3, -1, -1, -1, -1), torch.tensor(500), conditions)
    assert predicted.shape == (3, 4, 4, CELLS, CELLS) and torch.isfinite(predicted).all()
    # and the folder around it is a checkpoint that can be pushed
    checkpoint = tmp_path / "2"
    profile = find_profile(checkpoint)
    assert profile.backend("diffusion") == "frame" and profile.folder("diffusion") == checkpoint / "diffusion"
    assert profile.backend("face_embedding") == "none" and profile.backend("audio_features") == "wav2vec2"
    names = {path.relative_to(checkpoint).parts[0] for path in files_to_push(checkpoint)}
    assert names >= {"diffusion", "motion_space", "a2m", "scene_encoder", "speech_emotion", "profile.json"}
    card = model_card(checkpoint)
    assert "license: other" in card and "1 steps of 1 clips of 4 frames" in card and "1 people, 1 pieces" in card


def test_published_weights_are_a_start_and_the_guide_changes_nothing_at_first(tmp_path: Path) -> None:
    torch.manual_seed(1)
    published = DiffusionNetworks({name: part for name, part in STAGE_2.items() if name in HALLO_PARTS})
    for name in HALLO_PARTS:  # as `convert hallo` leaves them
        getattr(published, name).save_pretrained(tmp_path / "hallo" / name)
    published.reference_net.save_pretrained(tmp_path / "sd" / "unet")
    networks = DiffusionNetworks(STAGE_2)
    given = start_from(networks, (tmp_path / "sd", tmp_path / "hallo"))
    assert given[str(tmp_path / "sd")] > 100 and given["new"] < len(networks.state_dict()) / 4
    own, theirs = networks.state_dict(), published.state_dict()
    shared = [name for name in theirs if name in own]
    assert shared and all(torch.equal(own[name], theirs[name]) for name in shared)
    unet = published.reference_net.state_dict()
    start_from(networks, (tmp_path / "sd",))
    assert all(torch.equal(networks.denoising_unet.state_dict()[name], each) for name, each in unet.items())
    assert not networks.motion_guide(torch.randn(1, 3, 512, 512), torch.rand(1, 1, 16, 16)).any()
    with pytest.raises(InputError, match="holds no weights of these networks"):
        start_from(networks, (tmp_path,))
    wider = DiffusionNetworks({**STAGE_1, "image_projection": {"width_in": 7, "tokens": 2, "width": 8}})
    with pytest.raises(InputError, match=r"image_projection.proj.weight in .* has the shape \(16, 6\)"):
        start_from(wider, (tmp_path / "hallo",))


def test_two_processes_train_together(pieces: Path, tmp_path: Path) -> None:
    """Each sees clips of its own; both end with the same weights, which the mean of their gradients has moved."""
    given = {"stage": 2, "pieces": str(pieces), "run": str(tmp_path / "run"), "output": str(tmp_path / "diffusion")}
    given |= {**FEW[2], "steps": 2, "log_every": 1, "moving_average": 0.0, "without_image": 0.5, "accumulation": 2}
    (tmp_path / "run.json").write_text(json.dumps(given))
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    command += ["-m", "synchrorama", "train", "diffusion", "--config", str(tmp_path / "run.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("2/2 denoising") == 1
    assert DiffusionNetworks.from_pretrained(tmp_path / "diffusion").config.parts == STAGE_2


# ------------------------------------------------------------------------------------------ what is wrong


@pytest.mark.parametrize("stage", [1, 2])
def test_the_shipped_configs_describe_networks_that_can_be_made(stage: int) -> None:
    settings = FrameRunConfig.from_file(ROOT / "configs" / f"diffusion_full_stage{stage}.json")
    assert settings.stage == stage
    with torch.device("meta"):
        networks = DiffusionNetworks(settings.networks)
        published = DiffusionNetworks()
    own = networks.state_dict()
    theirs = published.state_dict()
    assert all(own[name].shape == theirs[name].shape for name in own if name in theirs)
    if stage == 2:  # all of Hallo's fits, and what is new changes nothing at first
        assert set(theirs) < set(own)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"stagee": 1}, "knows no stagee"),
        ({"pieces": None}, "needs pieces"),
        ({"stage": 3}, "stage in run.json must be 1 or 2"),
        ({"clip_frames": 4}, "learns from single frames"),
        ({"without_sound": 2}, "without_sound in run.json must be from 0 to 1"),
        ({"steps": "many"}, "steps in run.json must be a whole number, not 'many'"),
        (
            {"networks": {"reference_net": {}, "denoising_unet": {"max_frames": 0}}},
            "must have face_locator, image_proj",
        ),
        ({"stage": 2, "clip_frames": 9, "networks": STAGE_2}, "must hold clip_frames and frames_before"),
        (
            {"networks": {**STAGE_1, "denoising_unet": {**UNET, "max_frames": 4}}},
            "set max_frames of denoising_unet to 0",
        ),
        ({"networks": {**STAGE_1, "motion_guide": {"channel": 3}}}, "does not describe the networks"),
        ({"start": ["nowhere"]}, "nowhere holds no weights"),
    ],
)
def test_a_wrong_config_is_named(
    pieces: Path, tmp_path: Path, capsys: pytest.CaptureFixture, change: dict[str, object], says: str
) -> None:
    given = {"stage": 1, "pieces": str(pieces), "run": "r", "output": "o", **FEW[1], **change}
    (tmp_path / "run.json").write_text(json.dumps({key: value for key, value in given.items() if value is not None}))
    assert command_line(["train", "diffusion", "--config", str(tmp_path / "run.json")]) == 2
    told = capsys.readouterr().err
    assert says in told and told.count("\n") == 1


def test_what_is_missing_or_damaged_is_named(pieces: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no pieces of the split 'train' with latents"):
        frame_diffusion.train(config(tmp_path, tmp_path, 1))
    with pytest.raises(InputError, match="holds no state to go on from"):
        frame_diffusion.train(config(pieces, tmp_path, 1), resume=True)
    frame_diffusion.train(config(pieces, tmp_path, 1))
    with pytest.raises(InputError, match="of a run with other settings"):
        frame_diffusion.train(config(pieces, tmp_path, 2), resume=True)
    copy = tmp_path / "pieces"
    shutil.copytree(pieces, copy)
    for ending, says in ((".safetensors", "run `prepare latents` again"), (".npz", "remove it and prepare anew")):
        (broken,) = copy.glob(f"*{ending}")
        broken.write_bytes(b"nothing")
        with pytest.raises(InputError, match=says):
            frame_diffusion.train(config(copy, tmp_path / "copy", 1))
    assert not (tmp_path / "copy" / "diffusion").exists()


def test_losses_that_are_not_finite_end_the_run(pieces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_diffusion, "compute_snr", lambda _scheduler, t: t * float("nan"))
    with pytest.raises(InputError, match="losses of step 0 are not finite"):
        frame_diffusion.train(config(pieces, tmp_path, 1))
    assert not (tmp_path / "run" / "state.pt").exists()
