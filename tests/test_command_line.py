"""What a user of the command line meets: results, sentences, exit codes and clean stops."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, write_wav

from synchrorama import InputError
from synchrorama.__main__ import build_parser, main, option_name
from synchrorama.settings import controls


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "synchrorama", *map(str, arguments)]


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """The command in its own process, as a user runs it."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=120, cwd=REPOSITORY, **options
    )


def from_anywhere() -> dict[str, str]:
    """An environment in which the package is found from any working directory."""
    path = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


# ------------------------------------------------------------------------------------------ help


def test_help_answers_at_once_because_nothing_heavy_is_imported():
    code = (
        "import sys; from synchrorama.__main__ import build_parser; build_parser().format_help();"
        "print([m for m in ('torch', 'cv2', 'mediapipe', 'gradio', 'librosa', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout.strip() == "[]"


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert all(name in told for name in ("generate", "analyze", "evaluate", "train", "prepare"))


def test_every_setting_has_an_option_with_its_help_text(capsys):
    with pytest.raises(SystemExit):
        main(["generate", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    for name, control in controls().items():
        assert option_name(name) in told and control.help in told


# ------------------------------------------------------------------------------------------ generate


def test_generate_prints_json_and_the_settings_repeat_it(photo_path, speech_path, tmp_path):
    """In processes of their own, with names that a shell or ffmpeg could misread."""
    folder = tmp_path / "it's a \"test\" – ünïcode"
    folder.mkdir()
    photo, speech = folder / "-photo.jpg", folder / "%d speech.wav"
    photo.write_bytes(photo_path.read_bytes())
    speech.write_bytes(speech_path.read_bytes())
    first = run(
        "generate", photo, speech, "-o", folder / "a.mp4", "--preview", "--save-motion", folder / "a.csv", "--json"
    )
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert told["frames"] == 50 and (told["width"], told["height"]) == (256, 256)
    assert Path(told["output"]).stat().st_size > 5000
    assert "Rendering" in told["timings"]

    (folder / "settings.json").write_text(json.dumps(told["settings"]))
    again = subprocess.run(
        [
            sys.executable, "-m", "synchrorama", "generate", "--settings", "settings.json", "-o", "./-b.mp4",
            "--save-motion", "b.csv", "--", "-photo.jpg", "%d speech.wav",
        ],
        capture_output=True, text=True, cwd=folder, env=from_anywhere(),
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert str(told["settings"]["seed"]) in again.stdout
    assert (folder / "b.csv").read_bytes() == (folder / "a.csv").read_bytes()
    assert (folder / "-b.mp4").is_file()


def test_motion_file_drives_the_photo(photo_path, tmp_path, capsys):
    from synchrorama import Motion

    Motion.rest(8).save(tmp_path / "rest.csv")
    code = main(
        ["generate", str(photo_path), "-o", str(tmp_path / "out.mp4"), "--motion", str(tmp_path / "rest.csv")]
    )
    assert code == 0 and "0.3 s" in capsys.readouterr().out


def test_options_reach_the_settings(monkeypatch):
    seen = {}

    def call(_self, photo, speech, settings, **_):
        seen.update(settings.to_dict())
        raise InputError("That is all this test needs.")

    monkeypatch.setattr("synchrorama.pipeline.SynchroRaMaPipeline.__call__", call)
    main(
        shlex.split(
            "generate p.jpg s.wav -o o.mp4 --seed 3 --head-motion 0.5 --motion-diversity 1.5 --blink-rate 20 "
            "--expressiveness 1.25 --articulation 0.75 --full-picture --face 1 --preview --max-seconds 60 "
            "--emotion-mode keyframes --emotion sad --valence -0.5 --arousal 0.25 --emotion-strength 1.5 "
            "--text-weight 0 --voice-weight 0.5 --valence-arousal-weight 0.25 --photo-weight 1 "
            "--transcript hello --description nods --keyframes '0 sad; 1 happy 2' "
            "--inference-steps 4 --guidance-scale 2.5 --diffusion-strength 0.75 --sampler unipc --mark none"
        )
    )
    assert seen == {
        "seed": 3, "head_motion": 0.5, "motion_diversity": 1.5, "blink_rate": 20, "expressiveness": 1.25,
        "articulation": 0.75, "framing": "full_picture", "face_index": 1, "preview": True, "max_seconds": 60,
        "mark": "none",
        "emotion_mode": "keyframes", "emotion": "sad", "valence": -0.5, "arousal": 0.25, "emotion_strength": 1.5,
        "text_weight": 0, "voice_weight": 0.5, "valence_arousal_weight": 0.25, "photo_weight": 1,
        "transcript": "hello", "description": "nods",
        "inference_steps": 4, "guidance_scale": 2.5, "diffusion_strength": 0.75, "sampler": "unipc",
        "keyframes": '[{"time": 0.0, "emotion": "sad", "strength": 1.0}, '
        '{"time": 1.0, "emotion": "happy", "strength": 2.0}]',
    }  # fmt: skip


def test_analyze_says_what_it_sees_and_hears(photo_path, speech_path, tmp_path, capsys):
    assert main(["analyze", str(speech_path), str(photo_path), "-o", str(tmp_path / "report.html")]) == 0
    told = capsys.readouterr().out
    assert "Face 0" in told and "50 frames" in told and "Estimate" in told
    assert "Transcript hello" in told and "confidence" in told and "Scene      In the photo" in told
    assert re.search(r"Emotion +0\.0-2\.0 s .*valence [+-]\d\.\d\d, arousal [+-]", told)
    assert "<svg" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert main(["analyze", str(photo_path), "--json"]) == 0  # a photo alone, and either order
    assert len(json.loads(capsys.readouterr().out)["faces"]) == 1


def test_analyze_as_json_has_the_whole_course(speech_path, capsys):
    assert main(["analyze", str(speech_path), "--json", "--emotion-mode", "emotion", "--emotion", "sad"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["words"][0]["text"] == "hello" and 0 <= found["words"][0]["start"] < found["words"][0]["end"] <= 2
    assert found["seconds"] == 2 and len(found["emotion"]) == 10
    assert all(row["sad"] == 1 and row["valence"] < 0 for row in found["emotion"])


# ------------------------------------------------------------------------------------------ bad input


@pytest.fixture
def files(tmp_path, photo_path, speech_path) -> dict[str, Path]:
    (tmp_path / "text.wav").write_text("this is not sound")
    (tmp_path / "text.jpg").write_text("this is not a picture")
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    return {"photo": photo_path, "speech": speech_path, "folder": tmp_path}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "required: COMMAND"),
        ("sing", "invalid choice: 'sing'"),
        ("generate {photo}", "required"),
        ("generate {photo} -o {folder}/o.mp4", "give a recording or a motion file"),
        ("generate {folder}/none.jpg {speech} -o {folder}/o.mp4", "does not exist"),
        ("generate {folder}/text.jpg {speech} -o {folder}/o.mp4", "not a picture"),
        ("generate {photo} {folder}/none.wav -o {folder}/o.mp4", "does not exist"),
        ("generate {photo} {folder}/text.wav -o {folder}/o.mp4", "not a recording"),
        ("generate {photo} {speech} -o {folder}/missing/o.mp4 --preview", "folder for the video does not exist"),
        ("generate {photo} {speech} -o {folder}/o.avi --preview", "must end in .mp4"),
        ("generate {photo} {speech} -o {folder}/o.mp4 --seed much", "Seed is 'much'; give a whole number"),
        ("generate {photo} {speech} -o {folder}/o.mp4 --head-motion 3", "give a value from 0 to 2"),
        ("generate {photo} {speech} -o {folder}/o.mp4 --face 3", "There is no face number 3"),
        ("generate {photo} {speech} -o {folder}/o.mp4 --settings {folder}/none.json", "cannot be read"),
        ("generate {photo} {speech} -o {folder}/o.mp4 --settings {folder}/bad.json", "not valid JSON"),
        ("generate {photo} {speech} -o {folder}/o.mp4 --motion {folder}/none.csv", "does not exist"),
        ("generate {photo} {speech} -o {folder}/o.mp4 --motion {folder}/bad.csv", "no blendshape columns"),
        ("generate {photo} {speech} -o {folder}/o.mp4 --save-motion {folder}/o.txt", "saved as .npz or .csv"),
        ("generate {photo} {speech} -o {folder}/o.mp4 --checkpoint {folder}/none", "no folder of weights"),
        ("generate {photo} {speech} -o {folder}/o.mp4 --emotion bored", "choose from neutral, happy"),
        ("generate {photo} {speech} -o {folder}/o.mp4 --emotion-mode keyframes", "There are no keyframes"),
        ("generate {photo} {speech} -o {folder}/o.mp4 --emotion-strength 3", "Emotion strength is 3.0; give"),
        ("generate {photo} {speech} -o {folder}/o.mp4 --valence -2", "Valence is -2.0; give a value from -1 to 1"),
        ("analyze {folder}/none.jpg", "does not exist"),
        ("analyze {folder}/none.wav", "does not exist"),
        ("analyze {speech} {speech}", "One photo and one recording"),
        ("analyze {speech} -o {folder}/report.pdf", ".html, .png or .svg"),
        ("train", "choose a2m, diffusion, emotion, face_reader, scene or sync"),
        ("train everything", "choose a2m, diffusion, emotion, face_reader, scene or sync"),
    ],
)
def test_bad_input_is_told_in_one_sentence_with_exit_code_2(line, says, files, capsys):
    before = set(files["folder"].iterdir())
    assert main([part.format(**files) for part in line.split()]) == 2
    told = capsys.readouterr()
    assert says in told.err and len(told.err.strip().splitlines()) == 1 and not told.out
    assert set(files["folder"].iterdir()) == before


def test_machines_get_the_sentence_as_json(capsys):
    assert main(["generate", "no.jpg", "no.wav", "-o", "o.mp4", "--json"]) == 2
    told = capsys.readouterr()
    assert json.loads(told.out) == {"error": told.err.strip(), "exit_code": 2}


def test_a_bug_is_one_sentence_and_debug_shows_where(monkeypatch, capsys):
    def broken(*_, **__):
        raise RuntimeError("the cat\nsat on the keyboard")

    monkeypatch.setattr("synchrorama.pipeline.SynchroRaMaPipeline.__init__", broken)
    line = ["generate", "a.jpg", "a.wav", "-o", "a.mp4"]
    assert main(line) == 1
    told = capsys.readouterr().err
    assert told == "Something unexpected went wrong (RuntimeError: the cat); add --debug to see where.\n"
    with pytest.raises(RuntimeError):
        main([*line, "--debug"])


# ------------------------------------------------------------------------------------------ stopped in the middle


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_stops_with_a_message_and_leaves_no_file(
    number, photo_path, speech_samples, tmp_path
):
    speech = write_wav(tmp_path / "speech.wav", np.tile(speech_samples, 10))
    out, temporary = tmp_path / "out", tmp_path / "temporary"
    out.mkdir()
    temporary.mkdir()
    process = subprocess.Popen(
        command("generate", photo_path, speech, "-o", out / "talking.mp4"),
        cwd=REPOSITORY, env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not any(out.iterdir()):  # the encoder has started: frames are being rendered
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(number)
        told, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert last_line(errors) == "Stopped; nothing unfinished was kept." and "Traceback" not in errors and not told
    assert not list(out.iterdir()) and not [path for path in temporary.iterdir() if "synchrorama" in path.name]


def test_every_option_of_the_parser_has_help():
    for action in build_parser()._subparsers._group_actions[0].choices["generate"]._actions:
        assert action.help
