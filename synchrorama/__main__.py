"""The command line: generate · analyze · evaluate · verify · train · prepare · convert · download · licenses · push.

Exit codes: 0 done; 1 a bug, told in one sentence (--debug shows the traceback); 2 bad input, told in one sentence;
130 and 143 stopped by SIGINT and SIGTERM. Results go to standard output, everything else to standard error.
Heavy modules are imported inside the commands, so that --help answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .arguments import (
    ArgumentParser,
    add_profile_options,
    add_setting,
    find_profile_of,
    number_or_text,
    option_name,
)
from .errors import Cancelled, InputError
from .settings import GenerationSettings, controls, defaults, settings_in

PROGRAM = "python -m synchrorama"
EMOTION_SETTINGS = (
    "emotion_mode", "emotion", "valence", "arousal", "keyframes", "emotion_strength", "text_weight", "voice_weight",
    "valence_arousal_weight", "photo_weight", "transcript", "description",
)  # fmt: skip
TRAINERS = ("a2m", "diffusion", "emotion", "face_reader", "scene", "sync")  # modules of ``training`` with a ``main``
_TRAINERS = f"{', '.join(TRAINERS[:-1])} or {TRAINERS[-1]}"
FORWARDED = {
    "evaluate": "measure a finished video: lip sync, blinks, head motion, sharpness",
    "verify": "say what a video says about where it comes from, and check its signature",
    "download": "fetch the weights of a profile or a repository of the Hub, to work without a network later",
    "licenses": "list what a profile is made of, and under which licences",
    "push": "put a folder of weights into a repository of the Hugging Face Hub",
    "train": f"train a network: {_TRAINERS}",
    "prepare": "make what the shipped weights were trained on: basis, track, ...",
    "convert": "turn weights that others have published into a folder of this project: hallo",
}
_MODULES = {
    "evaluate": "evaluation.report", "verify": "verification", "download": "download", "licenses": "licenses",
    "push": "push", "prepare": "training.prepare", "convert": "conversion",
}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    options = argv[: argv.index("--")] if "--" in argv else argv
    debug, machine = "--debug" in options, "--json" in options
    if debug:
        argv.remove("--debug")
    try:
        with _signals_raise():
            return _run(argv)
    except InputError as error:
        return _fail(str(error), 2, machine)
    except (Interrupted, Cancelled) as stop:
        return _fail("Stopped; nothing unfinished was kept.", getattr(stop, "exit_code", 130), machine)
    except BrokenPipeError:  # the reader of our output, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        problem = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        return _fail(f"Something unexpected went wrong ({problem}); add --debug to see where.", 1, machine)


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived. Not an Exception, so that no library swallows it on the way up."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into Interrupted and ignore more of them while things are cleaned up."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop(number: int, _frame: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    previous = {each: signal.signal(each, stop) for each in numbers}
    try:
        yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


def _fail(sentence: str, code: int, machine: bool) -> int:
    print(sentence, file=sys.stderr)
    if machine:
        print(json.dumps({"error": sentence, "exit_code": code}))
    return code


def _run(argv: list[str]) -> int:
    # train --help belongs to the trainer: these commands parse their own arguments
    if argv and argv[0] in FORWARDED:
        return _forward(argv[0], argv[1:]) or 0
    arguments = build_parser().parse_args(argv)
    return arguments.command(arguments)


def _forward(command: str, rest: list[str]) -> int | None:
    if command in _MODULES:
        return importlib.import_module(f"synchrorama.{_MODULES[command]}").main(rest)
    name = rest[0] if rest else "nothing"
    if name not in TRAINERS:
        raise InputError(f"There is no network called {name!r} to train; choose {_TRAINERS}.")
    return importlib.import_module(f"synchrorama.training.{name}").main(rest[1:])


def build_parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(
        prog=PROGRAM,
        description="One face photo and one speech recording become a talking video.",
        epilog="Every command takes --help, and --debug to see the traceback of an unexpected error.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=ArgumentParser)
    _add_generate(commands)
    _add_analyze(commands)
    for name, help in FORWARDED.items():
        commands.add_parser(name, help=help, add_help=False)
    return parser


# ---------------------------------------------------------------------------------------------- generate


def _add_generate(commands: Any) -> None:
    parser = commands.add_parser(
        "generate",
        help="photo + speech -> video",
        description="Make a talking video from a photo and a recording (or a motion file).",
        epilog="A path that begins with a dash goes after -- or is written ./-like-this.jpg.",
    )
    parser.add_argument("photo", nargs="?", help="a picture with a face: JPEG, PNG, WebP, ...")
    parser.add_argument("speech", nargs="?", help="a recording: wav, mp3, m4a, ...; optional with --motion")
    parser.add_argument("-o", "--output", metavar="VIDEO", help="the mp4 to write")
    parser.add_argument("--jobs", metavar="CSV", help="make many videos: a row each, with photo, speech and output")
    parser.add_argument("--processes", metavar="1..64", type=number_or_text, help="for --jobs; one a core if left out")
    parser.add_argument("--ray", action="store_true", help="for --jobs: work through Ray, on the cluster RAY_ADDRESS")
    for name, control in controls().items():
        add_setting(parser, name, control)
    parser.add_argument("--settings", metavar="JSON", help="a file of settings, as --json prints them")
    parser.add_argument(
        "--motion", metavar="FILE",
        help="drive the face with this .npz or Live Link Face .csv instead of speech, emotion and scene",
    )  # fmt: skip
    parser.add_argument("--save-motion", metavar="FILE", help="also write the motion as .npz or .csv")
    _add_common(parser)
    parser.set_defaults(command=generate)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint", default="checkpoints/mini", metavar="WEIGHTS",
        help="full, a folder of weights, the file of a profile, or owner/repository or owner/repository@revision on "
        "the Hugging Face Hub",
    )  # fmt: skip
    add_profile_options(parser)
    parser.add_argument("--json", action="store_true", help="print what was done as one JSON object")


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings in the file of --settings and, over them, those of the options. Raises InputError."""
    given = {name: getattr(arguments, name) for name in controls() if hasattr(arguments, name)}
    GenerationSettings.from_dict(given)
    if arguments.settings is None:
        return given
    try:
        text = Path(arguments.settings).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise InputError(
            f"The settings file {arguments.settings!r} cannot be read; check its name and that it is JSON."
        ) from None
    return {**settings_in(text), **given}


