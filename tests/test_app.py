"""The demo page as a visitor's program meets it: one named endpoint, a video, and sentences for what is wrong."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from conftest import write_wav

from synchrorama.settings import controls

gradio_client = pytest.importorskip("gradio_client")


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    import app

    return app


@pytest.fixture(scope="module")
def client(app, tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _, address, _ = app.demo.launch(
        server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True, ssr_mode=False
    )
    downloads = tmp_path_factory.mktemp("downloads")
    yield gradio_client.Client(address, download_files=str(downloads), verbose=False)
    app.demo.close(verbose=False)


def video_of(answer) -> Path:
    return Path(answer["video"] if isinstance(answer, dict) else answer)


def test_generate_makes_a_video_and_repeats_it_with_its_seed(client, photo_path, speech_path):
    photo, speech = gradio_client.handle_file(photo_path), gradio_client.handle_file(speech_path)
    video, seed, notes = client.predict(photo, speech, api_name="/generate")
    assert imageio_ffmpeg.count_frames_and_secs(str(video_of(video)))[0] == 50
    assert str(int(seed)) in notes
    again, same_seed, _ = client.predict(photo, speech, seed=seed, random_seed=False, api_name="/generate")
    assert same_seed == seed
    assert video_of(again).read_bytes() == video_of(video).read_bytes()


def test_bad_input_gives_the_sentence_of_the_library(client, photo_path, speech_path, tmp_path):
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "text.wav").write_text("not a recording")
    good_photo, good_speech = gradio_client.handle_file(photo_path), gradio_client.handle_file(speech_path)
    for photo, speech, says in (
        (gradio_client.handle_file(tmp_path / "text.jpg"), good_speech, "not a picture that can be read"),
        (good_photo, gradio_client.handle_file(tmp_path / "text.wav"), "not a recording that can be decoded"),
        (None, good_speech, "no photo yet"),
    ):
        with pytest.raises(gradio_client.exceptions.AppError, match=says):
            client.predict(photo, speech, api_name="/generate")
    with pytest.raises(gradio_client.exceptions.AppError):
        client.predict(good_photo, good_speech, head_motion=5, api_name="/generate")


def test_the_endpoint_is_the_only_public_one_and_is_described(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(endpoints) == ["/generate"]
    assert endpoints["/generate"]["description"].startswith("Make a talking video")
    names = [parameter["parameter_name"] for parameter in endpoints["/generate"]["parameters"]]
    on_the_page = set(controls()) - {"preview", "max_seconds"}  # those are for the command line
    assert set(names) == {"photo", "recording", "random_seed"} | on_the_page


def test_controls_of_the_page_have_the_ranges_and_defaults_of_the_settings(app):
    for name, control in controls().items():
        component = getattr(app, name, None)
        if component is None or control.choices:
            continue
        assert (component.minimum, component.maximum) == (control.minimum, control.maximum), name
        assert component.label == control.label and component.info == control.help


def test_what_is_seen_is_said_before_the_click(app, photo_path, speech_path, tmp_path):
    assert "One face, 2.0 s of sound: about" in app.look(str(photo_path), str(speech_path))
    assert app.look(str(photo_path), None) == ""
    short = write_wav(tmp_path / "short.wav", np.zeros(1600))
    assert "only 0.10 seconds" in app.look(str(photo_path), str(short))


def test_stop_ends_the_generation_of_this_visitor(app, photo_path, speech_samples, tmp_path):
    class Request:
        session_hash = "a visitor"

    long = write_wav(tmp_path / "long.wav", np.tile(speech_samples, 10))
    failures = []

    def visit():
        try:
            app.generate(str(photo_path), str(long), request=Request(), progress=lambda *_, **__: None)
        except Exception as error:
            failures.append(error)

    visitor = threading.Thread(target=visit)
    visitor.start()
    while "a visitor" not in app.running:
        time.sleep(0.01)
    app.stop_session(Request())
    visitor.join(timeout=30)
    assert not visitor.is_alive() and "Stopped" in str(failures[0])
    assert "a visitor" not in app.running


def test_every_example_is_there(app):
    for photo, recording in app.EXAMPLES:
        assert Path(photo).is_file() and Path(recording).is_file()


def test_the_page_names_consent_and_what_is_stored(app):
    assert "agree" in app.CONSENT and "AI-generated" in app.CONSENT
    assert "What is stored" in app.NOTICE
