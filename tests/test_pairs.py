"""Training pairs of the diffusion stage, from a video that the test renders and from a photo that the project ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import write_wav

from synchrorama.__main__ import main as command_line
from synchrorama.blendshapes import BLENDSHAPE_INDEX, MotionSpace
from synchrorama.diffusion.region import REGION_SIZE
from synchrorama.face import find_portrait
from synchrorama.media import SPEECH_SAMPLE_RATE, Speech, read_photo
from synchrorama.motion import Motion
from synchrorama.motion_frames import MotionFrameRenderer
from synchrorama.training.pairs import CELLS, FRAMES, Pairs, still_pairs
from synchrorama.video_writer import VideoWriter

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "assets" / "eileen_collins.jpg"
T = 40


@pytest.fixture(scope="module")
def space() -> MotionSpace:
    return MotionSpace.from_pretrained(ROOT / "checkpoints/mini/motion_space")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, space: MotionSpace) -> Path:
    """A video of a mouth that opens and shuts twice a second, and a photo, prepared by the commands."""
    folder = tmp_path_factory.mktemp("pairs")
    portrait = find_portrait(read_photo(PHOTO))
    blendshapes = np.zeros((T, 52))
    blendshapes[:, BLENDSHAPE_INDEX["jawOpen"]] = 0.5 * np.sin(np.arange(T) * np.pi / 12) ** 2
    motion = Motion(blendshapes, np.zeros((T, 3)), np.zeros((T, 3)))
    sound = 0.1 * np.random.default_rng(0).standard_normal(T * SPEECH_SAMPLE_RATE // 25).astype(np.float32)
    write_wav(folder / "sound.wav", sound)
    speech = Speech(sound, len(sound) / SPEECH_SAMPLE_RATE, folder / "sound.wav")
    (folder / "sources").mkdir()
    with VideoWriter(folder / "sources" / "talker.mp4", 512, 512, speech) as video:
        for frame in MotionFrameRenderer(portrait.crop, portrait.landmarks, space).frames(motion):
            video.write(frame)
    (folder / "sources" / "photo.jpg").write_bytes(PHOTO.read_bytes())
    sources, tracks = str(folder / "sources"), str(folder / "tracks")
    command_line(["prepare", "track", sources, "-o", tracks])
    command_line(["prepare", "pairs", sources, "--tracks", tracks, "--photos", "2", "-o", str(folder / "pairs")])
    return folder


def _load(path: Path) -> Pairs:
    with np.load(path, allow_pickle=False) as file:
        return Pairs(**{name: file[name] for name in file.files})


def test_pairs_of_a_video_show_the_same_face_and_hear_its_sound(prepared: Path) -> None:
    pairs = _load(prepared / "pairs" / "train__talker__talker.npz")
    assert len(pairs) >= 2
    assert pairs.motion.shape == pairs.target.shape == (len(pairs), FRAMES, REGION_SIZE, REGION_SIZE, 3)
    assert pairs.mouth.shape == (len(pairs), FRAMES, CELLS, CELLS)
    assert pairs.mel.shape == (len(pairs), FRAMES, 20, 80)
    assert pairs.voiced.all()
    apart = np.abs(pairs.motion.astype(float) - pairs.target)
    assert np.median(apart) < 6  # the video was rendered of the same photo
    opening = pairs.blendshapes[:, :, BLENDSHAPE_INDEX["jawOpen"]].astype(float).ravel()
    assert np.corrcoef(pairs.mouth.mean((2, 3)).ravel(), opening)[0, 1] > 0.8


def test_a_photo_is_the_target_of_its_face_without_expression(prepared: Path) -> None:
    pairs = _load(prepared / "pairs" / "train__photo__photo.npz")
    assert pairs.target.shape == (len(pairs), 1, REGION_SIZE, REGION_SIZE, 3)
    assert not pairs.voiced.any()
    assert not pairs.mel.any()
    target = pairs.target[0, 0].astype(float)
    assert np.abs(pairs.motion[0, 0] - target).mean() < np.abs(pairs.reference[0] - target).mean()
    # what is taken off wholly is further from the photo than what is taken off by half
    assert np.abs(pairs.reference[0] - target).mean() > np.abs(pairs.reference[1] - target).mean()


def test_a_picture_without_a_face_gives_none(tmp_path: Path, space: MotionSpace) -> None:
    from PIL import Image

    Image.new("RGB", (300, 300), "grey").save(tmp_path / "grey.png")
    assert still_pairs(tmp_path / "grey.png", space) is None


def test_a_video_without_a_track_is_named(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    video = prepared / "sources" / "talker.mp4"
    assert command_line(["prepare", "pairs", str(video), "--tracks", str(tmp_path), "-o", str(tmp_path / "out")])
    assert "talker.mp4 has no track" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*"))
