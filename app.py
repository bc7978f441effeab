"""The demo page, and the entry point of a Hugging Face Space: python app.py, then open http://127.0.0.1:7860.

It turns what a visitor enters into one call of the pipeline and shows what comes back; it knows nothing of models.
GRADIO_SERVER_NAME and GRADIO_SERVER_PORT choose where it listens.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

with contextlib.suppress(ImportError):
    import spaces  # noqa: F401 - on a ZeroGPU Space it must come before torch; elsewhere it does nothing
import gradio as gr

from synchrorama import Cancelled, GenerationSettings, InputError, SynchroRaMaPipeline
from synchrorama.settings import controls, defaults

ASSETS = Path(__file__).resolve().parent / "assets"
LONGEST_RECORDING = 300.0  # seconds; longer ones would keep the other visitors waiting
EXAMPLES = [
    [str(ASSETS / photo), str(ASSETS / recording)]
    for photo, recording in (
        ("grace_hopper.jpg", "english_slt.flac"),
        ("painted_kofi.jpg", "english_expressive_rms.flac"),
        ("painted_lin.jpg", "german_espeak.flac"),
        ("eileen_collins.jpg", "english_slt.flac"),
    )
]

TITLE = """
# SynchroRaMa
One photo and one recording become a talking video. It runs on the processor alone.
"""
CONSENT = (
    "By pressing *Generate* you confirm that the person in the photo and the speaker agree, or that you may use both. "
    "Every video says in its file that it is AI-generated."
)
NOTICE = """
**What is stored.** Your photo, recording and video lie in a temporary folder of this server and are deleted within
two hours. Your own browser remembers your last runs (*Runs*, at the foot of the page) until you clear its data.
Nothing is sent anywhere else.

**From Python.** `gradio_client.Client(address).predict(..., api_name="/generate")`; *Use via API* below shows it whole.
"""
CSS = """
.gradio-container { max-width: 1080px !important; margin: 0 auto !important; }
#title h1 { font-size: 2.1rem; letter-spacing: -0.02em; margin-bottom: 0.1rem; }
#consent, #notice { font-size: 0.85rem; opacity: 0.85; }
#result video { background: #111; }
td { overflow-wrap: anywhere; }
"""
# System fonts: the page loads nothing from other servers.
THEME = gr.themes.Soft(
    primary_hue="orange",
    neutral_hue="stone",
    font=["ui-sans-serif", "system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)

pipeline = SynchroRaMaPipeline.from_pretrained()
running: dict[str, threading.Event] = {}  # session → the flag that stops its generation


def generate(
    photo: str,
    recording: str,
    seed: int = 0,
    random_seed: bool = True,
    head_motion: float = 1.0,
    motion_diversity: float = 1.0,
    blink_rate: float = 15.0,
    expressiveness: float = 1.0,
    articulation: float = 0.5,
    framing: str = "crop",
    face_index: int = 0,
    request: gr.Request = None,
    progress: gr.Progress = gr.Progress(),  # noqa: B008 - gradio finds it by this default
) -> tuple[str, int, str]:
    """Make a talking video from one face photo and one speech recording.

    Args:
        photo: picture with a face (JPEG, PNG, WebP, ...).
        recording: speech (wav, mp3, m4a, ..., or a video with sound), 0.3 to 300 seconds.
        seed: 0 to 2147483647; the same seed with the same inputs gives the same video.
        random_seed: draw a new seed instead; the one used is returned.
        head_motion: how far the head moves, 0 to 2.
        motion_diversity: how much takes differ from seed to seed, 0 to 2.
        blink_rate: blinks per minute, 0 to 40.
        expressiveness: how wide the mouth opens, 0 to 2.
        articulation: how crisply the lips close, 0 to 1.
        framing: "crop" for the head in a 512 pixel square, "full_picture" for the whole photo.
        face_index: which face speaks when there are several, 0 is the largest.

    Returns:
        The video (mp4), the seed that was used, and notes about what was seen.
    """
    session = getattr(request, "session_hash", None) or ""
    stop = running[session] = threading.Event()
    try:
        settings = GenerationSettings(
            seed=None if random_seed else seed,
            head_motion=head_motion,
            motion_diversity=motion_diversity,
            blink_rate=blink_rate,
            expressiveness=expressiveness,
            articulation=articulation,
            framing=framing,
            face_index=face_index or None,
            max_seconds=LONGEST_RECORDING,
        )
        _require(photo, recording)
        result = pipeline(photo, recording, settings, progress=_shown(progress), should_stop=stop.is_set)
        with tempfile.TemporaryDirectory() as folder:
            saved = result.save(Path(folder) / "synchrorama.mp4")
            # into gradio's own cache, which is emptied on schedule: no visitor's file outlives its request elsewhere
            served = video.move_resource_to_block_cache(str(saved))
    except InputError as error:
        raise gr.Error(str(error), print_exception=False) from None
    except Cancelled:
        raise gr.Error("Stopped.", title="Generation", print_exception=False) from None
    finally:
        running.pop(session, None)
    return served, result.settings.seed, _notes(result.settings.seed, len(result) / 25, result.timings, result.warnings)


def _require(photo: str | None, recording: str | None) -> None:
    if not photo or not recording:
        missing = "a photo" if not photo else "a recording"
        raise InputError(f"There is no {missing[2:]} yet; add {missing} or choose an example.")


def _shown(progress: gr.Progress) -> Callable[[str, int, int], None]:
    """The pipeline's progress as the page shows it: the stage's name and, while rendering, the time left."""
    begun: dict[str, float] = {}

    def show(stage: str, done: int, total: int) -> None:
        elapsed = time.monotonic() - begun.setdefault(stage, time.monotonic())
        left = f", {elapsed / done * (total - done):.0f} s left" if done >= 10 else ""
        progress((done, total), desc=stage + left, unit="frames" if total > 1 else "steps")

    return show


def _notes(seed: int, seconds: float, timings: dict[str, float], warnings: list[str]) -> str:
    took = sum(timings.values())
    lines = [f"{seconds:.1f} s of video in {took:.1f} s · seed {seed}", *(f"⚠ {warning}" for warning in warnings)]
    return "\n\n".join(lines)


def look(photo: str | None, recording: str | None) -> str:
    """What can be said before the click: what is found in the inputs and how long a generation will take."""
    if not photo or not recording:
        return ""
    try:
        seen = pipeline.analyze(photo, recording, GenerationSettings(max_seconds=LONGEST_RECORDING))
    except InputError as error:
        return f"⚠ {error}"
    faces = len(seen["faces"])
    found = "One face" if faces == 1 else f"{faces} faces"
    lines = [f"{found}, {seen['seconds']:.1f} s of sound: about {seen['estimated_seconds']:.0f} s to make."]
    return "\n\n".join(lines + [f"⚠ {warning}" for warning in seen["warnings"]])


def stop_session(request: gr.Request) -> None:
    """Stop this visitor's generation, if one runs."""
    flag = running.get(request.session_hash or "")
    if flag is not None:
        flag.set()