def generate(arguments: argparse.Namespace) -> int:
    if arguments.jobs is not None:
        return _generate_many(arguments)
    if arguments.photo is None or arguments.output is None:
        raise InputError("A photo and -o VIDEO are required; give both, or --jobs CSV for many videos.")
    if arguments.processes is not None or arguments.ray:
        raise InputError("One video is made by one process; leave out --processes and --ray, or give --jobs CSV.")
    given = _given(arguments)
    if arguments.save_motion and Path(arguments.save_motion).suffix.lower() not in (".npz", ".csv"):
        raise InputError("Motion is saved as .npz or .csv; give --save-motion one of these endings.")
    from .pipeline import SynchroRaMaPipeline

    with _progress_bar() as progress:
        pipe = SynchroRaMaPipeline(find_profile_of(arguments))
        result = pipe(
            arguments.photo, arguments.speech, pipe.settings(**given), motion=arguments.motion, progress=progress
        )
        result.save(arguments.output)
    if arguments.save_motion:
        result.motion.save(arguments.save_motion)
    for warning in result.warnings:
        print(f"Note: {warning}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(_summary(arguments, result)))
    else:
        print(f"{arguments.output}: {len(result) / 25:.1f} s, seed {result.settings.seed}")
    return 0


def _generate_many(arguments: argparse.Namespace) -> int:
    from . import batch, batch_processes, batch_ray

    if arguments.photo or arguments.output or arguments.motion or arguments.save_motion:
        raise InputError("With --jobs the table names all files; leave out PHOTO, SPEECH, -o, --motion, --save-motion.")
    workers = batch_ray.make_on_ray if arguments.ray else batch_processes.make_in_processes
    workers = functools.partial(workers, processes=batch.PROCESSES.check(arguments.processes))
    tell = functools.partial(print, file=sys.stderr, flush=True)
    summary = batch.generate_many(arguments.jobs, _given(arguments), find_profile_of(arguments), workers, tell)
    print(json.dumps(vars(summary)) if arguments.json else summary.to_text())
    return 2 if summary.failed else 0


def _summary(arguments: argparse.Namespace, result: Any) -> dict[str, Any]:
    width, height = result.size
    return {
        "output": arguments.output,
        "motion": arguments.save_motion,
        "frames": len(result),
        "seconds": len(result) / 25,
        "width": width,
        "height": height,
        "settings": result.settings.to_dict(),
        "timings": {stage: round(seconds, 3) for stage, seconds in result.timings.items()},
        "warnings": result.warnings,
    }


@contextlib.contextmanager
def _progress_bar() -> Iterator[Callable[[str, int, int], None] | None]:
    """A tqdm bar for each stage on standard error; nothing where that is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    bar = tqdm(bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed}, {remaining} left", leave=False)

    def progress(stage: str, done: int, total: int) -> None:
        if stage != bar.desc:
            bar.reset(total)
            bar.set_description_str(stage, refresh=False)
        bar.update(done - bar.n)

    with bar:
        yield progress


# ---------------------------------------------------------------------------------------------- analyze


def _add_analyze(commands: Any) -> None:
    parser = commands.add_parser(
        "analyze",
        help="say what is seen in a photo and heard in a recording, before a generation",
        description="Find the faces of a photo and describe it; transcribe a recording and say what its words and its "
        "voice feel like over time; estimate how long a generation takes.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a recording, a photo with a face, or both")
    parser.add_argument("-o", "--output", metavar="REPORT", help="also draw the timeline: .html, .png or .svg")
    for name in ("face_index", "max_seconds", *EMOTION_SETTINGS):
        add_setting(parser, name, controls()[name])
    parser.add_argument("--settings", metavar="JSON", help="a file of settings, as --json prints them")
    _add_common(parser)
    parser.set_defaults(command=analyze)


def analyze(arguments: argparse.Namespace) -> int:
    given = _given(arguments)
    photo, speech = _photo_and_speech(arguments.files)
    from .pipeline import SynchroRaMaPipeline

    pipe = SynchroRaMaPipeline(find_profile_of(arguments))
    with _growing_line() as said:
        analysis = pipe.analyze(photo, speech, pipe.settings(**given), said=said)
    if arguments.output:
        from .timeline import save

        save(analysis, arguments.output)
    print(json.dumps(analysis.to_dict()) if arguments.json else analysis.to_text())
    return 0


def _photo_and_speech(files: list[str]) -> tuple[str | None, str | None]:
    """Which of one or two files is the photo, and which the recording. Raises InputError unless that is clear."""
    photos = [file for file in files if _is_picture(file)]
    recordings = [file for file in files if file not in photos]
    if len(photos) > 1 or len(recordings) > 1:
        raise InputError("One photo and one recording can be analysed at a time; give one of each at most.")
    return (photos or [None])[0], (recordings or [None])[0]


def _is_picture(path: str) -> bool:
    """Whether a file is a picture by its content; what does not exist is judged by its name."""
    from PIL import Image

    try:
        with Image.open(path):
            return True
    except FileNotFoundError:
        return Path(path).suffix.lower() in Image.registered_extensions()
    except Exception:  # Pillow's readers raise about everything on other files
        return False


@contextlib.contextmanager
def _growing_line() -> Iterator[Callable[[str], None] | None]:
    """Shows the end of a growing text on one line of standard error; nothing where that is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    width = shutil.get_terminal_size().columns - 1
    yield lambda text: print(f"\r{text[-width:]:<{width}}", end="", file=sys.stderr, flush=True)
    print(f"\r{'':<{width}}\r", end="", file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------- documentation


def settings_table() -> str:
    """The settings as the table in docs/command_line.md; a test keeps the two the same."""
    rows = ["| setting | option | default | range | what it does |", "|---|---|---|---|---|"]
    for name, control in controls().items():
        default = defaults()[name]
        shown = {None: "none", False: "off"}.get(default, f"{default:g}" if isinstance(default, float) else default)
        if control.choices:
            allowed = " or ".join(control.choices)
        elif control.kind is str:
            allowed = "text"
        elif control.kind is bool:
            allowed = "on or off"
        else:
            allowed = f"{control.minimum:.0f} to {control.maximum:.0f}"
        rows.append(f"| `{name}` | `{option_name(name)}` | {shown} | {allowed} | {control.help} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
