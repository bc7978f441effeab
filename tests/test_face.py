"""Which face is found, how it is cut out, and how frames get back into the photo."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from synchrorama import face, face_detection
from synchrorama.errors import InputError
from synchrorama.face import PasteBack, Portrait, find_portrait
from synchrorama.media import read_photo

ASSETS = Path(__file__).resolve().parent.parent / "assets"
PORTRAITS = ("eileen_collins.jpg", "grace_hopper.jpg", "painted_ada.jpg", "painted_kofi.jpg", "painted_lin.jpg")
NOSE_TIP, CHIN, FOREHEAD, RIGHT_EYE_CORNER, LEFT_EYE_CORNER = 4, 152, 10, 33, 263


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return read_photo(ASSETS / "painted_kofi.jpg")


@pytest.fixture(scope="module")
def portrait(photo: np.ndarray) -> Portrait:
    return find_portrait(photo)


def scene(width: int, height: int, *heads: tuple[np.ndarray, int, int, int]) -> np.ndarray:
    """A textured picture into which photos are pasted: (photo, left, top, new height)."""
    noise = np.random.default_rng(0).integers(90, 130, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    picture = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    for head, left, top, tall in heads:
        wide = round(head.shape[1] * tall / head.shape[0])
        small = cv2.resize(head, (wide, tall), interpolation=cv2.INTER_AREA)
        picture[top : top + tall, left : left + wide] = small
    return picture


def in_picture(portrait: Portrait) -> np.ndarray:
    """The landmarks in pixels of the whole photo."""
    return face_detection.transform(portrait.landmarks, cv2.invertAffineTransform(portrait.to_crop))


def assert_upright_and_whole(portrait: Portrait) -> None:
    assert portrait.crop.shape == (512, 512, 3) and portrait.crop.dtype == np.uint8
    points = portrait.landmarks
    assert points.shape == (478, 3) and points.dtype == np.float64
    assert points[FOREHEAD, 1] < points[NOSE_TIP, 1] < points[CHIN, 1]
    assert points[RIGHT_EYE_CORNER, 0] < points[LEFT_EYE_CORNER, 0]
    assert points[:, :2].min() > 20 and points[:, :2].max() < 492
    height = points[CHIN, 1] - points[FOREHEAD, 1]
    assert 512 / 2.2 < height < 512 / 1.35


@pytest.mark.parametrize("name", PORTRAITS)
def test_shipped_portraits(name: str) -> None:
    found = find_portrait(read_photo(ASSETS / name))
    assert_upright_and_whole(found)
    assert len(found.faces) == 1 and found.face_index == 0
    assert not [warning for warning in found.warnings if "soft" not in warning]


def test_crop_is_where_to_crop_says(photo: np.ndarray, portrait: Portrait) -> None:
    expected = cv2.warpAffine(cv2.GaussianBlur(photo, (0, 0), 0.6), portrait.to_crop, (512, 512))
    assert np.abs(expected.astype(int) - portrait.crop).mean() < 2.5
    left, top, right, bottom = portrait.faces[0]
    points = in_picture(portrait)
    assert abs(points[:, 0].min() - left) < 6 and abs(points[:, 1].max() - bottom) < 6
    side = 512 / portrait.to_crop[0, 0]
    assert side == pytest.approx(1.9 * max(right - left, bottom - top), rel=0.01)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_photo_on_its_side(degrees: int, photo: np.ndarray, portrait: Portrait) -> None:
    turned = find_portrait(np.ascontiguousarray(np.rot90(photo, degrees // 90)))
    assert_upright_and_whole(turned)
    difference = np.abs(turned.crop.astype(int) - portrait.crop)
    assert difference.mean() < 12
    assert np.abs(turned.landmarks - portrait.landmarks)[:, :2].mean() < 6


@pytest.mark.parametrize(("degrees", "stays"), [(-15, True), (15, True), (40, False), (-60, False)])
def test_only_strongly_tilted_heads_are_put_upright(degrees: int, stays: bool, photo: np.ndarray) -> None:
    around = cv2.getRotationMatrix2D((400, 450), degrees, 0.8)
    found = find_portrait(cv2.warpAffine(photo, around, (800, 960), borderValue=(120, 140, 150)))
    eyes = found.landmarks[LEFT_EYE_CORNER] - found.landmarks[RIGHT_EYE_CORNER]
    roll = np.degrees(np.arctan2(eyes[1], eyes[0]))
    assert roll == pytest.approx(-degrees if stays else 0, abs=5)
    if stays:
        assert found.to_crop[0, 1] == 0
    assert_upright_and_whole(found)


def test_small_face_in_a_large_picture(photo: np.ndarray) -> None:
    found = find_portrait(scene(3000, 2000, (photo, 2300, 900, 260)))
    assert len(found.faces) == 1
    left, top, right, bottom = found.faces[0]
    assert 2300 < left < right < 2300 + 217 and 900 < top < bottom < 1160
    assert any("soft" in warning for warning in found.warnings)
    assert_upright_and_whole(found)


@pytest.mark.parametrize("margin", [0.02, 0.2])
def test_face_that_fills_the_picture(margin: float, photo: np.ndarray, portrait: Portrait) -> None:
    left, top, right, bottom = (int(edge) for edge in portrait.faces[0])
    m = int(margin * (bottom - top))
    close = np.ascontiguousarray(photo[top - m : bottom + m, left - m : right + m])
    found = find_portrait(close)
    assert_upright_and_whole(found)
    # The square leaves the picture no further than it must, and what lies outside is filled softly, not black.
    assert 512 / found.to_crop[0, 0] == pytest.approx(max(min(close.shape[:2]), 1.45 * (bottom - top)), rel=0.08)
    assert found.crop[:, :8].mean() > 20


def test_crop_stays_inside_the_picture_if_it_fits(photo: np.ndarray, portrait: Portrait) -> None:
    top = int(portrait.faces[0][1])
    found = find_portrait(np.ascontiguousarray(photo[top - 10 :]))
    corner = cv2.invertAffineTransform(found.to_crop) @ (-0.5, -0.5, 1)
    assert corner[1] == pytest.approx(-0.5, abs=0.01)


def test_two_faces_the_largest_speaks_and_either_can_be_chosen(photo: np.ndarray) -> None:
    other = read_photo(ASSETS / "painted_ada.jpg")
    picture = scene(1400, 900, (photo, 50, 200, 500), (other, 700, 50, 800))
    found = find_portrait(picture)
    assert len(found.faces) == 2 and found.face_index == 0
    assert found.faces[0][0] > 700 > found.faces[1][2]
    assert len(found.warnings) == 1 and "2 faces" in found.warnings[0] and "number" in found.warnings[0]
    assert in_picture(found)[NOSE_TIP, 0] > 700
    first, second = (find_portrait(picture, face_index=index) for index in (0, 1))
    assert in_picture(first)[NOSE_TIP, 0] > 700 > in_picture(second)[NOSE_TIP, 0]
    assert second.face_index == 1 and not [w for w in second.warnings if "faces" in w]
    for index in (2, -1):
        with pytest.raises(InputError, match="2 faces") as error:
            find_portrait(picture, face_index=index)
        assert is_one_sentence(error)


def is_one_sentence(error: pytest.ExceptionInfo[InputError]) -> bool:
    text = str(error.value)
    return text[0].isupper() and text.endswith(".") and text.count(".") == 1 and "\n" not in text


def doodle() -> np.ndarray:
    """A cartoon that no detector takes for a face: a one-eyed fish."""
    picture = np.full((600, 600, 3), (190, 225, 245), np.uint8)
    cv2.ellipse(picture, (270, 300), (200, 120), 0, 0, 360, (240, 130, 60), -1)
    cv2.fillPoly(picture, [np.array([(440, 300), (580, 190), (580, 410)])], (240, 130, 60))
    cv2.circle(picture, (150, 270), 24, (255, 255, 255), -1)
    cv2.circle(picture, (146, 270), 11, (0, 0, 0), -1)
    cv2.line(picture, (80, 330), (140, 345), (120, 40, 20), 6)
    return picture


def test_no_face(photo: np.ndarray) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    body = np.ascontiguousarray(photo[700:])
    for picture in (doodle(), noise, body, np.zeros((900, 20, 3), np.uint8), np.full((1, 1, 3), 9, np.uint8)):
        with pytest.raises(InputError, match="No face") as error:
            find_portrait(picture)
        assert is_one_sentence(error)


def test_tiny_face(photo: np.ndarray) -> None:
    with pytest.raises(InputError, match="at least 64") as error:
        find_portrait(scene(1200, 800, (photo, 500, 300, 110)))
    assert is_one_sentence(error)


def test_profile(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector rarely confirms a real profile, so the head of a found face is turned here, in three dimensions."""
    seen = face_detection.find_faces(photo)[0]
    middle = seen.mean(axis=0)
    for degrees, refused in ((70, True), (-70, True), (45, False)):
        angle = np.radians(degrees)
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        turned = (seen - middle) @ turn.T + middle
        monkeypatch.setattr(face, "find_faces", lambda picture, turned=turned: [turned])
        if refused:
            with pytest.raises(InputError, match="more than 60 degrees") as error:
                find_portrait(photo)
            assert is_one_sentence(error)
        else:
            find_portrait(photo)


