"""Files of profiles: which are found and read, what is wrong with others, and the settings that come from them."""

from __future__ import annotations

import json
import re

import pytest
from conftest import REPOSITORY

from synchrorama import GenerationSettings, InputError, SynchroRaMaPipeline
from synchrorama.__main__ import main
from synchrorama.batch import Outcome, generate_many
from synchrorama.components import CHOICES, COMPONENTS
from synchrorama.content_cache import content_key
from synchrorama.profile import find_profile

MINI = REPOSITORY / "checkpoints" / "mini"
ENTRY = {"backend": "whisper", "repository": "a/b", "files": ["config.json"]}


@pytest.fixture
def place(tmp_path):
    """A folder with the shipped weights and room for a profile."""
    for folder in MINI.iterdir():
        (tmp_path / folder.name).symlink_to(folder)
    return tmp_path


def written(folder, profile: object):
    path = folder / "profile.json"
    path.write_text(profile if isinstance(profile, str) else json.dumps(profile))
    return path


def only(component: str, *entries: object) -> dict[str, object]:
    return {"components": {component: list(entries)}}


def test_the_shipped_profile_is_whole_and_pinned():
    profile = find_profile("full")
    assert set(profile.file.components) == set(COMPONENTS)
    entries = [each for listed in profile.file.components.values() for each in listed if each.repository]
    assert len(entries) == 11
    for each in entries:
        assert re.fullmatch(r"[0-9a-f]{40}", each.revision) and each.bytes > 0 and each.license, each
    for name in CHOICES:  # each can be chosen without anything else
        listed = {each.backend for each in profile.file.components[name]}
        assert listed == set(COMPONENTS[name].backends)
    assert [each.backend for each in entries if each.commercial_use is False] == ["audeering", "arcface"]
    assert not any(part.repository and part.entry.commercial_use is False for part in profile.parts.values())


def test_a_folder_without_a_profile_has_what_the_table_says():
    profile = find_profile("checkpoints/mini")
    assert {name: profile.backend(name) for name in COMPONENTS} == {name: c.default for name, c in COMPONENTS.items()}
    assert profile.identity == "checkpoints/mini" and profile.defaults == {}
    assert profile.settings(seed=3) == GenerationSettings(seed=3)
    assert find_profile("mini").folder("a2m") == MINI / "a2m"


def test_a_profile_is_found_as_a_file_and_in_its_folder(place):
    path = written(
        place, {"defaults": {"head_motion": 0.5}, "components": {"transcription": [{"backend": "pocketsphinx"}]}}
    )
    for name in (path, place):
        pipe = SynchroRaMaPipeline.from_pretrained(name)
        assert pipe.a2m is not None and pipe.settings(seed=1) == GenerationSettings(seed=1, head_motion=0.5)
    with pytest.raises(InputError, match="has no revision 'main'"):
        find_profile(path, "main")


@pytest.mark.parametrize(
    ("profile", "says"),
    [
        ("{", "is not valid JSON (line 1"),
        ("[]", "it is not an object"),
        ("[" * 100_000, "cannot be used"),
        ({"component": {}}, "it has an unknown key 'component'; known are description, defaults"),
        ({"defaults": []}, "defaults of it is []"),
        ({"defaults": {"steps": 3}}, "There is no setting called 'steps'"),
        ({"defaults": {"guidance_scale": 90}}, "Guidance scale is 90; give a value from 0 to 5"),
        ({"vram_bytes": -1}, "vram_bytes of it is -1"),
        ({"vram_bytes": True}, "vram_bytes of it is true"),
        (only("voice"), "there is no component 'voice'; the components are motion_space"),
        ({"components": {"transcription": {}}}, "transcription has no list of entries"),
        (only("transcription"), "transcription has no list of entries"),
        (only("transcription", "whisper"), "an entry of transcription is not an object"),
        (only("transcription", {}), "an entry of transcription has no backend"),
        (only("transcription", {"backend": "kaldi"}), "no backend 'kaldi'; choose one of pocketsphinx, whisper"),
        (only("transcription", {"backend": "whisper"}), "the entry whisper of transcription lacks weights"),
        (only("transcription", {**ENTRY, "backend": "pocketsphinx"}), "needs no weights"),
        (only("transcription", {**ENTRY, "license": 3}), "license of an entry of transcription is 3"),
        (only("transcription", {**ENTRY, "repository": "b"}), "'b' in the entry whisper of transcription names no"),
        (only("transcription", {**ENTRY, "files": []}), "has a repository, but no files to fetch"),
        (only("transcription", {**ENTRY, "files": ["../x"]}), "'../x' in the entry whisper"),
        (only("transcription", {**ENTRY, "files": [3]}), "3 in the entry whisper"),
        (only("a2m", {"backend": "synchrorama", "folder": "/etc"}), "'/etc' in the entry synchrorama of a2m"),
        (only("diffusion", {"backend": "frame", "hallo": {"file": "x"}}), "has no repository for its file"),
        (only("diffusion", {"backend": "frame", "hallo": {"dtype": "int8", "file": "x"}}), "its dtype is none"),
    ],
)  # fmt: skip
def test_a_profile_that_is_wrong_is_told_in_one_sentence(place, profile, says, capsys):
    path = written(place, profile)
    for name in (path, place):
        with pytest.raises(InputError) as caught:
            find_profile(name)
        said = str(caught.value)
        assert says in said and said.startswith("The profile profile.json ") and said.endswith(".") and "\n" not in said
        assert str(place) not in said
    assert main(["analyze", "a.wav", "--checkpoint", str(path)]) == 2
    assert capsys.readouterr().err.strip() == said


