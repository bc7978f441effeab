"""The page as visitors use it: a real server, a real browser, real clicks.

Needs a Chromium on the PATH (``apt-get install chromium``). With the environment variable SYNCHRORAMA_SCREENSHOTS the
pictures of the README are made on the way, into the folder that it names.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path

import imageio_ffmpeg
import pytest
from conftest import ASSETS, write_wav
from page_server import Server
from playwright import sync_api

from page.examples import FINISHED

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 60_000  # milliseconds; for machines that do much else

if CHROMIUM is None and not os.environ.get("SYNCHRORAMA_REQUIRE_BROWSER"):
    pytest.skip("there is no Chromium here; apt-get install chromium", allow_module_level=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server")).start()
    yield server
    assert server.stop() == 143 and server.files() == []
    log = server.log.read_text()
    assert "Traceback" not in log
    for theirs in ("mein Foto", "sprache & mehr", "She nods", "hello i am"):  # what visitors gave
        assert theirs not in log, theirs


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(server, browser):
    """Opens the page in a session of its own: visit(query, viewport=…, …)."""
    contexts, problems = [], []

    def opened(query: str = "", **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.append(request.url) if foreign(request.url) else None)
        page.goto(f"{server.address}/?{query}")
        for shown in ("#compare img", "#timeline svg"):
            page.wait_for_selector(shown, state="attached")
        settled(page)
        return page

    def foreign(address: str) -> bool:
        return not address.startswith((server.address, "data:", "blob:"))

    yield opened
    for context in contexts:
        context.close()
    assert problems == []


def picture(page, name: str, **options) -> None:
    folder = os.environ.get("SYNCHRORAMA_SCREENSHOTS")
    if folder:
        page.wait_for_timeout(1000)
        page.screenshot(path=Path(folder) / name, type="jpeg", quality=85, **options)


def upload_photo(page, path) -> None:
    page.click("#photo [aria-label='Remove Image']")
    page.set_input_files("#photo input[type=file]", path)


def upload_recording(page, path) -> None:
    page.click("#recording [aria-label='Clear']")
    page.set_input_files("#recording input[type=file]", path)


def text_in(page, where: str, pattern: str) -> str:
    """The text of an element once it matches."""
    sync_api.expect(page.locator(where)).to_contain_text(re.compile(pattern), timeout=PATIENCE)
    return page.inner_text(where)


def settled(page) -> None:
    """Wait until no answer to what was done changes anything any more."""
    look = """() => ['#compare img.fixed', '#faces img', '#seen', '#timeline svg', '#description textarea']
        .map(where => document.querySelector(where))
        .map(each => each && (each.src || each.dataset.seconds || each.value || each.innerText)).join()"""
    shown, since, until = "", time.monotonic(), time.monotonic() + PATIENCE / 1000
    while time.monotonic() - since < 1.5 and time.monotonic() < until:
        page.wait_for_timeout(100)
        now = page.evaluate(look)
        if now != shown:
            shown, since = now, time.monotonic()


def source_of(page, where: str) -> str:
    return page.eval_on_selector(where, "element => element.currentSrc || element.src")


def changed_source(page, where: str, before: str) -> str:
    page.wait_for_function(
        "([where, before]) => { const now = document.querySelector(where)?.src; return now && now !== before }",
        arg=[where, before],
        timeout=PATIENCE,
    )
    return source_of(page, where)


def downloaded(page, address: str, path: Path) -> Path:
    path.write_bytes(page.request.get(address).body())
    return path


def made(page) -> str:
    """The notes under a video, once it is made."""
    page.wait_for_selector("#reuse", state="visible")
    return text_in(page, "#notes", "seed")


@pytest.fixture(scope="module")
def own_files(tmp_path_factory, speech_samples):
    """A photo and a recording that are not the page's examples, with awkward names."""
    folder = tmp_path_factory.mktemp("my files")
    photo = folder / "mein Foto (1) ö.jpg"
    photo.write_bytes((ASSETS / "painted_ada.jpg").read_bytes() + b"\0")
    return photo, write_wav(folder / "sprache & mehr.wav", speech_samples[:32000])


def test_the_first_visit_shows_a_finished_result_and_one_button(visit):
    page = visit()
    assert "example_result" in source_of(page, "#result video")
    assert page.is_visible("#generate") and page.inner_text("#generate") == "Generate"
    assert "One face" in text_in(page, "#seen", "about [0-9]+ s to make")
    assert page.is_visible("#consent") and not page.is_checked("#consent input")
    assert "two hours" in page.content()
    picture(page, "page_desktop.jpg")


