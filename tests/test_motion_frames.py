"""The motion frames do what the motion says, measured on the rendered pixels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from synchrorama.blendshapes import (
    BLENDSHAPE_INDEX,
    BLENDSHAPE_NAMES,
    MotionSpace,
    eye_opening,
    lip_gap,
    mouth_width,
)
from synchrorama.face import find_portrait
from synchrorama.media import read_photo
from synchrorama.motion import Motion, rotation_vector
from synchrorama.motion_frames import MotionFrameRenderer
from synchrorama.motion_frames.mesh import build_face_mesh, build_outer_mesh
from synchrorama.motion_frames.teeth import mouth_model

STILL = np.zeros(3)


def coefficients(**values: float) -> np.ndarray:
    """(52,) by ARKit names; a name without its Left or Right sets both."""
    result = np.zeros(52)
    for name, value in values.items():
        for full in (name, name + "Left", name + "Right"):
            if full in BLENDSHAPE_INDEX:
                result[BLENDSHAPE_INDEX[full]] = value
    return result


@pytest.fixture(scope="module")
def space() -> MotionSpace:
    return MotionSpace.from_pretrained("checkpoints/mini/motion_space")


@pytest.fixture(scope="module")
def portraits(photo_path) -> dict:
    paths = {"open": photo_path, "shut": photo_path.parent / "grace_hopper.jpg"}
    return {name: find_portrait(read_photo(path)) for name, path in paths.items()}


@pytest.fixture(scope="module")
def renderers(portraits, space) -> dict[str, MotionFrameRenderer]:
    return {name: MotionFrameRenderer(p.crop, p.landmarks, space) for name, p in portraits.items()}


@pytest.fixture(scope="module")
def renderer(renderers) -> MotionFrameRenderer:
    return renderers["open"]


@pytest.fixture(scope="module")
def track():
    """Frame → (478, 3) landmarks, by a detector that knows nothing of the motion."""
    import mediapipe

    with mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=1, refine_landmarks=True, min_detection_confidence=0.3
    ) as mesh:

        def detect(frame: np.ndarray) -> np.ndarray:
            face = mesh.process(frame).multi_face_landmarks[0]
            height, width = frame.shape[:2]
            return np.array([(p.x * width, p.y * height, p.z * width) for p in face.landmark])

        yield detect


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(int) - b.astype(int)).max(axis=2)


# ---- the photo itself


def test_no_motion_reproduces_a_photo_with_shut_lips(portraits, renderers) -> None:
    photo = portraits["shut"].crop
    frame = renderers["shut"].render(np.zeros(52), STILL, STILL)
    error = np.mean((frame.astype(float) - photo) ** 2)
    assert 10 * np.log10(255**2 / error) > 38


def test_no_motion_only_shuts_lips_that_are_open_in_the_photo(portraits, renderers) -> None:
    photo, landmarks = portraits["open"].crop, portraits["open"].landmarks
    frame = renderers["open"].render(np.zeros(52), STILL, STILL)
    brows = int(landmarks[[105, 334], 1].min())
    assert np.percentile(difference(frame, photo)[:brows], 99.5) <= 2


@pytest.mark.parametrize("rotation", [(0, 0.25, 0), (0.15, -0.2, 0.1), (-0.15, 0, -0.15)])
def test_the_frame_border_stands_still(renderers, portraits, rotation) -> None:
    for name, renderer in renderers.items():
        photo = portraits[name].crop
        frame = renderer.render(coefficients(jawOpen=0.6), np.array(rotation), np.array([0.02, 0.02, 0.02]))
        moved = difference(frame, photo)
        for edge in (moved[0], moved[-1], moved[:, 0], moved[:, -1]):
            assert np.percentile(edge, 99) <= 6


# ---- the motion, seen by a tracker


def test_the_jaw_opens_and_shuts_the_mouth(renderers, track, space) -> None:
    for renderer in renderers.values():
        gaps = []
        for opening in (0.0, 0.25, 0.5):
            frame = renderer.render(coefficients(jawOpen=opening), STILL, STILL)
            gaps.append(lip_gap(space.canonicalize(track(frame)[None]).shapes)[0])
        assert gaps[0] < 0.25
        assert gaps[1] > gaps[0] + 0.3
        assert gaps[2] > gaps[1] + 0.3


def test_intended_lip_gaps_are_met_exactly(renderers, space) -> None:
    motion = np.random.default_rng(0).uniform(0, 0.4, (20, 52)) * np.array(
        [name.startswith(("mouth", "jaw")) for name in BLENDSHAPE_NAMES]
    )
    for renderer in renderers.values():
        deform = renderer._deformer
        for blendshapes in motion:
            wanted = deform.size * (lip_gap(space.apply(blendshapes)) - lip_gap(space.neutral))
            if wanted > 0.3:
                assert lip_gap(deform(blendshapes)) == pytest.approx(wanted, abs=0.02)


def test_a_blink_shuts_the_eyes(renderers, track, space) -> None:
    for renderer in renderers.values():
        awake, shut = (
            eye_opening(space.canonicalize(track(renderer.render(c, STILL, STILL))[None]).shapes)[0]
            for c in (np.zeros(52), coefficients(eyeBlink=1.0))
        )
        assert (shut < 0.45 * awake).all()
        lids = eye_opening(renderer._deformer(coefficients(eyeBlink=1.0)))
        assert np.abs(lids).max() < 0.02  # and in truth, of which the tracker sees only a part


@pytest.mark.parametrize("axis, angle", [(0, 0.12), (0, -0.12), (1, 0.2), (1, -0.2), (2, 0.15), (2, -0.15)])
def test_the_head_turns_as_told(renderer, track, space, axis, angle) -> None:
    rotation = np.zeros(3)
    rotation[axis] = angle
    before, after = (
        rotation_vector(space.canonicalize(track(renderer.render(np.zeros(52), r, STILL))[None]).rotation)[0, axis]
        for r in (STILL, rotation)
    )
    assert 0.5 * abs(angle) < (after - before) * np.sign(angle) < 1.5 * abs(angle)


def test_the_head_moves_and_comes_nearer(renderer, track) -> None:
    still, right, up, near = (
        track(renderer.render(np.zeros(52), STILL, np.array(shift)))
        for shift in ((0, 0, 0), (0.04, 0, 0), (0, 0.04, 0), (0, 0, 0.1))
    )
    assert right[4, 0] > still[4, 0] + 3
    assert up[4, 1] < still[4, 1] - 3
    assert np.ptp(near[:468, 0]) > 1.05 * np.ptp(still[:468, 0])


def test_a_smile_widens_and_rounding_narrows_the_mouth(renderer, track, space) -> None:
    round_, plain, smile = (
        mouth_width(space.canonicalize(track(renderer.render(c, STILL, STILL))[None]).shapes)[0]
        for c in (coefficients(mouthPucker=0.8), np.zeros(52), coefficients(mouthSmile=0.8))
    )
    assert round_ < plain - 0.2 and smile > plain + 0.1


def test_gaze_moves_the_irises(renderer, track) -> None:
    left, right = (
        track(renderer.render(c, STILL, STILL))
        for c in (
            coefficients(eyeLookOutRight=0.8, eyeLookInLeft=0.8),  # towards the left of the picture
            coefficients(eyeLookInRight=0.8, eyeLookOutLeft=0.8),
        )
    )
    for iris, corner in ((468, 33), (473, 263)):
        assert right[iris, 0] - right[corner, 0] > left[iris, 0] - left[corner, 0] + 1


def test_a_smiling_photo_keeps_its_smile_while_speaking(renderer, space) -> None:
    photo_smile = renderer.expression[BLENDSHAPE_INDEX["mouthSmileLeft"]]
    assert photo_smile > 0.2, "the photo of this test should smile"
    speaking = renderer._deformer(coefficients(jawOpen=0.3))
    bare = MotionFrameRenderer.__new__(MotionFrameRenderer)  # the same mouth with nothing of the photo kept
    bare._deformer = type(renderer._deformer)(renderer._shape, renderer.expression, space)
    bare._deformer.kept_expression = np.zeros(52)
    assert mouth_width(speaking) > mouth_width(bare._deformer(coefficients(jawOpen=0.3))) + 0.05


@pytest.mark.parametrize("name", BLENDSHAPE_NAMES)
def test_every_coefficient_changes_the_picture(renderer, name) -> None:
    base = coefficients(jawOpen=0.4) if name in ("tongueOut", "mouthClose") else np.zeros(52)
    moved = base.copy()
    moved[BLENDSHAPE_INDEX[name]] = 0.9
    assert difference(renderer.render(base, STILL, STILL), renderer.render(moved, STILL, STILL)).max() > 8


# ---- the picture as a picture


def test_frames_are_deterministic_and_independent_of_what_came_before(renderer) -> None:
    pose = coefficients(jawOpen=0.4, eyeBlink=0.5), np.array([0.1, 0.2, 0.05]), np.array([0.01, 0.01, 0.01])
    first = renderer.render(*pose)
    renderer.render(np.ones(52), -pose[1], STILL)
    again = renderer.render(*pose)
    assert first.dtype == np.uint8 and first.shape == (512, 512, 3)
    assert (first == again).all()


def test_the_mesh_has_no_cracks(renderer) -> None:
    """Painted entirely green, photo and background leave no other colour behind, whatever moves."""
    layers, background = renderer._layers, renderer._background
    green = np.array([0, 200, 0], np.uint8)
    try:
        renderer._layers = np.concatenate([np.broadcast_to(green, (*layers.shape[:2], 3)), layers[..., 3:]], axis=2)
        renderer._layers[..., 3] = 255
        renderer._background = np.full_like(background, 255)
        for rotation in ((0, 0.3, 0), (0.2, -0.3, 0.2), (-0.2, 0.1, -0.2)):
            frame = renderer.render(coefficients(jawOpen=0.7, browInnerUp=0.8), np.array(rotation), STILL)
            covered = renderer._depth > -1e8
            assert covered.all()
            outside = np.ones(frame.shape[:2], bool)
            outside[:, 100:412] = False  # eyes and mouth have their own colours
            assert (frame[outside] == green).all()
    finally:
        renderer._layers, renderer._background = layers, background


def test_extreme_and_negative_input_is_rendered_without_warnings(renderers) -> None:
    rng = np.random.default_rng(1)
    with np.errstate(all="raise", under="ignore"):
        for renderer in renderers.values():
            for value in (1.0, -1.0):
                renderer.render(np.full(52, value), np.full(3, value), np.full(3, value))
            for _ in range(5):
                renderer.render(rng.uniform(-0.5, 1.2, 52), rng.normal(0, 0.3, 3), rng.normal(0, 0.1, 3))


def test_small_motion_makes_small_changes(renderer) -> None:
    """No flicker: along a slow movement no frame jumps against the next."""
    motion = Motion.rest(12)
    motion.blendshapes[:, BLENDSHAPE_INDEX["jawOpen"]] = np.linspace(0, 0.12, 12)
    for side in ("Left", "Right"):
        motion.blendshapes[:, BLENDSHAPE_INDEX["eyeBlink" + side]] = np.linspace(0, 0.25, 12)
    motion.rotation[:, 1] = np.linspace(0, 0.03, 12)
    frames = list(renderer.frames(motion))
    steps = [difference(a, b).mean() for a, b in itertools.pairwise(frames)]
    assert len(frames) == 12
    assert max(steps) < 3 * np.median(steps) + 0.5


def test_a_grey_photo_gets_a_grey_mouth(portraits, space) -> None:
    grey = portraits["shut"].crop.mean(axis=2, keepdims=True).astype(np.uint8).repeat(3, axis=2)
    frame = MotionFrameRenderer(grey, portraits["shut"].landmarks, space).render(
        coefficients(jawOpen=0.6), STILL, STILL
    )
    assert np.ptp(frame.astype(int), axis=2).max() <= 3


# ---- the parts


def test_face_mesh_has_holes_and_reproduces_affine_maps(space) -> None:
    mesh = build_face_mesh(space.triangles)
    assert np.allclose(mesh.refine.sum(axis=1), 1, atol=1e-5)
    assert len(mesh.outline) == 36 * 4 and len(mesh.mouth) == 20 * 4
    assert [len(eye) for eye in mesh.eyes] == [64, 64]
    assert {78, 308} <= set(mesh.mouth) and {33, 133} <= set(mesh.eyes[0]) and {263, 362} <= set(mesh.eyes[1])


def test_outer_mesh_reaches_the_corners_of_the_picture() -> None:
    angle = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    outline = np.stack([100 + 40 * np.cos(angle), 90 + 50 * np.sin(angle)], axis=1)
    outer = build_outer_mesh(outline, 200, 180)
    for corner in ((0, 0), (199, 0), (0, 179), (199, 179)):
        assert (np.abs(outer.grid - corner).max(axis=1) < 1e-9).any()
    assert (outer.distance > 0).all()


def test_teeth_have_their_published_widths() -> None:
    model = mouth_model()
    assert np.isfinite(model.vertices).all() and np.isfinite(model.normals).all()
    incisor = model.vertices[: 10 * 16]  # the subject's right upper central incisor
    assert np.ptp(incisor[:, 0]) == pytest.approx(0.85, abs=0.06)
    assert np.ptp(incisor[:, 1]) == pytest.approx(1.05, abs=0.06)
    upper, lower = model.vertices[~model.of_jaw & (model.tissue == 0)], model.vertices[
        model.of_jaw & (model.tissue == 0)
    ]
    assert upper[:, 1].min() < lower[:, 1].max() + 0.6 and upper[:, 2].max() > lower[:, 2].max()
