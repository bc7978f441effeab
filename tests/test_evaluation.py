"""Measurements of finished videos, on constructed tracks and on small videos made here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from synchrorama.__main__ import main as command_line
from synchrorama.blendshapes import MotionSpace
from synchrorama.errors import InputError
from synchrorama.evaluation import quality
from synchrorama.evaluation.report import DEFAULT_CHECKPOINT, Report, evaluate, main, read_frames, read_phones
from synchrorama.media import read_photo, read_speech
from synchrorama.video_writer import VideoWriter

ASSETS = Path(__file__).resolve().parent.parent / "assets"
RATE = 16_000


# ---------------------------------------------------------------------------------------------- lips


def speech_and_silence(seconds: float = 4.0) -> np.ndarray:
    """Half a second of noise, half a second of silence, and so on."""
    noise = np.random.default_rng(0).normal(0, 0.2, round(seconds * RATE)).astype(np.float32)
    return noise * (np.arange(len(noise)) // (RATE // 2) % 2 == 0)


def test_a_mouth_that_follows_loudness():
    speech = speech_and_silence()
    talking = (np.arange(100) // 12.5 % 2 < 1).astype(float)
    good, open_, still = (
        quality.lip_statistics(gap, speech) for gap in (talking, np.full(100, 0.6) + 0.01 * talking, np.zeros(100))
    )
    assert good.loudness_correlation > 0.9
    assert good.silence_opening < 0.1
    assert open_.silence_opening > 0.9
    assert still.loudness_correlation is None
    assert good.gap_90 == pytest.approx(1.0)


def test_silence_opening_needs_silence():
    assert quality.lip_statistics(np.ones(100), speech_and_silence()[: RATE // 2].repeat(8)).silence_opening is None


def test_closures_are_counted_against_the_bar():
    gap = np.ones(50)
    gap[10:12] = 0.1  # shut: below 15 % of the 90th percentile
    gap[20:22] = 0.2  # not shut
    gap[30] = 0.0  # the m's, although it also lies in iy
    gap[38] = 0.0  # in the middle of ow
    phones = [
        ("p", 0.40, 0.48), ("B", 0.80, 0.88), ("m", 1.20, 1.21), ("iy1", 1.18, 1.30), ("aa", 0.0, 0.3),
        ("ax", 0.40, 0.44), ("ow", 1.45, 1.62), ("t", 0.4, 0.48), ("pau", 1.7, 2.0), ("m", 5.0, 5.1),
    ]  # fmt: skip
    counted = quality.closures(gap, phones)
    assert (counted.bilabials, counted.vowels) == (3, 3)  # the last m is after the video; the short vowel is left out
    assert counted.shut == pytest.approx(2 / 3)
    assert counted.falsely_shut == pytest.approx(1 / 3)
    nothing = quality.closures(gap, [("t", 0.4, 0.48)])
    assert nothing.shut is None
    assert nothing.falsely_shut is None


def test_a_short_closure_between_two_frames_counts_for_the_frames_it_touches():
    gap = np.ones(50)
    gap[25] = 0.0
    assert quality.closures(gap, [("p", 1.03, 1.05)]).shut == 1.0
    assert quality.closures(gap, [("p", 1.05, 1.07)]).shut == 0.0


def test_lips_of_a_motion():
    from synchrorama.motion import Motion

    space = MotionSpace.from_pretrained(DEFAULT_CHECKPOINT / "motion_space")
    motion = Motion.rest(3)
    motion.blendshapes[1, 17] = 0.5  # jawOpen
    gap, width = quality.motion_lips(motion, space)
    assert gap[0] == pytest.approx(0, abs=0.02)
    assert gap[1] > 0.5
    assert width.shape == (3,)


# ---------------------------------------------------------------------------------------------- eyes and head


def lids(blinks: list[int], frames: int = 500, depth: float = 0.2) -> np.ndarray:
    opening = 1 + 0.05 * np.sin(np.arange(frames) / 40)
    for at in blinks:
        opening[at - 2 : at + 4] *= np.array([0.8, 0.5, depth, 0.3, 0.6, 0.9])
    return opening


def test_blinks_are_counted():
    assert quality.blink_frames(lids([50, 120, 300])) == [50, 120, 300]
    assert quality.blinks_per_minute(lids([50, 120, 300])) == pytest.approx(9)
    assert quality.blink_frames(lids([])) == []


def test_two_eyes_and_small_or_long_closures():
    both = np.stack([lids([50]), lids([50]) * 0.8], axis=1)
    assert quality.blink_frames(both) == [50]
    glance = lids([])
    glance[100:150] *= 0.5
    assert quality.blink_frames(glance) == []
    assert quality.blink_frames(lids([50], depth=0.95) ** 0.1) == []


def test_head_range_and_speed():
    t = np.arange(250)
    rotation = np.deg2rad(np.stack([0 * t, 10 * np.sin(t * 2 * np.pi / 125), 0 * t + 3], axis=1))
    pitch, yaw, roll = quality.head_range(rotation)
    assert (pitch, roll) == (0, 0)
    assert yaw == pytest.approx(20, abs=0.5)
    assert quality.head_speed(rotation) == pytest.approx(40 / 5, rel=0.05)


def test_jerk_grows_with_jerkiness_and_not_with_size():
    t = np.arange(500)[:, None]
    slow, fast = (np.sin(t * 2 * np.pi / period) * [0.1, 0.1, 0.1] for period in (100, 20))
    noise = np.random.default_rng(0).normal(size=(500, 3))
    values = [quality.jerk(motion) for motion in (slow, fast, slow + 0.02 * noise, noise)]
    assert values == sorted(values)
    assert values[-1] == pytest.approx((40 / 28) ** 0.5, rel=0.1)
    assert quality.jerk(5 * fast) == pytest.approx(values[1])
    assert quality.jerk(np.zeros((50, 3))) == 0
    assert quality.jerk(np.zeros((3, 3))) == quality.head_speed(np.zeros((3, 3))) == 0


# ---------------------------------------------------------------------------------------------- pictures


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return read_photo(ASSETS / "eileen_collins.jpg")[:256, :256]


def test_psnr_and_ssim_agree_with_scikit_image(picture):
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    noise = np.random.default_rng(0).normal(0, 12, picture.shape)
    worse = np.clip(picture + noise, 0, 255).astype(np.uint8)
    assert quality.psnr(worse, picture) == pytest.approx(peak_signal_noise_ratio(picture, worse, data_range=255))
    grey, grey_worse = picture[..., 1], worse[..., 1]
    expected = structural_similarity(
        grey, grey_worse, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    assert quality.ssim(grey_worse, grey) == pytest.approx(expected, abs=1e-3)


def test_identical_and_known_pictures(picture):
    assert quality.psnr(picture, picture) == quality.PSNR_LIMIT
    assert quality.ssim(picture, picture) == pytest.approx(1)
    black = np.zeros((32, 32, 3), np.uint8)
    assert quality.psnr(black, black + 255) == pytest.approx(0)
    assert quality.psnr(black, black + 10) == pytest.approx(28.13, abs=0.01)


def test_sharpness_and_flicker(picture):
    import cv2

    box = (0, 0, 256, 256)
    face = quality.face_picture(picture, box)
    blurred = cv2.GaussianBlur(face, (0, 0), 2)
    same = quality.picture_quality([face] * 5)
    assert (same.sharpness, same.flicker) == (1, 0)
    assert quality.picture_quality([face, *[blurred] * 8]).sharpness < 0.5
    rng = np.random.default_rng(0)
    noisy = quality.picture_quality(face + rng.normal(0, 5, face.shape).astype(np.float32) for _ in range(20))
    assert noisy.flicker == pytest.approx(3**0.5, rel=0.03)
    moving = quality.picture_quality(blurred[:, 2 * t : 2 * t + 200] for t in range(25))
    assert moving.flicker < 1


def test_landmark_distance_is_in_percent_of_the_interocular_distance():
    landmarks = np.random.default_rng(0).uniform(0, 100, (4, 468, 3))
    moved = landmarks + np.array([3.0, 4.0, 99.0])
    assert quality.landmark_distance(landmarks, moved, np.full(4, 50.0)) == pytest.approx(10)


# ---------------------------------------------------------------------------------------------- whole videos


@pytest.fixture(scope="module")
def still_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a photo that does not move, with speech."""
    import cv2

    folder = tmp_path_factory.mktemp("videos")
    speech = speech_file(folder, 2.0)
    photo = cv2.resize(read_photo(ASSETS / "eileen_collins.jpg"), (384, 384), interpolation=cv2.INTER_AREA)
    with VideoWriter(folder / "still ünd 'quoted'.mp4", 384, 384, speech) as video:
        for _ in range(speech.frame_count):
            video.write(photo)
    return folder / "still ünd 'quoted'.mp4"


