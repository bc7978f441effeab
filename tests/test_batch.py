"""Many videos from one table: what is made, skipped and told, and what happens when a process dies or all stops."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, SAMPLE_RATE, write_wav

from synchrorama.__main__ import main
from synchrorama.batch import Job, Outcome, Summary, generate_many, read_jobs
from synchrorama.batch_processes import make_in_processes
from synchrorama.content_cache import content_key
from synchrorama.profile import Profile, find_profile
from synchrorama.provenance import read_container_metadata

HEADER = "photo,recording,output,seed,preview,head_motion"
GOOD = ("photo.jpg,a.wav,1.mp4,7,true,", "photo.jpg,b.wav,2.mp4,8,true,1.5")


def write_table(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "jobs.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def run(*arguments: object) -> tuple[int, str, str]:
    """The exit code, standard output and standard error of generate."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as errors:
        code = main(["generate", *map(str, arguments)])
    return code, out.getvalue(), errors.getvalue()


@pytest.fixture(scope="module")
def inputs(photo_path, speech_samples, tmp_path_factory) -> Path:
    """A folder with a photo, two short recordings and a longer one."""
    folder = tmp_path_factory.mktemp("inputs")
    shutil.copy(photo_path, folder / "photo.jpg")
    write_wav(folder / "a.wav", speech_samples[: SAMPLE_RATE // 2])
    write_wav(folder / "b.wav", speech_samples[SAMPLE_RATE : SAMPLE_RATE * 2])
    write_wav(folder / "long.wav", np.tile(speech_samples, 5))
    return folder


@pytest.fixture
def folder(inputs, tmp_path) -> Path:
    return shutil.copytree(inputs, tmp_path / "jobs")


@pytest.fixture(scope="module")
def made(inputs, tmp_path_factory) -> tuple[Path, int, str, str]:
    """What two processes make of good and of bad rows: the folder, and what ``run`` returns."""
    folder = shutil.copytree(inputs, tmp_path_factory.mktemp("made") / "jobs")
    bad = ("photo.jpg,none.wav,3.mp4,,,", "photo.jpg,a.wav,4.mp4,much,,", "photo.jpg,a.wav,none/5.mp4,,true,")
    table = write_table(folder, *GOOD, *bad)
    return folder, *run("--jobs", table, "--processes", 2, "--head-motion", 0.5, "--json")


def test_good_rows_become_videos_and_bad_ones_sentences(made):
    folder, code, out, errors = made
    told = json.loads(out)
    assert code == 2 and told["skipped"] == []
    assert sorted((each["output"], each["seconds"], each["seed"]) for each in told["made"]) == [
        ("1.mp4", 0.48, 7), ("2.mp4", 1.0, 8),
    ]  # fmt: skip
    assert {each["output"]: each["error"] for each in told["failed"]} == {
        "3.mp4": "The recording file does not exist or may not be read; please check its path.",
        "4.mp4": "Seed is 'much'; give a whole number.",
        "none/5.mp4": "The folder for the video does not exist; please create it first.",
    }
    lines = errors.splitlines()
    assert [line.split()[0] for line in lines] == [f"[{number}/5]" for number in range(1, 6)]
    assert any(line.endswith("] 4.mp4: Seed is 'much'; give a whole number.") for line in lines)
    assert any("] 1.mp4: 0.5 s, seed 7" in line for line in lines)
    assert not [path for path in folder.iterdir() if "partial" in path.name]


def test_a_row_overrides_the_options_and_an_empty_cell_does_not(made):
    for video, head_motion in (("1.mp4", 0.5), ("2.mp4", 1.5)):
        settings = json.loads(read_container_metadata(made[0] / video)["description"])["settings"]
        assert settings["head_motion"] == head_motion and settings["preview"] is True


def test_what_is_finished_is_skipped_and_what_has_changed_is_made_again(made, tmp_path):
    folder = shutil.copytree(made[0], tmp_path / "moved")
    first, second = (folder / name for name in ("1.mp4", "2.mp4"))
    before = first.read_bytes(), second.read_bytes()
    options = ("--jobs", write_table(folder, *GOOD), "--head-motion", 0.5)
    assert run(*options) == (0, "0 made, 2 skipped, 0 failed\n", "")
    write_table(folder, GOOD[0].replace(",7,", ",9,"), GOOD[1])
    code, out, errors = run(*options)
    assert (code, out) == (0, "1 made, 1 skipped, 0 failed\n") and errors.startswith("[2/2] 1.mp4: 0.5 s, seed 9")
    assert first.read_bytes() != before[0] and second.read_bytes() == before[1]


# ------------------------------------------------------------------------------------------ what counts as finished


def written(jobs: Sequence[Job], _profile: Profile) -> Iterator[tuple[Job, Outcome]]:
    """In place of processes: what is written is told from other videos by its seed."""
    for job in jobs:
        job.path.write_text(f"video {job.settings.seed}")
        yield job, Outcome(1.0, job.settings.seed, content_key(job.path))


def outputs(table: Path, common: dict[str, object] | None = None) -> list[str]:
    summary: Summary = generate_many(table, common or {}, find_profile("checkpoints/mini"), written, lambda _line: None)
    return [each["output"] for each in summary.made]


def test_every_input_counts_and_so_does_the_video_itself(folder):
    table = write_table(folder, *GOOD)
    assert outputs(table) == ["1.mp4", "2.mp4"] and outputs(table) == []
    assert outputs(table, {"head_motion": 0.5}) == ["1.mp4"]  # the other row has its own
    assert outputs(table) == ["1.mp4"]
    shutil.copy(folder / "a.wav", folder / "b.wav")
    assert outputs(table) == ["2.mp4"]
    (folder / "1.mp4").unlink()
    assert outputs(table) == ["1.mp4"]
    (folder / "2.mp4").write_text("someone else's")
    assert outputs(table) == ["2.mp4"]
    with open(folder / "photo.jpg", "ab") as file:
        file.write(b"more")
    assert outputs(table) == ["1.mp4", "2.mp4"] and outputs(table) == []
    write_table(folder, *(row.replace("photo.jpg", str(folder / "photo.jpg")) for row in GOOD))
    assert outputs(table) == []  # where files lie does not count


def test_a_line_torn_by_a_kill_costs_its_own_video_only(folder):
    table = write_table(folder, *GOOD)
    outputs(table)
    notes = folder / "jobs.csv.done.jsonl"
    notes.write_bytes(notes.read_bytes()[:-20])
    assert outputs(table) == ["2.mp4"] and outputs(table) == []
    lines = notes.read_text().splitlines()
    assert len(lines) == 3 and set(json.loads(lines[2])) == {"output", "key", "seconds", "seed", "video"}
    with open(notes, "ab") as file:
        file.write(b'\xff\n[1]\n{"output": 3}\n')
    assert outputs(table) == []


# ------------------------------------------------------------------------------------------ the table


def test_tables_as_spreadsheets_write_them_are_read(folder):
    table = folder / "jobs.csv"
    table.write_bytes(
        b"\xef\xbb\xbfoutput, speech,photo,description,preview,face_index,max_seconds\r\n"
        b'sub/1.mp4,a.wav,photo.jpg,"smiles, then\nnods",TRUE,1,60\r\n,,,,,,\r\n\r\n2.mp4,a.wav,photo.jpg\r\n'
    )
    first, second = read_jobs(table, {"head_motion": 0.5})
    assert (first.output, first.path) == ("sub/1.mp4", folder / "sub" / "1.mp4")
    assert first.photo == folder / "photo.jpg" and first.speech == folder / "a.wav" and not first.problem
    settings = first.settings.to_dict()
    assert settings["description"] == "smiles, then\nnods" and settings["preview"] is True
    assert settings["face_index"] == 1 and settings["max_seconds"] == 60 and settings["head_motion"] == 0.5
    assert second.settings.description is None and second.settings.preview is False


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("photo.jpg,a.wav,1.mp4,7,maybe,", "Preview is 'maybe'; give true or false."),
        ("photo.jpg,a.wav,1.mp4,1.5,,", "Seed is 1.5; give a whole number."),
        ("photo.jpg,a.wav,1.mp4,7,,nan", "Head motion is nan; give a number."),
        ("photo.jpg,a.wav,1.mp4,7,,3", "Head motion is 3.0; give a value from 0 to 2."),
        ("photo.jpg,,1.mp4,7,,", "Its row has no speech; name the file."),
        (",a.wav,1.mp4,7,,", "Its row has no photo; name the file."),
        ("photo.jpg,a.wav,1.mp4,7,,,5", "more cells than there are columns"),
    ],
)
def test_a_row_that_cannot_be_used_keeps_its_sentence(row, says, tmp_path):
    bad, good = read_jobs(write_table(tmp_path, row, GOOD[1]), {})
    assert says in bad.problem and bad.settings is None and not good.problem


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (None, "cannot be read; check its name and save it as UTF-8"),
        (HEADER.encode() + b"\nphoto.jpg,a.wav,\xe9.mp4,,,\n", "cannot be read; check its name and save it as UTF-8"),
        (b"", "lacks the column 'photo'"),
        (b"photo,output\n", "lacks the column 'speech'"),
        (b"photo;speech;output\n", "unknown column 'photo;speech;output'; the columns are photo, speech, output, seed"),
        (b"photo,speech,output,mood\n", "unknown column 'mood'"),
        (b"photo,speech,recording,output\n", "the column 'speech' more than once"),
        (b"photo,speech,output\n,,\n", "There are no jobs in jobs.csv"),
        (b"photo,speech,output\np.jpg,a.wav,\n", "Line 2 of jobs.csv has no output"),
        (b"photo,speech,output\np,a,1.mp4\np,b,./1.mp4\n", "Line 3 of jobs.csv has the output './1.mp4' once more"),
    ],
)
def test_a_table_that_cannot_be_used_is_told_in_one_sentence_before_any_work(table, says, tmp_path):
    if table is not None:
        (tmp_path / "jobs.csv").write_bytes(table)
    code, out, errors = run("--jobs", tmp_path / "jobs.csv")
    assert code == 2 and not out and says in errors and len(errors.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == (["jobs.csv"] if table is not None else [])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("p.jpg --jobs {table}", "leave out PHOTO, SPEECH, -o"),
        ("--jobs {table} -o o.mp4", "leave out PHOTO, SPEECH, -o"),
        ("--jobs {table} --motion m.npz", "--motion"),
        ("--jobs {table} --save-motion m.npz", "--save-motion"),
        ("", "A photo and -o VIDEO are required; give both, or --jobs"),
        ("-o o.mp4", "A photo and -o VIDEO are required; give both, or --jobs"),
        ("p.jpg s.wav -o o.mp4 --ray", "leave out --processes and --ray, or give --jobs"),
        ("p.jpg s.wav -o o.mp4 --processes 2", "leave out --processes and --ray, or give --jobs"),
        ("--jobs {table} --processes 0", "Processes is 0.0; give a value from 1 to 64."),
        ("--jobs {table} --processes many", "Processes is 'many'; give a whole number."),
        ("--jobs {table} --head-motion 3", "Head motion is 3.0; give a value from 0 to 2."),
        ("--jobs {table} --checkpoint nowhere", "There is no folder of weights"),
    ],
)
def test_options_that_do_not_fit_are_told_in_one_sentence(options, says, tmp_path):
    table = write_table(tmp_path, *GOOD)
    code, out, errors = run(*(each.format(table=table) for each in options.split()))
    assert code == 2 and not out and says in errors and len(errors.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [table]


# ------------------------------------------------------------------------------------------ dying and stopping


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.05)


