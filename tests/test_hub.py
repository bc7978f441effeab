"""Weights in a repository of the Hugging Face Hub, against a server on this machine that answers as the Hub does."""

from __future__ import annotations

import errno
import json
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY
from hub_server import NAME, TOKEN, files_of
from huggingface_hub import constants, file_download

from synchrorama import InputError, SynchroRaMaPipeline
from synchrorama.__main__ import main
from synchrorama.hub import FOLDERS, HubRepository, within
from synchrorama.profile import Profile, find_profile

MINI = REPOSITORY / "checkpoints" / "mini"
EVERYTHING = [pattern for name in FOLDERS for pattern in within(name)]
ONE_SENTENCE = re.compile(r"[^\n]+[.]")


@pytest.fixture
def no_waiting(monkeypatch):
    """huggingface_hub tries again at once, not after seconds."""
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


def changed(**contents: bytes) -> dict[str, bytes]:
    """The files of checkpoints/mini with other ones; a__config stands for a/config.json."""
    return {**files_of(MINI), **{f"{name.replace('__', '/')}.json": data for name, data in contents.items()}}


def without(folder: str) -> dict[str, bytes]:
    return {name: data for name, data in files_of(MINI).items() if not name.startswith(f"{folder}/")}


def sentence(action) -> str:
    """What the InputError says that is raised; one sentence without secrets and places of the server."""
    with pytest.raises(InputError) as caught:
        action()
    said = str(caught.value)
    assert ONE_SENTENCE.fullmatch(said), said
    assert TOKEN not in said and "Traceback" not in said and str(constants.HF_HUB_CACHE) not in said
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return said


def load(component: str = "motion_space", revision: str | None = None):
    return getattr(SynchroRaMaPipeline.from_pretrained(NAME, revision), component)


# ------------------------------------------------------------------------------------------ loading


def test_each_component_is_fetched_when_it_is_used_and_nothing_else(hub):
    pipe = SynchroRaMaPipeline.from_pretrained(NAME)
    assert hub.requests == []
    _ = pipe.motion_space
    assert hub.fetched() == {"motion_space/config.json", "motion_space/model.safetensors"}
    hub.requests.clear()
    _ = pipe.a2m
    assert hub.fetched() == {"a2m/config.json", "a2m/diffusion_pytorch_model.safetensors"}
    hub.requests.clear()
    _ = pipe.a2m, pipe.motion_space
    assert hub.requests == []


def test_pickles_are_not_fetched(hub):
    hub.commit({**files_of(MINI), **{f"a2m/model{ending}": b"code" for ending in (".bin", ".pt", ".pickle", ".py")}})
    folder = HubRepository(NAME).folder("a2m")
    assert {path.name for path in folder.iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}


def test_the_weights_are_the_ones_in_the_repository(hub):
    there, here = load("motion_space"), SynchroRaMaPipeline.from_pretrained(MINI).motion_space
    assert np.array_equal(there.basis, here.basis)


def test_a_running_pipeline_stays_on_its_commit_and_a_new_one_takes_the_new(hub):
    old = hub.branches["main"]
    pipe = SynchroRaMaPipeline.from_pretrained(NAME)
    first = pipe.profile.folder("motion_space")
    new = hub.commit(changed(a2m__extra=b"{}", motion_space__extra=b"{}"))
    second = pipe.profile.folder("a2m")
    assert first.parent == second.parent and old == first.parent.name == pipe.profile.checkpoint.commit != new
    assert not (second / "extra.json").exists()
    later = SynchroRaMaPipeline.from_pretrained(NAME).profile
    assert later.checkpoint.commit == new and (later.folder("a2m") / "extra.json").exists()
    assert later.identity != pipe.profile.identity


def test_branch_and_commit_can_be_named_in_both_ways(hub):
    main_commit = hub.branches["main"]
    hub.commit(changed(a2m__extra=b"{}"), "trial")
    for weights in (HubRepository.named(NAME, "trial"), SynchroRaMaPipeline.from_pretrained(f"{NAME}@trial").profile):
        assert (weights.folder("a2m") / "extra.json").exists()
    assert HubRepository.named(f"{NAME}@{main_commit}").folder("a2m").parent.name == main_commit


def test_what_was_fetched_works_without_the_hub(hub):
    _ = load("motion_space"), load("text_encoder")
    hub.stop()
    pipe = SynchroRaMaPipeline.from_pretrained(NAME)
    assert pipe.motion_space.basis.shape[0] == 52 and pipe.text_encoder is not None
    said = sentence(lambda: pipe.a2m)
    assert said == (
        f"The folder 'a2m' of {NAME} cannot be fetched, because 127.0.0.1 cannot be reached; "
        f"connect to the network and run `python -m synchrorama download {NAME}`."
    )


