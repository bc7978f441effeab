"""The profiles of the page: what is offered, refused, said, loaded when, and what a GPU is asked for."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from types import SimpleNamespace
from urllib.parse import parse_qsl

import gradio as gr
import pytest
import torch
from conftest import REPOSITORY, write_wav
from hub_server import NAME, files_of
from page_server import served
from test_page import values

from page import layout, run, texts
from page.described import SETTINGS, SUITED
from page.links import Links
from page.live import Live
from page.making import Made, Maker, Step, on_gpu
from page.profiles import FULL, MINI, VARIABLE, Profiles
from page.service import Service
from page.serving import Files
from synchrorama import GenerationSettings, InputError, SynchroRaMaPipeline
from synchrorama.estimate import FRAME, Speed
from synchrorama.placement import MemoryPlan, Placement

FULL_SUITS = SynchroRaMaPipeline.from_pretrained(FULL).settings()
REFUSED = "need a GPU, and there is none here"


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def service_of(pipeline, folder) -> Service:
    made = Service(Profiles(pipeline), Files(SimpleNamespace(GRADIO_CACHE=str(folder), temp_file_sets=[])))
    made.ready.set()
    return made


def full_pipeline(**options) -> SynchroRaMaPipeline:
    """The full profile, with its networks on the processor all the same."""
    placement = Placement(device=torch.device("cpu"), dtype=torch.float32, plan=MemoryPlan.SEQUENTIAL)
    return SynchroRaMaPipeline.from_pretrained(FULL, placement=placement, **options)


# ---------------------------------------------------------------------------------------------- without a GPU


def test_full_is_offered_and_explains_why_it_cannot_be_used(pipeline, hub, tmp_path):
    live = Live(service_of(pipeline, tmp_path))
    facts, about_full = live.about(MINI)
    assert facts.startswith("Nothing to be downloaded, about ") and "non-commercial" in facts
    assert not about_full["visible"]
    facts, about_full = live.about(FULL)
    for part in ("NVIDIA GPU with 12.0 GB", "to be downloaded", REFUSED, "take the profile mini"):
        assert part in facts, part
    assert "s per second of video" not in facts and about_full["visible"]
    for part in ("no official SynchroRaMa weights", "Hallo's published", "Open RAIL-M", "non-commercial", "GPU"):
        assert part in texts.english()["full_about"], part
    assert hub.requests == []


def test_full_is_refused_in_one_sentence_and_nothing_is_fetched(pipeline, hub, photo_path, speech_path, tmp_path):
    service = service_of(pipeline, tmp_path)
    page, given = run.Run(service), (str(photo_path), str(speech_path), True)
    answers = page.check(*given, True, None, *values(FULL), [])
    names = ["photo", "recording", "consent", "random_seed", "profile", *SETTINGS, "last runs"]
    wrong = {name: each["message"] for name, each in zip(names, answers, strict=True) if not each["is_valid"]}
    assert list(wrong) == ["profile"] and REFUSED in wrong["profile"]
    for call in (
        lambda: next(page.generate(*given, True, None, *values(FULL), [])),  # as an example does, without a check
        lambda: service.generate(*given, profile=FULL),
        lambda: service.preview(*given, profile=FULL),
        lambda: service.analyze(*given[:2], profile=FULL),
    ):
        with pytest.raises(gr.Error, match=REFUSED):
            call()
    with pytest.raises(gr.Error, match="choose one of mini, full"):
        service.generate(*given, profile="other")
    assert len(service.visits) == 0 and hub.requests == []


def test_before_the_click_previews_go_on_and_no_time_is_promised(pipeline, hub, photo_path, speech_path, tmp_path):
    live = Live(service_of(pipeline, tmp_path))
    said = live.look(str(photo_path), str(speech_path), True, 0, *values(FULL))[2]
    assert "cannot be used here" in said and "to make" not in said
    assert len(live.frames(str(photo_path), str(speech_path), True, *values(FULL))) == 2
    assert hub.requests == []


# ---------------------------------------------------------------------------------------------- settings and links


def test_a_profile_brings_its_settings_into_the_controls(pipeline, tmp_path):
    service = service_of(pipeline, tmp_path)
    live, suited = Live(service), service.profiles.suited
    assert set(suited) == set(SUITED)
    assert live.suited(FULL) == [getattr(FULL_SUITS, name) for name in suited]
    assert live.suited(MINI) == [getattr(GenerationSettings(), name) for name in suited]
    assert live.suited(FULL) != live.suited(MINI)
    left_out = dict.fromkeys(SUITED)
    chosen = service.profiles[FULL].settings(**{name: value for name, value in left_out.items() if value is not None})
    assert chosen == FULL_SUITS


def test_a_link_names_the_profile_and_what_differs_from_its_defaults(pipeline, tmp_path):
    links = Links(service_of(pipeline, tmp_path).profiles)

    def opened(query: str) -> dict:
        answer = links.read(SimpleNamespace(query_params=dict(parse_qsl(query))))
        named = dict(zip(["photo", "recording", "random_seed", "profile", *SETTINGS, "notes"], answer, strict=True))
        return {name: value for name, value in named.items() if value != gr.skip()}

    suits = {name: getattr(FULL_SUITS, name) for name in SUITED}
    query = links.write(None, None, True, "", *values(FULL, **{**suits, "guidance_scale": 2.0}))["value"]
    assert query == "guidance_scale=2&profile=full"
    assert opened(query) == {"profile": FULL, **suits, "guidance_scale": 2.0, "notes": ""}
    assert links.write(None, None, True, "", *values(FULL, **suits))["value"] == "profile=full"
    assert "profile" not in links.write(None, None, True, "", *values(MINI))["value"]


def test_the_page_of_a_server_with_another_profile_begins_with_its_settings(full_hub, monkeypatch):
    monkeypatch.setenv(VARIABLE, FULL)
    with gr.Blocks(analytics_enabled=False):
        parts = layout.build(texts.languages(), Profiles.from_environment())
    assert parts.profile.value == FULL and [value for _, value in parts.profile.choices] == [MINI, FULL]
    assert {name: parts.controls[name].value for name in SUITED} == {name: getattr(FULL_SUITS, name) for name in SUITED}
    assert full_hub.requests == []


# ---------------------------------------------------------------------------------------------- a profile of one's own


def test_a_server_may_have_the_weights_of_a_repository(hub, photo_path, speech_path, monkeypatch, tmp_path):
    profile = b'{"description": "<b>Trained</b> at home.", "defaults": {"head_motion": 0.5}}'
    hub.commit({**files_of(REPOSITORY / "checkpoints" / "mini"), "profile.json": profile})
    monkeypatch.setenv(VARIABLE, NAME)
    profiles = Profiles.from_environment()
    assert profiles.names == (MINI, FULL, NAME) and profiles.default is profiles.base is profiles[None]
    assert hub.fetched() == {"profile.json"}
    live = Live(Service(profiles, Files(SimpleNamespace(GRADIO_CACHE=str(tmp_path / "c"), temp_file_sets=[]))))
    live.service.ready.set()
    assert "\\<b\\>Trained" in live.about(NAME)[0] and "head_motion" in profiles.suited
    frame = live.service.preview(str(photo_path), str(speech_path), True)
    assert frame.shape == (512, 512, 3) and any("a2m" in path for path in hub.fetched())


def test_a_profile_that_is_not_there_ends_the_start_with_a_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=REPOSITORY, capture_output=True, text=True,
        env={**os.environ, VARIABLE: "no-such-folder", "SYNCHRORAMA_TEMP": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("Error: There is no folder of weights")
    assert "Traceback" not in done.stderr and list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------- on a GPU


def test_one_video_at_a_time_is_painted_on_a_gpu_and_mini_goes_on(pipeline, photo_path, speech_path, tmp_path):
    profiles = Profiles(pipeline)
    full = profiles[FULL]
    full.pipeline, full.needs_gpu = pipeline, True  # as if these networks were those
    full.loaded.set()
    settings, given = GenerationSettings(seed=1, diffusion_strength=0), (str(photo_path), str(speech_path))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with profiles.gpu:
        waiting = Maker(full, gpu=profiles.gpu).make(*given, settings, tmp_path / "a", lambda: None)
        assert next(waiting).stage == "Starting"
        assert next(waiting) == Step("Waiting for the GPU", waits=True)
        other = Maker(profiles[MINI], gpu=profiles.gpu).make(*given, settings, tmp_path / "b", lambda: None)
        assert isinstance(list(other)[-1], Made)
    steps = list(waiting)
    assert isinstance(steps[-1], Made) and not profiles.gpu.locked()
    stopped = Maker(full, gpu=profiles.gpu).make(*given, settings, tmp_path / "a", lambda: None)
    while next(stopped).stage != "Painting":
        pass
    assert profiles.gpu.locked()
    stopped.close()
    assert not profiles.gpu.locked()


def test_a_server_of_full_answers_with_mini_until_its_networks_are_there(
    full_hub, photo_path, speech_path, monkeypatch, tmp_path
):
    monkeypatch.setattr("synchrorama.needs._problem", lambda profile: "")
    service = service_of(full_pipeline(), tmp_path / "cache")
    profiles = service.profiles
    assert profiles.base.name == MINI and profiles.shown(FULL) is profiles[MINI].pipeline
    service.warm_up(str(photo_path), str(speech_path))
    assert profiles.default.loaded.is_set() and profiles.shown(FULL) is profiles.default.pipeline


def test_weights_that_cannot_be_had_leave_a_server_that_says_so(
    full_hub, photo_path, speech_path, monkeypatch, tmp_path
):
    monkeypatch.setattr("synchrorama.needs._problem", lambda profile: "")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    service = service_of(full_pipeline(), tmp_path / "cache")
    service.warm_up(str(photo_path), str(speech_path))
    assert not service.profiles.default.loaded.is_set()
    with pytest.raises(gr.Error, match="HF_HUB_OFFLINE"):
        service.generate(str(photo_path), str(speech_path), True, profile=FULL, progress=lambda *_, **__: None)
    assert service.preview(str(photo_path), str(speech_path), True, profile=MINI).shape == (512, 512, 3)


# ---------------------------------------------------------------------------------------------- ZeroGPU


@pytest.fixture
def zero_gpu(monkeypatch):
    """A Space with ZeroGPU, as far as the package ``spaces`` shows it; the list of what was asked for."""
    asked = []

    def gpu(duration):
        def decorate(function):
            def on_the_gpu(*given):
                asked.append(duration(*given))
                for told in function(*pickle.loads(pickle.dumps(given))):  # all goes to another process and back
                    yield pickle.loads(pickle.dumps(told))

            return on_the_gpu

        return decorate

    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=gpu))
    return asked


def test_on_zero_gpu_networks_are_placed_at_start_and_a_gpu_paints_and_does_no_more(
    full_hub, zero_gpu, photo_path, speech_samples, tmp_path, monkeypatch
):
    profiles = Profiles(full_pipeline())
    assert profiles.default.problem == "" and not profiles.default.loaded.is_set()
    profiles.place()
    assert profiles.default.loaded.is_set()
    full_hub.stop()  # nothing is fetched later
    pipe, maker = profiles.default.pipeline, Maker(profiles.default, gpu=profiles.gpu)
    speech = write_wav(tmp_path / "short.wav", speech_samples[:6400])
    monkeypatch.setattr("synchrorama.estimate._SHORTEST_LESSON", 0.0)
    settings = pipe.settings(seed=1, inference_steps=1, guidance_scale=1.0)
    heard = []
    listens = pipe.components.transcription
    pipe.components._kept["transcription"] = lambda samples: heard.append(len(zero_gpu)) or listens(samples)
    steps = list(maker.make(str(photo_path), str(speech), settings, tmp_path, lambda: None))
    assert isinstance(steps[-1], Made) and steps[-1].video.is_file()
    assert heard == [0]  # before a GPU was asked for, and not once more
    (asked,) = zero_gpu
    wanted = pipe.speed.rates.rendering_seconds(0.4, settings)
    assert wanted < asked < 10
    assert pipe.speed.has_learnt  # although it was painted in another process


def test_the_time_of_a_gpu_follows_steps_passes_and_frames_and_too_much_is_refused(zero_gpu):
    maker = Maker(Profiles(full_pipeline()).default)
    maker.pipeline.speed = Speed(FRAME)

    def asked(frames: int, **changed) -> float:
        settings = maker.pipeline.settings(seed=1, **{"inference_steps": 8, "guidance_scale": 3.5, **changed})
        return maker.gpu_seconds(_Heard(settings, frames), None)

    usual = asked(25)
    assert usual < 6 + 1.3 * FRAME.rendering_seconds(1, maker.pipeline.settings(inference_steps=8, guidance_scale=3.5))
    assert asked(30) > 1.4 * (asked(20) - 6) + 6 and asked(25, inference_steps=16) > usual + 2
    assert asked(25, guidance_scale=1.0) < usual - 1
    maker.check_length(1.0, maker.pipeline.settings())
    with pytest.raises(InputError, match="one is lent for 120 s at most; please take a shorter recording"):
        maker.check_length(200.0, maker.pipeline.settings())


class _Heard:
    def __init__(self, settings, frames):
        self.settings, self._frames = settings, frames

    def __len__(self):
        return self._frames


def test_on_zero_gpu_what_was_not_placed_at_start_is_refused_and_mini_needs_no_gpu(
    pipeline, hub, zero_gpu, photo_path, speech_path, tmp_path
):
    profiles = Profiles(pipeline)
    profiles.place()
    assert f"with {VARIABLE}=full" in profiles[FULL].problem and profiles[MINI].problem == ""
    maker = Maker(profiles[MINI], gpu=profiles.gpu)
    steps = list(maker.make(str(photo_path), str(speech_path), GenerationSettings(seed=1), tmp_path, lambda: None))
    assert isinstance(steps[-1], Made) and zero_gpu == [] and hub.requests == []
    maker.check_length(290.0, GenerationSettings())


def test_what_a_space_is_told_to_preload_is_what_the_profile_names():
    text = (REPOSITORY / "docs" / "space.md").read_text(encoding="utf-8")
    told = {tuple(line.split()) for line in re.findall(r"^  - (\S+ \S+ [0-9a-f]{40})$", text, re.MULTILINE)}
    profile = json.loads((REPOSITORY / "checkpoints" / "full.json").read_text(encoding="utf-8"))
    named = {
        (each["repository"], ",".join(file for file in each["files"] if "*" not in file), each["revision"])
        for each, *_ in profile["components"].values()
        if "repository" in each
    }
    assert told == named


def test_elsewhere_no_gpu_is_asked_for():
    assert on_gpu(len, max) is len


# ---------------------------------------------------------------------------------------------- as programs meet it


def test_programs_choose_a_profile_and_are_told_the_same(pipeline, hub, photo_path, speech_path, tmp_path):
    gradio_client = pytest.importorskip("gradio_client")
    with served(pipeline, tmp_path / "served") as page:
        client = gradio_client.Client(page.address, download_files=str(tmp_path), verbose=False)
        given = (gradio_client.handle_file(photo_path), gradio_client.handle_file(speech_path), True)
        with pytest.raises(gradio_client.exceptions.AppError, match=REFUSED):
            client.predict(*given, profile=FULL, api_name="/generate")
        with pytest.raises(gradio_client.exceptions.AppError, match="other"):
            client.predict(*given, profile="other", api_name="/preview")
        endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
        given = {each["parameter_name"]: each for each in endpoints["/generate"]["parameters"]}
        assert given["profile"]["parameter_default"] == MINI
        assert all(given[name]["parameter_has_default"] and given[name]["parameter_default"] is None for name in SUITED)
    assert hub.asked() == set()
