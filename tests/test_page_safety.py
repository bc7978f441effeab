"""What must not leak, and that no control of the page is without its test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from conftest import ASSETS, REPOSITORY
from gradio.route_utils import delete_files_created_by_app
from PIL import Image

from page import layout, server, texts, workplace
from page.described import SETTINGS
from page.profiles import Profiles
from synchrorama import GenerationSettings
from synchrorama.media import ffmpeg_path

# The controls of the page that are no settings, and the tests that use each of them as a visitor would.
TESTED = {
    "photo": ("test_browser", "test_own_photo_and_recording_need_one_tick_and_then_become_a_video"),
    "recording": ("test_browser", "test_own_photo_and_recording_need_one_tick_and_then_become_a_video"),
    "faces": ("test_page", "test_of_several_faces_one_is_chosen_by_number_or_by_a_click"),
    "from_video": ("test_browser", "test_the_sound_of_a_video_and_the_words_that_were_heard_can_be_taken"),
    "consent": ("test_browser", "test_own_photo_and_recording_need_one_tick_and_then_become_a_video"),
    "profile": ("test_browser", "test_the_full_profile_says_why_it_cannot_be_used_here_and_is_refused"),
    "preset": ("test_browser", "test_moving_the_strength_changes_the_preview"),
    "go": ("test_browser", "test_the_example_becomes_a_video_while_it_is_watched"),
    "examples": ("test_browser", "test_one_click_on_an_example_begins_its_video"),
    "cancel": ("test_browser", "test_cancel_stops_and_a_new_video_can_be_made"),
    "reuse": ("test_browser", "test_the_example_becomes_a_video_while_it_is_watched"),
    "motion_file": ("test_browser", "test_the_example_becomes_a_video_while_it_is_watched"),
    "settings_file": ("test_browser", "test_the_example_becomes_a_video_while_it_is_watched"),
    "share": ("test_browser", "test_a_link_opens_the_same_settings_in_another_session"),
    "link": ("test_browser", "test_a_link_opens_the_same_settings_in_another_session"),
    "last_runs": ("test_browser", "test_the_example_becomes_a_video_while_it_is_watched"),
    "forget": ("test_browser", "test_the_example_becomes_a_video_while_it_is_watched"),
    "random_seed": ("test_page_api", "test_a_new_seed_makes_another_take"),
    "correct": ("test_browser", "test_the_sound_of_a_video_and_the_words_that_were_heard_can_be_taken"),
    "compare": ("test_browser", "test_moving_the_strength_changes_the_preview"),
}
SHOWN = {"progress", "video", "notes", "used", "runs", "after", "timeline", "seen", "ours", "clip"}
SHOWN |= {"profile_facts", "full_about"}


def test_every_control_of_the_page_has_a_test_that_it_does_something(pipeline):
    import gradio as gr

    with gr.Blocks():
        parts = vars(layout.build(texts.languages(), Profiles(pipeline)))
    assert set(parts) - {"controls", "modes", "translate", "initial", "profiles"} == set(TESTED) | SHOWN
    assert set(parts["controls"]) == set(SETTINGS)  # each has a test_control_…, see test_controls.py
    for module, test in TESTED.values():
        assert f"def {test}(" in (REPOSITORY / "tests" / f"{module}.py").read_text(encoding="utf-8"), test


def test_what_an_upload_says_about_itself_is_not_passed_on(pipeline, speech_path, tmp_path):
    photo, sound = tmp_path / "hidden-name.jpg", tmp_path / "hidden-name.m4a"
    picture = Image.open(ASSETS / "painted_ada.jpg")
    exif = picture.getexif()
    exif[0x010E], exif[0x0131] = "hidden-description", "hidden-software"
    picture.save(photo, exif=exif, comment=b"hidden-comment")
    told = ("title=hidden-title", "location=+48.1+011.5/", "artist=hidden-artist")
    marked = [argument for each in told for argument in ("-metadata", each)]
    subprocess.run([ffmpeg_path(), "-i", str(speech_path), *marked, str(sound)], capture_output=True, check=True)
    assert b"hidden-title" in sound.read_bytes() and b"hidden-comment" in photo.read_bytes()
    settings = GenerationSettings(seed=1, diffusion_strength=0)
    video = pipeline(str(photo), str(sound), settings).save(tmp_path / "video.mp4").read_bytes()
    assert b"hidden" not in video and b"+48.1" not in video and b"AI-generated" in video


def test_files_are_cleared_while_visitors_add_some(pipeline, tmp_path):
    """Gradio's task that clears files ends for good with the first exception."""
    demo, _ = server.build(Profiles(pipeline))
    for files in demo.temp_file_sets:
        files.update({"not there", "not there either"})
        for name in files:
            files.add(f"{name}.")
    for number, files in enumerate((demo.upload_file_set, demo.parts.photo.temp_files, demo.temp_file_sets[-1])):
        (tmp_path / str(number)).touch()
        files.add(str(tmp_path / str(number)))
    delete_files_created_by_app(demo, None)
    assert not list(tmp_path.iterdir())


def test_a_new_folder_is_everybodys_temporary_folder_and_foreign_ones_are_left_alone(tmp_path):
    (tmp_path / (workplace.PREFIX + "foreign")).mkdir()  # without a lock: just being made, or not ours
    code = (
        "import tempfile; from page import workplace; claimed = workplace.claim(); "
        "print(tempfile.gettempdir() == str(claimed.folder), len(list(claimed.folder.parent.iterdir())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True,
        env={**os.environ, "SYNCHRORAMA_TEMP": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.split() == ["True", "2"]
    assert [path.name for path in tmp_path.iterdir()] == [workplace.PREFIX + "foreign"]


def test_the_page_comes_from_one_place():
    """No address of another server in what the page is made of, but for links to click on."""
    for path in (Path(texts.HERE) / "style.css", Path(texts.HERE) / "page.js"):
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http" not in text and "@import" not in text
