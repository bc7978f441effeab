"""How quickly the page answers: python benchmarks/live.py [--json].

Prints four figures, measured in a process that is held to two cores, after start-up, for 20 s of English speech:

- seconds until the first words of the transcript are shown, and until the analysis is complete;
- seconds from a moved slider to the new preview frame as a JPEG, once analysed: median and slowest of twenty;
- seconds until the preview clip of two seconds is an mp4: median of five.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "benchmarks")]

from PIL import Image  # noqa: E402
from realtime import CORES, PHOTO, repeated_speech  # noqa: E402

from synchrorama import GenerationSettings, SynchroRaMaPipeline  # noqa: E402

SECONDS = 20.0
CLIP_FRAMES = 50


def measure(folder: Path) -> dict[str, float]:
    pipe = SynchroRaMaPipeline.from_pretrained().load()
    warm, speech = repeated_speech(3.0, folder), repeated_speech(SECONDS, folder)
    next(pipe(PHOTO, warm).frames)  # compiles and loads what first use loads
    pipe.analyze(None, warm)

    first: list[float] = []
    start = time.perf_counter()
    pipe.analyze(PHOTO, speech, said=lambda _: first.append(time.perf_counter() - start))
    figures = {"first_words": first[0], "analysis": time.perf_counter() - start}

    frames, clips = [], []
    for i in range(20):
        start = time.perf_counter()
        settings = GenerationSettings(seed=0, emotion_strength=0.1 * i, text_weight=1 - i / 20)
        result = pipe(PHOTO, speech, settings)
        Image.fromarray(result.frame(result.moment)).save(io.BytesIO(), "jpeg")
        frames.append(time.perf_counter() - start)
    for i in range(5):
        start = time.perf_counter()
        result = pipe(PHOTO, speech, GenerationSettings(seed=0, emotion_strength=0.3 * i))
        result.excerpt(result.moment - CLIP_FRAMES // 2, CLIP_FRAMES).save(folder / "clip.mp4")
        clips.append(time.perf_counter() - start)
    return figures | {
        "frame": statistics.median(frames), "slowest_frame": max(frames), "clip": statistics.median(clips),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder))
    if arguments.json:
        print(json.dumps(figures))
        return
    print(f"first words of {SECONDS:.0f} s of speech  {figures['first_words']:8.2f} s")
    print(f"analysis of {SECONDS:.0f} s of speech     {figures['analysis']:8.2f} s      (at most 4)")
    print(f"slider to preview frame       {figures['frame']:8.3f} s      (at most 0.3)")
    print(f"slowest of twenty             {figures['slowest_frame']:8.3f} s")
    print(f"preview clip of 2 s           {figures['clip']:8.2f} s      (at most 1.5)")


if __name__ == "__main__":
    main()
