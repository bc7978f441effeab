"""How fast and how large a generation is: python benchmarks/realtime.py [--json].

Prints four figures, each measured in fresh processes that are held to two cores:

- wall time per second of video, everything included, after start-up, for 20 s of speech at 512 x 512;
- motion frames a second on one thread, without encoding;
- seconds from the start of Python until the pipeline is ready;
- peak memory of the process and its encoder, for 20 s and for 300 s of speech.

The first run on a machine also compiles the renderer; a short generation before the measurements takes care of that.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import wave
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

PHOTO = REPOSITORY / "assets" / "grace_hopper.jpg"
SPEECH = REPOSITORY / "assets" / "english_slt.flac"
SETTINGS = {"seed": 1}
CORES = 2
FPS = 25
MEGABYTE = 1 << 20


def repeated_speech(seconds: float, folder: Path) -> Path:
    """A wav of exactly this length, made by repeating the example recording."""
    import numpy as np

    from synchrorama.media import SPEECH_SAMPLE_RATE, read_speech

    samples = np.resize(read_speech(SPEECH).samples, round(seconds * SPEECH_SAMPLE_RATE))
    path = folder / f"speech_{seconds:g}.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SPEECH_SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


class PeakMemory:
    """Largest resident size in MB of this process plus that of the largest process it starts meanwhile.

    Asked from the system's own high-water marks; getrusage would count a child as large as us, because it is, for the
    instant between its start and its own program. The children are seen on Linux only.
    """

    def __enter__(self) -> PeakMemory:
        self._child, self._done = 0.0, threading.Event()
        self._watch = threading.Thread(target=self._follow_children)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watch.join()
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.megabytes = (own / MEGABYTE if sys.platform == "darwin" else own / 1024) + self._child

    def _follow_children(self) -> None:
        while not self._done.wait(0.2):
            for listing in Path("/proc/self/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    for child in listing.read_text().split():
                        if os.readlink(f"/proc/{child}/exe") == os.readlink("/proc/self/exe"):
                            continue  # not yet the encoder, but a copy of us that is about to become it
                        status = Path(f"/proc/{child}/status").read_text()
                        self._child = max(self._child, int(status.split("VmHWM:")[1].split()[0]) / 1024)


def measure_generation(speech: str) -> dict[str, Any]:
    """One generation after start-up: seconds of wall time per second of video, stages, peak memory in MB."""
    from synchrorama import GenerationSettings, SynchroRaMaPipeline

    pipe = SynchroRaMaPipeline.from_pretrained().load()
    with tempfile.TemporaryDirectory() as folder, PeakMemory() as peak:
        start = time.perf_counter()
        result = pipe(PHOTO, speech, GenerationSettings(**SETTINGS))
        result.save(Path(folder) / "video.mp4")
        wall = time.perf_counter() - start
    return {
        "wall_per_second": wall / (len(result) / FPS),
        "stages": result.timings,
        "peak_mb": peak.megabytes,
    }


def measure_rendering(speech: str) -> dict[str, Any]:
    """Motion frames a second on one thread, without encoding."""
    import cv2

    from synchrorama import GenerationSettings, SynchroRaMaPipeline

    cv2.setNumThreads(1)
    settings = GenerationSettings(**SETTINGS, diffusion_strength=0)
    result = SynchroRaMaPipeline.from_pretrained()(PHOTO, speech, settings)
    next(result.frames)
    start = time.perf_counter()
    count = sum(1 for _ in result.frames)
    return {"frames_per_second": count / (time.perf_counter() - start)}


def measure_start() -> dict[str, Any]:
    """Seconds from the start of a Python process until the pipeline is loaded."""
    code = "from synchrorama import SynchroRaMaPipeline; SynchroRaMaPipeline.from_pretrained().load()"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    return {"import_to_ready": time.perf_counter() - start}


MEASUREMENTS = {"generation": measure_generation, "rendering": measure_rendering, "start": measure_start}


def in_fresh_process(name: str, *arguments: Path, single_thread: bool = False) -> dict[str, Any]:
    threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"} if single_thread else {}
    done = subprocess.run(
        [sys.executable, __file__, "--measure", name, *map(str, arguments)],
        check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **threads},
    )  # fmt: skip
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    parser.add_argument("--short", type=float, default=20, help="seconds of the first recording (default 20)")
    parser.add_argument("--long", type=float, default=300, help="seconds of the second recording (default 300)")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    if arguments.measure:
        name, *rest = arguments.measure
        print(json.dumps(MEASUREMENTS[name](*rest)))
        return

    with tempfile.TemporaryDirectory() as folder:
        once, short, long = (
            repeated_speech(seconds, Path(folder)) for seconds in (1, arguments.short, arguments.long)
        )
        in_fresh_process("generation", once)
        generation = in_fresh_process("generation", short)
        figures = {
            "wall_per_second": generation["wall_per_second"],
            "stages": generation["stages"],
            **in_fresh_process("rendering", short, single_thread=True),
            **in_fresh_process("start"),
            "peak_mb_short": generation["peak_mb"],
            "peak_mb_long": in_fresh_process("generation", long)["peak_mb"],
        }
    if arguments.json:
        print(json.dumps(figures))
        return
    print(f"wall time per second of video   {figures['wall_per_second']:8.2f} s      (at most 1.0)")
    print(f"motion frames a second          {figures['frames_per_second']:8.1f}        (at least 45)")
    print(f"import to ready                 {figures['import_to_ready']:8.1f} s      (at most 6)")
    print(f"peak memory, {arguments.short:3.0f} s of speech     {figures['peak_mb_short']:8.0f} MB     (at most 1500)")
    print(f"peak memory, {arguments.long:3.0f} s of speech     {figures['peak_mb_long']:8.0f} MB     (at most 1500)")
    for stage, seconds in figures["stages"].items():
        print(f"  {stage:30s}{seconds:8.2f} s")


if __name__ == "__main__":
    main()
