"""What the page says and does for a visitor, function by function; test_browser.py presses the buttons."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from types import SimpleNamespace

import cv2
import gradio as gr
import numpy as np
import pytest
from conftest import ASSETS, write_wav
from motion_measures import video_streams

from page import inputs, run, texts
from page.described import SETTINGS
from page.described import shown as in_control
from page.events import _preset, _show_mode
from page.examples import EXAMPLES, FINISHED, example_name
from page.links import Links
from page.live import Live
from page.making import Step, small
from page.profiles import Profiles
from page.service import Service
from page.visits import OPEN_PER_ADDRESS, OPEN_PER_SESSION, Visits
from synchrorama import Cancelled, GenerationSettings, InputError
from synchrorama.media import ffmpeg_path
from synchrorama.presets import PRESETS
from synchrorama.settings import controls, defaults

RMS = ASSETS / "english_expressive_rms.flac"


@pytest.fixture(scope="module")
def service(pipeline, tmp_path_factory):
    from page.serving import Files

    cache = tmp_path_factory.mktemp("cache")
    made = Service(Profiles(pipeline), Files(SimpleNamespace(GRADIO_CACHE=str(cache), temp_file_sets=[])))
    made.ready.set()
    return made


@pytest.fixture(scope="module")
def live(service):
    return Live(service)


@pytest.fixture(scope="module")
def two_faces(tmp_path_factory):
    """A picture with a large face on the right and a smaller one on the left."""
    faces = [cv2.imread(str(ASSETS / name)) for name in ("painted_lin.jpg", "painted_kofi.jpg")]
    sheet = np.full((600, 1100, 3), 200, np.uint8)
    sheet[150:510, 30:390] = cv2.resize(faces[0], (360, 360))
    sheet[20:580, 500:1060] = cv2.resize(faces[1], (560, 560))
    path = tmp_path_factory.mktemp("photos") / "two.jpg"
    cv2.imwrite(str(path), sheet)
    return str(path)


def initial(name: str):
    return in_control(name, defaults()[name])


def values(profile: str = "mini", **changed) -> list:
    """The profile, and what the controls hold."""
    return [profile, *({**{name: initial(name) for name in SETTINGS}, "seed": 1, **changed}[name] for name in SETTINGS)]


def looked(live, photo, recording, consent=True, face=0, **changed):
    return live.look(photo and str(photo), recording and str(recording), consent, face, *values(**changed))


# ---------------------------------------------------------------------------------------------- before the click


def test_what_is_seen_is_said_and_shown_before_the_click(live, photo_path, speech_path, tmp_path):
    picture, choice, said = looked(live, photo_path, speech_path)
    assert said.startswith("One face") and "2.0 s of sound, about" in said and not choice["visible"]
    shown = cv2.imread(picture)
    original = cv2.resize(cv2.imread(str(photo_path)), shown.shape[1::-1])
    assert 0.002 < (np.abs(shown.astype(int) - original).max(-1) > 60).mean() < 0.05  # the boxes, and nothing else
    assert "only 0.10 seconds" in looked(live, photo_path, write_wav(tmp_path / "short.wav", np.zeros(1600)))[2]
    assert looked(live, None, None)[2] == ""


def test_the_estimate_follows_the_settings(live, photo_path, speech_path):
    def seconds(**changed):
        said = looked(live, photo_path, speech_path, **changed)[2]
        return int(said.partition("about ")[2].split()[0])

    assert seconds(inference_steps=20) > 2 * seconds()


def test_of_several_faces_one_is_chosen_by_number_or_by_a_click(live, two_faces, speech_path):
    _, choice, said = looked(live, two_faces, speech_path)
    assert said.startswith("2 faces") and choice["visible"] and choice["maximum"] == 1 and choice["value"] == 0
    assert looked(live, two_faces, speech_path, face=1)[1]["value"] == 1
    scale = 720 / 1100
    assert live.face_at(two_faces, SimpleNamespace(index=(200 * scale, 340 * scale))) == 1
    assert live.face_at(two_faces, SimpleNamespace(index=(780 * scale, 320 * scale))) == 0
    nowhere = live.face_at(two_faces, SimpleNamespace(index=(440 * scale, 20 * scale)))
    assert nowhere == gr.skip()


def test_a_number_left_from_another_photo_falls_back_to_the_largest_face(live, photo_path, speech_path):
    _, choice, said = looked(live, photo_path, speech_path, face=3)
    assert said.startswith("One face") and choice["value"] == 0


def test_uploads_are_shown_in_motion_once_consent_is_given(live, photo_path, speech_path):
    given = (str(photo_path), str(speech_path))
    assert live.frames(*given, False, *values()) is None and live.clip(*given, False, *values()) is None
    assert inputs.CONSENT_MISSING in looked(live, photo_path, speech_path, consent=False)[2].replace("\\", "")
    assert len(live.frames(*given, True, *values())) == 2
    assert len(live.frames(*EXAMPLES[0], False, *values())) == 2
    assert live.frames(None, given[1], True, *values()) is None


def test_the_comparison_shows_no_emotion_beside_the_strength_that_is_set(live, photo_path, speech_path):
    def pair(strength):
        chosen = values(emotion_mode="emotion", emotion="surprised", emotion_strength=strength)
        shown = live.frames(str(photo_path), str(speech_path), True, *chosen)
        return [cv2.imread(path).astype(int) for path in shown]

    none, mild, strong = pair(0.0), pair(0.7), pair(2.0)
    assert (none[0] == none[1]).all()
    distance = [np.abs(shown[0] - shown[1]).mean() for shown in (mild, strong)]
    assert 0.2 < distance[0] < distance[1]


def test_the_preview_clip_is_two_seconds_with_sound_at_half_the_size(live, photo_path, speech_path):
    frames, _, told = video_streams(live.clip(str(photo_path), str(speech_path), True, *values()))
    assert frames == 50 and "256x256" in told and "Audio" in told


def test_the_transcript_comes_as_it_is_heard_and_then_the_timeline(live, photo_path, speech_samples, tmp_path):
    recording = write_wav(tmp_path / "twelve.wav", np.tile(speech_samples, 3))
    shown = list(live.listen(str(photo_path), str(recording), *values()))
    heard = [update["placeholder"] for update, _ in shown]
    assert len(heard) >= 2 and heard[-1].startswith("hello")
    svg = shown[-1][1]
    assert svg.startswith("<svg data-left=") and 'data-seconds="12.000"' in svg


def test_what_is_typed_stays_text(live, photo_path, speech_path):
    shown = values(emotion_mode="keyframes", keyframes="0 <img src=x onerror=alert(1)>")
    ((_, picture),) = live.listen(str(photo_path), str(speech_path), *shown)
    assert "<img" not in picture and "&lt;img" in picture
    with pytest.raises(gr.Error, match="is not understood") as raised:
        live.frames(str(photo_path), str(speech_path), True, *shown)
    assert "<img" not in raised.value.message
    assert texts.note("<b> *x* [a](b)") == "⚠ \\<b\\> \\*x\\* \\[a\\](b)"
    assert "<b>" not in run.panel(Step("<b>bold</b>", 1, 2))


def test_the_photo_is_described_unless_the_visitor_has_written_something(live, photo_path):
    found, ours = live.describe(str(photo_path), "", "")
    assert found == ours and found.startswith("In the photo")
    other, _ = live.describe(EXAMPLES[1][0], ours, ours)
    assert other.startswith("In the photo") and other != ours
    assert live.describe(EXAMPLES[1][0], "He nods.", ours) == (gr.skip(), ours)


def test_the_sound_of_a_video_becomes_the_recording(live, tmp_path):
    sound = live.sound_of(str(FINISHED))
    assert inputs.read_speech(sound).seconds == pytest.approx(12.4, abs=0.2)
    silent = tmp_path / "silent.mp4"
    command = [ffmpeg_path(), "-f", "lavfi", "-i", "color=size=64x64:duration=1", str(silent)]
    subprocess.run(command, capture_output=True, check=True)
    with pytest.raises(gr.Error, match="has no sound"):
        live.sound_of(str(silent))


def test_validation_speaks_beside_the_control_before_anything_is_queued(service, photo_path, speech_path, tmp_path):
    page = run.Run(service)
    names = ["photo", "recording", "consent", "random_seed", "profile", *SETTINGS, "last runs"]

    def wrong(photo, recording, consent=True, **changed):
        answers = page.check(photo, recording, consent, True, None, *values(**changed), [])
        return {name: each["message"] for name, each in zip(names, answers, strict=True) if not each["is_valid"]}

    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    photo, recording = str(photo_path), str(speech_path)
    assert wrong(photo, recording) == {}
    assert "not a picture" in wrong(str(text), recording)["photo"]
    assert "not a recording" in wrong(photo, str(text))["recording"]
    assert "no recording yet" in wrong(photo, None)["recording"]
    assert "right to use" in wrong(photo, recording, consent=False)["consent"]
    assert list(wrong(photo, recording, emotion_mode="keyframes", keyframes="0 merry")) == ["keyframes"]
    assert list(wrong(photo, recording, emotion_mode="emotion", emotion="merry")) == ["emotion"]
    assert "longer than 300" in wrong(photo, str(write_wav(tmp_path / "l.wav", np.zeros(301 * 16000))))["recording"]


# ---------------------------------------------------------------------------------------------- while and after


def test_progress_is_told_with_stage_share_frames_and_time_left(photo_path):
    frame = np.full((512, 512, 3), 90, np.uint8)
    shown = run.panel(Step("Painting", 30, 120, 4.4, small(frame)))
    for part in ("Painting", "25%", "frame 30 of 120", "4 s left", 'aria-valuenow="25"', "data:image/jpeg;base64,"):
        assert part in shown, part


def test_a_generation_shows_a_growing_preview_and_hands_over_files(service, photo_path, speech_samples, tmp_path):
    page, recording = run.Run(service), write_wav(tmp_path / "new.wav", speech_samples[8000:40000])
    shown = list(page.generate(str(photo_path), str(recording), True, False, None, *values(seed=5), [{"seed": 1}]))
    panels = [outputs[0]["value"] for outputs in shown[:-1]]
    assert any("Hearing the emotion" in panel for panel in panels)
    assert sum("<img" in panel for panel in panels) >= 2
    _, video, seed, notes, motion, settings_file, used, after, runs = shown[-1]
    assert video_streams(video)[0] == 50 and seed == 5 and "seed 5" in notes
    with open(motion, encoding="utf-8") as csv:
        assert len(csv.readlines()) == 51
    with open(settings_file, encoding="utf-8") as text:
        assert {"profile": "mini", **GenerationSettings.from_json(text.read()).to_dict()} == used
    assert after["visible"] and runs == [used, {"seed": 1}]


def test_the_settings_of_a_video_and_of_the_last_runs_come_back(service):
    page = run.Run(service)
    used = GenerationSettings(seed=7, head_motion=0.3, emotion_mode="emotion", emotion="sad 1").to_dict()
    random_seed, profile, *back = page.reuse({"profile": "full", **used})
    assert random_seed is False and profile == "full"
    assert page.reuse(used)[1] == page.reuse({"profile": "<b>", **used})[1] == gr.skip()
    assert dict(zip(SETTINGS, back, strict=True)) == {
        name: initial(name) if used[name] is None else used[name] for name in SETTINGS
    }
    choices, forget = page.last_runs([used, used])
    assert [name for name, _ in choices["choices"]] == ["1. seed 7, emotion", "2. seed 7, emotion"]
    assert choices["visible"] and forget["visible"] and not page.last_runs([])[0]["visible"]
    assert page.run_again(1, [{}, used]) == page.reuse(used)
    for nonsense in (None, {"head_motion": 99}, {"seed": "x"}, {"keyframes": ["<b>"]}):
        assert page.reuse(nonsense) == [gr.skip()] * (2 + len(SETTINGS))


def test_presets_set_their_controls_and_modes_show_theirs():
    assert {name: tuple(_preset(name)) for name in PRESETS} == {n: tuple(p.values()) for n, p in PRESETS.items()}
    for i, mode in enumerate(("emotion", "valence_arousal", "keyframes", "speech")):
        assert [update["visible"] for update in _show_mode(mode)] == [i == j for j in range(4)]


# ---------------------------------------------------------------------------------------------- links


@pytest.fixture(scope="module")
def links(service):
    return Links(service.profiles)


def opened(links, query: str):
    from urllib.parse import parse_qsl

    answer = links.read(SimpleNamespace(query_params=dict(parse_qsl(query))))
    named = dict(zip(["photo", "recording", "random_seed", "profile", *SETTINGS, "notes"], answer, strict=True))
    return {name: value for name, value in named.items() if value != gr.skip()}


def test_a_link_carries_every_setting_and_the_examples(links):
    changed = {
        "seed": 9, "head_motion": 0.35, "motion_diversity": 1.5, "blink_rate": 20.0, "expressiveness": 1.2,
        "articulation": 0.9, "framing": "full_picture", "mark": "top_left", "emotion_mode": "keyframes",
        "emotion": "happy 0.6, sad 0.4", "valence": -0.25, "arousal": 0.5, "keyframes": "0 neutral; 1.5 happy 1.2",
        "emotion_strength": 1.75, "text_weight": 0.1, "voice_weight": 0.2, "valence_arousal_weight": 0.35,
        "photo_weight": 0.9, "transcript": "Grüße & more = 100 %", "description": "She nods. <b>", "face_index": 2,
        "inference_steps": 3, "guidance_scale": 2.5, "diffusion_strength": 0.8, "sampler": "dpm++",
        "feature_caching": 3,
    }  # fmt: skip
    assert set(changed) == set(SETTINGS) and all(changed[name] != defaults()[name] for name in SETTINGS)
    query = links.write(*EXAMPLES[1], False, "", "mini", *(changed[name] for name in SETTINGS))["value"]
    back = opened(links, query)
    assert back.pop("photo") == EXAMPLES[1][0] and back.pop("recording") == EXAMPLES[1][1]
    assert back.pop("random_seed") is False and back.pop("notes") == ""
    settings = GenerationSettings(**changed).to_dict()
    assert back == {name: settings[name] for name in SETTINGS}


def test_a_link_has_no_uploads_no_defaults_and_no_description_of_ours(links, photo_path, speech_path):
    query = links.write(str(photo_path), str(speech_path), True, "In the photo.", *values(description="In the photo. "))
    assert query["value"] == "photo=eileen_collins.jpg"  # an example; the recording is not
    assert opened(links, "") == {"notes": ""}


def test_a_strangers_link_is_checked(links):
    query = "photo=../../etc/passwd&head_motion=99&seed=abc&mark=<b>&nonsense=1&expressiveness=1.5&max_seconds=9"
    back = opened(links, query + "&profile=<b>")
    assert back.pop("expressiveness") == 1.5
    notes = back.pop("notes")
    assert back == {} and "<b>" not in notes
    for part in ("not among the examples", "Head motion is 99", "Seed is", "Mark is", "profile that is not here"):
        assert part in notes, part


# ---------------------------------------------------------------------------------------------- the whole page


def test_every_example_is_there_and_known_by_its_content(tmp_path):
    for photo, recording in EXAMPLES:
        assert example_name(photo) and example_name(recording)
    copied = tmp_path / "other name.png"
    shutil.copy(EXAMPLES[0][0], copied)
    assert example_name(str(copied)) == "grace_hopper.jpg"
    assert example_name(None) is None and FINISHED.is_file()


def test_every_language_has_every_text_and_its_own():
    english = texts.english()
    assert set(texts.languages().translations) == {"en", "de", "es", "zh-CN"}
    for language, path in texts.TRANSLATIONS.items():
        words = json.loads(path.read_text(encoding="utf-8"))
        assert set(words) == set(english), language
        assert all(words.values()) and sum(words[key] == english[key] for key in english) < 12, language
        for value in ("AI-generated", "verify video.mp4", 'api_name="/generate"'):
            assert any(value in text for text in words.values()), (language, value)
    for name in SETTINGS:
        assert english[f"{name}_label"] == controls()[name].label


def test_the_notice_says_what_is_stored_and_where_videos_come_from():
    notice = texts.english()["notice"]
    for part in ("What is stored", "two hours", "Where a video comes from", "AI-generated", "guesses", "MCP"):
        assert part in notice


# ---------------------------------------------------------------------------------------------- visitors


def visitor(session: str, address: str = "1.2.3.4"):
    return SimpleNamespace(session_hash=session, client=SimpleNamespace(host=address), headers={})


def test_a_visitor_has_few_jobs_at_once_and_so_has_an_address():
    visits = Visits()
    for _ in range(OPEN_PER_SESSION):
        visits.admit(visitor("a"))
    with pytest.raises(InputError, match="3 videos waiting"):
        visits.admit(visitor("a"))
    for i in range(OPEN_PER_ADDRESS - OPEN_PER_SESSION):
        visits.admit(visitor(f"b{i}"))
    with pytest.raises(InputError, match="8 videos waiting"):
        visits.admit(visitor("c"))
    visits.admit(visitor("c", "5.6.7.8"))
    with visits.job(visitor("a")):
        pass
    visits.admit(visitor("a"))  # one has been made meanwhile


def test_stop_is_for_the_own_jobs_only():
    visits = Visits()
    with visits.job(visitor("a")) as own, visits.job(visitor("b")) as other:
        assert len(visits) == 2 and visits.stop(visitor("a")) == 1
        with pytest.raises(Cancelled):
            own.check()
        other.check()
    assert len(visits) == 0 and visits.stop(visitor("a")) == 0


def test_what_waits_is_forgotten_when_its_visitor_goes():
    visits = Visits()
    for _ in range(3 * OPEN_PER_ADDRESS):
        visits.admit(visitor("a"))
        assert visits.stop(visitor("a")) == 1


def test_a_job_that_takes_far_too_long_is_ended():
    with Visits().job(visitor("a")) as visit:
        visit.allow(estimated=1.0)
        visit.check()
        visit.begun = time.monotonic() - 1000
        with pytest.raises(InputError, match="far longer than expected"):
            visit.check()


def test_behind_the_proxy_of_a_space_visitors_are_told_apart(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "someone/space")
    visits = Visits()
    for i in range(3 * OPEN_PER_ADDRESS):
        asking = visitor(f"s{i}", "10.0.0.1")
        asking.headers = {"x-forwarded-for": f"9.9.9.{i}, 10.0.0.1"}
        visits.admit(asking)
