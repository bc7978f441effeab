"""The picture and the report of what is heard."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
from PIL import Image

from synchrorama import GenerationSettings, InputError, timeline


@pytest.fixture(scope="module")
def analysis(pipeline, photo_path, speech_path):
    typed = "It costs $5 <script>alert('x')</script> & more, says the happy man."
    return pipeline.analyze(photo_path, speech_path, GenerationSettings(transcript=typed))


def test_the_report_is_html_in_which_what_was_said_is_text(analysis, tmp_path):
    timeline.save(analysis, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and "alert(&#x27;x&#x27;)" in page
    assert "<svg" in page and "In the photo" in page
    assert not re.search(r'(src|href)="https?:', page)  # loads nothing


def test_the_picture_is_drawn_as_svg_and_png(analysis, tmp_path):
    timeline.save(analysis, tmp_path / "picture.svg")
    root = ElementTree.fromstring((tmp_path / "picture.svg").read_text(encoding="utf-8"))
    text = " ".join(root.itertext())
    assert "valence" in text and "arousal" in text and "angry" in text and "$5" in text
    timeline.save(analysis, tmp_path / "picture.PNG")
    with Image.open(tmp_path / "picture.PNG") as picture:
        assert picture.width > 700 and picture.height > 400


def test_two_timelines_of_one_page_are_the_same(analysis):
    assert timeline.svg(analysis) == timeline.svg(analysis)


@pytest.mark.parametrize("name", ["report.pdf", "report"])
def test_other_endings_are_refused(analysis, tmp_path, name):
    with pytest.raises(InputError, match=r"\.html, \.png or \.svg"):
        timeline.save(analysis, tmp_path / name)


def test_without_a_recording_there_is_nothing_to_draw(pipeline, photo_path, tmp_path):
    with pytest.raises(InputError, match="no recording to draw"):
        timeline.save(pipeline.analyze(photo_path), tmp_path / "report.html")


def test_a_place_that_cannot_be_written_is_told(analysis, tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        timeline.save(analysis, tmp_path / "missing" / "report.html")