def test_the_example_becomes_a_video_while_it_is_watched(visit, tmp_path):
    page = visit()
    before = source_of(page, "#result video")
    page.click("#generate")
    page.wait_for_selector("#progress img")
    text = text_in(page, "#progress", "s left")
    assert re.search(r"Painting · \d+% · frame \d+ of 309 · \d+ s left", text)
    notes = made(page)
    seed = re.search(r"seed (\d+)", notes).group(1)
    assert page.input_value("#seed input") == seed
    video = downloaded(page, changed_source(page, "#result video", before), tmp_path / "video.mp4")
    assert imageio_ffmpeg.count_frames_and_secs(str(video))[0] == 309
    with page.expect_download() as csv:
        page.click("#motion-file")
    assert len(Path(csv.value.path()).read_text().splitlines()) == 310
    with page.expect_download() as told:
        page.click("#settings-file")
    assert json.loads(Path(told.value.path()).read_text())["seed"] == int(seed)
    page.check("#random-seed input")
    page.click("#reuse")
    sync_api.expect(page.locator("#random-seed input")).not_to_be_checked()
    assert page.input_value("#seed input") == seed
    page.reload()  # the browser remembers
    page.wait_for_selector("#last-runs", state="visible")
    page.click("#forget")
    page.wait_for_selector("#last-runs", state="hidden")


def test_one_click_on_an_example_begins_its_video(visit):
    page = visit()
    before = source_of(page, "#faces img")
    page.click("text=english_expressive_rms.flac")
    page.wait_for_selector("#progress img")
    changed_source(page, "#faces img", before)
    page.click("#cancel")
    text_in(page, "#notes", "Stopped; nothing was kept")


def test_own_photo_and_recording_need_one_tick_and_then_become_a_video(visit, own_files, tmp_path):
    page, (photo, recording) = visit(), own_files
    faces, result = source_of(page, "#faces img"), source_of(page, "#result video")
    upload_photo(page, photo)
    changed_source(page, "#faces img", faces)  # the boxes at once
    upload_recording(page, recording)
    text_in(page, "#seen", r"2\.0 s of sound")
    text_in(page, "#seen", "Please tick")
    settled(page)
    page.click("#generate")
    text_in(page, "#consent", "Please tick that you have the right")
    assert source_of(page, "#result video") == result and not page.is_visible("#progress img")
    page.check("#consent input")
    page.wait_for_selector("#compare img")
    page.click("#generate")
    made(page)
    video = downloaded(page, changed_source(page, "#result video", result), tmp_path / "video.mp4")
    assert imageio_ffmpeg.count_frames_and_secs(str(video))[0] == 50


def test_the_sound_of_a_video_and_the_words_that_were_heard_can_be_taken(visit, own_files):
    page = visit()
    page.wait_for_function("document.querySelector('#transcript textarea').placeholder.startsWith('hello')")
    page.click("text=Correct what was heard")
    page.wait_for_function("document.querySelector('#transcript textarea').value.startsWith('hello i am so glad')")
    page.set_input_files("#from-video + input, #from-video input[type=file], input[accept*='video']", FINISHED)
    text_in(page, "#seen", r"12\.\d s of sound[\s\S]*tick that you have the right")


def test_the_line_in_the_timeline_follows_the_video(visit):
    page = visit()

    def place(second: float) -> float:
        page.eval_on_selector("#result video", "(video, second) => { video.currentTime = second }", second)
        page.wait_for_selector("#timeline line.now", state="attached")
        page.wait_for_timeout(500)
        return float(page.get_attribute("#timeline line.now", "x1"))

    early, late = place(3.0), place(9.0)
    svg = page.locator("#timeline svg")
    width = page.eval_on_selector("#timeline svg", "svg => svg.viewBox.baseVal.width")
    extent = float(svg.get_attribute("data-right")) - float(svg.get_attribute("data-left"))
    expected = width * extent * 6 / float(svg.get_attribute("data-seconds"))
    assert late - early == pytest.approx(expected, rel=0.05)


def test_a_bad_file_is_refused_with_the_right_sentence(visit, own_files, tmp_path):
    page = visit()
    page.check("#consent input")
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    upload_photo(page, text)
    text_in(page, "#seen", "not a picture that can be read")
    settled(page)
    page.click("#generate")
    text_in(page, "#photo", "not a picture that can be read")
    (tmp_path / "text.wav").write_text("no sound")
    upload_recording(page, tmp_path / "text.wav")
    text_in(page, "#seen", "not a recording that can be decoded")
    assert "Traceback" not in page.content() and str(tmp_path) not in page.inner_text("body")


def test_moving_the_strength_changes_the_preview(visit):
    page = visit()
    with_emotion = "#compare .content img, #compare img.fixed"
    before = source_of(page, "#compare img.fixed")
    page.focus("#strength input[type=range]")
    page.keyboard.press("End")
    after = changed_source(page, "#compare img.fixed", before)
    assert page.input_value("#strength input[type=number]") == "2"
    assert page.request.get(before).body() != page.request.get(after).body() and page.query_selector(with_emotion)
    page.click("#preset >> text=Calm")
    page.wait_for_function("document.querySelector('#head-motion input[type=number]').value === '0.5'")
    changed_source(page, "#compare img.fixed", after)


