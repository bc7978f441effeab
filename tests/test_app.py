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
from motion_measures import video_streams

from synchrorama.settings import controls, defaults

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
        if component is None or control.choices or control.kind is str:
            continue
        assert (component.minimum, component.maximum) == (control.minimum, control.maximum), name
        assert component.label == control.label and component.info == control.help


def settings_of(app, **changed) -> list:
    return [{**defaults(), "seed": 1, **changed}[name] for name in app.SETTINGS]


def test_a_slider_makes_another_preview_frame(app, photo_path, speech_path):
    def frame(**changed):
        return app.preview_frame(str(photo_path), str(speech_path), *settings_of(app, **changed))

    mild, strong = (frame(emotion_mode="emotion", emotion="sad", emotion_strength=s) for s in (0.2, 2.0))
    assert mild.shape == (512, 512, 3) and np.abs(mild.astype(int) - strong).mean() > 0.5
    assert app.preview_frame(None, str(speech_path), *settings_of(app)) is None


def test_the_preview_clip_is_two_seconds_with_sound_at_half_the_size(app, photo_path, speech_path):
    path = app.preview_clip(str(photo_path), str(speech_path), *settings_of(app))
    frames, _, told = video_streams(path)
    assert frames == 50 and "256x256" in told and "Audio" in told


def test_the_transcript_comes_as_it_is_heard_and_then_the_timeline(app, photo_path):
    shown = list(app.listen(str(photo_path), app.EXAMPLES[0][1], *settings_of(app)))
    texts = [update["placeholder"] for update, _ in shown]
    assert len(texts) >= 2 and texts[-1].startswith("hello")
    assert "<svg" in shown[-1][1]


def test_bad_keyframes_are_told_and_markup_stays_text(app, photo_path, speech_path):
    shown = settings_of(app, emotion_mode="keyframes", keyframes="0 <img src=x onerror=alert(1)>")
    ((_, picture),) = app.listen(str(photo_path), str(speech_path), *shown)
    assert "<img" not in picture and "&lt;img" in picture
    with pytest.raises(app.gr.Error, match="is not understood"):
        app.preview_frame(str(photo_path), str(speech_path), *shown)
    assert app.note("<b> *x* [a](b)") == "⚠ \\<b\\> \\*x\\* \\[a\\](b)"


def test_only_the_controls_of_the_chosen_mode_are_shown(app):
    for i, mode in enumerate(("emotion", "valence_arousal", "keyframes", "speech")):
        assert [update["visible"] for update in app.show_mode(mode)] == [i == j for j in range(4)]


def test_the_photo_is_described_for_editing(app, photo_path, tmp_path):
    assert app.describe(str(photo_path)).startswith("In the photo")
    assert app.describe(None) == ""


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
