"""Pieces that the full networks learn from: of a video that the tests render, and of names of files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TALKING_FRAMES as T

from synchrorama import InputError
from synchrorama.blendshapes import BLENDSHAPE_INDEX, MotionSpace
from synchrorama.emotion.categories import EMOTION_INDEX
from synchrorama.media import ffmpeg_path
from synchrorama.training.clips import Piece, prepare_clips
from synchrorama.training.frame_batches import PieceClips
from synchrorama.training.latents import read_video
from synchrorama.training.layouts import Source, find_sources, part

ROOT = Path(__file__).resolve().parent.parent
CELLS = 16  # of 32 pixels, as the autoencoder of the tests has them


@pytest.fixture(scope="module")
def space() -> MotionSpace:
    return MotionSpace.from_pretrained(ROOT / "checkpoints/mini/motion_space")


def test_a_piece_shows_the_face_and_its_motion_frames_in_the_same_place(pieces: Path) -> None:
    (path,) = pieces.glob("*.npz")
    piece = Piece.load(path)
    assert len(piece) == T and piece.identity == "Ada" and path.stem.startswith("train__Ada__")
    frames, motion = (read_video(path.with_name(f"{path.stem}.{kind}.mp4"), range(T)) for kind in ("frames", "motion"))
    assert frames.shape == motion.shape == (T, 512, 512, 3)
    assert np.median(np.abs(frames.astype(float) - motion)) < 4
    opening = piece.blendshapes[:, BLENDSHAPE_INDEX["jawOpen"]]
    lips = np.ptp(piece.mouth[..., 1], axis=1)
    assert np.corrcoef(opening, lips)[0, 1] > 0.9 and opening[piece.photo] < np.median(opening)
    assert len(piece.samples) == T * 640 and np.std(piece.samples) == pytest.approx(0.1, rel=0.2)
    happy = piece.emotion[:, EMOTION_INDEX["happy"]]
    assert not piece.acted and happy[-8:].mean() > 5 * happy[:8].mean()
    assert "smiles" in piece.texts[1]


def test_an_acted_emotion_is_what_its_label_says_and_other_rates_become_25(
    talking_video: Path, space: MotionSpace, tmp_path: Path
) -> None:
    faster = tmp_path / "faster.mp4"
    command = [ffmpeg_path(), "-i", str(talking_video), "-vf", "fps=30", "-preset", "ultrafast", str(faster)]
    subprocess.run(command, check=True, capture_output=True)
    source = Source(faster, faster, "one", "M003", {"sad": 0.4})
    assert list(prepare_clips([source], space, tmp_path)) == ["one: 1 pieces, 1.6 s"]
    piece = Piece.load(next(tmp_path.glob("*.npz")))
    assert piece.acted and piece.emotion[:, EMOTION_INDEX["sad"]] == pytest.approx(0.4, abs=1e-3)
    opening = piece.blendshapes[:, BLENDSHAPE_INDEX["jawOpen"]]
    assert np.corrcoef(opening, np.sin(np.arange(T) * np.pi / 12) ** 2)[0, 1] > 0.9


def test_a_video_that_cannot_be_used_costs_no_other_and_is_tried_again(
    talking_video: Path, space: MotionSpace, tmp_path: Path
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    broken = Source(tmp_path / "broken.mp4", tmp_path / "broken.mp4", "broken", "Bob")
    done = tmp_path / "Ada1_0.json"
    done.write_text("{}")
    sources = [broken, Source(talking_video, talking_video, "Ada1_0", "Ada")]
    for _ in range(2):
        (told,) = prepare_clips(sources, space, tmp_path)
        assert told.startswith("broken: ") and told.endswith(".") and str(tmp_path) not in told
    assert not list(tmp_path.glob("*.npz"))


def test_the_layouts_say_who_speaks_and_how(tmp_path: Path) -> None:
    for name in (
        "M003/video/front/angry/level_2/001.mp4", "M003/video/left_30/angry/level_2/001.mp4",
        "W021/video/1/front/neutral/level_1/030.mp4", "M003/audio/angry/level_2/001.m4a", "M003/video/notes.mp4",
    ):  # fmt: skip
        (tmp_path / "mead" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mead" / name).touch()
    angry, neutral = find_sources([tmp_path / "mead"], "mead")
    assert (angry.identity, angry.name) == ("M003", "M003_front_angry_level_2_001")
    assert angry.sound.suffix == ".m4a" and neutral.sound == neutral.video
    assert angry.embedding(3)[:, EMOTION_INDEX["angry"]] == pytest.approx(0.7)
    assert neutral.embedding(3)[:, EMOTION_INDEX["neutral"]] == pytest.approx(1.0)
    assert [each.name for each in find_sources([tmp_path / "mead"], "mead", "left_30")] == [
        "M003_left_30_angry_level_2_001"
    ]
    (tmp_path / "hdtf").mkdir()
    for name in ("AmyKlobuchar0_1", "AmyKlobuchar1_0", "Radio11_0", "Radio12_0"):
        (tmp_path / "hdtf" / f"{name}.mp4").touch()
    people = [each.identity for each in find_sources([tmp_path / "hdtf"], "hdtf")]
    assert people == ["AmyKlobuchar", "AmyKlobuchar", "Radio11", "Radio12"]
    with pytest.raises(InputError, match="is named as the layout mead says"):
        find_sources([tmp_path / "hdtf"], "mead")
    people = {"train", "dev"}
    splits = [Source(Path(), Path(), "", f"person {i}").split for i in range(200)]
    assert set(splits) == people and splits.count("dev") < 25
    assert [list(range(5))[part(each)] for each in ("1/2", "2/2")] == [[0, 2, 4], [1, 3]]
    with pytest.raises(InputError, match="write 1/8"):
        part("0/2")


def test_a_batch_is_what_a_generation_tells_the_networks(pieces: Path) -> None:
    clips = PieceClips(pieces, "train", 6)
    batch, again = (clips.draw(np.random.default_rng(1), 2, 4, 2, 0.0) for _ in range(2))
    assert torch.equal(batch.latents, again.latents)
    assert batch.latents.shape == (2, 4, 4, CELLS, CELLS) and batch.before.shape == (2, 2, 4, CELLS, CELLS)
    assert batch.clip.motion.shape == (2, 4, 3, 512, 512) and batch.clip.place.shape == (2, 4, 1, 512, 512)
    assert batch.clip.sound.shape == (2, 4, 5, 3, 16) and batch.clip.text.shape == (2, 4, 1, 32)
    # frame t is told of sound t in the middle of five
    assert torch.allclose(batch.clip.sound[:, 1:, 1], batch.clip.sound[:, :-1, 2], atol=1e-3)
    assert batch.clip.regions["lip"].amax() > 0.9 and not batch.face.any()
    start = clips.draw(np.random.default_rng(1), 1, 4, 2, 1.0)
    assert torch.equal(start.before[0, 0], start.photo[0]) and torch.equal(start.before[0, 1], start.photo[0])