def test_cancel_stops_and_a_new_video_can_be_made(visit, own_files):
    page = visit()
    page.click("#generate")
    page.wait_for_selector("#progress img")
    page.click("#cancel")
    page.wait_for_selector("#progress", state="hidden")
    text_in(page, "#notes", "Stopped; nothing was kept")
    page.check("#consent input")
    upload_recording(page, own_files[1])
    text_in(page, "#seen", r"2\.0 s of sound")
    page.click("#generate")
    assert "2.0 s of video" in made(page)


def test_a_link_opens_the_same_settings_in_another_session(visit, server):
    page = visit()
    page.focus("#strength input[type=range]")
    page.keyboard.press("Home")
    page.click("#mark >> text=Top left")
    page.fill("#description textarea", "She nods & smiles.")
    page.click("#share")
    page.wait_for_function("document.querySelector('#link textarea, #link input')?.value.startsWith('http')")
    link = page.input_value("#link textarea, #link input")
    assert link.startswith(server.address + "/?") and "mark=top_left" in link
    other = visit(link.partition("?")[2])
    other.wait_for_function("document.querySelector('#strength input[type=number]').value === '0'")
    assert other.is_checked("#mark >> text=Top left") and other.input_value("#description textarea") == (
        "She nods & smiles."
    )


def test_the_full_profile_says_why_it_cannot_be_used_here_and_is_refused(visit):
    page = visit()
    assert not page.is_visible("#full-about")
    page.click("#profile label:has-text('Full')")
    why = text_in(page, "#profile-facts", "there is none here")
    assert "12.0 GB of memory" in why and "Hallo" in text_in(page, "#full-about", "no official")
    result = source_of(page, "#result video")
    page.click("text=Diffusion: how the mouth is painted")
    page.wait_for_function("document.querySelector('#inference-steps input[type=number]')?.value > 1")
    text_in(page, "#seen", "cannot be used here")
    with page.expect_response(lambda answer: answer.status == 422) as refused:
        page.click("#generate")
    assert "need a GPU, and there is none here" in refused.value.text()
    assert source_of(page, "#result video") == result and not page.is_visible("#progress img")
    page.click("#profile label:has-text('Mini')")
    page.wait_for_function("document.querySelector('#inference-steps input[type=number]')?.value === '1'")
    text_in(page, "#profile-facts", "Nothing to be downloaded")


def test_a_phone_shows_everything_in_its_width(visit):
    page = visit(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True, device_scale_factor=2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator("#generate").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] >= 36
    picture(page, "page_phone.jpg")


TEXTS = (
    "#title p", "#seen p", "#consent label span", "#generate", "#cancel", "#preset label.selected span",
    "#preset label:not(.selected) span", "#profile-facts p", "#strength [data-testid=block-info]",
    "#strength .info-text", "#share", ".label-wrap span",
)  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_ground(visit, scheme):
    page = visit(color_scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(colour(ground)[:3]) < 0.2) == (scheme == "dark")
    weak = {
        where: round(contrast(page, where), 2)
        for where in TEXTS
        if contrast(page, where) < 4.5
    }
    assert weak == {}


def test_everything_can_be_done_from_the_keyboard(visit, own_files):
    page = visit()
    page.check("#consent input")
    upload_recording(page, own_files[1])
    text_in(page, "#seen", r"2\.0 s of sound")
    page.click("#title h1")  # from where Tab goes on
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.closest('[id]')?.id || ''"))
        if reached[-1] == "generate":
            break
    assert {"photo", "recording", "consent", "generate"} <= set(reached), reached
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    page.keyboard.press("Enter")
    made(page)


LANGUAGES = {"de-DE": "Video erzeugen", "es-ES": "Generar", "zh-CN": "生成视频", "fr-FR": "Generate"}


@pytest.mark.parametrize(("locale", "says"), LANGUAGES.items())
def test_the_page_speaks_the_language_of_the_browser(visit, locale, says):
    page = visit(locale=locale)
    sync_api.expect(page.locator("#generate")).to_have_text(says, timeout=PATIENCE)
    assert "__i18n__" not in page.inner_text("body") and "[object" not in page.inner_text("body")


def colour(css: str) -> list[float]:
    """Red, green, blue and, where it is not opaque, alpha of rgb(…) or rgba(…)."""
    return [float(part) for part in re.findall(r"[\d.]+", css)]


def luminance(rgb: list[float]) -> float:
    """https://www.w3.org/TR/WCAG21/#dfn-relative-luminance"""
    parts = [v / 255 / 12.92 if v / 255 <= 0.03928 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in rgb]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(page, where: str) -> float:
    """https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio of an element's text and what lies under it."""
    text, grounds = page.eval_on_selector(
        where,
        """element => { const grounds = [];
            const ground = (each) => getComputedStyle(each).backgroundColor;
            for (let each = element; each; each = each.parentElement) grounds.push(ground(each));
            return [getComputedStyle(element).color, grounds] }""",
    )
    ground = next((c for c in map(colour, grounds) if len(c) == 3 or c[3] > 0.9), [255, 255, 255])
    light, dark = sorted((luminance(colour(text)[:3]), luminance(ground[:3])), reverse=True)
    return (light + 0.05) / (dark + 0.05)
