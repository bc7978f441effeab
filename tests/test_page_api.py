"""The page as a visitor's program meets it: four named endpoints, files, and sentences for what is wrong."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from conftest import ASSETS, write_wav
from page_server import served
from PIL import Image

from synchrorama.settings import controls

gradio_client = pytest.importorskip("gradio_client")
AppError = gradio_client.exceptions.AppError
file = gradio_client.handle_file


@pytest.fixture(scope="module")
def page(pipeline, tmp_path_factory):
    with served(pipeline, tmp_path_factory.mktemp("served")) as page:
        yield page


@pytest.fixture(scope="module")
def client(page, tmp_path_factory):
    return gradio_client.Client(page.address, download_files=str(tmp_path_factory.mktemp("got")), verbose=False)


def video_of(answer) -> Path:
    return Path(answer["video"] if isinstance(answer, dict) else answer)


def test_generate_makes_a_video_and_repeats_it_with_its_seed(client, photo_path, speech_path):
    given = (file(photo_path), file(speech_path), True)
    video, seed, notes = client.predict(*given, api_name="/generate")
    assert imageio_ffmpeg.count_frames_and_secs(str(video_of(video)))[0] == 50
    assert str(int(seed)) in notes
    again, same_seed, _ = client.predict(*given, seed=seed, random_seed=False, api_name="/generate")
    assert same_seed == seed
    assert video_of(again).read_bytes() == video_of(video).read_bytes()


def test_a_new_seed_makes_another_take(client, photo_path, speech_path):
    given = (file(photo_path), file(speech_path), True)
    quick = {"diffusion_strength": 0, "seed": 5, "api_name": "/generate"}
    takes = [client.predict(*given, random_seed=random, **quick) for random in (True, True, False)]
    seeds = [seed for _, seed, _ in takes]
    assert len(set(seeds)) == 3 and seeds[2] == 5
    assert len({video_of(video).read_bytes() for video, _, _ in takes}) == 3


def test_bad_input_gives_the_sentence_of_the_library(client, photo_path, speech_path, tmp_path):
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "text.wav").write_text("not a recording")
    good_photo, good_speech = file(photo_path), file(speech_path)
    for photo, speech, says in (
        (file(tmp_path / "text.jpg"), good_speech, "not a picture that can be read"),
        (good_photo, file(tmp_path / "text.wav"), "not a recording that can be decoded"),
        (None, good_speech, "no photo yet"),
    ):
        with pytest.raises(AppError, match=says):
            client.predict(photo, speech, True, api_name="/generate")
    with pytest.raises(AppError):
        client.predict(good_photo, good_speech, True, head_motion=5, api_name="/generate")


def test_uploads_need_consent_and_examples_do_not(client, photo_path, speech_path):
    with pytest.raises(AppError, match="the right to use this face"):
        client.predict(file(photo_path), file(speech_path), api_name="/generate")
    with pytest.raises(AppError, match="the right to use this face"):
        client.predict(file(photo_path), file(speech_path), api_name="/preview")
    example = file(ASSETS / "grace_hopper.jpg"), file(ASSETS / "english_slt.flac")
    assert client.predict(*example, api_name="/preview")


def test_markup_in_what_is_given_comes_back_as_text(client, photo_path, speech_path):
    with pytest.raises(AppError) as raised:
        client.predict(
            file(photo_path), file(speech_path), True, emotion_mode="keyframes",
            keyframes="0 <img src=x onerror=alert(1)>", api_name="/generate",
        )  # fmt: skip
    assert "is not understood" in str(raised.value) and "<img" not in str(raised.value)


def test_preview_analyze_and_describe_answer_without_a_video(client, photo_path, speech_path):
    frame = client.predict(file(photo_path), file(speech_path), True, api_name="/preview")
    assert Image.open(frame).size == (512, 512)
    found = client.predict(file(photo_path), file(speech_path), api_name="/analyze")
    assert len(found["faces"]) == 1 and found["seconds"] == pytest.approx(2, abs=0.05) and len(found["emotion"]) == 10
    only_sound = client.predict(None, file(speech_path), api_name="/analyze")
    assert "faces" not in only_sound and only_sound["transcript"].startswith("hello")
    assert client.predict(file(photo_path), api_name="/describe").startswith("In the photo")
    with pytest.raises(AppError, match="neither a photo nor a recording"):
        client.predict(None, None, api_name="/analyze")


def test_a_setting_of_the_endpoint_changes_the_answer(client, photo_path, speech_path):
    def frame(**changed):
        path = client.predict(
            file(photo_path), file(speech_path), True, emotion_mode="emotion", emotion="sad", api_name="/preview",
            **changed,
        )  # fmt: skip
        return np.asarray(Image.open(path).convert("RGB")).astype(int)

    assert np.abs(frame(emotion_strength=0.2) - frame(emotion_strength=2.0)).mean() > 0.5


def test_the_endpoints_are_named_described_and_take_every_setting(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(endpoints) == {"/generate", "/preview", "/analyze", "/describe"}
    on_the_page = set(controls()) - {"preview", "max_seconds"}  # those are for the command line
    given = {"photo", "recording", "profile"}
    own = {"/generate": {*given, "consent", "random_seed"}, "/preview": {*given, "consent"}, "/analyze": given}
    for name, parameters in own.items():
        described = endpoints[name]
        assert {each["parameter_name"] for each in described["parameters"]} == parameters | on_the_page
        assert len(described["description"]) > 40
    for each in endpoints["/generate"]["parameters"]:
        control = controls().get(each["parameter_name"])
        if control is not None and control.minimum is not None:
            assert each["python_type"]["type"] in ("float", "int"), each


def test_agents_find_the_same_as_tools(page):
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    request = urllib.request.Request(
        page.address + "gradio_api/mcp/", json.dumps(call).encode(),
        {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read().decode()
    tools = json.loads(re.search(r"\{.*\}", text, re.DOTALL).group())["result"]["tools"]
    by_name = {tool["name"].rpartition("_")[2]: tool for tool in tools}
    assert set(by_name) == {"generate", "preview", "analyze", "describe"}
    assert "talking video" in by_name["generate"]["description"]
    properties = by_name["generate"]["inputSchema"]["properties"]
    assert "exaggerates" in properties["emotion_strength"]["description"]


def test_answers_carry_sane_headers_and_nothing_outside_the_cache_is_served(page):
    with urllib.request.urlopen(page.address, timeout=30) as answer:
        headers = {name.lower(): value for name, value in answer.headers.items()}
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors" in headers["content-security-policy"]
    for path in ("/etc/passwd", str(ASSETS.parent / "app.py"), str(ASSETS / "LICENSES.md")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{page.address}gradio_api/file={path}", timeout=30)
        assert refused.value.code in (403, 404)


def test_a_file_of_the_server_cannot_be_named_as_an_upload(page):
    for path in ("/etc/passwd", str(ASSETS.parent / "README.md")):
        given = [{"path": path, "meta": {"_type": "gradio.FileData"}}]
        request = urllib.request.Request(
            page.address + "gradio_api/call/describe", json.dumps({"data": given}).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=30) as answer:
            event = json.load(answer)["event_id"]
        with urllib.request.urlopen(f"{page.address}gradio_api/call/describe/{event}", timeout=30) as answer:
            told = answer.read().decode()
        assert "event: error" in told and "root:" not in told and "SynchroRaMa turns" not in told


def test_a_bug_is_told_in_one_sentence_without_a_path_and_the_log_holds_no_content(
    page, client, photo_path, speech_path, monkeypatch, caplog
):
    def broken(*_, **__):
        raise OSError(f"[Errno 5] secret words: {photo_path}")

    monkeypatch.setattr(page.service.profiles.base.pipeline, "look", broken)
    with pytest.raises(AppError) as raised:
        client.predict(file(photo_path), api_name="/describe")
    assert "try again" in str(raised.value) and "secret" not in str(raised.value) and "/" not in str(raised.value)
    assert "OSError in test_page_api.py" in caplog.text and "secret" not in caplog.text


def test_one_visitor_is_not_shown_what_another_has_made(page, photo_path, speech_path, tmp_path):
    """Gradio's own deep links: what they would show is what their own session did, or nothing."""

    def link(client) -> str:
        address = f"{page.address}gradio_api/deep_link?session_hash={client.session_hash}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            return answer.read().decode().strip('"')

    def shown(hash_: str) -> str:
        with urllib.request.urlopen(f"{page.address}config?deep_link={hash_}", timeout=30) as answer:
            return answer.read().decode()

    ours, theirs, fresh = (
        gradio_client.Client(page.address, download_files=str(tmp_path), verbose=False) for _ in range(3)
    )
    ours.predict(file(photo_path), file(speech_path), True, description="ours nods", api_name="/preview")
    theirs.predict(file(photo_path), file(speech_path), True, description="theirs smiles", api_name="/preview")
    links = [link(client) for client in (ours, theirs, fresh)]
    assert links[2] == "" or ("nods" not in shown(links[2]) and "theirs smiles" not in shown(links[2]))
    assert links[0] != links[1] or links[0] == ""
    assert "theirs smiles" not in shown(links[0]) and "ours nods" not in shown(links[1])


def test_stop_ends_the_generation_of_this_visitor_and_leaves_nothing(page, photo_path, speech_samples, tmp_path):
    class Request:
        session_hash, client, headers = "a visitor", None, {}

    long = write_wav(tmp_path / "long.wav", np.tile(speech_samples, 10))
    before, failures = set(page.folder.rglob("*")), []

    def visit():
        try:
            page.service.generate(str(photo_path), str(long), True, request=Request(), progress=lambda *_, **__: None)
        except Exception as error:
            failures.append(error)

    visitor = threading.Thread(target=visit)
    visitor.start()
    while not len(page.service.visits):
        time.sleep(0.01)
    time.sleep(1.5)  # while frames are painted
    assert page.service.visits.stop(Request()) == 1
    visitor.join(timeout=30)
    assert not visitor.is_alive() and "Stopped" in str(failures[0])
    assert len(page.service.visits) == 0 and set(page.folder.rglob("*")) == before
