"""The motion space: pose and coefficients of a face are found again from its landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synchrorama.blendshapes import BLENDSHAPE_INDEX, MotionSpace, eye_opening, lip_gap, mouth_width
from synchrorama.errors import InputError
from synchrorama.face_topology import LIP_COLUMNS
from synchrorama.motion import rotation_matrix

FOLDER = Path(__file__).parents[1] / "checkpoints" / "mini" / "motion_space"


@pytest.fixture(scope="module")
def space() -> MotionSpace:
    return MotionSpace.from_pretrained(FOLDER)


def test_coefficients_of_zero_are_shut_lips_and_open_eyes(space: MotionSpace) -> None:
    for upper, lower in LIP_COLUMNS:
        assert space.neutral[upper[0], 1] == pytest.approx(space.neutral[lower[0], 1], abs=1e-4)
    assert eye_opening(space.neutral).min() > 0.4


@pytest.mark.parametrize(
    ("name", "measure", "sign"),
    [
        ("jawOpen", lip_gap, 1),
        ("mouthClose", lip_gap, -1),
        ("mouthPucker", mouth_width, -1),
        ("mouthStretchLeft", mouth_width, 1),
        ("mouthSmileRight", mouth_width, 1),
        ("eyeBlinkLeft", lambda shape: eye_opening(shape)[0], -1),
        ("eyeBlinkRight", lambda shape: eye_opening(shape)[1], -1),
        ("browInnerUp", lambda shape: shape[107, 1], 1),
        ("browDownLeft", lambda shape: shape[336, 1], -1),
        ("mouthSmileLeft", lambda shape: shape[291, 1], 1),
        ("mouthFrownLeft", lambda shape: shape[291, 1], -1),
    ],
)
def test_each_shape_moves_what_its_name_says(space: MotionSpace, name: str, measure, sign: int) -> None:
    change = measure(space.neutral + space.basis[BLENDSHAPE_INDEX[name]]) - measure(space.neutral)
    assert sign * change > 0.1


def test_pose_is_found_again(space: MotionSpace) -> None:
    angles = np.array([[0.1, -0.3, 0.05], [0.0, 0.2, -0.15]])
    scale, translation = np.array([20.0, 31.0]), np.array([[200.0, -240.0, 5.0], [260.0, -250.0, 0.0]])
    landmarks = space.project(np.stack([space.neutral] * 2), scale, rotation_matrix(angles), translation)
    found = space.canonicalize(landmarks)
    np.testing.assert_allclose(found.scale, scale, rtol=1e-6)
    np.testing.assert_allclose(found.rotation, rotation_matrix(angles), atol=1e-6)
    np.testing.assert_allclose(found.shapes, np.stack([space.neutral] * 2), atol=1e-6)


def test_fit_explains_the_lips_of_another_person(space: MotionSpace) -> None:
    generator = np.random.default_rng(3)
    coefficients = np.zeros((60, 52))
    for name, top in (("jawOpen", 0.5), ("mouthPucker", 0.6), ("mouthSmileLeft", 0.5), ("mouthSmileRight", 0.5)):
        coefficients[:, BLENDSHAPE_INDEX[name]] = top * generator.random(60)
    person = np.tensordot(generator.normal(0, 0.7, 40), space.identities, 1)
    shapes = space.apply(coefficients) + person + generator.normal(0, 0.02, (60, 468, 3))
    fit = space.fit(shapes)
    assert fit.coefficients.min() >= 0 and fit.coefficients.max() <= 1
    found = space.apply(fit.coefficients)
    assert np.corrcoef(lip_gap(found), lip_gap(shapes))[0, 1] > 0.99
    assert np.abs(lip_gap(found) - lip_gap(shapes)).max() < 0.02
    assert np.corrcoef(mouth_width(found), mouth_width(shapes))[0, 1] > 0.95


def test_shut_lips_are_fitted_shut(space: MotionSpace) -> None:
    fit = space.fit(np.stack([space.neutral] * 3))
    assert np.abs(lip_gap(space.apply(fit.coefficients))).max() < 0.01


def test_missing_folder_is_one_sentence(tmp_path) -> None:
    with pytest.raises(InputError, match="motion space is missing"):
        MotionSpace.from_pretrained(tmp_path / "nowhere")