def test_hf_hub_offline_asks_nobody(hub, monkeypatch):
    _ = load("motion_space")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    pipe = SynchroRaMaPipeline.from_pretrained(NAME)
    _ = pipe.motion_space
    assert "because HF_HUB_OFFLINE is set; unset it and run `python -m" in sentence(lambda: pipe.a2m)
    assert "HF_HUB_OFFLINE" in sentence(lambda: SynchroRaMaPipeline.from_pretrained("some/other").a2m)
    assert hub.requests == []


def test_a_pipeline_whose_hub_goes_away_says_what_it_misses(hub):
    pipe = SynchroRaMaPipeline.from_pretrained(NAME)
    _ = pipe.motion_space
    hub.stop()
    assert "The folder 'diffusion'" in sentence(lambda: pipe.diffusion)


def test_a_hub_that_says_nothing_is_left_after_a_while(hub, monkeypatch):
    monkeypatch.setattr("synchrorama.hub._ANSWER_SECONDS", 0.2)
    _ = load("motion_space")
    hub.silent = True
    assert load("motion_space") is not None  # from the cache
    assert "cannot be reached" in sentence(lambda: SynchroRaMaPipeline.from_pretrained("some/other").a2m)


def test_a_cut_transfer_goes_on_where_it_was(hub, no_waiting, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)  # less than that is not kept
    weights = "a2m/diffusion_pytorch_model.safetensors"
    hub.cut = {weights}
    folder = HubRepository(NAME).folder("a2m")
    size = (MINI / weights).stat().st_size
    assert hub.ranges and 0 < int(re.findall(r"\d+", hub.ranges[0])[0]) <= size // 2
    assert (folder.parent / weights).read_bytes() == (MINI / weights).read_bytes()


def test_an_interrupted_download_keeps_the_files_that_are_whole(hub, monkeypatch):
    get = file_download.http_get

    def interrupted(url, *arguments, **options):
        if "a2m/diffusion" in url:
            raise KeyboardInterrupt
        get(url, *arguments, **options)

    repository = HubRepository(NAME)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(file_download, "http_get", interrupted)
        repository.fetch(EVERYTHING)
    before = hub.fetched()
    hub.requests.clear()
    repository.fetch(EVERYTHING)
    assert before and before.isdisjoint(hub.fetched()) and len(before | hub.fetched()) == 10


def test_many_threads_agree_on_a_commit(hub):
    weights = SynchroRaMaPipeline.from_pretrained(NAME).profile.checkpoint
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(lambda _: weights.commit, range(16)))) == 1
    assert len(hub.requests) == 2  # whether the Hub answers, and the commit


