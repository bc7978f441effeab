"""Photos and recordings of every kind, good and bad, and the video that is written."""

from __future__ import annotations

import os
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from media_samples import ffmpeg, is_one_sentence, tone
from PIL import Image

from synchrorama import media
from synchrorama.errors import InputError
from synchrorama.media import read_photo, read_speech

# ---------------------------------------------------------------------------------------------------------- photos


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """(48, 64, 3) uint8: red left, blue right, brighter towards the bottom."""
    picture = np.zeros((48, 64, 3), dtype=np.uint8)
    picture[:, :32, 0] = picture[:, 32:, 2] = np.linspace(120, 250, 48).astype(np.uint8)[:, None]
    return picture


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "bmp", "tiff", "gif"])
def test_common_formats_are_read_as_rgb(extension: str, picture: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / f"photo.{extension}"
    Image.fromarray(picture).save(path, quality=95)
    read = read_photo(path)
    assert read.dtype == np.uint8 and read.shape == picture.shape
    assert np.abs(read.astype(int) - picture).mean() < 6


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I", "F", "I;16"])
def test_every_colour_mode_becomes_rgb(mode: str, picture: np.ndarray, tmp_path: Path) -> None:
    grey = Image.fromarray(picture).convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    elif mode == "I":
        image = Image.fromarray(np.asarray(grey).astype(np.int32) * 257)
    else:
        image = Image.fromarray(picture).convert(mode)
    image.save(tmp_path / "photo.tiff")
    read = read_photo(tmp_path / "photo.tiff")
    assert read.shape == (48, 64, 3) and read.dtype == np.uint8
    expected = picture if mode in ("P", "RGBA", "CMYK") else np.asarray(grey)[..., None].repeat(3, axis=2)
    assert np.abs(read.astype(int) - expected).mean() < (140 if mode == "1" else 6)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    grey = np.linspace(0, 65535, 64, dtype=np.uint16)[None].repeat(32, axis=0)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    for read in (read_photo(tmp_path / "deep.png"), read_photo(grey)):
        assert np.abs(read[0, :, 0].astype(float) - np.linspace(0, 255, 64)).max() <= 1


def test_transparency_becomes_white(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[:4] = (200, 0, 0, 255)
    pixels[4:, :, 3] = 128
    Image.fromarray(pixels).save(tmp_path / "alpha.png")
    for read in (read_photo(tmp_path / "alpha.png"), read_photo(pixels), read_photo(Image.fromarray(pixels))):
        assert (read[0, 0] == (200, 0, 0)).all()
        assert np.abs(read[7, 0].astype(int) - 127).max() <= 1
    palette = Image.fromarray(pixels[..., :3]).convert("P")
    palette.save(tmp_path / "palette.png", transparency=palette.getpixel((0, 7)))
    assert (read_photo(tmp_path / "palette.png")[7, 0] == 255).all()


def test_exif_orientation_is_applied(picture: np.ndarray, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    Image.fromarray(picture).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    read = read_photo(tmp_path / "turned.jpg")
    assert read.shape == (64, 48, 3)
    assert np.abs(read.astype(int) - np.rot90(picture, -1)).mean() < 6


def test_arrays_are_accepted_and_copied(picture: np.ndarray) -> None:
    for array in (picture, picture.astype(np.float32) / 255, picture.astype(np.uint16) * 257):
        assert np.abs(read_photo(array).astype(int) - picture).max() <= 1
    assert read_photo(picture[..., 0]).shape == read_photo(picture[..., :1]).shape == (48, 64, 3)
    read_photo(picture)[:] = 0
    assert picture.max() > 0


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros(5, np.uint8), np.full((4, 4, 3), 255.0),
     np.zeros((4, 4, 3), np.int64), np.zeros((4, 4, 3), bool)],
)  # fmt: skip
def test_unusable_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(InputError, match="picture"):
        read_photo(array)


@pytest.mark.parametrize("extension", ["gif", "webp", "png"])
def test_animation_gives_its_first_frame_and_a_warning(extension: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "lime", "blue")]
    frames[0].save(tmp_path / f"moving.{extension}", save_all=True, append_images=frames[1:], lossless=True)
    warnings: list[str] = []
    read = read_photo(tmp_path / f"moving.{extension}", warnings)
    assert (read[10, 10] == (255, 0, 0)).all()
    assert len(warnings) == 1 and "animated" in warnings[0]


