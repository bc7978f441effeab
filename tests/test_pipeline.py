"""From photo and speech to a video. The controls have tests of their own."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY, write_wav
from motion_measures import nodding, opening, video_streams
from threadpoolctl import threadpool_info, threadpool_limits

from synchrorama import Cancelled, GenerationSettings, InputError, SynchroRaMaPipeline
from synchrorama.diffusion_stage import CLIP_FRAMES
from synchrorama.motion import BLENDSHAPE_NAMES
from synchrorama.provenance import read_container_metadata

CALM = GenerationSettings(seed=1)


@pytest.fixture(scope="module")
def result(pipeline, photo_path, speech_path):
    return pipeline(photo_path, speech_path, CALM)


# ------------------------------------------------------------------------------------------ what comes out


def test_the_saved_video_has_all_frames_the_sound_and_says_how_it_was_made(result, tmp_path):
    path = result.save(tmp_path / "talking.mp4")
    frames, seconds, told = video_streams(path)
    assert frames == len(result) == len(result.motion) == 50
    assert seconds == pytest.approx(2.0, abs=0.04)
    assert "512x512" in told and "Audio: aac" in told
    label = read_container_metadata(path)
    assert "AI-generated" in label["title"] and "AI-generated" in label["comment"]
    assert json.loads(label["description"])["settings"] == CALM.to_dict()
    assert list(tmp_path.iterdir()) == [path]


def test_frames_are_pictures_of_the_photo_that_move(result):
    frames = list(result.frames)
    assert len(frames) == 50
    assert all(frame.shape == (512, 512, 3) and frame.dtype == np.uint8 for frame in frames)
    differences = [np.abs(frame.astype(int) - result.portrait.crop).mean() for frame in frames]
    assert max(differences) < 25  # the same picture
    assert len({frame.tobytes() for frame in frames}) > 40  # that moves


def test_every_use_of_the_frames_starts_anew(result):
    first, again = (list(itertools.islice(result.frames, 3)) for _ in range(2))
    assert np.array_equal(first, again)


def test_frames_are_made_only_when_asked_for(pipeline, photo_path, speech_path):
    asked = []
    result = pipeline(photo_path, speech_path, CALM, progress=lambda stage, done, _: asked.append((stage, done)))
    next(result.frames)
    rendered = [done for stage, done in asked if stage == "Rendering"]
    assert 0 < len(rendered) <= 2 * CLIP_FRAMES < len(result)  # a clip is denoised at once, and fades into the next


def test_rendering_keeps_linear_algebra_to_one_thread_and_leaves_the_setting_as_it_was(result, monkeypatch):
    def threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    next(result.frames)  # loads every library
    seen, draw = [], result.renderer.frame
    monkeypatch.setattr(result.renderer, "frame", lambda *motion: seen.append(threads()) or draw(*motion))
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        next(result.frames)
        assert 2 in before and seen[-1] == {1} and threads() == before


def test_progress_names_the_stages_in_order_and_counts_to_the_end(pipeline, photo_path, speech_path, tmp_path):
    told = []
    result = pipeline(photo_path, speech_path, CALM, progress=lambda *report: told.append(report))
    result.save(tmp_path / "talking.mp4")
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages == [
        "Finding the face", "Reading the recording", "Preparing the portrait", "Hearing the emotion",
        "Composing the motion", "Rendering",
    ]  # fmt: skip
    assert [(done, total) for stage, done, total in told if stage == "Rendering"] == [(t, 50) for t in range(51)]
    assert set(result.timings) == set(stages) and all(seconds >= 0 for seconds in result.timings.values())


def test_cancelling_between_frames_leaves_nothing_behind(pipeline, photo_path, speech_path, tmp_path):
    rendered = []

    def progress(stage, done, _):
        rendered.extend([done] if stage == "Rendering" else [])

    result = pipeline(photo_path, speech_path, CALM, progress=progress, should_stop=lambda: len(rendered) > 5)
    with pytest.raises(Cancelled):
        result.save(tmp_path / "talking.mp4")
    assert len(rendered) == 6
    assert not list(tmp_path.iterdir())


def test_cancelling_works_before_the_first_frame_too(pipeline, photo_path, speech_path):
    with pytest.raises(Cancelled):
        pipeline(photo_path, speech_path, CALM, should_stop=lambda: True)


# ------------------------------------------------------------------------------------------ driven by a motion


def test_a_motion_drives_the_photo_without_speech_and_the_video_is_silent(pipeline, photo_path, tmp_path):
    nodding(12).save(tmp_path / "nod.csv")
    result = pipeline(photo_path, motion=tmp_path / "nod.csv")
    assert result.audio is None and np.allclose(result.motion.rotation, nodding(12).rotation, atol=1e-4)
    frames, _, told = video_streams(result.save(tmp_path / "nod.mp4"))
    assert frames == 12 and "Audio: aac" in told


def test_a_face_capture_is_taken_relative_to_its_own_rest(pipeline, photo_path, tmp_path):
    capture = nodding(50)
    capture.rotation[:, 0] += 0.4  # the phone lay on the table
    capture.blendshapes[:, BLENDSHAPE_NAMES.index("browInnerUp")] = 0.3
    capture.save(tmp_path / "ours.csv")
    lines = [line.split(",")[:-3] for line in (tmp_path / "ours.csv").read_text().splitlines()]
    (tmp_path / "app.csv").write_text("\n".join(",".join(line) for line in lines))  # without HeadX, HeadY, HeadZ
    ours, app = (pipeline(photo_path, motion=tmp_path / name).motion for name in ("ours.csv", "app.csv"))
    assert np.allclose(ours.rotation, capture.rotation, atol=1e-4)
    assert np.allclose(app.rotation, nodding(50).rotation, atol=0.03)
    assert np.abs(app.column("browInnerUp")).max() < 1e-3


@pytest.mark.parametrize(("frames", "says"), [(30, "last pose is held"), (80, "rest of the motion is left out")])
def test_a_motion_of_another_length_than_the_speech_is_fitted_with_a_warning(
    pipeline, photo_path, speech_path, frames, says
):
    result = pipeline(photo_path, speech_path, motion=nodding(frames))
    assert len(result) == 50 and says in result.warnings[-1]
    shared = min(frames, 50)
    assert np.array_equal(result.motion.rotation[:shared], nodding(frames).rotation[:shared])


def test_motion_saved_and_given_back_makes_the_same_motion_frames(pipeline, result, photo_path, speech_path, tmp_path):
    result.motion.save(tmp_path / "motion.npz")
    again = pipeline(photo_path, speech_path, motion=tmp_path / "motion.npz")
    assert all(np.array_equal(again.frame(t), result.frame(t)) for t in (0, 17, 34))


# ------------------------------------------------------------------------------------------ bad input


def test_without_speech_and_motion_there_is_nothing_to_say(pipeline, photo_path):
    with pytest.raises(InputError, match="give a recording or a motion file"):
        pipeline(photo_path)


def test_a_missing_folder_of_weights_is_told_in_one_sentence():
    with pytest.raises(InputError, match="no folder of weights called 'nowhere'"):
        SynchroRaMaPipeline.from_pretrained("nowhere")


def test_an_incomplete_folder_of_weights_names_what_it_lacks(tmp_path):
    with pytest.raises(InputError, match="lack the folder 'a2m'"):
        _ = SynchroRaMaPipeline.from_pretrained(tmp_path).a2m


def test_the_default_weights_are_found_from_any_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert SynchroRaMaPipeline.from_pretrained().profile.folder("a2m").is_dir()


def test_a_picture_without_a_face_is_refused(pipeline, speech_path):
    with pytest.raises(InputError, match="No face"):
        pipeline(np.full((300, 300, 3), 128, np.uint8), speech_path)


@pytest.mark.parametrize("kind", ["silence", "noise"])
def test_silence_and_noise_are_no_errors_and_the_mouth_rests(pipeline, photo_path, speech_samples, tmp_path, kind):
    samples = np.zeros(48_000) if kind == "silence" else np.random.default_rng(0).normal(0, 0.2, 48_000)
    quiet = pipeline(photo_path, write_wav(tmp_path / "quiet.wav", samples), CALM)
    speech = pipeline(photo_path, write_wav(tmp_path / "speech.wav", speech_samples), CALM)
    assert opening(pipeline, quiet.motion) < 0.25 * opening(pipeline, speech.motion)


SLOWLY_IMPORTED = """
import sys, threading, time
from synchrorama import SynchroRaMaPipeline

class Slow:
    def find_spec(self, name, *_):
        if name == "diffusers.utils":
            time.sleep(0.5)

sys.meta_path.insert(0, Slow())
pipe = SynchroRaMaPipeline.from_pretrained()
photo, speech = sys.argv[1:]
work = (lambda: pipe.look(photo), lambda: pipe.look(None, speech), lambda: pipe.a2m, lambda: pipe(photo, speech))
threads = [threading.Thread(target=each) for each in work]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_may_begin_at_once(photo_path, speech_path):
    """Libraries that are imported for the first time are imported by one thread, slow as that may be."""
    command = [sys.executable, "-c", SLOWLY_IMPORTED, str(photo_path), str(speech_path)]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0 and "Error" not in ran.stderr, ran.stderr