def speech_file(folder: Path, seconds: float):
    from conftest import write_wav

    samples = read_speech(ASSETS / "english_expressive_rms.flac").samples[: round(seconds * RATE)]
    return read_speech(write_wav(folder / "speech.wav", samples))


def test_report_of_a_still_photo(still_video):
    report = evaluate(still_video, phones=[("m", 0.2, 0.3), ("aa", 0.5, 0.7)])
    assert report.seconds == 2
    assert report.sound_seconds == pytest.approx(2, abs=0.05)
    assert report.face_rate == 1
    assert report.sync_confidence < 0.1
    assert report.blinks_per_minute == 0
    assert max(report.head_range) < 1
    assert report.sharpness == pytest.approx(1, abs=0.2)
    assert (report.bilabials, report.vowels) == (1, 1)
    assert report.psnr is None
    assert report.notes == []


def test_late_sound_shows_in_the_pixels_of_a_rendered_video(tmp_path):
    from test_sync import talking

    from synchrorama.face import find_portrait
    from synchrorama.motion import Motion
    from synchrorama.motion_frames import MotionFrameRenderer

    speech = speech_file(tmp_path, 3.0)
    portrait = find_portrait(read_photo(ASSETS / "eileen_collins.jpg"))
    space = MotionSpace.from_pretrained(DEFAULT_CHECKPOINT / "motion_space")
    coefficients = talking(speech.samples)
    motion = Motion(coefficients, np.zeros((len(coefficients), 3)), np.zeros((len(coefficients), 3)))
    frames = list(MotionFrameRenderer(portrait.crop, portrait.landmarks, space).frames(motion))
    offsets = []
    for late in (0, 4):
        path = tmp_path / f"{late}.mp4"
        with VideoWriter(path, 512, 512, speech) as video:
            for frame in (frames[late:] + frames[:late])[: speech.frame_count]:
                video.write(frame)
        offsets.append(evaluate(path).sync_offset)
    assert offsets[1] - offsets[0] == 4
    assert abs(offsets[0]) <= 1


