"""Training of the diffusion stage on pairs that the tests make: the losses, fifty steps, and going on after a stop."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ASSETS, REPOSITORY

from synchrorama import InputError
from synchrorama.__main__ import main as command_line
from synchrorama.audio import log_mel, sound_around
from synchrorama.blendshapes import BLENDSHAPE_INDEX, MotionSpace
from synchrorama.diffusion import DiffusionNetworks
from synchrorama.diffusion.autoencoder import LogGain
from synchrorama.diffusion.region import REGION_SIZE, FaceRegion
from synchrorama.diffusion_stage import read_networks
from synchrorama.emotion.expressions import emotion_table
from synchrorama.evaluation.sync import SyncNet
from synchrorama.face import find_portrait
from synchrorama.media import read_photo
from synchrorama.motion_frames import MotionFrameRenderer
from synchrorama.scene import TextEncoder
from synchrorama.training import diffusion, loop, losses
from synchrorama.training.face_reader import FaceReader, measure
from synchrorama.training.face_reader import train as train_reader
from synchrorama.training.pair_batches import PairSequences, shown_emotion, unvaried
from synchrorama.training.run_config import LOSSES, RunConfig

CHECKPOINTS = REPOSITORY / "checkpoints" / "mini"
FRAMES = 26  # the fewest that the sync network judges, and one
UNET = {"block_out_channels": [16, 16, 24], "layers_per_block": 1, "attention_levels": [2], "heads": 2, "groups": 8}
NETWORKS = {
    "reference_net": {**UNET, "in_channels": 48, "image_width": None},
    "denoising_unet": {
        **UNET, "in_channels": 3, "out_channels": 3, "image_width": None, "audio_width": 16, "audio_regions": ["lip"],
        "condition_widths": {"emotion": 16, "text": 16}, "stored_temporal": False,
    },
    "audio_projection": {"width_in": 1600, "hidden": 32, "tokens": 2, "width": 16},
    "motion_guide": {"channels": 16, "pixels": 4},
    "emotion_projection": {"width_in": 24, "tokens": 1, "width": 16},
    "text_projection": {"width_in": 32, "tokens": 1, "width": 16},
}  # fmt: skip


@pytest.fixture(scope="module")
def space() -> MotionSpace:
    return MotionSpace.from_pretrained(CHECKPOINTS / "motion_space")


@pytest.fixture(scope="module")
def text_encoder() -> TextEncoder:
    return TextEncoder.from_pretrained(CHECKPOINTS / "scene_encoder", low_cpu_mem_usage=False).eval()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, space, speech_samples) -> Path:
    """A face that smiles while its mouth opens and shuts; its real pictures are lighter and redder between the lips."""
    folder = tmp_path_factory.mktemp("pairs")
    portrait = find_portrait(read_photo(ASSETS / "painted_kofi.jpg"))
    renderer = MotionFrameRenderer(portrait.crop, portrait.landmarks, space)
    mel = log_mel(speech_samples)
    for name, count, frames in (("train__ada__clip", 3, FRAMES), ("still_train__ada__photo", 2, 1)):
        sequences = []
        for i in range(count):
            blendshapes = np.zeros((frames, 52))
            blendshapes[:, BLENDSHAPE_INDEX["jawOpen"]] = 0.25 - 0.25 * np.cos(np.arange(frames) * 0.8 + i + 2)
            for side in ("Left", "Right"):
                blendshapes[:, BLENDSHAPE_INDEX["mouthSmile" + side]] = 0.6 * (np.arange(frames) > 15)
            parts = [_pair(renderer, each) for each in blendshapes]
            sequences.append({key: np.stack([part[key] for part in parts]) for key in parts[0]})
            sequences[-1] |= {
                "blendshapes": (blendshapes + renderer.kept_expression).astype(np.float16),
                "reference": FaceRegion.of(renderer.photo_frame, REGION_SIZE).cut(renderer.photo_frame.image),
                "mel": sound_around(mel, range(i, i + frames)) * (frames > 1),
                "voiced": np.array(frames > 1),
            }
        np.savez(folder / f"{name}.npz", **{key: np.stack([each[key] for each in sequences]) for key in sequences[0]})
    shutil.copy(folder / "train__ada__clip.npz", folder / "dev__bob__clip.npz")
    return folder


def _pair(renderer: MotionFrameRenderer, blendshapes: np.ndarray) -> dict[str, np.ndarray]:
    frame = renderer.frame(blendshapes, np.zeros(3), np.zeros(3))
    place = FaceRegion.of(frame, REGION_SIZE)
    motion, mouth = place.cut(frame.image), place.mouth(frame.mouth, 32)
    lighter = np.kron(mouth, np.ones((4, 4)))[..., None] * [0.9, 0.3, 0.4]
    target = np.clip((motion + 8) * (1 + lighter) - 8, 0, 255)
    return {"motion": motion, "target": target.astype(np.uint8), "mouth": np.rint(255 * mouth).astype(np.uint8)}


def config(pairs: Path, folder: Path, **settings: object) -> RunConfig:
    return RunConfig(
        pairs=pairs, run=folder / "run", output=folder / "weights", networks=NETWORKS, checkpoints=CHECKPOINTS,
        **{
            "steps": 50, "clip_frames": (FRAMES,), "frames_per_step": FRAMES, "stills_per_step": 2,
            "learning_rate": 3e-3, "warm_up": 5, "log_every": 25, "save_every": 100, "pictures_every": 50, **settings,
        },
    )  # fmt: skip


# ------------------------------------------------------------------------------------------ the losses


@pytest.fixture(scope="module")
def batch(pairs, text_encoder):
    return unvaried(PairSequences(pairs, "train", text_encoder).people["ada"][0])


@pytest.fixture(scope="module")
def reader() -> FaceReader:
    return FaceReader.from_pretrained(CHECKPOINTS / "face_reader").eval()


def test_denoising_and_reconstruction_are_nothing_when_perfect_and_count_the_mouth_most(batch):
    codec, clip = LogGain(), batch.clip
    clean = codec.encode(batch.target[0], clip.motion[0]).transpose(0, 1)[None]
    weights = losses.cell_weights(clip.mouth)
    assert losses.denoising_loss(clean, clean, weights) == 0
    right = losses.reconstruction_loss(codec, clean, batch.target, clip.motion, weights)
    motion = losses.reconstruction_loss(codec, clean * 0, batch.target, clip.motion, weights)
    assert right < 0.02 * motion
    inside = (clip.mouth > 0.5).transpose(1, 2).float()
    mistakes = [losses.denoising_loss(clean + where, clean, weights) / where.sum() for where in (inside, 1 - inside)]
    assert mistakes[0] > 5 * mistakes[1]


def test_action_units_are_those_that_the_face_shows(reader, batch):
    read, shown = reader(batch.target[0])["coefficients"], batch.blendshapes[0]
    jaw = shown[:, BLENDSHAPE_INDEX["jawOpen"]]
    widest, narrowest = int(jaw.argmax()), int(jaw.argmin())
    for there, elsewhere in ((widest, narrowest), (narrowest, widest)):
        right, wrong = (losses.action_unit_loss(read[[there]], shown[[each]]) for each in (there, elsewhere))
        assert right < wrong


def test_emotion_of_a_smile_is_happy(reader, batch):
    smiling = batch.target[0][18:]
    logits = reader(smiling)["emotion"]
    happy, sad = (torch.eye(8)[i].expand(len(smiling), -1) for i in (1, 2))
    assert losses.emotion_loss(logits, happy) < losses.emotion_loss(logits, sad)
    assert losses.emotion_loss(logits, happy * 0) == 0


def test_attributes_and_actions_agree_with_what_the_text_says(reader, batch, text_encoder):
    smiling = batch.target[0][18:]
    read = reader(smiling)["scene"]
    smiles, frowns = (
        torch.from_numpy(text_encoder.encode(words).tokens[0]).expand(len(smiling), -1)
        for words in ("she smiles", "she frowns")
    )
    assert losses.attribute_action_loss(read, smiles) < losses.attribute_action_loss(read, frowns)
    assert losses.attribute_action_loss(read, smiles * 0) == 0


def test_sync_is_lower_for_the_sound_that_the_lips_speak(pipeline, photo_path, speech_samples, speech_path, space):
    motion = pipeline(photo_path, speech_path).motion
    sync = losses.SyncLoss(SyncNet.from_pretrained(CHECKPOINTS / "sync_loss"), space)
    read, mel = torch.from_numpy(motion.blendshapes[:50]).float()[None], log_mel(speech_samples)
    right, late = (torch.from_numpy(sound_around(mel, range(start, start + 50)))[None] for start in (0, 20))
    assert sync(read, right) < sync(read, late) - 0.3
    with pytest.raises(ValueError, match="clips of 25 frames, not 8"):
        sync(read[:, :8], right[:, :8])


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_of_every_loss_reaches_the_denoising_unet(pairs, batch, tmp_path, name):
    torch.manual_seed(0)
    objective = diffusion.Objective(DiffusionNetworks(NETWORKS), config(pairs, tmp_path, losses={name: 1.0}))
    noise = torch.randn(1, 3, FRAMES, 32, 32)
    told = replace(batch, clip=replace(batch.clip, emotion=batch.clip.emotion + 0.1, text=batch.clip.text + 0.1))
    terms = objective(told, noise, torch.full((1,), 0.7), torch.ones(1, dtype=torch.bool))
    assert list(terms) == [name]
    terms[name].backward()
    gradients = [each.grad for each in objective.networks.denoising_unet.parameters() if each.grad is not None]
    assert sum(float(each.abs().sum()) for each in gradients) > 0
    assert all(torch.isfinite(each).all() for each in gradients)


# ------------------------------------------------------------------------------------------ runs


def test_fifty_steps_lower_every_loss_and_leave_weights_and_pictures(pairs, batch, tmp_path):
    weights = dict.fromkeys(LOSSES, 0.5) | {"denoising": 1.0, "reconstruction": 20.0, "action_units": 10.0}
    settings = config(pairs, tmp_path, losses=weights, noise_only=1.0)
    history = diffusion.train(settings)
    assert set(history) == set(LOSSES) and all(len(values) == 50 for values in history.values())

    def judged(networks: DiffusionNetworks) -> dict[str, float]:
        """The losses of one clip: from step to step they depend on what is drawn and how it is varied."""
        noise = torch.randn(1, 3, FRAMES, 32, 32, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            terms = diffusion.Objective(networks, settings)(
                batch, noise, torch.ones(1), torch.ones(1, dtype=torch.bool)
            )
        return {name: float(term) for name, term in terms.items()}

    torch.manual_seed(settings.seed)
    before, after = judged(DiffusionNetworks(NETWORKS)), judged(read_networks(tmp_path / "weights"))
    for name in LOSSES:
        assert after[name] < before[name], name
    assert (tmp_path / "weights" / "diffusion_pytorch_model.safetensors").is_file()
    assert DiffusionNetworks.from_pretrained(tmp_path / "weights").config.parts == NETWORKS
    assert any((tmp_path / "run").rglob("events.out.tfevents*"))
    assert not list(tmp_path.rglob("*.part"))


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(pairs, tmp_path, monkeypatch):
    few = {"steps": 6, "save_every": 3, "learning_rate": 1e-3}
    whole = diffusion.train(config(pairs, tmp_path / "whole", **few))
    step = diffusion._step

    def stopped(*args):
        if args[4] == 4:  # one step after the state was saved
            raise KeyboardInterrupt
        return step(*args)

    with monkeypatch.context() as patch:
        patch.setattr(diffusion, "_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            diffusion.train(config(pairs, tmp_path / "parts", **few))
    rest = diffusion.train(config(pairs, tmp_path / "parts", **few), resume=True)
    assert rest["denoising"] == pytest.approx(whole["denoising"][3:], rel=1e-5)
    ends = [DiffusionNetworks.from_pretrained(tmp_path / name / "weights").state_dict() for name in ("whole", "parts")]
    assert all(torch.allclose(ends[0][name], ends[1][name], atol=1e-3) for name in ends[0])


def test_a_run_whose_losses_are_not_finite_ends_before_it_saves_them(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(diffusion, "denoising_loss", lambda flow, *_: flow.sum() * float("nan"))
    with pytest.raises(InputError, match="losses of step 0 are not finite; lower learning_rate"):
        diffusion.train(config(pairs, tmp_path, steps=2, save_every=1))
    assert not (tmp_path / "weights").exists() and not (tmp_path / "run" / "state.pt").exists()


def test_what_a_step_sees_depends_on_its_number_and_varies(pairs, text_encoder):
    sequences = PairSequences(pairs, "train", text_encoder)
    first, again, other = (
        sequences.draw(np.random.default_rng((0, step)), FRAMES, 1, 2) for step in (5, 5, 6)
    )
    assert torch.equal(first[0].target, again[0].target) and torch.equal(first[1].target, again[1].target)
    assert not torch.equal(first[0].target, other[0].target)
    assert first[1].clip.motion.shape[1] == 1 and not first[1].clip.sound.any()


def test_pairs_are_told_in_terms_of_emotion_and_text(batch):
    assert batch.clip.emotion[0, 0, 1] > 0.1  # happy, a little on average over the clip
    assert batch.clip.emotion.shape[-1] == 24 and batch.clip.text.abs().sum() > 0
    for index, face in enumerate(emotion_table()):
        assert shown_emotion(face)[:8].argmax() == index


def test_the_learning_rate_rises_and_falls(pairs, tmp_path):
    settings = config(pairs, tmp_path, steps=100, warm_up=10)
    rates = [loop.learning_rate(settings, step) for step in range(100)]
    assert np.argmax(rates) in (9, 10) and rates[0] < 0.2 * max(rates) and rates[-1] == pytest.approx(9e-5)


def test_a_face_reader_learns_from_pairs(pairs, text_encoder):
    sequences = PairSequences(pairs, "train", text_encoder)
    torch.manual_seed(0)
    blank = measure(FaceReader().eval(), sequences)
    taught = measure(train_reader(sequences, 40, 0), sequences)
    assert taught["r_jawOpen"] > max(0.7, blank["r_jawOpen"])


# ------------------------------------------------------------------------------------------ configs


def test_the_shipped_config_is_the_shipped_networks():
    shipped = RunConfig.from_file(REPOSITORY / "configs" / "diffusion_mini.json")
    saved = json.loads((CHECKPOINTS / "diffusion" / "config.json").read_text())
    assert saved["parts"] == shipped.networks
    assert shipped.output == Path("checkpoints/mini/diffusion")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"stepz": 3}, "knows no stepz"),
        ({"pairs": None}, "needs pairs"),
        ({"losses": {"magic": 1}}, "names losses magic; known are denoising"),
        ({"mixed_precision": "fp8"}, "must be one of no, fp16, bf16"),
        ({"steps": 0}, "steps in run.json must be at least 1"),
        ({"clip_frames": [64]}, "lengths from 1 to frames_per_step"),
    ],
)
def test_a_wrong_config_is_named(tmp_path, change, says):
    given = {"pairs": "p", "run": "r", "output": "o", "networks": {}, **change}
    (tmp_path / "run.json").write_text(json.dumps({k: v for k, v in given.items() if v is not None}))
    with pytest.raises(InputError, match=says):
        RunConfig.from_file(tmp_path / "run.json")


def test_the_command_says_what_is_missing(tmp_path, capsys):
    (tmp_path / "run.json").write_text("{")
    assert command_line(["train", "diffusion", "--config", str(tmp_path / "run.json")]) == 2
    assert "give a JSON file" in capsys.readouterr().err
    given = {"pairs": str(tmp_path), "run": str(tmp_path / "r"), "output": str(tmp_path / "o"), "networks": NETWORKS}
    (tmp_path / "run.json").write_text(json.dumps(given))
    assert command_line(["train", "diffusion", "--config", str(tmp_path / "run.json")]) == 2
    assert "holds no pairs of the split 'train'" in capsys.readouterr().err


def test_there_is_nothing_to_go_on_with(pairs, tmp_path):
    with pytest.raises(InputError, match="holds no state to go on from; start without --resume"):
        diffusion.train(config(pairs, tmp_path, steps=1), resume=True)
