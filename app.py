"""The demo page, and the entry point of a Hugging Face Space: python app.py, then open http://127.0.0.1:7860.

It turns what a visitor enters into calls of the pipeline and shows what comes back; it knows nothing of models.
GRADIO_SERVER_NAME and GRADIO_SERVER_PORT choose where it listens.
"""

from __future__ import annotations

import contextlib
import html
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

with contextlib.suppress(ImportError):
    import spaces  # noqa: F401 - on a ZeroGPU Space it must come before torch; elsewhere it does nothing
import gradio as gr
import numpy as np

from page_texts import CONSENT, CSS, NOTICE, TITLE, note, notes_on
from synchrorama import Cancelled, GenerationSettings, InputError, SynchroRaMaPipeline, timeline
from synchrorama.emotion.categories import EMOTIONS
from synchrorama.settings import controls, defaults

ASSETS = Path(__file__).resolve().parent / "assets"
LONGEST_RECORDING = 300.0  # seconds; longer ones would keep the other visitors waiting
CLIP_FRAMES = 50
EXAMPLES = [
    [str(ASSETS / photo), str(ASSETS / recording)]
    for photo, recording in (
        ("grace_hopper.jpg", "english_slt.flac"),
        ("painted_kofi.jpg", "english_expressive_rms.flac"),
        ("painted_lin.jpg", "german_espeak.flac"),
        ("eileen_collins.jpg", "english_slt.flac"),
    )
]

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
    emotion_mode: str = "speech",
    emotion: str = "happy",
    valence: float = 0.0,
    arousal: float = 0.0,
    keyframes: str = "",
    emotion_strength: float = 1.0,
    text_weight: float = 0.8,
    voice_weight: float = 1.0,
    valence_arousal_weight: float = 0.5,
    photo_weight: float = 0.3,
    transcript: str = "",
    description: str = "",
    inference_steps: int = 1,
    guidance_scale: float = 1.0,
    diffusion_strength: float = 0.3,
    sampler: str = "euler",
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
        emotion_mode: "speech" reads the emotion from the recording; "emotion", "valence_arousal" and "keyframes" show
            what the next four say.
        emotion: one of the eight, or a mix such as "happy 0.6, surprised 0.4".
        valence: -1 unpleasant to 1 pleasant.
        arousal: -1 sleepy to 1 agitated.
        keyframes: seconds, emotion, strength, as in "0 neutral; 2.5 happy 1.5".
        emotion_strength: 0 none, 1 natural, 2 exaggerated.
        text_weight: how much the feeling of the words counts, 0 to 1.
        voice_weight: how much the tone of the voice counts, 0 to 1.
        valence_arousal_weight: how much the voice's valence and arousal count, 0 to 1.
        photo_weight: how much the expression in the photo counts, 0 to 1.
        transcript: what is said; empty to have English recognised.
        description: what the person does, such as "smiles, then looks to the left and nods".
        inference_steps: in how many steps diffusion paints the mouth, 1 to 50.
        guidance_scale: how much what is painted follows the sound, 0 to 5.
        diffusion_strength: how much of what diffusion paints is shown, 0 to 1.
        sampler: "euler", "unipc" or "dpm++".

    Returns:
        The video (mp4), the seed that was used, and notes about what was seen.
    """
    given = dict(locals())
    session = getattr(request, "session_hash", None) or ""
    stop = running[session] = threading.Event()
    try:
        settings = _settings(random_seed, given)
        _require(photo, recording)
        result = pipeline(photo, recording, settings, progress=_shown(progress), should_stop=stop.is_set)
        with tempfile.TemporaryDirectory() as folder:
            served = _served(video, result.save(Path(folder) / "synchrorama.mp4"))
    except InputError as error:
        raise gr.Error(str(error), print_exception=False) from None
    except Cancelled:
        raise gr.Error("Stopped.", title="Generation", print_exception=False) from None
    finally:
        running.pop(session, None)
    seed = result.settings.seed
    return served, seed, notes_on(seed, len(result) / 25, result.timings, result.warnings)


def _settings(random_seed: bool, given: dict[str, Any]) -> GenerationSettings:
    """Settings of what the components hold. The face index 0 is the default, and a new seed none at all."""
    values = {name: given[name] for name in controls() if name in given}
    values["seed"] = None if random_seed else values["seed"]
    values["face_index"] = values["face_index"] or None
    return GenerationSettings(**values, max_seconds=LONGEST_RECORDING)


def _shown_settings(values: tuple[Any, ...]) -> GenerationSettings:
    """Settings of the values of all components in the order of SETTINGS, with the seed that is shown."""
    return _settings(False, dict(zip(SETTINGS, values, strict=True)))


def _served(component: gr.Video, path: Path) -> str:
    """The file in gradio's own cache, which is emptied on schedule; no visitor's file stays elsewhere."""
    return component.move_resource_to_block_cache(str(path))


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


# ---------------------------------------------------------------------------------------------- before the click


def look(photo: str | None, recording: str | None) -> str:
    """What can be said at once: what is found in the inputs and how long a generation will take."""
    if not photo or not recording:
        return ""
    try:
        seen = pipeline.look(photo, recording, GenerationSettings(max_seconds=LONGEST_RECORDING))
    except InputError as error:
        return note(str(error))
    faces = len(seen.portrait.faces)
    found = "One face" if faces == 1 else f"{faces} faces"
    lines = [f"{found}, {seen.recording.seconds:.1f} s of sound: about {seen.estimated_seconds:.0f} s to make."]
    return "\n\n".join(lines + [note(warning) for warning in seen.warnings])


def listen(photo: str | None, recording: str | None, *values: Any) -> Iterator[tuple[Any, Any]]:
    """The transcript as it comes, then the timeline: (what was heard, the picture)."""
    if not recording:
        yield gr.update(placeholder=""), ""
        return
    told: queue.Queue[Any] = queue.Queue()

    def work() -> None:
        try:
            told.put(pipeline.analyze(photo or None, recording, _shown_settings(values), said=told.put))
        except InputError as error:
            told.put(error)
        except Exception:
            told.put(InputError("The recording could not be analysed."))
            raise

    threading.Thread(target=work, daemon=True).start()
    while isinstance(found := told.get(), str):
        yield gr.update(placeholder=found), gr.skip()
    if isinstance(found, InputError):
        yield gr.update(placeholder=""), f"<p>{html.escape(str(found))}</p>"
        return
    heard = gr.skip() if found.transcript.typed else gr.update(placeholder=found.transcript.text or "(no words)")
    yield heard, timeline.svg(found)


def describe(photo: str | None) -> str:
    """The description of the photo, or nothing where no face is found."""
    try:
        return pipeline.look(photo, None, GenerationSettings()).description if photo else ""
    except InputError:
        return ""


def preview_frame(photo: str | None, recording: str | None, *values: Any) -> np.ndarray | None:
    """The most telling frame with these settings."""
    if not photo or not recording:
        return None
    try:
        result = pipeline(photo, recording, _shown_settings(values))
        return result.frame(result.moment)
    except InputError as error:
        raise gr.Error(str(error), print_exception=False) from None


def preview_clip(photo: str | None, recording: str | None, *values: Any) -> str | None:
    """Two seconds around the most telling frame, at half the size."""
    if not photo or not recording:
        return None
    try:
        result = pipeline(photo, recording, _shown_settings(values))
        with tempfile.TemporaryDirectory() as folder:
            excerpt = result.excerpt(result.moment - CLIP_FRAMES // 2, CLIP_FRAMES)
            return _served(clip, excerpt.save(Path(folder) / "preview.mp4"))
    except InputError as error:
        raise gr.Error(str(error), print_exception=False) from None


def stop_session(request: gr.Request) -> None:
    """Stop this visitor's generation, if one runs."""
    flag = running.get(request.session_hash or "")
    if flag is not None:
        flag.set()


