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
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from synchrorama import InputError
from synchrorama.__main__ import main as command_line
from synchrorama.diffusion import DiffusionNetworks
from synchrorama.diffusion.frame_denoiser import PASSES, FrameDenoiser
from synchrorama.diffusion.networks import HALLO_PARTS
from synchrorama.diffusion_stage import read_networks
from synchrorama.profile import find_profile
from synchrorama.push import files_to_push, model_card
from synchrorama.training import frame_diffusion
from synchrorama.training.frame_batches import PieceClips
from synchrorama.training.frame_config import FrameRunConfig
from synchrorama.training.starting_weights import TRAINED, start_from

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


def config(pieces: Path, folder: Path, stage: int, **settings: object) -> FrameRunConfig:
    few = {"steps": 1, "learning_rate": 1e-3, "warm_up": 1, "log_every": 10, "save_every": 100, "moving_average": 0.0}
    given = {**few, **FEW[stage], "run": folder / "run", **settings}
    return FrameRunConfig(pieces=pieces, output=folder / "diffusion", stage=stage, **given)


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


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    pieces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"steps": 4, "save_every": 2, "moving_average": 0.5, "accumulation": 2, "gradient_checkpointing": True}
    whole = frame_diffusion.train(config(pieces, tmp_path / "whole", 2, **few))
    forward = frame_diffusion.FrameObjective.forward
    calls = []

    def stopped(*args: object) -> torch.Tensor:
        calls.append(args)
        if len(calls) > 3 * few["accumulation"]:  # one step after the state was saved
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


@pytest.mark.parametrize("stage", [1, 2])
def test_half_precision_trains_and_keeps_what_it_does_not_train(pieces: Path, tmp_path: Path, stage: int) -> None:
    frame_diffusion.train(config(pieces, tmp_path / "start", 2))
    start = load_file(next((tmp_path / "start" / "diffusion").glob("*.safetensors")))
    half = {"start": (tmp_path / "start" / "diffusion",), "gradient_checkpointing": True}
    losses = []
    for precision in ("no", "bf16"):
        AcceleratorState._reset_state()  # of one process, which otherwise keeps to its first precision
        given = {**half, "mixed_precision": precision, "run": tmp_path / precision}
        losses += frame_diffusion.train(config(pieces, tmp_path, stage, **given))["denoising"]
    AcceleratorState._reset_state()
    exact, loss = losses
    assert loss == pytest.approx(exact, rel=0.02)
    trained = torch.load(tmp_path / "bf16" / "state.pt", weights_only=True)["networks"]
    after = load_file(next((tmp_path / "diffusion").glob("*.safetensors")))
    assert all(each.dtype == torch.float32 for each in trained.values())
    assert all(torch.equal(each, start[name]) for name, each in after.items() if name not in trained)


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
