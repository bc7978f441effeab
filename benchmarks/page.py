"""How soon the page can be used, what it weighs, and how soon an upload is seen in motion.

    python benchmarks/page.py

Needs a Chromium on the PATH. Server and browser share the machine's cores.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from page_server import Server  # noqa: E402

VISITS, UPLOADS = 3, ("painted_ada.jpg", "eileen_collins.jpg")
QUIET = 2500  # milliseconds in which what was begun ends


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        begun = time.perf_counter()
        server = Server(Path(folder)).start()
        answers = time.perf_counter() - begun
        chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page()
            usable(page, server.address)
            print(f"from python app.py: answers {answers:.1f} s, page usable {time.perf_counter() - begun:.1f} s")
            wait_for_preview(page)
            print(f"from python app.py: first preview {time.perf_counter() - begun:.1f} s")
            for _ in range(VISITS):
                visit(browser.new_context().new_page(), server.address)
            page.check("#consent input")
            page.wait_for_timeout(QUIET)
            for name in UPLOADS:
                upload(page, changed_photo(ROOT / "assets" / name, Path(folder)))
            page.wait_for_timeout(QUIET)
            page.click("#generate")
            begun = time.perf_counter()
            page.wait_for_selector("#progress img")
            print(f"generate: first frame seen after {time.perf_counter() - begun:.1f} s")
            pressed = time.perf_counter()
            page.click("#cancel")
            page.wait_for_selector("#progress", state="hidden")
            print(f"cancel: nothing under way {time.perf_counter() - pressed:.2f} s later")
            page.wait_for_timeout(QUIET)
            begun = time.perf_counter()
            page.click("#generate")
            page.wait_for_selector("#reuse", state="visible", timeout=120_000)
            print(f"generate: 12.4 s of video after {time.perf_counter() - begun:.1f} s, browser included")
        finally:
            browser.close()
            server.stop()
    return 0


def usable(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("#generate")


def wait_for_preview(page: Page) -> None:
    page.wait_for_selector("#compare img", state="attached", timeout=120_000)


def visit(page: Page, address: str) -> None:
    sizes: list[int] = []
    page.on("requestfinished", lambda request: sizes.append(request.sizes()["responseBodySize"]))
    begun = time.perf_counter()
    usable(page, address)
    seconds = time.perf_counter() - begun
    wait_for_preview(page)
    page.wait_for_timeout(2000)
    print(f"visit: usable {seconds:.1f} s, {len(sizes)} requests, {sum(sizes) / 1e6:.1f} MB with photo and videos")
    page.context.close()


def changed_photo(photo: Path, folder: Path) -> Path:
    """The same picture as a file that the server does not know."""
    path = folder / photo.name
    path.write_bytes(photo.read_bytes() + b"\0")
    return path


def upload(page: Page, photo: Path) -> None:
    before = page.eval_on_selector("#compare img.fixed", "image => image.src")
    page.click("#photo [aria-label='Remove Image']")
    page.wait_for_timeout(QUIET)
    begun = time.perf_counter()
    page.set_input_files("#photo input[type=file]", photo)
    page.wait_for_function(
        "before => { const now = document.querySelector('#compare img.fixed')?.src; return now && now !== before }",
        arg=before,
    )
    seconds = time.perf_counter() - begun
    page.wait_for_timeout(QUIET)
    print(f"upload of {photo.name}: first preview after {seconds:.2f} s")


if __name__ == "__main__":
    sys.exit(main())