def test_reference(still_video, capsys):
    assert main([str(still_video), "--reference", str(still_video), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["psnr"] == quality.PSNR_LIMIT
    assert report["ssim"] == pytest.approx(1)
    assert report["landmark_distance"] == report["lip_distance"] == 0


def test_video_without_sound_is_measured_as_far_as_possible(still_video, tmp_path):
    import subprocess

    import imageio_ffmpeg

    mute = tmp_path / "mute.mp4"
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", still_video, "-an", "-c", "copy", mute],
        check=True,
    )
    report = evaluate(mute)
    assert report.sound_seconds is None
    assert report.sync_offset is None
    assert "no sound" in report.notes[0]
    assert "sound none" in report.to_text()


def test_frames_come_at_25_a_second(tmp_path):
    import cv2

    path = tmp_path / "fast.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 50, (64, 64))
    for value in range(100):
        writer.write(np.full((64, 64, 3), 2 * value, np.uint8))
    writer.release()
    frames = list(read_frames(path))
    assert len(frames) == 50
    steps = np.diff([frame.mean() for frame in frames])  # no frame doubled, none left out
    assert steps.min() > 0
    assert steps.max() < 8


def test_report_as_text_and_json():
    report = Report("a.mp4", 2.0, 64, 64, 1.0, 2.0, sync_offset=-3, sync_confidence=0.4, blinks_per_minute=12.0)
    text = report.to_text()
    assert "-3 frames (-120 ms, the sound is early)" in text
    assert "PSNR" not in text
    assert json.loads(report.to_json())["blinks_per_minute"] == 12


@pytest.mark.parametrize("arguments", [["missing.mp4"], [], ["a.mp4", "--unknown"]])
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, capsys):
    assert command_line(["evaluate", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1


def test_files_that_are_no_videos(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("hello")
    with pytest.raises(InputError):
        evaluate(text)
    phones = tmp_path / "phones.json"
    for content in ("{", '[["p", 1]]', '[["p", "a", 2]]', "3"):
        phones.write_text(content)
        with pytest.raises(InputError, match="phone"):
            read_phones(phones)
    phones.write_text('[["p", 0.1, 0.2]]')
    assert read_phones(phones) == [("p", 0.1, 0.2)]


def test_a_video_without_a_face(tmp_path):
    speech = speech_file(tmp_path, 0.5)
    with VideoWriter(tmp_path / "grey.mp4", 128, 128, speech) as video:
        for _ in range(speech.frame_count):
            video.write(np.full((128, 128, 3), 128, np.uint8))
    with pytest.raises(InputError, match="face"):
        evaluate(tmp_path / "grey.mp4")
