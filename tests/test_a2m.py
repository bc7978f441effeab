"""Audio to motion: what the shipped network does with speech, silence and noise, and that every control acts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from synchrorama.a2m import A2M, VPFlow
from synchrorama.audio import SAMPLE_RATE, frame_count, log_mel, loudness
from synchrorama.blendshapes import MotionSpace, lip_gap
from synchrorama.blinks import blink_track
from synchrorama.media import read_speech
from synchrorama.motion import BLENDSHAPE_INDEX, FPS, Motion
from synchrorama.visemes import LABIODENTAL_GAP_CM, lip_gap_gain, shut_lips, touch_teeth

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def network() -> A2M:
    return A2M.from_pretrained(ROOT / "checkpoints" / "mini" / "a2m").eval()


@pytest.fixture(scope="module")
def space() -> MotionSpace:
    return MotionSpace.from_pretrained(ROOT / "checkpoints" / "mini" / "motion_space")


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return read_speech(ROOT / "assets" / "english_slt.flac").samples


def gap_of(motion: Motion, space: MotionSpace) -> np.ndarray:
    return lip_gap(space.apply(motion.blendshapes))


def blink_count(motion: Motion) -> int:
    shut = motion.column("eyeBlinkLeft") > 0.7
    return int((shut[1:] & ~shut[:-1]).sum())


@pytest.mark.parametrize("samples", [1, 4_800, 16_321, 100_000])
def test_motion_has_one_frame_per_25th_of_a_second(network: A2M, samples: int) -> None:
    motion = network.generate(np.zeros(samples, np.float32))
    assert len(motion) == frame_count(samples / SAMPLE_RATE)
    assert np.isfinite(motion.blendshapes).all()


def test_same_seed_same_motion_other_seed_other_motion(network: A2M, speech: np.ndarray) -> None:
    first, again, other = (network.generate(speech, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.blendshapes, again.blendshapes)
    np.testing.assert_array_equal(first.rotation, again.rotation)
    assert np.abs(first.rotation - other.rotation).max() > 0.01


def test_lips_follow_the_sound_whatever_the_seed(network: A2M, speech: np.ndarray, space: MotionSpace) -> None:
    first, other = (gap_of(network.generate(speech, seed=seed), space) for seed in (1, 2))
    assert np.corrcoef(first, other)[0, 1] > 0.95


def test_mouth_opens_with_loud_speech(network: A2M, speech: np.ndarray, space: MotionSpace) -> None:
    gap, loud = gap_of(network.generate(speech), space), loudness(speech)
    assert gap[loud > 0.6].mean() > 0.3
    assert np.corrcoef(gap, np.convolve(loud, np.ones(5) / 5, mode="same"))[0, 1] > 0.2


def test_silence_noise_and_music_leave_the_mouth_shut(network: A2M, speech: np.ndarray, space: MotionSpace) -> None:
    generator = np.random.default_rng(5)
    clock = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    chord = sum(np.sin(2 * np.pi * pitch * clock) for pitch in (220, 277.2, 329.6, 440)) * 0.1
    speaking = gap_of(network.generate(speech), space)[loudness(speech) > 0.5].mean()
    sounds = {
        "silence": (np.zeros(4 * SAMPLE_RATE), 0.05),
        "white noise": (generator.normal(0, 0.2, 4 * SAMPLE_RATE), 0.2),
        "chord": (chord * (1 + np.sin(2 * np.pi * clock)), 0.2),
    }
    for name, (sound, most) in sounds.items():
        gap = gap_of(network.generate(sound.astype(np.float32)), space).mean()
        assert gap <= most * speaking, name


def test_pause_in_speech_closes_the_mouth(network: A2M, speech: np.ndarray, space: MotionSpace) -> None:
    pause = np.zeros(2 * SAMPLE_RATE, np.float32)
    half = len(speech) // (2 * SAMPLE_RATE) * SAMPLE_RATE
    gap = gap_of(network.generate(np.concatenate([speech[:half], pause, speech[half:]])), space)
    start = frame_count(half / SAMPLE_RATE)
    assert gap[start + 10 : start + 40].max() < 0.1


def test_cutting_the_recording_does_not_move_the_lips(network: A2M, speech: np.ndarray, space: MotionSpace) -> None:
    """One pass over any length: the network sees less than a second around a frame."""
    whole = gap_of(network.generate(speech, motion_diversity=0), space)
    part = gap_of(network.generate(speech[: 3 * SAMPLE_RATE], motion_diversity=0), space)
    assert np.corrcoef(whole[:60], part[:60])[0, 1] > 0.97  # the level of the recording is measured on all of it


def test_head_motion_scales_the_head_alone(network: A2M, speech: np.ndarray) -> None:
    still, usual, lively = (network.generate(speech, head_motion=amount) for amount in (0, 1, 2))
    assert np.abs(still.rotation).max() == 0 and np.abs(still.translation).max() == 0
    assert 0.005 < usual.rotation.std() < lively.rotation.std()
    np.testing.assert_array_equal(still.blendshapes, lively.blendshapes)


def test_motion_diversity_spreads_seeds_apart(network: A2M, speech: np.ndarray) -> None:
    def spread(diversity: float) -> float:
        motions = [network.generate(speech, seed=seed, motion_diversity=diversity) for seed in range(4)]
        return float(np.std([motion.rotation for motion in motions], axis=0).mean())

    assert spread(0) < 1e-6 < spread(0.5) < spread(1.5)


def test_head_stays_within_what_a_photo_bears(network: A2M, speech: np.ndarray) -> None:
    motion = network.generate(speech, motion_diversity=2, head_motion=2)
    assert (np.abs(np.degrees(motion.rotation)).max(axis=0) <= (10.01, 15.01, 10.01)).all()


def test_blink_rate_sets_the_number_of_blinks(network: A2M, speech: np.ndarray) -> None:
    minute = np.tile(speech, 1 + 60 * SAMPLE_RATE // len(speech))[: 60 * SAMPLE_RATE]
    none, usual, many = (blink_count(network.generate(minute, blink_rate=rate)) for rate in (0, 15, 35))
    assert none == 0 and 8 <= usual <= 25 and many > usual + 5


def test_blinks_are_whole_and_apart() -> None:
    closure = blink_track(60 * 60 * FPS, 15, np.random.default_rng(0))
    starts = np.flatnonzero((closure[1:] > 0.7) & (closure[:-1] <= 0.7))
    assert len(starts) / 60 == pytest.approx(15, rel=0.15)
    assert np.diff(starts).min() > 8
    assert closure.max() == 1


def test_blinks_prefer_pauses() -> None:
    silence = (np.arange(60 * 60 * FPS) % 100 < 25).astype(float)
    closure = blink_track(len(silence), 15, np.random.default_rng(0), silence)
    starts = np.flatnonzero((closure[1:] > 0.7) & (closure[:-1] <= 0.7))
    assert silence[starts].mean() > 0.4  # a quarter of the time is pause


def test_expressiveness_opens_the_mouth_wider(network: A2M, speech: np.ndarray, space: MotionSpace) -> None:
    shut, low, usual, high = (
        np.percentile(gap_of(network.generate(speech, expressiveness=amount), space), 90) for amount in (0, 0.5, 1, 1.8)
    )
    assert shut < 0.1 < low < 0.9 * usual < 0.8 * high


def test_articulation_shuts_lips_more_often(network: A2M, speech: np.ndarray, space: MotionSpace) -> None:
    loud = loudness(speech) > 0.4
    mumbled, crisp = (
        (gap_of(network.generate(speech, articulation=amount), space)[loud] < 0.08).mean() for amount in (0, 1)
    )
    assert crisp > mumbled


def test_shut_lips_shuts_any_mouth(space: MotionSpace) -> None:
    generator = np.random.default_rng(0)
    mouth = np.zeros((50, 52))
    for name in ("jawOpen", "mouthFunnel", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPucker"):
        mouth[:, BLENDSHAPE_INDEX[name]] = generator.random(50)
    gain = lip_gap_gain(space)
    assert lip_gap(space.apply(shut_lips(mouth, np.ones(50), gain))).max() < 0.02
    np.testing.assert_array_equal(shut_lips(mouth, np.zeros(50), gain), mouth)
    touching = touch_teeth(mouth, np.ones(50), gain)
    assert lip_gap(space.apply(touching)).max() < LABIODENTAL_GAP_CM + 0.02
    assert (touching[:, BLENDSHAPE_INDEX["mouthRollLower"]] >= 0.45).all()


def test_flow_is_inverted_and_preserves_volume() -> None:
    torch.manual_seed(0)
    flow = VPFlow(latent_channels=4, audio_channels=3, channels=8, layers=3)
    for shift in flow.shifts:
        torch.nn.init.normal_(shift[-1].weight, std=0.3)
    z, audio = torch.randn(2, 4, 9), torch.randn(2, 3, 9)
    torch.testing.assert_close(flow.inverse(flow(z, audio), audio), z, atol=1e-5, rtol=1e-5)
    jacobian = torch.autograd.functional.jacobian(lambda x: flow(x.view(1, 4, 9), audio[:1]).flatten(), z[0].flatten())
    assert torch.linalg.det(jacobian).abs().item() == pytest.approx(1, abs=1e-3)


def test_log_mel_is_level_normalised_and_on_the_frame_clock(speech: np.ndarray) -> None:
    mel = log_mel(speech)
    assert mel.shape == (4 * frame_count(len(speech) / SAMPLE_RATE), 80)
    np.testing.assert_allclose(mel, log_mel(speech * 0.2), atol=0.05)
    click = np.zeros(2 * SAMPLE_RATE, np.float32)
    click[SAMPLE_RATE : SAMPLE_RATE + 80] = 0.5
    assert abs(int(log_mel(click).mean(1).argmax()) - 100) <= 1
