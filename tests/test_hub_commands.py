"""The commands that fetch weights from the Hugging Face Hub and put them there, against a server on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import REPOSITORY
from hub_server import NAME, TOKEN, files_of
from tiny_profile import HALLO, SENTIMENT, SMOLVLM, SOUND, VAE, VOICE, WHISPER, revision

from synchrorama import SynchroRaMaPipeline
from synchrorama.__main__ import main
from synchrorama.hub import FOLDERS, HubRepository
from synchrorama.profile import find_profile

MINI = REPOSITORY / "checkpoints" / "mini"
ONE_SENTENCE = re.compile(r"[^\n]+[.]")


# ------------------------------------------------------------------------------------------ download


def test_download_says_how_much_and_where_and_then_no_hub_is_needed(hub, capsys):
    assert main(["download", NAME]) == 0
    told = capsys.readouterr()
    folder = Path(told.out.splitlines()[0]).parent
    commit = hub.branches["main"]
    size = sum(path.stat().st_size for name in FOLDERS for path in (MINI / name).iterdir())
    assert f"{NAME}@{commit}: 10 files, {size / 1e6:.1f} MB; {size / 1e6:.1f} MB of it to be fetched." in told.err
    assert {path.name for path in folder.iterdir()} == set(FOLDERS)
    hub.stop()
    pipe = SynchroRaMaPipeline.from_pretrained(NAME)
    assert all(pipe.profile.folder(component).is_dir() for component in FOLDERS)
    assert main(["download", NAME]) == 0
    assert "nothing of it to be fetched" in capsys.readouterr().err


def test_download_as_json_counts_only_what_is_missing(hub, capsys):
    _ = HubRepository(NAME).folder("a2m")
    hub.requests.clear()
    assert main(["download", f"{NAME}@main", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (repository,) = told["repositories"]
    assert repository["repository"] == NAME and repository["revision"] == "main"
    assert repository["commit"] == hub.branches["main"] and told["profile"] == f"{NAME}@main"
    here = sum(path.stat().st_size for path in (MINI / "a2m").iterdir())
    assert told["files"] == 10 and told["fetched_bytes"] == told["bytes"] - here
    assert all(Path(each).is_dir() for each in told["folders"].values())
    assert not any(path.startswith("a2m/") for path in hub.fetched())


def test_download_looks_for_room_first(hub, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=1000))
    assert main(["download", NAME]) == 2
    said = "MB of someone/talking are to be fetched, converted copies included, but only 1.0 kB are free"
    assert said in capsys.readouterr().err
    assert hub.fetched() == set()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("nowhere", "no folder of weights called 'nowhere'"),
        ("some/other", "neither a folder here nor a repository"),
        (f"{NAME} --revision old", "no revision 'old'"),
        (f"{NAME}@a --revision b", "name one revision"),
        ("", "The following arguments are required: profile; see python -m synchrorama download --help."),
    ],
)
def test_download_fails_in_one_sentence_with_exit_code_2(hub, arguments, says, capsys):
    assert main(["download", *arguments.split(), "--json"]) == 2
    told = capsys.readouterr()
    error = json.loads(told.out)
    assert says in error["error"] and error["exit_code"] == 2 and told.err.strip().splitlines()[-1] == error["error"]


def test_the_environment_is_respected_as_huggingface_hub_does(hub, tmp_path):
    hub.may_read = "owner"
    command = [sys.executable, "-m", "synchrorama", "download", NAME, "--json"]
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
    environment.pop("HF_HUB_CACHE", None)

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, cwd=REPOSITORY, env={**environment, **more}
        )

    done = run()
    assert done.returncode == 0 and Path(json.loads(done.stdout)["folders"]["a2m"]).is_relative_to(tmp_path / "home")
    hub.stop()
    assert json.loads(run(HF_HUB_OFFLINE="1").stdout)["fetched_bytes"] == 0
    refused = run(HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "empty"))
    assert refused.returncode == 2 and "HF_HUB_OFFLINE is set" in json.loads(refused.stdout)["error"]
    assert done.stderr.count("\n") == 1 and "%" not in done.stderr  # no progress bar where there is no terminal
    told = done.stdout + done.stderr + refused.stdout + refused.stderr
    assert TOKEN not in told and "Traceback" not in told


# ------------------------------------------------------------------------------------------ push


@pytest.fixture
def empty(hub, monkeypatch):
    """The server without the repository, and a token that may write."""
    hub.commits.clear()
    hub.branches.clear()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


@pytest.fixture
def checkpoint(tmp_path):
    return shutil.copytree(MINI, tmp_path / "weights")


def test_what_is_pushed_can_be_loaded_and_comes_in_one_commit(empty, checkpoint, capsys):
    (checkpoint / "notes.txt").write_text("mine")
    (checkpoint / "a2m" / "log.csv").write_text("mine")
    command = ["push", str(checkpoint), NAME, "--private", "--message", "First", "--json"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    files = empty.commits[empty.branches["main"]]
    assert told["url"] == f"{empty.url}/{NAME}" and told["commit"] == empty.branches["main"]
    assert told["files"] == len(files) and told["bytes"] == sum(map(len, files.values()))
    assert empty.created["visibility"] == "private" and empty.messages == ["First"]
    expected = files_of(MINI)
    card = expected.pop("MODEL_CARD.md")
    assert files == {**expected, "README.md": card}
    assert SynchroRaMaPipeline.from_pretrained(NAME).a2m is not None


def test_a_card_without_front_matter_gets_one_in_a_repository_that_exists(hub, checkpoint, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    (checkpoint / "MODEL_CARD.md").write_text("# Ours\n")
    assert main(["push", str(checkpoint), NAME]) == 0
    assert capsys.readouterr().out.strip() == f"{hub.url}/{NAME}" and hub.created is None
    card = hub.commits[hub.branches["main"]]["README.md"].decode()
    assert card == "---\nlicense: other\nlibrary_name: synchrorama\ntags:\n- talking-head\n---\n# Ours\n"


def spoilt(checkpoint: Path, how: str) -> None:
    config = checkpoint / "a2m" / "config.json"
    match how:
        case "no component":
            shutil.rmtree(checkpoint / "a2m")
        case "no weights":
            (checkpoint / "a2m" / "diffusion_pytorch_model.safetensors").unlink()
        case "pickle":
            (checkpoint / "a2m" / "model.bin").write_bytes(b"code")
        case "no JSON":
            config.write_text("{")
        case "damaged":
            (checkpoint / "a2m" / "diffusion_pytorch_model.safetensors").write_bytes(b"damaged")
        case "another network":
            config.write_text(config.read_text().replace('"channels": 160', '"channels": 161'))
        case "no card":
            (checkpoint / "MODEL_CARD.md").unlink()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("no component", "weights lacks a2m/config.json; a whole checkpoint has"),
        ("no weights", "weights lacks a2m/*.safetensors"),
        ("pickle", "the pickle a2m/model.bin, which runs code"),
        ("no JSON", "The file a2m/config.json is damaged"),
        ("damaged", "The file a2m/diffusion_pytorch_model.safetensors is damaged"),
        ("another network", "The weights in weights do not load"),
        ("no card", "weights has no MODEL_CARD.md"),
    ],
)
def test_what_is_no_whole_checkpoint_is_not_pushed(empty, checkpoint, how, says, capsys):
    spoilt(checkpoint, how)
    assert main(["push", str(checkpoint), NAME]) == 2
    told = capsys.readouterr().err.strip()
    assert says in told and ONE_SENTENCE.fullmatch(told.splitlines()[-1])
    assert empty.requests == []


def test_pushing_without_a_right_to_it_says_so(empty, monkeypatch, capsys):
    def said() -> str:
        assert main(["push", str(MINI), NAME]) == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert ONE_SENTENCE.fullmatch(line) and "hf_" not in line
        return line

    monkeypatch.setattr("synchrorama.push._check_that_they_load", lambda _profile: None)
    empty.may_write = False
    assert "The token in HF_TOKEN has no right to this" in said()
    monkeypatch.setenv("HF_TOKEN", "hf_wrongButSecret")
    assert "does not accept the token in HF_TOKEN" in said()
    monkeypatch.delenv("HF_TOKEN")
    assert "a token is needed; set HF_TOKEN" in said()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    empty.stop()
    assert "cannot be written, because 127.0.0.1 cannot be reached" in said()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("nowhere a/b", "no folder called 'nowhere'"),
        ("checkpoints/mini a", "'a' names no repository"),
        ("checkpoints/mini a/b@c", "leave out @c"),
        ("checkpoints/mini a/b --message=", "The message is empty"),
    ],
)
def test_push_refuses_bad_arguments(empty, arguments, says, capsys, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert main(["push", *arguments.split()]) == 2
    assert says in capsys.readouterr().err


# ------------------------------------------------------------------------------------------ download full


def test_download_fetches_and_converts_the_full_profile_and_says_first_how_much_it_is(full_hub, capsys):
    assert main(["download", "full", "--json"]) == 0
    told = capsys.readouterr()
    result = json.loads(told.out)
    repositories = {each["repository"]: each for each in result["repositories"]}
    assert set(repositories) == full_hub.asked() == {WHISPER, SENTIMENT, VOICE, SMOLVLM, HALLO, VAE, SOUND}
    for name, each in repositories.items():
        held = full_hub.repositories[name].commits[revision(name)]
        fetched = full_hub.fetched(name)
        assert each["commit"] == each["revision"] == revision(name)
        assert each["bytes"] == each["fetched_bytes"] == sum(len(held[path]) for path in fetched)
    assert result["bytes"] == sum(each["bytes"] for each in repositories.values())
    assert "fudan-generative-ai--hallo" in result["folders"]["diffusion"]
    lines = told.err.splitlines()
    assert lines[0].startswith("full: 8.5 GB to be fetched")
    assert sum("of it to be fetched." in line for line in lines) == 7
    full_hub.stop()
    assert main(["download", "full", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["fetched_bytes"] == 0 and again["folders"] == result["folders"]
    assert HALLO not in {each["repository"] for each in again["repositories"]}  # its copy is all that is needed


def test_download_goes_on_with_what_is_missing(full_hub, capsys):
    full_hub.only_for[VAE] = "agreed"
    assert main(["download", "full"]) == 2
    assert f"accept its terms; do so at https://127.0.0.1/{VAE}" in capsys.readouterr().err
    _ = find_profile("full").folder("transcription")
    full_hub.only_for.clear()
    full_hub.requests.clear()
    assert main(["download", "full"]) == 0
    assert WHISPER not in full_hub.asked() and VAE in full_hub.asked()


def test_download_counts_the_converted_copy_when_it_looks_for_room(full_hub, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=4_000_000_000))
    assert main(["download", "full"]) == 2  # the files of this Hub are small, the stated copy is 4.85 GB
    assert "4.9 GB of full are to be fetched, converted copies included, but only 4.0 GB are free" in (
        capsys.readouterr().err
    )
    assert full_hub.asked() == set()


def test_download_takes_backends_and_asks_for_consent(full_hub, capsys):
    command = ["download", "full", "--face-embedding-backend", "arcface", "--transcription-backend", "pocketsphinx"]
    assert main(command) == 2
    assert "accept that with --accept-non-commercial" in capsys.readouterr().err
    assert full_hub.requests == []
    assert main([*command, "--accept-non-commercial"]) == 0
    assert "face_analysis/models/glintr100.onnx" in full_hub.fetched(HALLO) and WHISPER not in full_hub.asked()


def test_a_checkpoint_with_a_profile_is_pushed_without_what_it_takes_from_elsewhere(empty, checkpoint, capsys):
    shutil.rmtree(checkpoint / "diffusion")
    entry = {"backend": "mouth", "repository": NAME, "folder": "paint", "files": ["paint/*"]}
    (checkpoint / "profile.json").write_text(json.dumps({"components": {"diffusion": [entry]}}))
    assert main(["push", str(checkpoint), NAME]) == 0
    files = empty.commits[empty.branches["main"]]
    assert json.loads(files["profile.json"])["components"]["diffusion"] == [entry]
    assert "a2m/config.json" in files and not any(name.startswith("diffusion/") for name in files)
    assert find_profile(NAME).parts["diffusion"].entry.folder == "paint"
    (checkpoint / "profile.json").write_text("{")
    capsys.readouterr()
    assert main(["push", str(checkpoint), NAME]) == 2
    assert "The profile profile.json is not valid JSON" in capsys.readouterr().err