def show_mode(mode: str) -> list[Any]:
    """Only the controls that the chosen mode listens to."""
    return [gr.update(visible=mode == shown_in) for shown_in in ("emotion", "valence_arousal", "keyframes", "speech")]


# ---------------------------------------------------------------------------------------------- the page


def _control(name: str, **options: Any) -> gr.Slider | gr.Number | gr.Radio | gr.Textbox:
    """The component of a setting, with the range and the help text that settings.py gives it."""
    control, default = controls()[name], defaults()[name]
    options = {"label": control.label, "info": control.help, **options}
    if control.choices:
        words = options.pop("words", [word.replace("_", " ").capitalize() for word in control.choices])
        return gr.Radio(list(zip(words, control.choices, strict=True)), value=default, **options)
    if control.kind is str:
        return gr.Textbox(default or "", **options)
    if control.optional:
        return gr.Number(
            default or 0, precision=0, minimum=control.minimum, maximum=control.maximum, **options
        )  # fmt: skip
    return gr.Slider(control.minimum, control.maximum, default, step=control.step, **options)


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
    picture = gr.HTML(elem_id="timeline", label="Timeline")
    gr.Markdown("## Emotion and scene")
    with gr.Row(equal_height=False):
        with gr.Column(scale=3):
            emotion_mode = _control("emotion_mode")
            emotion_strength = _control("emotion_strength")
            with gr.Column(visible=False) as when_emotion:
                emotion = gr.Dropdown(
                    EMOTIONS, value=defaults()["emotion"], allow_custom_value=True,
                    label=controls()["emotion"].label, info=controls()["emotion"].help,
                )  # fmt: skip
            with gr.Row(visible=False) as when_point:
                valence, arousal = _control("valence"), _control("arousal")
            with gr.Column(visible=False) as when_keyframes:
                keyframes = _control("keyframes", lines=3)
            with gr.Column() as when_speech:
                with gr.Row():
                    text_weight, voice_weight = _control("text_weight"), _control("voice_weight")
                with gr.Row():
                    valence_arousal_weight, photo_weight = _control("valence_arousal_weight"), _control("photo_weight")
            transcript = _control("transcript", lines=2, elem_id="transcript")
            correct = gr.Button("Correct what was heard", size="sm")
            description = _control("description", lines=2)
        with gr.Column(scale=2):
            glimpse = gr.Image(label="Preview", interactive=False, format="jpeg", height=300)
            clip = gr.Video(label="Two seconds of it", interactive=False, autoplay=True, loop=True, height=300)
    gr.Markdown("## Motion and picture")
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
    gr.Markdown("## Diffusion")
    with gr.Row(equal_height=False):
        with gr.Column(min_width=280):
            inference_steps = _control("inference_steps")
            diffusion_strength = _control("diffusion_strength")
        with gr.Column(min_width=280):
            guidance_scale = _control("guidance_scale")
            sampler = _control("sampler", words=["Euler", "UniPC", "DPM++"])
    components = {name: globals()[name] for name in controls() if name in globals()}
    SETTINGS = tuple(components)
    inputs = [
        photo, recording, seed, random_seed, head_motion, motion_diversity, blink_rate, expressiveness, articulation,
        framing, face_index, emotion_mode, emotion, valence, arousal, keyframes, emotion_strength, text_weight,
        voice_weight, valence_arousal_weight, photo_weight, transcript, description,
        inference_steps, guidance_scale, diffusion_strength, sampler,
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
    quiet = {"show_progress": "hidden", "trigger_mode": "always_last", "api_visibility": "private"}
    current = [photo, recording, *components.values()]
    halt.click(stop_session, queue=False, api_visibility="private")
    demo.unload(stop_session)
    changed = [demo.load, photo.change, recording.change]
    gr.on(changed, look, [photo, recording], seen, **quiet)
    gr.on([demo.load, photo.change], describe, photo, description, **quiet)
    gr.on(changed, listen, current, [transcript, picture], **quiet).then(
        preview_frame, current, glimpse, **quiet
    )  # fmt: skip
    emotion_mode.change(show_mode, emotion_mode, [when_emotion, when_point, when_keyframes, when_speech], **quiet)
    correct.click(None, transcript, transcript, js="() => document.querySelector('#transcript textarea').placeholder")
    shaping = [
        emotion_strength, valence, arousal, text_weight, voice_weight, valence_arousal_weight, photo_weight,
        head_motion, expressiveness,
    ]  # fmt: skip
    chosen = [emotion_mode.change, emotion.change, *(box.submit for box in (keyframes, transcript, description))]
    chosen += [box.blur for box in (keyframes, transcript, description)]
    gr.on([slider.input for slider in shaping] + chosen, preview_frame, current, glimpse, **quiet)
    released = [slider.release for slider in shaping] + chosen
    gr.on(released, preview_clip, current, clip, **quiet).then(listen, current, [transcript, picture], **quiet)
    demo.queue(max_size=20, default_concurrency_limit=1)

if __name__ == "__main__":
    next(pipeline(*EXAMPLES[0]).frames)  # loads everything, so that the first visitor waits no longer than the others
    demo.launch(theme=THEME, css=CSS, max_file_size="200mb", footer_links=["api", "runs", "settings"])
