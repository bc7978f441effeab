"""The video that is written: its length, its sound, its label, and what is left when writing fails."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
from media_samples import ffmpeg, is_one_sentence, tone, write_video
from PIL import Image

from synchrorama.errors import Cancelled, InputError
from synchrorama.media import Speech, read_photo, read_speech
from synchrorama.provenance import container_metadata, read_container_metadata
from synchrorama.video_writer import VideoWriter

ODD_NAMES = ("with space.x", "-leading dash.x", "quo'te\" $(x) `y`;&.x", "ünïcödé 日本 🎈.x", "a%03d[1]*?.x", "http:.x")
FORMATS = [
    ("a.wav", 1.013, 8_000, 1), ("b.wav", 2.5, 96_000, 2), ("c.mp3", 1.013, 44_100, 2), ("d.m4a", 3.333, 48_000, 1),
    ("e.webm", 2.02, 48_000, 2), ("f.ogg", 1.777, 22_050, 1), ("g.flac", 2.5, 48_000, 6), ("h.flac", 0.31, 11_025, 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "seconds", "rate", "channels"), FORMATS)
def test_every_format_keeps_its_length_in_speech_and_video(
    name: str, seconds: float, rate: int, channels: int, tmp_path: Path
) -> None:
    speech = read_speech(tone(tmp_path, seconds, rate, channels, name))
    assert speech.samples.dtype == np.float32 and speech.samples.ndim == 1
    assert speech.seconds == pytest.approx(seconds, abs=0.002)
    assert not speech.warnings
    spectrum = np.abs(np.fft.rfft(speech.samples))
    assert np.argmax(spectrum) / speech.seconds == pytest.approx(220, abs=5)

    video = write_video(tmp_path / "out.mp4", speech)
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(video))
    assert frames == speech.frame_count == round(25 * speech.seconds)
    boxes = read_boxes(video)
    assert boxes["order"].index("moov") < boxes["order"].index("mdat"), "not faststart"
    assert len(boxes["durations"]) == 2
    assert abs(boxes["durations"][0] - boxes["durations"][1]) <= 0.04
    assert abs(read_speech(video).seconds - seconds) < 0.005, "the sound in the video is longer or shorter"
    played = sound_of(video)
    assert played.samplerate == rate and played.channels == min(channels, 2)


def sound_of(video: Path) -> soundfile.SoundFile:
    ffmpeg("-i", video, video.with_suffix(".wav"))
    return soundfile.SoundFile(video.with_suffix(".wav"))


def read_boxes(path: Path) -> dict[str, list]:
    """Order of the top-level boxes of an mp4, and the duration in seconds of every track (tkhd over mvhd)."""
    data = path.read_bytes()

    def children(start: int, end: int):
        while start < end:
            size, kind = struct.unpack(">I4s", data[start : start + 8])
            yield kind.decode("latin-1"), start + 8, start + size
            start += size

    top = list(children(0, len(data)))
    _, start, end = next(box for box in top if box[0] == "moov")
    inside = list(children(start, end))
    scale = struct.unpack(">I", data[inside[0][1] + 12 : inside[0][1] + 16])[0]
    durations = []
    for kind, a, b in inside:
        if kind == "trak":
            header = next(box for box in children(a, b) if box[0] == "tkhd")[1]
            durations.append(struct.unpack(">I", data[header + 20 : header + 24])[0] / scale)
    return {"order": [kind for kind, _, _ in top], "durations": durations}


def test_sound_is_not_shifted(tmp_path: Path) -> None:
    clicks = np.zeros(3 * 44_100)
    for second in (0.5, 1.25, 2.5):
        clicks[int(second * 44_100) : int(second * 44_100) + 200] = 0.8
    soundfile.write(tmp_path / "clicks.wav", clicks, 44_100)
    for name in ("clicks.wav", "clicks.mp3", "clicks.m4a", "clicks.webm"):
        if name != "clicks.wav":
            ffmpeg("-i", tmp_path / "clicks.wav", tmp_path / name)
        speech = read_speech(tmp_path / name)
        video = write_video(tmp_path / "out.mp4", speech)
        for samples in (speech.samples, read_speech(video).samples):
            for second in (0.5, 1.25, 2.5):
                window = np.abs(samples[int((second - 0.1) * 16_000) : int((second + 0.1) * 16_000)])
                onset = second - 0.1 + np.argmax(window > 0.2) / 16_000
                assert onset == pytest.approx(second, abs=0.004), name


def test_gap_in_the_timestamps_stays_a_gap_in_samples_and_video(tmp_path: Path) -> None:
    tone(tmp_path, 3, 48_000, 1)
    ffmpeg(
        "-i", tmp_path / "tone.wav", "-af", "aselect='not(between(t,1,2))'", "-c:a", "pcm_s16le", tmp_path / "gap.mkv"
    )
    speech = read_speech(tmp_path / "gap.mkv")
    assert speech.seconds == pytest.approx(3, abs=0.03)
    again = read_speech(write_video(tmp_path / "out.mp4", speech)).samples
    for samples in (speech.samples, again):
        assert np.abs(samples[17_500:30_500]).max() < 0.02 < 0.2 < np.abs(samples[36_000:]).max()


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stem = name.removesuffix(".x")
    Image.new("RGB", (64, 48)).save(f"{tmp_path}/{stem}.png")
    tone(tmp_path, 0.4, 16_000, 1).rename(tmp_path / f"{stem}.wav")
    assert read_photo(f"{stem}.png").shape == (48, 64, 3)
    write_video(Path(f"{stem}.mp4"), read_speech(f"{stem}.wav"))
    assert (tmp_path / f"{stem}.mp4").stat().st_size > 1000
    assert len(list(tmp_path.iterdir())) == 3


@pytest.fixture
def speech(tmp_path_factory: pytest.TempPathFactory) -> Speech:
    return read_speech(tone(tmp_path_factory.mktemp("speech"), 1, 16_000, 1))


def test_colours_survive(speech: Speech, tmp_path: Path) -> None:
    frame = np.zeros((128, 128, 3), dtype=np.uint8)
    frame[:64, :64], frame[:64, 64:], frame[64:, :64], frame[64:, 64:] = (
        (220, 40, 40),
        (40, 200, 60),
        (50, 60, 210),
        235,
    )
    with VideoWriter(tmp_path / "out.mp4", 128, 128, speech) as writer:
        for _ in range(speech.frame_count):
            writer.write(frame)
    frames = imageio_ffmpeg.read_frames(str(tmp_path / "out.mp4"))
    assert next(frames)["size"] == (128, 128)
    read = np.frombuffer(next(frames), dtype=np.uint8).reshape(128, 128, 3)
    inner = [read[32, 32], read[32, 96], read[96, 32], read[96, 96]]
    assert np.abs(np.array(inner, dtype=int) - [(220, 40, 40), (40, 200, 60), (50, 60, 210), (235,) * 3]).max() <= 6


def test_metadata_says_ai_generated_and_nothing_of_the_upload_remains(tmp_path: Path) -> None:
    tone(tmp_path, 1, 16_000, 1)
    ffmpeg("-i", tmp_path / "tone.wav", "-metadata", "artist=Private Person", tmp_path / "tagged.mp3")
    settings = {"seed": 7, "note": 'a "quoted" = ; # \\ value\nsecond line, ünï'}
    metadata = container_metadata(settings, seed=7, version="1.2.3")
    path = write_video(tmp_path / "out.mp4", read_speech(tmp_path / "tagged.mp3"), **metadata)
    read = read_container_metadata(path)
    assert {key: read[key] for key in metadata} == metadata
    assert (
        "AI-generated" in read["title"]
        and "SynchroRaMa 1.2.3" in read["comment"]
        and '"seed": 7' in read["description"]
    )
    assert b"Private Person" not in path.read_bytes()


def test_same_input_same_bytes(speech: Speech, tmp_path: Path) -> None:
    first, second = (write_video(tmp_path / name, speech) for name in ("a.mp4", "b.mp4"))
    assert first.read_bytes() == second.read_bytes()


def test_overwrites_only_when_complete(speech: Speech, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"the old video")
    with pytest.raises(RuntimeError, match="renderer"), VideoWriter(path, 64, 64, speech) as writer:
        writer.write(np.zeros((64, 64, 3), dtype=np.uint8))
        raise RuntimeError("renderer")
    assert path.read_bytes() == b"the old video" and os.listdir(tmp_path) == ["out.mp4"]
    write_video(path, speech)
    assert path.stat().st_size > 1000 and os.listdir(tmp_path) == ["out.mp4"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_cancelled_leaves_nothing(speech: Speech, tmp_path: Path) -> None:
    with pytest.raises(Cancelled), VideoWriter(tmp_path / "out.mp4", 64, 64, speech) as writer:
        writer.write(np.zeros((64, 64, 3), dtype=np.uint8))
        raise Cancelled
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("count", [0, 24, 26])
def test_wrong_number_of_frames_is_a_bug(count: int, speech: Speech, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="25"), VideoWriter(tmp_path / "out.mp4", 64, 64, speech) as writer:
        for _ in range(count):
            writer.write(np.zeros((64, 64, 3), dtype=np.uint8))
    assert not os.listdir(tmp_path)


def test_wrong_frames_are_bugs(speech: Speech, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="even"):
        VideoWriter(tmp_path / "out.mp4", 63, 64, speech)
    for frame in (np.zeros((64, 62, 3), np.uint8), np.zeros((64, 64, 3), np.float32)):
        with (
            pytest.raises(ValueError, match="expected uint8"),
            VideoWriter(tmp_path / "o.mp4", 64, 64, speech) as writer,
        ):
            writer.write(frame)


def test_unwritable_output(speech: Speech, tmp_path: Path) -> None:
    (tmp_path / "a folder.mp4").mkdir()
    (tmp_path / "a file").touch()
    places = {
        "no such folder/out.mp4": "does not exist",
        "a folder.mp4": "is a folder",
        "out.avi": r"end in \.mp4",
        "a file/out.mp4": "cannot be written",
    }
    for place, words in places.items():
        with pytest.raises(InputError, match=words) as error:
            write_video(tmp_path / place, speech)
        assert str(error.value).endswith(".") and str(tmp_path) not in str(error.value)
    assert sorted(os.listdir(tmp_path)) == ["a file", "a folder.mp4"]


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs a folder in which nobody may write")
def test_folder_without_permission(speech: Speech) -> None:
    with pytest.raises(InputError, match=r"cannot be written|does not exist"):
        write_video(Path("/proc/out.mp4"), speech)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = VideoWriter._command
    monkeypatch.setattr(VideoWriter, "_command", lambda self: [*command(self)[:-1], "file:/dev/full"])
    random = np.random.default_rng(0)
    speech = read_speech(tone(tmp_path, 4, 16_000, 1))
    with (
        pytest.raises(InputError, match="disk is full") as error,
        VideoWriter(tmp_path / "out.mp4", 256, 256, speech) as w,
    ):
        for _ in range(speech.frame_count):
            w.write(random.integers(0, 255, (256, 256, 3), dtype=np.uint8))
    assert is_one_sentence(error)
    assert os.listdir(tmp_path) == ["tone.wav"]


WRITER = """
    import resource, signal, sys, time
    import numpy as np
    from synchrorama.errors import InputError
    from synchrorama.media import read_speech
    from synchrorama.video_writer import VideoWriter

    mode, sound, target = sys.argv[1:]
    if mode == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs without it
    speech = read_speech(sound)
    random = np.random.default_rng(0)
    try:
        with VideoWriter(target, 256, 256, speech) as writer:
            for i in range(speech.frame_count):
                writer.write(random.integers(0, 255, (256, 256, 3), dtype=np.uint8))
                if mode == "interrupt" and i == 20:
                    print("ready", flush=True)
                    time.sleep(60)
    except InputError as error:
        print(error)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def start_writer(mode: str, folder: Path) -> subprocess.Popen[str]:
    tone(folder, 3, 16_000, 1)
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), mode, str(folder / "tone.wav"), str(folder / "out.mp4")],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent,
    )  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits")
def test_file_size_limit(tmp_path: Path) -> None:
    process = start_writer("limit", tmp_path)
    message, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and "larger than files may be" in message
    assert os.listdir(tmp_path) == ["tone.wav"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_leaves_nothing(number: int, code: int, tmp_path: Path) -> None:
    process = start_writer("interrupt", tmp_path)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    assert len(os.listdir(tmp_path)) == 2, "the frames should already be going into a temporary file"
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == code
    assert os.listdir(tmp_path) == ["tone.wav"]


def test_recording_that_vanished(speech: Speech, tmp_path: Path) -> None:
    gone = Speech(speech.samples, speech.seconds, tmp_path / "gone.wav")
    with pytest.raises(InputError) as error:
        write_video(tmp_path / "out.mp4", gone)
    assert "\n" not in str(error.value) and not os.listdir(tmp_path)
