"""A server that is killed, one that is asked to end, and what the next one finds."""

from __future__ import annotations

import time
import urllib.error
import urllib.request

import pytest
from conftest import ASSETS
from page_server import Server

gradio_client = pytest.importorskip("gradio_client")
file = gradio_client.handle_file


def begin(server: Server, folder) -> gradio_client.client.Job:
    """Start a long generation and wait until a part of its video has been written."""
    client = gradio_client.Client(server.address, download_files=str(folder), verbose=False)
    given = file(ASSETS / "grace_hopper.jpg"), file(ASSETS / "english_slt.flac")
    job = client.submit(*given, framing="full_picture", api_name="/generate")
    until = time.monotonic() + 90
    while time.monotonic() < until:
        if any(path.suffix == ".mp4" and path.stat().st_size > 1000 for path in server.files()):
            return job
        time.sleep(0.05)
    raise AssertionError(f"nothing was written: {server.files()}")


def test_nothing_half_made_outlives_a_killed_server(tmp_path):
    server = Server(tmp_path).start()
    begin(server, tmp_path / "got")
    left = [path for path in server.files() if path.suffix == ".mp4"]
    server.kill()
    assert left and all(path.exists() for path in left)  # a killed process cleans up nothing …
    server.start()
    assert not any(path.exists() for path in left)  # … but the next one does, before it serves anything
    assert len(list(tmp_path.glob("synchrorama-page-*"))) == 1
    for path in left:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{server.address}/gradio_api/file={path}", timeout=30)
        assert refused.value.code in (403, 404)
    assert server.stop() == 143 and list(tmp_path.glob("synchrorama-page-*")) == []


def test_a_server_that_is_asked_to_end_in_the_middle_leaves_nothing(tmp_path):
    server = Server(tmp_path).start()
    begin(server, tmp_path / "got")
    assert server.stop() == 143
    assert list(tmp_path.glob("synchrorama-page-*")) == []
    assert "Traceback" not in server.log.read_text()


def test_a_server_that_lives_keeps_its_folder_beside_another(tmp_path):
    first = Server(tmp_path).start()
    (folder,) = tmp_path.glob("synchrorama-page-*")
    second = Server(tmp_path).start()
    assert folder.is_dir() and len(list(tmp_path.glob("synchrorama-page-*"))) == 2
    assert second.stop() == 143 and folder.is_dir()
    assert first.stop() == 143 and not folder.exists()
