"""The page as a server: how many visitors at once, what it keeps and for how long, and how it starts."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import events, layout, texts
from .examples import EXAMPLES
from .inputs import LARGEST_FILE
from .profiles import Profiles
from .service import Service
from .serving import Files, clear_safely

WAITING = 20  # videos in the queue, of all visitors together
LOOKED_FOR, KEPT = 1800, 5400  # seconds between two clearances of the cache, and age of what they remove

# The page may stand in a frame of the hub, and uses camera and microphone itself.
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "strict-origin-when-cross-origin",
    "permissions-policy": "camera=(self), microphone=(self), geolocation=(), payment=()",
    "content-security-policy": "frame-ancestors 'self' https://huggingface.co https://*.hf.space",
}


def build(profiles: Profiles) -> tuple[gr.Blocks, Service]:
    """The page, ready to be launched, and what works behind it.

    Raises InputError if what has to be loaded now cannot be.
    """
    profiles.place()
    looked_for = int(os.environ.get("SYNCHRORAMA_CLEAR_EVERY", LOOKED_FOR))
    kept = int(os.environ.get("SYNCHRORAMA_KEEP_SECONDS", KEPT))
    translate = texts.languages()
    with gr.Blocks(title="SynchroRaMa", analytics_enabled=False, delete_cache=(looked_for, kept)) as demo:
        parts = layout.build(translate, profiles)
        service = Service(profiles, Files(demo))
        making = max(1, (os.cpu_count() or 2) // 2)  # one video keeps two cores busy: painting and encoding
        events.wire(demo, parts, service, making)
        demo.queue(max_size=WAITING, default_concurrency_limit=max(2, making))
    clear_safely(demo)
    demo.parts, demo.translate = parts, translate
    return demo, service


def launch(demo: gr.Blocks, service: Service, **options: Any) -> tuple[Any, str, str]:
    """Serve the page, load everything meanwhile, and stay until interrupted (unless ``prevent_thread_lock``)."""
    threading.Thread(target=service.warm_up, args=EXAMPLES[0], daemon=True).start()
    return demo.launch(
        theme=layout.THEME,
        css_paths=texts.HERE / "style.css",
        head=f"<script>{(texts.HERE / 'page.js').read_text(encoding='utf-8')}</script>",
        i18n=demo.translate,
        max_file_size=LARGEST_FILE,
        footer_links=["api", "settings"],
        run_history=False,  # it would keep faces in the browser; the page keeps settings there
        mcp_server=True,
        share=False,
        app_kwargs={"middleware": [Middleware(SaneHeaders)]},
        **options,
    )


def serve(demo: gr.Blocks, service: Service) -> int:
    """``launch``, until Ctrl-C or SIGTERM; the exit code."""
    stopped_by: list[int] = []

    def stop(number: int, _frame: Any) -> None:
        stopped_by.append(number)
        raise KeyboardInterrupt  # which gradio waits for

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        launch(demo, service)
    except KeyboardInterrupt:  # before it was ready to be stopped
        demo.close(verbose=False)
    return 128 + stopped_by[0] if stopped_by else 0


class SaneHeaders:
    """ASGI middleware that adds ``HEADERS`` to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *(each for each in added if each[0] not in present)]
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)