def test_a_video_is_made_from_weights_of_the_hub(hub, photo_path, speech_path, tmp_path, capsys):
    arguments = [str(photo_path), str(speech_path), "-o", str(tmp_path / "o.mp4"), "--preview", "--json"]
    assert main(["generate", *arguments, "--checkpoint", f"{NAME}@main"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 50
    assert not any(path.startswith("diffusion/") for path in hub.fetched())  # a preview does not paint


def test_a_table_of_jobs_takes_one_commit_for_all_and_another_makes_them_again(hub, tmp_path):
    from synchrorama.batch import generate_many

    given = []

    def workers(jobs, used):
        given.append((jobs, used))
        return iter(())

    table = tmp_path / "jobs.csv"
    table.write_text("photo,speech,output\na.jpg,a.wav,a.mp4\n")
    for files in (files_of(MINI), changed(a2m__extra=b"{}")):
        hub.commit(files)
        generate_many(table, {}, find_profile(NAME), lambda jobs, used: (yield from workers(jobs, used)), print)
    (first, old), (again, new) = given
    hub.stop()
    elsewhere = pickle.loads(pickle.dumps(new))  # as a worker gets it
    assert isinstance(elsewhere, Profile) and elsewhere.checkpoint.commit == hub.branches["main"]
    assert all(elsewhere.folder(name).is_dir() for name in FOLDERS)
    assert old.folder("a2m") != new.folder("a2m") == elsewhere.folder("a2m") and first[0].key != again[0].key


# ------------------------------------------------------------------------------------------ what goes wrong


def test_a_repository_that_does_not_exist(hub):
    said = sentence(lambda: SynchroRaMaPipeline.from_pretrained("checkpoints/mimi").a2m)
    assert "neither a folder here nor a repository on 127.0.0.1; check the name" in said


def test_a_private_repository_needs_a_token_and_a_wrong_one_is_not_enough(hub, monkeypatch):
    hub.may_read = "owner"
    assert "private or does not exist; check the name, and set HF_TOKEN" in sentence(load)
    monkeypatch.setenv("HF_TOKEN", "hf_wrongButSecret")
    said = sentence(load)
    assert "does not accept the token in HF_TOKEN" in said and "hf_wrong" not in said
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert load() is not None


def test_terms_that_must_be_accepted(hub):
    hub.may_read = "agreed"
    assert f"accept its terms; do so at https://127.0.0.1/{NAME}" in sentence(load)


def test_a_revision_that_does_not_exist(hub):
    assert f"{NAME} has no revision 'nightly'; name a branch" in sentence(lambda: load(revision="nightly"))
    assert "no revision '0123" in sentence(lambda: load(revision="0123456789" * 4))


@pytest.mark.parametrize("rest", [{}, {"a2m/config.json": b"{}", "a2m/model.bin": b"code"}])
def test_a_repository_without_a_component(hub, rest):
    hub.commit({**without("a2m"), **rest})
    assert load("motion_space") is not None
    said = sentence(lambda: load("a2m"))
    assert re.fullmatch(rf"{NAME} has no a2m/.*, which is needed; name a repository or a revision that has.", said)


def test_a_hub_out_of_order(hub, no_waiting):
    hub.failing = 503
    assert "because 127.0.0.1 is out of order (error 503); wait a while" in sentence(load)


def test_a_hub_that_has_had_enough(hub, no_waiting):
    hub.failing = 429
    assert "because 127.0.0.1 refused with error 429; wait a while" in sentence(load)


def test_what_never_arrives_whole(hub, no_waiting, monkeypatch):
    def cut(*_arguments, **_options):
        raise OSError("Consistency check failed: file should be of size 2 but has size 1")

    monkeypatch.setattr(file_download, "http_get", cut)
    assert "because the transfer was incomplete; run `python -m synchrorama download" in sentence(load)


def test_a_full_disk(hub, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device", constants.HF_HUB_CACHE)

    monkeypatch.setattr(file_download, "http_get", full)
    assert "because the disk is full; make room or set HF_HOME" in sentence(load)


def test_a_cache_that_may_not_be_written(hub, monkeypatch):
    def forbidden(*_arguments, **_options):
        raise PermissionError(errno.EACCES, "Permission denied", constants.HF_HUB_CACHE)

    monkeypatch.setattr(file_download, "http_get", forbidden)
    assert "its folder may not be written; set HF_HOME" in sentence(load)


@pytest.mark.parametrize("file", ["motion_space/model.safetensors", "motion_space/config.json"])
def test_a_damaged_file_is_named_and_force_fetches_it_again(hub, file, capsys):
    hub.damaged = {file}
    said = sentence(lambda: load(revision="main"))
    assert said == (
        f"The file {file} of {NAME} arrived damaged; fetch it again with "
        f"`python -m synchrorama download {NAME} --revision main --force`."
    )
    hub.damaged = set()
    assert file in sentence(load)  # it is what lies in the cache
    assert main(["download", NAME, "--force"]) == 0
    assert load() is not None


@pytest.mark.parametrize("name", ["nowhere", "a/b/c", "./a/b", "/none", "some one/talking", "a/b@"])
def test_what_cannot_name_a_repository_is_a_missing_folder(hub, name):
    assert f"no folder of weights called {name!r}" in sentence(lambda: SynchroRaMaPipeline.from_pretrained(name))
    assert hub.requests == []


def test_names_and_revisions_that_contradict_themselves(hub):
    assert "no revision 'main'; leave it out" in sentence(lambda: SynchroRaMaPipeline.from_pretrained(MINI, "main"))
    assert "name one revision" in sentence(lambda: SynchroRaMaPipeline.from_pretrained(f"{NAME}@a", "b"))
    assert "cannot be the name of a repository" in sentence(lambda: SynchroRaMaPipeline.from_pretrained("a/b--c").a2m)


def test_a_cache_without_a_list_of_files_is_used_offline(hub):
    _ = load("motion_space"), load("a2m")
    for path in Path(constants.HF_HUB_CACHE).rglob("trees/*.json"):  # older versions of huggingface_hub kept none
        path.unlink()
    hub.stop()
    assert load("a2m") is not None