def _control(name: str) -> gr.Slider | gr.Number | gr.Radio:
    """The component of a setting, with the range and the help text that settings.py gives it."""
    control, default = controls()[name], defaults()[name]
    if control.choices:
        choices = [(word.replace("_", " ").capitalize(), word) for word in control.choices]
        return gr.Radio(choices, value=default, label=control.label, info=control.help)
    if control.kind is int:
        return gr.Number(
            default or 0, label=control.label, info=control.help, precision=0,
            minimum=control.minimum, maximum=control.maximum,
        )  # fmt: skip
    return gr.Slider(
        control.minimum, control.maximum, default, step=control.step, label=control.label, info=control.help
    )


with gr.Blocks(title="SynchroRaMa", analytics_enabled=False, delete_cache=(1800, 5400)) as demo:
    gr.Markdown(TITLE, elem_id="title")
    with gr.Row(equal_height=False):
        with gr.Column():
            photo = gr.Image(
                EXAMPLES[0][0], type="filepath", image_mode=None, label="Photo", height=360,
                sources=["upload", "clipboard", "webcam"],
            )  # fmt: skip
            recording = gr.Audio(
                EXAMPLES[0][1], type="filepath", label="Recording", sources=["upload", "microphone"]
            )
            seen = gr.Markdown(elem_id="seen")
            with gr.Row():
                go = gr.Button("Generate", variant="primary", scale=3, min_width=160)
                halt = gr.Button("Stop", scale=1, min_width=80)
            gr.Markdown(CONSENT, elem_id="consent")
        with gr.Column():
            video = gr.Video(label="Talking video", interactive=False, autoplay=True, height=420, elem_id="result")
            notes = gr.Markdown()
            examples = gr.Column()
    with gr.Row(equal_height=False):
        with gr.Column(min_width=280):
            seed = _control("seed")
            random_seed = gr.Checkbox(True, label="New seed each time", info="The one used is written back above.")
            framing = _control("framing")
        with gr.Column(min_width=280):
            head_motion = _control("head_motion")
            motion_diversity = _control("motion_diversity")
            blink_rate = _control("blink_rate")
        with gr.Column(min_width=280):
            expressiveness = _control("expressiveness")
            articulation = _control("articulation")
            face_index = _control("face_index")
    inputs = [
        photo, recording, seed, random_seed, head_motion, motion_diversity, blink_rate, expressiveness, articulation,
        framing, face_index,
    ]  # fmt: skip
    outputs = [video, seed, notes]
    # Before the examples, which would take the endpoint's name.
    go.click(generate, inputs, outputs, show_progress_on=video, api_name="generate")
    with examples:
        gr.Examples(
            EXAMPLES, [photo, recording], outputs, generate, run_on_click=True, label="One click makes a video",
            api_visibility="private",
        )  # fmt: skip
    with gr.Accordion("What is stored, and how programs call this page", open=False):
        gr.Markdown(NOTICE, elem_id="notice")

    # The file as it was uploaded: media.py decodes it, with better words for what is wrong than Pillow's.
    photo.preprocess = lambda upload: upload and upload.path
    halt.click(stop_session, queue=False, api_visibility="private")
    demo.unload(stop_session)
    gr.on(
        [demo.load, photo.change, recording.change], look, [photo, recording], seen,
        show_progress="hidden", trigger_mode="always_last", api_visibility="private",
    )  # fmt: skip
    demo.queue(max_size=20, default_concurrency_limit=1)

if __name__ == "__main__":
    next(pipeline(*EXAMPLES[0]).frames)  # loads everything, so that the first visitor waits no longer than the others
    demo.launch(theme=THEME, css=CSS, max_file_size="200mb", footer_links=["api", "runs", "settings"])