def test_threads_share_the_networks(photo: np.ndarray, portrait: Portrait) -> None:
    found: list[Portrait] = []
    threads = [threading.Thread(target=lambda: found.append(find_portrait(photo))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(np.array_equal(one.landmarks, portrait.landmarks) for one in found)


def test_nothing_is_printed_but_real_messages_pass() -> None:
    script = (
        "import os, sys; from synchrorama.media import read_photo; from synchrorama.face import find_portrait;"
        "from synchrorama.native_output import quiet_stderr;"
        f"find_portrait(read_photo({str(ASSETS / 'painted_ada.jpg')!r}))\n"
        "with quiet_stderr():\n"
        "    os.write(2, b'INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\\na real error\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ASSETS.parent, check=True)
    assert done.stderr == "a real error\n" and not done.stdout


def test_missing_system_library_is_named() -> None:
    script = (
        "import sys; sys.modules['cv2'] = None\n"
        "try:\n    import synchrorama.face\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ASSETS.parent, check=True)
    assert "apt-get install libgl1" in done.stdout and len(done.stdout.splitlines()) == 1


# ------------------------------------------------------------------------------------------------------ paste-back


def test_unchanged_crop_changes_little(photo: np.ndarray, portrait: Portrait) -> None:
    pasted = PasteBack(portrait)(portrait.crop)
    assert pasted.shape == photo.shape
    difference = np.abs(pasted.astype(int) - photo)
    assert difference.mean() < 2 and (difference.max(axis=2) > 0).mean() < 0.7
    assert not difference[760:].any(), "pixels outside of the crop must stay untouched"


def test_same_size_crop_is_exact() -> None:
    """A photo whose crop needs no scaling comes back bit by bit."""
    picture = scene(800, 800, (read_photo(ASSETS / "painted_kofi.jpg"), 60, 40, 747))
    found = find_portrait(picture)
    assert found.to_crop[0, 0] == pytest.approx(1, abs=0.03)
    left, top = np.round(cv2.invertAffineTransform(found.to_crop) @ (0, 0, 1)).astype(int)
    exact = Portrait(
        picture, picture[top : top + 512, left : left + 512].copy(), found.landmarks,
        np.array([[1.0, 0, -left], [0, 1.0, -top]]), found.faces, 0, (),
    )  # fmt: skip
    assert np.abs(PasteBack(exact)(exact.crop).astype(int) - picture).max() <= 1


def test_rim_has_no_seam(portrait: Portrait) -> None:
    """Against a frame that is brighter everywhere, no two neighbouring pixels differ by more than the fade allows."""
    paste = PasteBack(portrait)
    plain = Portrait(np.full_like(portrait.picture, 80), portrait.crop, portrait.landmarks, portrait.to_crop,
                     portrait.faces, 0, ())  # fmt: skip
    pasted = PasteBack(plain)(np.full((512, 512, 3), 180, np.uint8)).astype(int)
    assert pasted.min() == 80 and pasted.max() == 180
    assert max(np.abs(np.diff(pasted, axis=axis)).max() for axis in (0, 1)) <= 8
    assert (paste.height, paste.width) == portrait.picture.shape[:2]


def test_no_rim_where_crop_and_photo_end_together(photo: np.ndarray, portrait: Portrait) -> None:
    left, top, right, _ = (int(edge) for edge in portrait.faces[0])
    found = find_portrait(np.ascontiguousarray(photo[top - 10 :, left - 60 : right + 60]))
    pasted = PasteBack(found)(np.full((512, 512, 3), 255, np.uint8))
    assert (pasted[0, 5:-5] == 255).all()


@pytest.mark.parametrize(("width", "height"), [(3840, 2160), (2500, 1301), (801, 961), (1081, 1920)])
def test_full_picture_is_even_and_at_most_1920(width: int, height: int, photo: np.ndarray) -> None:
    picture = scene(width, height, (photo, 10, 20, min(height - 20, width)))
    found = find_portrait(picture)
    pasted = PasteBack(found)(found.crop)
    scale = min(1, 1920 / max(width, height))
    assert pasted.shape[0] % 2 == pasted.shape[1] % 2 == 0 and max(pasted.shape) <= 1920
    assert abs(pasted.shape[1] - width * scale) < 2 and abs(pasted.shape[0] - height * scale) < 2
    reduced = cv2.resize(picture, pasted.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(pasted.astype(int) - reduced).mean() < 2.5


@pytest.mark.parametrize("degrees", [90, 40])
def test_turned_photos_get_their_frames_back_in_place(degrees: int, photo: np.ndarray) -> None:
    around = cv2.getRotationMatrix2D((480, 480), degrees, 0.8)
    picture = cv2.warpAffine(photo, around, (960, 960), borderValue=(120, 140, 150))
    found = find_portrait(picture)
    pasted = PasteBack(found)(found.crop)
    assert np.abs(pasted.astype(int) - picture).mean() < 2.5
    marked = found.crop.copy()
    x, y = np.round(found.landmarks[NOSE_TIP, :2]).astype(int)
    cv2.circle(marked, (int(x), int(y)), 12, (0, 255, 0), -1)
    green = np.argwhere((PasteBack(found)(marked) == (0, 255, 0)).all(axis=2)).mean(axis=0)[::-1]
    assert np.abs(green - in_picture(found)[NOSE_TIP, :2]).max() < 1.5


def test_frames_are_new_arrays_and_fast(photo: np.ndarray) -> None:
    found = find_portrait(scene(1920, 1080, (photo, 500, 0, 1080)))
    paste = PasteBack(found)
    first, second = paste(found.crop), paste(found.crop)
    assert first is not second and not np.shares_memory(first, second)
    cost = []
    for _ in range(20):
        start = time.perf_counter()
        paste(found.crop)
        cost.append(time.perf_counter() - start)
    assert min(cost) < 0.008, "8 ms a frame at 1080p"
