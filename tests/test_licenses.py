"""python -m synchrorama licenses: what a profile is made of, and under which licences."""

from __future__ import annotations

import json
import shutil

import pytest
from conftest import REPOSITORY
from tiny_profile import FULL

from synchrorama.__main__ import main
from synchrorama.licenses import allows_commercial_use

MINI = REPOSITORY / "checkpoints" / "mini"


def listed(capsys, *arguments: str) -> list[dict]:
    assert main(["licenses", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_entry_of_the_full_profile_is_listed_and_nothing_else(capsys):
    found = {(each["component"], each["backend"]): each for each in listed(capsys)}
    expected = {
        (component, entry["backend"]): entry
        for component, entries in FULL["components"].items()
        for entry in entries
        if entry["backend"] != "none"
    }
    assert set(found) == set(expected)
    for key, entry in expected.items():
        each = found[key]
        assert each["used"] == (entry is FULL["components"][key[0]][0]) and each["purpose"]
        if "repository" in entry:
            assert each["source"] == entry["repository"] and each["revision"] == entry["revision"]
            assert each["license"] == entry["license"] and each["commercial_use"] == entry["commercial_use"]
            assert each["note"] == entry.get("note", "") and not each["own"]
        elif "folder" in entry:
            assert each["source"] == f"checkpoints/{entry['folder']}" and each["own"]
            assert each["license"] == "cc-by-nc-sa-4.0" and each["commercial_use"] is False


def test_for_people_it_says_what_the_whole_may_be_used_for(capsys):
    assert main(["licenses", "full"]) == 0
    told = capsys.readouterr().out
    first, rest = told.split("\n", 1)
    assert first.startswith("full: not for commercial use, because of a2m") and "not stated for sentiment." in first
    used, optional = rest.split("Off unless asked for:")
    assert "openai/whisper-small@973afd24965f; Apache-2.0; commercial use: yes" in used
    assert "arcface" not in used and "InsightFace: non-commercial research only; commercial use: no" in optional
    assert "read the originals" in optional


def test_the_licence_of_our_weights_is_what_their_card_says(tmp_path, capsys):
    folder = shutil.copytree(MINI, tmp_path / "weights")
    card = folder / "MODEL_CARD.md"
    for license, allowed in (("mit", True), ("cc-by-nc-4.0", False), ("other", None)):
        card.write_text(f"---\ntags: [a]\nlicense: {license}\n---\n# Ours\n")
        found = {each["component"]: each for each in listed(capsys, str(folder))}
        assert found["a2m"]["license"] == license and found["a2m"]["commercial_use"] is allowed
        assert found["a2m"]["source"] == "weights/a2m" and found["a2m"]["own"]
        assert found["sentiment"]["source"] == "vaderSentiment" and found["sentiment"]["commercial_use"] is True
    card.write_text("# Ours\n")
    assert {each["license"] for each in listed(capsys, str(folder)) if each["own"]} == {"not stated"}
    card.unlink()
    assert {each["license"] for each in listed(capsys, str(folder)) if each["own"]} == {"not stated"}


def test_of_a_repository_only_its_card_is_fetched(hub, capsys):
    found = listed(capsys, "someone/talking")
    assert {each["license"] for each in found if each["own"]} == {"cc-by-nc-sa-4.0"}
    assert hub.fetched() == {"MODEL_CARD.md"}


@pytest.mark.parametrize(
    ("license", "allowed"),
    [
        ("Apache-2.0", True), ("MIT License", True), ("BSD License", True), ("CC0-1.0", True), ("cc-by-4.0", True),
        ("CC-BY-NC-SA-4.0", False), ("InsightFace: non-commercial research only", False), ("not stated", None),
        ("other", None), ("openrail", None),
    ],
)  # fmt: skip
def test_what_a_licence_says_of_commercial_use(license, allowed):
    assert allows_commercial_use(license) is allowed


def test_what_does_not_exist_has_no_licences(capsys):
    assert main(["licenses", "nowhere"]) == 2
    assert "no folder of weights called 'nowhere'" in capsys.readouterr().err
