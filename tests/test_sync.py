"""The sync network: offsets, confidence, use as a loss, and its training command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from synchrorama.audio import HOPS_PER_FRAME, SAMPLE_RATE, log_mel, loudness
from synchrorama.blendshapes import BLENDSHAPE_INDEX, MotionSpace
from synchrorama.evaluation.report import DEFAULT_CHECKPOINT, load_sync_net, mel_for
from synchrorama.evaluation.sync import EDGE_FRAMES, SyncNet, lip_points, result_of
from synchrorama.face_topology import LANDMARKS, LIPS
from synchrorama.media import read_speech
from synchrorama.training import sync as training

ASSETS = Path(__file__).resolve().parent.parent / "assets"
SECONDS = 6


@pytest.fixture(scope="module")
def space() -> MotionSpace:
    return MotionSpace.from_pretrained(DEFAULT_CHECKPOINT / "motion_space")


@pytest.fixture(scope="module", params=["sync_net", "sync_loss"])
def net(request: pytest.FixtureRequest) -> SyncNet:
    return SyncNet.from_pretrained(DEFAULT_CHECKPOINT / request.param).eval()


def talking(speech: np.ndarray) -> np.ndarray:
    """(T, 52) coefficients of a crude talker: the jaw follows loudness, lips spread with bright sounds."""
    mel = log_mel(speech).reshape(-1, HOPS_PER_FRAME, 80).mean(1)
    brightness = mel[:, 30:50].mean(1) - mel[:, 8:25].mean(1)
    smooth = np.array([0.25, 0.5, 0.25])
    loud = np.convolve(np.clip(loudness(speech), 0, 1), smooth, "same")
    bright = np.convolve((brightness - brightness.mean()) / brightness.std(), smooth, "same")
    coefficients = np.zeros((len(mel), 52))
    for name, value in {
        "jawOpen": 0.35 * loud**1.5,
        "mouthLowerDownLeft": 0.3 * loud,
        "mouthLowerDownRight": 0.3 * loud,
        "mouthStretchLeft": np.clip(0.15 + 0.15 * bright, 0, 0.5),
        "mouthStretchRight": np.clip(0.15 + 0.15 * bright, 0, 0.5),
        "mouthPucker": np.clip(0.1 - 0.2 * bright, 0, 0.6),
    }.items():
        coefficients[:, BLENDSHAPE_INDEX[name]] = value
    return coefficients


def recording(name: str) -> np.ndarray:
    return read_speech(ASSETS / f"{name}.flac").samples[: SECONDS * SAMPLE_RATE]


@pytest.fixture(scope="module", params=["english_expressive_rms", "german_espeak"])
def clip(request: pytest.FixtureRequest, space: MotionSpace) -> tuple[np.ndarray, np.ndarray]:
    """(T, 40, 2) lips in cm and (4T, 80) mel that belong together."""
    speech = recording(request.param)
    lips = space.apply(talking(speech))[:, list(LIPS), :2].astype(np.float32)
    return lips, log_mel(speech)


def shifted(lips: np.ndarray, mel: np.ndarray, late: int) -> tuple[np.ndarray, np.ndarray]:
    """The clip with its sound ``late`` frames later, cut to what both have."""
    frames = len(lips) - abs(late)
    lips_from, sound_from = max(0, late), max(0, -late)
    return lips[lips_from : lips_from + frames], mel[4 * sound_from : 4 * (sound_from + frames)]


@pytest.mark.parametrize("late", [-5, -4, -3, 3, 4, 5])
def test_shifting_the_sound_moves_the_offset_by_exactly_as_much(net, clip, late):
    before, after = net.measure(*clip), net.measure(*shifted(*clip, late))
    assert abs(before.offset) <= 1
    assert after.offset == before.offset + late  # positive: the sound is late


def test_foreign_sound_lowers_the_confidence(net, space):
    first, second = recording("english_expressive_rms"), recording("german_espeak")
    lips = space.apply(talking(first))[:, list(LIPS), :2].astype(np.float32)
    own, foreign = net.measure(lips, log_mel(first)), net.measure(lips, mel_for(second, len(lips)))
    assert foreign.confidence < 0.7 * own.confidence
    assert foreign.distance > own.distance


def test_a_still_face_has_no_confidence(net, space):
    speech = recording("english_expressive_rms")
    tremor = np.random.default_rng(0).normal(0, 0.005, (SECONDS * 25, len(LIPS), 2))  # of the tracker
    still = (space.neutral[list(LIPS), :2] + tremor).astype(np.float32)
    assert net.measure(still, log_mel(speech)).confidence < 0.08


def test_size_place_and_pose_of_the_face_do_not_matter(net, space):
    from synchrorama.motion import rotation_matrix

    speech = recording("english_expressive_rms")
    shapes = space.apply(talking(speech))
    frames = len(shapes)
    turn = rotation_matrix(np.array([0.1, -0.2, 0.15]))[None].repeat(frames, 0)
    place = np.array([300.0, -200.0, 0.0]) + np.linspace(0, 30, frames)[:, None]
    landmarks = space.project(shapes, np.linspace(8, 10, frames), turn, place)
    assert lip_points(landmarks, space) == pytest.approx(shapes[:, list(LIPS), :2], abs=0.15)
    straight = net.measure(shapes[:, list(LIPS), :2].astype(np.float32), log_mel(speech))
    turned = net.measure(lip_points(landmarks, space), log_mel(speech))
    assert turned.offset == straight.offset
    assert turned.confidence == pytest.approx(straight.confidence, abs=0.05)


def test_the_loss_is_lowest_in_time_and_pulls_lips_there(net, clip):
    lips, mel = (torch.from_numpy(array)[None] for array in clip)
    assert net.sync_loss(lips, mel) < net.sync_loss(*(torch.from_numpy(a)[None] for a in shifted(*clip, 4)))
    frozen = lips.mean(1, keepdim=True) + 0.2 * (lips - lips.mean(1, keepdim=True))
    frozen = (frozen + 0.02 * torch.randn(frozen.shape, generator=torch.manual_seed(0))).requires_grad_()
    first = net.sync_loss(frozen, mel)
    first.backward()
    assert torch.isfinite(frozen.grad).all()
    better = frozen - 0.05 * frozen.grad / frozen.grad.abs().max()
    assert net.sync_loss(better, mel) < first


def test_scored_frames_do_not_see_the_ends_of_a_clip(net):
    lips = torch.randn(1, 60, 40, 2, generator=torch.manual_seed(1))
    mel = torch.randn(1, 240, 80, generator=torch.manual_seed(2)) * 2 - 4
    inner, part = slice(EDGE_FRAMES, -EDGE_FRAMES), slice(10 + EDGE_FRAMES, -10 - EDGE_FRAMES)
    assert torch.allclose(net.encode_lips(lips)[:, part], net.encode_lips(lips[:, 10:-10])[:, inner], atol=1e-5)
    assert torch.allclose(net.encode_sound(mel)[:, part], net.encode_sound(mel[:, 40:-40])[:, inner], atol=1e-5)


def test_too_short_clips_are_refused(net):
    with pytest.raises(ValueError, match="frames"):
        net.measure(np.zeros((20, 40, 2), np.float32), np.zeros((80, 80), np.float32))
    with pytest.raises(ValueError, match="columns"):
        net.measure(np.zeros((50, 40, 2), np.float32), np.zeros((80, 80), np.float32))


def test_result_of_a_curve():
    distances = np.array([1.2, 1.2, 1.2, 1.2, 0.8, 1.1, 1.2])
    result = result_of(distances)
    assert (result.offset, result.distance) == (1, 0.8)
    assert result.confidence == pytest.approx(0.4)


def test_the_two_networks_differ():
    measuring = load_sync_net().state_dict()
    loss = SyncNet.from_pretrained(DEFAULT_CHECKPOINT / "sync_loss").state_dict()
    assert any(not torch.allclose(measuring[key], loss[key]) for key in measuring)


# ---------------------------------------------------------------------------------------------- training


def test_mirroring_swaps_the_sides_of_the_mouth(space):
    lips = space.neutral[list(LIPS), :2]
    mirrored = lips[training._MIRROR] * [-1, 1]
    assert mirrored == pytest.approx(lips, abs=0.15)
    assert sorted(training._MIRROR) == list(range(40))


def test_offsets_follow_the_clip_or_its_source():
    def clip(name: str, source: str, offset: int, confidence: float) -> training.Clip:
        distances = np.full(31, 1.2)
        distances[15 + offset] -= confidence
        empty = np.zeros((0, 40, 2), np.float32)
        return training.Clip(name, source, "train", True, empty, empty, distances=distances)

    clips = [
        clip("a0", "a", 2, 0.3), clip("a1", "a", 2, 0.3), clip("a2", "a", 1, 0.2), clip("a3", "a", 9, 0.03),
        clip("a4", "a", -3, 0.4), clip("lab0", "lab", 1, 0.3), clip("lab1", "lab", 1, 0.3), clip("x", "x", 7, 0.02),
    ]  # fmt: skip
    training.estimate_offsets(clips)
    assert [c.offset for c in clips] == [2, 2, 2, 2, -3, 1, 1, 0]
    training.estimate_offsets(clips, ("lab",))
    assert [c.offset for c in clips] == [1, 1, 1, 1, -4, 0, 0, 0]


def test_halves_share_nobody():
    empty = np.zeros((50, 40, 2), np.float32)
    clips = [training.Clip(f"{i}", f"person {i // 3}", "train", True, empty, empty) for i in range(30)]
    first, second = training.halves(clips, seed=0)
    assert len(first) + len(second) == 30
    assert abs(len(first) - len(second)) <= 3
    assert not {clip.source for clip in first} & {clip.source for clip in second}


def test_one_command_trains_from_prepared_clips(tmp_path, space, capsys):
    speech = recording("english_expressive_rms")
    shapes = space.apply(talking(speech))
    landmarks = np.zeros((len(shapes), LANDMARKS, 3), np.float32)
    identity = np.eye(3)[None].repeat(len(shapes), 0)
    landmarks[:, :468] = space.project(shapes, np.full(len(shapes), 9.0), identity, np.full((len(shapes), 3), 250.0))
    data = tmp_path / "clips"
    data.mkdir()
    for number, split in enumerate(["train", "train", "train", "generated", "dev", "dev"]):
        np.savez(
            data / f"{split}__clip{number}.npz",
            landmarks=landmarks, found=np.ones(len(shapes), bool), mel=log_mel(speech),
            name=f"clip{number}", identity=f"person{number}", split=split, shippable=True,
        )  # fmt: skip
    few = ["--steps", "2", "--alignments", "1", "--alignment-steps", "2", "--held-out", "0.3"]
    folders = ["--data", str(data), "--output", str(tmp_path / "net"), "--offsets", str(tmp_path / "offsets.json")]
    assert training.main([*folders, *few]) == 0
    assert "dev" in capsys.readouterr().out
    assert SyncNet.from_pretrained(tmp_path / "net").measure(
        shapes[:, list(LIPS), :2].astype(np.float32), log_mel(speech)
    )
    offsets = (tmp_path / "offsets.json").read_text()
    assert "_convention" in offsets
    assert "train__clip0" in offsets
