"""Motion: files, capture conventions, rotations."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from synchrorama.blendshapes import BLENDSHAPE_INDEX
from synchrorama.errors import InputError
from synchrorama.motion import Motion, rotation_matrix, rotation_vector, set_gaze


@pytest.fixture
def motion() -> Motion:
    generator = np.random.default_rng(0)
    return Motion(
        generator.random((40, 52)), generator.normal(0, 0.1, (40, 3)), generator.normal(0, 0.02, (40, 3))
    )


@pytest.mark.parametrize("ending", [".npz", ".csv"])
def test_motion_survives_its_file(motion: Motion, ending: str, tmp_path) -> None:
    path = tmp_path / f"a motion with spaces{ending}"
    motion.save(path)
    loaded = Motion.load(path)
    for name in ("blendshapes", "rotation", "translation"):
        np.testing.assert_allclose(getattr(loaded, name), getattr(motion, name), atol=2e-6)


def test_csv_has_the_live_link_face_layout(motion: Motion, tmp_path) -> None:
    path = tmp_path / "capture.csv"
    motion.save(path)
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    assert rows[0][:3] == ["Timecode", "BlendshapeCount", "EyeBlinkLeft"]
    assert rows[0][53:57] == ["TongueOut", "HeadYaw", "HeadPitch", "HeadRoll"]
    assert rows[1][1] == "61"
    assert float(rows[5][54]) == pytest.approx(motion.rotation[4, 1], abs=1e-5)  # yaw


def test_capture_at_sixty_frames_a_second_keeps_its_duration(tmp_path) -> None:
    path = tmp_path / "iPhone.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Timecode", "BlendShapeCount", "JawOpen", *(f"Extra{i}" for i in range(3)), *_some_names()])
        for t in range(120):
            jaw = 0.5 + 0.5 * np.sin(2 * np.pi * t / 60)
            writer.writerow([f"12:00:{t // 60:02d}:{t % 60:02d}.123", 61, jaw, 1, 1, 1, *([0] * len(_some_names()))])
    motion = Motion.load(path)
    assert len(motion) == 50
    jaw = motion.column("jawOpen")
    assert jaw.max() > 0.95
    np.testing.assert_allclose(jaw[:25], jaw[25:], atol=0.06)  # one swing a second


def _some_names() -> list[str]:
    return ["EyeBlinkLeft", "EyeBlinkRight", "MouthClose", "MouthFunnel", "MouthPucker", "BrowInnerUp", "CheekPuff",
            "NoseSneerLeft", "NoseSneerRight", "HeadYaw"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.csv", None, "does not exist"),
        ("empty.csv", "", "no blendshape columns"),
        ("shopping.csv", "milk,eggs\n1,2\n", "no blendshape columns"),
        ("broken.npz", "not a zip", "cannot be read"),
        ("motion.txt", "hello", "neither"),
    ],
)
def test_unusable_motion_files_are_named_in_one_sentence(name: str, content: str | None, words: str, tmp_path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=words) as error:
        Motion.load(path)
    assert name in str(error.value) and str(tmp_path) not in str(error.value)


def test_motion_refuses_other_file_types(motion: Motion, tmp_path) -> None:
    with pytest.raises(InputError, match=r"\.npz or \.csv"):
        motion.save(tmp_path / "motion.fbx")


def test_rotation_vector_inverts_rotation_matrix() -> None:
    angles = np.random.default_rng(1).uniform(-0.6, 0.6, (50, 3))
    np.testing.assert_allclose(rotation_vector(rotation_matrix(angles)), angles, atol=1e-9)


def test_positive_angles_turn_as_documented() -> None:
    nose = np.array([0.0, 0.0, 1.0])
    crown = np.array([0.0, 1.0, 0.0])
    assert (rotation_matrix(np.array([0.2, 0, 0])) @ nose)[1] < 0  # pitch looks down
    assert (rotation_matrix(np.array([0, 0.2, 0])) @ nose)[0] > 0  # yaw turns to the right of the picture
    assert (rotation_matrix(np.array([0, 0, 0.2])) @ crown)[0] < 0  # roll tilts the crown to the left


def test_relative_to_rest_removes_the_pose_and_stretches_blinks() -> None:
    frames = 100
    blendshapes = np.zeros((frames, 52))
    blink = BLENDSHAPE_INDEX["eyeBlinkLeft"]
    blendshapes[:, blink] = 0.2
    blendshapes[40:44, blink] = 0.7
    blendshapes[:, BLENDSHAPE_INDEX["browInnerUp"]] = 0.3
    blendshapes[:, BLENDSHAPE_INDEX["jawOpen"]] = 0.4
    rotation = np.tile([0.3, -0.2, 0.1], (frames, 1))
    rotation[60:] += (0, 0.15, 0)
    rest = Motion(blendshapes, rotation[:frames], np.ones((frames, 3))).relative_to_rest()
    assert rest.column("eyeBlinkLeft")[0] == 0 and rest.column("eyeBlinkLeft")[41] == pytest.approx(1, abs=0.05)
    assert np.abs(rest.column("browInnerUp")).max() < 1e-6
    np.testing.assert_allclose(rest.column("jawOpen"), 0.4, atol=1e-6)
    assert np.abs(rest.rotation[:50]).max() < 1e-3 and rest.rotation[80, 1] > 0.1
    assert np.abs(rest.translation).max() < 1e-6


def test_gaze_goes_into_the_coefficients_of_both_eyes() -> None:
    blendshapes = np.zeros((2, 52))
    set_gaze(blendshapes, np.array([0.4, -0.3]), np.array([0.2, -0.1]))
    at = {name: blendshapes[:, i] for name, i in BLENDSHAPE_INDEX.items()}
    np.testing.assert_allclose(at["eyeLookOutLeft"], [0.4, 0])  # to the right of the picture: the subject's left
    np.testing.assert_allclose(at["eyeLookInRight"], [0.4, 0])
    np.testing.assert_allclose(at["eyeLookInLeft"], [0, 0.3])
    np.testing.assert_allclose(at["eyeLookDownLeft"], [0.2, 0])
    np.testing.assert_allclose(at["eyeLookUpRight"], [0, 0.1])