def rendering(folder: Path) -> bool:
    return any("partial" in path.name for path in folder.iterdir())


def test_a_process_that_dies_costs_its_job_only(folder, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    table = write_table(folder, "photo.jpg,long.wav,long.mp4,,,", *GOOD[:1])

    def kill() -> None:
        wait_for(lambda: rendering(folder), "rendering")
        multiprocessing.active_children()[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    code, out, _ = run("--jobs", table, "--processes", 1, "--json", "--emotion-mode", "emotion")
    killer.join()
    told = json.loads(out)
    assert code == 2 and [each["output"] for each in told["made"]] == ["1.mp4"]
    assert [each["output"] for each in told["failed"]] == ["long.mp4"]
    assert told["failed"][0]["error"].startswith("The process that made it died, perhaps for want of memory; ")
    assert not rendering(folder)  # what the dead process could not remove is gone
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_an_exception_in_a_job_is_one_short_sentence(folder):
    settings = read_jobs(write_table(folder, *GOOD), {})[0].settings
    job = Job("1.mp4", folder / "1.mp4", 3.5, folder / "a.wav", settings)  # a photo that no table can name
    [(_, outcome)] = make_in_processes([job], find_profile("checkpoints/mini"), 1)
    assert outcome.error.startswith("TypeError: ") and len(outcome.error) <= 200 and "\n" not in outcome.error


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_stops_all_processes_and_keeps_what_is_finished(folder):
    table = write_table(folder, GOOD[0], "photo.jpg,long.wav,2.mp4,,,", "photo.jpg,long.wav,3.mp4,,,")
    process = subprocess.Popen(
        [
            sys.executable, "-m", "synchrorama", "generate", "--jobs", str(table), "--processes", "2",
            "--emotion-mode", "emotion",
        ],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        notes = folder / "jobs.csv.done.jsonl"
        wait_for(lambda: notes.exists() and notes.read_text().endswith("\n") and rendering(folder), "the first video")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        out, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130 and not out
    assert len(errors.splitlines()) == 2 and errors.splitlines()[1] == "Stopped; nothing unfinished was kept."
    assert [path.name for path in folder.iterdir() if path.suffix == ".mp4"] == ["1.mp4"]
    assert outputs(table, {"emotion_mode": "emotion"}) == ["2.mp4", "3.mp4"]


# ------------------------------------------------------------------------------------------ Ray


def test_ray_makes_the_same_videos(made, folder, monkeypatch):
    pytest.importorskip("ray")
    import ray

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    table = write_table(folder, *GOOD, "photo.jpg,none.wav,3.mp4,,,")
    code, out, _ = run("--jobs", table, "--ray", "--processes", 2, "--head-motion", 0.5)
    assert code == 2 and out.splitlines() == [
        "2 made, 0 skipped, 1 failed",
        "3.mp4: The recording file does not exist or may not be read; please check its path.",
    ]
    for video in ("1.mp4", "2.mp4"):
        assert (folder / video).read_bytes() == (made[0] / video).read_bytes()
    assert not ray.is_initialized()


def test_without_ray_and_without_its_cluster_there_is_a_sentence(folder, monkeypatch):
    table = write_table(folder, *GOOD)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "ray", None)
        code, _, errors = run("--jobs", table, "--ray")
    assert code == 2 and errors == "Ray is not installed; pip install ray, or leave out --ray.\n"
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    code, _, errors = run("--jobs", table, "--ray")
    assert code == 2 and errors.startswith("The Ray cluster 127.0.0.1:1 cannot be joined; start it")