def test_a_profile_without_its_folder_names_what_it_lacks(tmp_path):
    path = written(tmp_path, {"components": {"a2m": [{"backend": "synchrorama", "folder": "mine/a2m"}]}})
    with pytest.raises(InputError, match="lack the folder 'mine/a2m'"):
        _ = SynchroRaMaPipeline.from_pretrained(path).a2m


def test_components_and_backends_that_do_not_exist():
    with pytest.raises(InputError, match="There is no component 'voice'; the components are motion_space"):
        SynchroRaMaPipeline.from_pretrained("mini", backends={"voice": "mine"})
    with pytest.raises(InputError, match="sentiment has no backend 'bert'; choose one of vader, xlm-roberta"):
        SynchroRaMaPipeline.from_pretrained("mini", backends={"sentiment": "bert"})


def test_diffusion_of_full_size_needs_its_companions(place, tmp_path_factory):
    written(place, {"components": {"diffusion": [{"backend": "frame"}]}})
    with pytest.raises(InputError, match="frame needs the component autoencoder; name its backend in the profile"):
        _ = SynchroRaMaPipeline.from_pretrained(place).diffusion


# ------------------------------------------------------------------------------------------ settings


def test_what_is_not_given_comes_from_the_profile_and_what_is_given_does_not(
    place, tmp_path, capsys, photo_path, speech_path
):
    written(place, {"defaults": {"mark": "none", "preview": True, "head_motion": 0.5}})
    (tmp_path / "given.json").write_text('{"head_motion": 1.5}')
    command = ["generate", str(photo_path), str(speech_path), "-o", str(tmp_path / "o.mp4"), "--checkpoint", str(place)]
    assert main([*command, "--settings", str(tmp_path / "given.json"), "--blink-rate", "3", "--json"]) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert settings["mark"] == "none" and settings["preview"] is True
    assert settings["head_motion"] == 1.5 and settings["blink_rate"] == 3
    assert settings["articulation"] == GenerationSettings().articulation
    pipe = SynchroRaMaPipeline.from_pretrained(place)
    assert pipe.look(None, speech_path).settings == pipe.settings() and pipe.settings().mark == "none"


def test_jobs_take_the_settings_of_the_profile_and_count_backends(place, tmp_path):
    written(place, {"defaults": {"head_motion": 0.5}})
    table = tmp_path / "jobs.csv"
    table.write_text("photo,speech,output,head_motion\na.jpg,a.wav,a.mp4,\na.jpg,a.wav,b.mp4,1.5\n")
    made = []

    def workers(jobs, _profile):
        for job in jobs:
            made.append(job)
            job.path.write_text(job.key)
            yield job, Outcome(1.0, 1, content_key(job.path))

    def outputs(**backends: str) -> list[str]:
        made.clear()
        generate_many(table, {}, find_profile(place, backends=backends), workers, lambda _line: None)
        return [job.output for job in made]

    assert outputs() == ["a.mp4", "b.mp4"] and [job.settings.head_motion for job in made] == [0.5, 1.5]
    assert outputs() == []
    assert outputs(sentiment="vader") == []  # the same as before, said in other words
    written(place, {"defaults": {"head_motion": 0.6}})
    assert outputs() == ["a.mp4"]
    written(
        place, {"defaults": {"head_motion": 0.6}, "components": {"a2m": [{"backend": "synchrorama", "folder": "a2m"}]}}
    )
    assert outputs() == []