def broken_photos(folder: Path) -> dict[str, tuple[Path, str]]:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    paths = {
        name: folder / f"{name}.jpg" for name in ("empty", "text", "truncated", "corrupt", "heic", "pdf", "missing")
    }
    Image.fromarray(noise).save(folder / "good.jpg")
    data = (folder / "good.jpg").read_bytes()
    paths["empty"].write_bytes(b"")
    paths["text"].write_text("I am no picture. " * 50)
    paths["truncated"].write_bytes(data[: len(data) // 2])
    paths["corrupt"].write_bytes(data[:40] + bytes(400) + data[440:])
    paths["heic"].write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    paths["pdf"].write_bytes(b"%PDF-1.4\n" + bytes(100))
    png = folder / "cut.png"
    Image.fromarray(noise).save(png)
    png.write_bytes(png.read_bytes()[:30_000])
    expected = {
        "empty": "is empty", "text": "not a picture", "truncated": "damaged or cut off",
        "corrupt": "damaged|not a picture", "heic": "HEIC", "pdf": "not a picture", "missing": "does not exist",
    }  # fmt: skip
    return {name: (paths[name], words) for name, words in expected.items()} | {
        "cut png": (png, "damaged"),
        "folder": (folder, "does not exist"),
    }


@pytest.mark.parametrize(
    "name", ["empty", "text", "truncated", "corrupt", "heic", "pdf", "missing", "cut png", "folder"]
)  # fmt: skip
def test_bad_photo_gives_one_sentence(name: str, tmp_path: Path) -> None:
    path, words = broken_photos(tmp_path)[name]
    with pytest.raises(InputError, match=words) as error:
        read_photo(path)
    assert is_one_sentence(error)


def test_decompression_bomb_is_refused_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (8, 8)).save(path)
    data = bytearray(path.read_bytes())
    for width, height in ((60_000, 60_000), (11_000, 11_000)):  # beyond Pillow's own limit, and below it
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
        path.write_bytes(bytes(data))
        start = time.process_time()
        with pytest.raises(InputError, match="million pixels") as error:
            read_photo(path)
        assert is_one_sentence(error) and time.process_time() - start < 0.5
    with pytest.raises(InputError, match="million pixels"):
        read_photo(np.broadcast_to(np.uint8(0), (10_000, 10_000, 3)))


def test_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(media.MAX_PHOTO_BYTES + 1)  # sparse: takes no room on the disk
    with pytest.raises(InputError, match="larger than 64 MB") as error:
        read_photo(path)
    assert is_one_sentence(error)


# ------------------------------------------------------------------------------------------------------ recordings


def test_sound_track_of_a_video(tmp_path: Path) -> None:
    tone(tmp_path, 1.5, 44_100, 2)
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=2", "-i", tmp_path / "tone.wav", tmp_path / "video.mkv")
    assert read_speech(tmp_path / "video.mkv").seconds == pytest.approx(1.5, abs=0.03)


def test_silence_is_allowed_and_said(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000), 16_000)
    speech = read_speech(tmp_path / "silence.wav")
    assert speech.seconds == 1 and "silent" in speech.warnings[0]


def test_damaged_recording_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    data = bytearray(tone(tmp_path, 3, 44_100, 1, "tone.mp3").read_bytes())
    data[9_000:9_600] = bytes(600)
    (tmp_path / "tone.mp3").write_bytes(data)
    speech = read_speech(tmp_path / "tone.mp3")
    assert 2 < speech.seconds < 3.1 and "damaged" in speech.warnings[0]


@pytest.fixture(scope="module")
def bad_recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad recordings")
    good = tone(folder, 2, 16_000, 1, "good.wav").read_bytes()
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("Once upon a time there was no sound. " * 200)
    (folder / "text.mp3").write_text("Once upon a time there was no sound. " * 200)
    (folder / "noise.mp3").write_bytes(np.random.default_rng(1).bytes(200_000))
    (folder / "header only.wav").write_bytes(good[:44])
    (folder / "no index.m4a").write_bytes(tone(folder, 2, 44_100, 1, "whole.m4a").read_bytes()[:12_000])
    tone(folder, 0.1, 16_000, 1, "short.wav")
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=8000:d=700", folder / "long.flac")
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=1", folder / "mute.mp4")
    Image.new("RGB", (64, 64)).save(folder / "picture.png")
    (folder / "picture.png").rename(folder / "picture.wav")
    # Playlists that would open another file, or an address.
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\ngood.wav\n#EXT-X-ENDLIST\n")
    (folder / "list.mp3").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n")
    (folder / "concat.wav").write_text("ffconcat version 1.0\nfile good.wav\n")
    return folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.wav", "does not exist"), (".", "does not exist"), ("empty.wav", "empty"),
        ("text.wav", "not a recording"), ("text.mp3", "not a recording"), ("noise.mp3", "not a recording"),
        ("header only.wav", r"only 0\.00 seconds"), ("no index.m4a", "not a recording"),
        ("short.wav", r"only 0\.10 seconds"), ("long.flac", "longer than 600 seconds"), ("mute.mp4", "has no sound"),
        ("picture.wav", "not a recording|no sound"), ("list.m3u8", "not a recording"),
        ("list.mp3", "not a recording"), ("concat.wav", "not a recording"),
    ],
)  # fmt: skip
def test_bad_recording_gives_one_sentence(name: str, words: str, bad_recordings: Path) -> None:
    with pytest.raises(InputError, match=words) as error:
        read_speech(bad_recordings / name)
    assert is_one_sentence(error)


def test_limit_is_configurable_and_ends_the_decoding(tmp_path: Path) -> None:
    size = 10 * 3600 * 16_000  # ten hours of 16-bit silence at 8 kHz, as a sparse file
    with (tmp_path / "ten hours.wav").open("wb") as file:
        file.write(struct.pack("<4sI8s", b"RIFF", size + 36, b"WAVEfmt "))
        file.write(struct.pack("<IHHIIHH4sI", 16, 1, 1, 8_000, 16_000, 2, 16, b"data", size))
        file.truncate(size + 44)
    start = sum(os.times()[2:4])  # processor time of the children: does not depend on what else is running
    with pytest.raises(InputError, match="longer than 2 seconds"):
        read_speech(tmp_path / "ten hours.wav", max_seconds=2)
    assert sum(os.times()[2:4]) - start < 0.5
    assert read_speech(tone(tmp_path, 2, 16_000, 1), max_seconds=2).seconds == 2
