"""Four visitors at once: good jobs, bad inputs and cancels, each answer checked against its own input.

    python benchmarks/load.py --jobs 100 --bad 20 --cancels 10

Prints what was wrong, the memory of the server over time, how soon a cancel took effect, and which files are left.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import queue
import random
import sys
import tempfile
import threading
import time
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import psutil
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from gradio_client.utils import Status

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from conftest import write_wav  # noqa: E402
from page_server import Server  # noqa: E402

from synchrorama.face import find_portrait  # noqa: E402
from synchrorama.media import read_photo, read_speech  # noqa: E402
from synchrorama.provenance import read_container_metadata  # noqa: E402

PHOTOS = ("grace_hopper.jpg", "painted_kofi.jpg", "painted_lin.jpg", "eileen_collins.jpg", "painted_ada.jpg")
VISITORS, KEPT, CLEARED = 4, 45, 10  # visitors; seconds that files are kept, and between two clearances
SHORTEST, STEP = 0.6, 0.04  # seconds of the first recording, and by how much each next one is longer: one frame
SAME_SOUND = 0.9  # correlation


@dataclass
class Outcome:
    """What all visitors met together."""

    problems: list[str] = field(default_factory=list)
    answered: int = 0
    refused: int = 0
    stopped: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--bad", type=int, default=20)
    parser.add_argument("--cancels", type=int, default=10)
    arguments = parser.parse_args()
    kinds = ["good"] * arguments.jobs + ["bad"] * arguments.bad + ["cancel"] * arguments.cancels
    random.Random(0).shuffle(kinds)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "server"
        place.mkdir()
        server = Server(place, SYNCHRORAMA_KEEP_SECONDS=str(KEPT), SYNCHRORAMA_CLEAR_EVERY=str(CLEARED)).start()
        try:
            outcome, memory = run(server, kinds, Path(folder))
            return report(server, outcome, memory, arguments)
        finally:
            server.stop()


def run(server: Server, kinds: list[str], folder: Path) -> tuple[Outcome, list[float]]:
    speech = np.tile(read_speech(ROOT / "assets" / "english_slt.flac").samples, 2)
    first = Client(server.address, verbose=False, download_files=str(folder / "warm"))
    example = (handle_file(ROOT / "assets" / name) for name in ("grace_hopper.jpg", "english_slt.flac"))
    first.predict(*example, api_name="/preview")  # everything is loaded then
    crops = {name: find_portrait(read_photo(ROOT / "assets" / name)).crop for name in PHOTOS}
    outcome, jobs = Outcome(), queue.SimpleQueue()
    for job in enumerate(kinds):
        jobs.put(job)
    process, memory, done = psutil.Process(server.process.pid), [], threading.Event()

    def visit(number: int) -> None:
        client = Client(server.address, verbose=False, download_files=str(folder / f"visitor {number}"))
        while True:
            try:
                index, kind = jobs.get_nowait()
            except queue.Empty:
                return
            try:
                {"good": good, "bad": bad, "cancel": cancel}[kind](client, index, speech, crops, folder, outcome)
            except Exception as error:
                with outcome.lock:
                    outcome.problems.append(f"job {index} ({kind}): {type(error).__name__}: {error}")

    def watch() -> None:
        while not done.wait(1.0):
            memory.append(process.memory_info().rss / 1e6)

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(VISITORS)]
    watcher = threading.Thread(target=watch)
    watcher.start()
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    watcher.join()
    print(f"{len(kinds)} jobs of {VISITORS} visitors in {time.perf_counter() - begun:.0f} s")
    return outcome, memory


def good(client: Client, index: int, speech: np.ndarray, crops: dict, folder: Path, outcome: Outcome) -> None:
    """A video that must show this photo, speak this recording and name this seed."""
    name, seconds = PHOTOS[index % len(PHOTOS)], SHORTEST + STEP * index
    start = 4000 * index % 100_000
    recording = write_wav(folder / f"{index}.wav", speech[start : start + round(16000 * seconds)])
    given = handle_file(ROOT / "assets" / name), handle_file(recording), True
    video, seed, _ = client.predict(
        *given, seed=1000 + index, random_seed=False, mark="none", head_motion=0.2, api_name="/generate"
    )
    path = video["video"] if isinstance(video, dict) else video
    found = []
    if (frames := imageio_ffmpeg.count_frames_and_secs(path)[0]) != round(25 * seconds):
        found.append(f"{frames} frames, not {round(25 * seconds)}")
    told = json.loads(read_container_metadata(path)["description"])
    if seed != 1000 + index or told["seed"] != 1000 + index:
        found.append(f"seed {seed}, in the file {told['seed']}")
    frame = first_frame(path)
    nearest = min(crops, key=lambda other: np.abs(crops[other].astype(float) - frame).mean())
    if nearest != name:
        found.append(f"shows {nearest}, not {name}")
    heard, spoken = read_speech(path).samples, read_speech(recording).samples
    length = min(len(heard), len(spoken))
    likeness = np.corrcoef(heard[:length], spoken[:length])[0, 1]
    if likeness < SAME_SOUND:
        found.append(f"another sound (correlation {likeness:.2f})")
    with outcome.lock:
        outcome.answered += 1
        outcome.problems += [f"job {index} (good): {problem}" for problem in found]


def first_frame(path: str) -> np.ndarray:
    video = cv2.VideoCapture(path)
    read, frame = video.read()
    video.release()
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(float) if read else np.zeros((512, 512, 3))


def bad(client: Client, index: int, speech: np.ndarray, crops: dict, folder: Path, outcome: Outcome) -> None:
    """Something unusable, which must be answered with the sentence for it."""
    text = folder / f"{index}.txt.jpg"
    text.write_text("not a picture")
    quick = write_wav(folder / f"{index}.wav", np.zeros(1000))
    fine = handle_file(ROOT / "assets" / PHOTOS[0]), handle_file(ROOT / "assets" / "english_slt.flac")
    given, says = (
        ((handle_file(text), fine[1], True), "not a picture"),
        ((fine[0], handle_file(text), True), "not a recording"),
        ((fine[0], handle_file(quick), True), "at least 0.3 seconds"),
        ((fine[0], None, True), "no recording yet"),
        ((fine[0], handle_file(write_wav(folder / f"{index}u.wav", speech[:16000]))), "right to use this face"),
    )[index % 5]
    try:
        client.predict(*given, api_name="/generate")
    except AppError as error:
        if says in str(error) and str(folder) not in str(error):
            with outcome.lock:
                outcome.refused += 1
            return
        raise
    raise AssertionError(f"not refused, although it is {says}")


def cancel(client: Client, index: int, speech: np.ndarray, crops: dict, folder: Path, outcome: Outcome) -> None:
    """A long video, given up in the queue or while it is made."""
    recording = write_wav(folder / f"{index}.wav", speech[: 20 * 16000 + index])
    given = handle_file(ROOT / "assets" / PHOTOS[index % 5]), handle_file(recording), True
    job = client.submit(*given, api_name="/generate")
    until = time.monotonic() + 120
    if index % 4:  # the others are given up while they wait
        while job.status().code not in (Status.PROCESSING, Status.PROGRESS) and time.monotonic() < until:
            time.sleep(0.1)
    time.sleep(0.5 + index % 3)
    begun = time.perf_counter()
    client.predict(api_name="/cancel")  # what is made
    try:
        try:
            job.result(timeout=1)
        except concurrent.futures.TimeoutError:  # it waits in the queue; the client fails if both end a job at once
            begun = time.perf_counter()
            job.cancel()
            job.result(timeout=120)
    except (AppError, CancelledError, KeyError) as error:  # KeyError: how the client reads "left the queue"
        if isinstance(error, AppError) and "Stopped" not in str(error):
            raise
        with outcome.lock:
            outcome.stopped.append(time.perf_counter() - begun)
        return
    raise AssertionError("not stopped")


def report(server: Server, outcome: Outcome, memory: list[float], arguments: argparse.Namespace) -> int:
    print(f"good: {outcome.answered} of {arguments.jobs} answered; bad: {outcome.refused} of {arguments.bad} refused")
    if outcome.stopped:
        print(f"cancels: {len(outcome.stopped)} of {arguments.cancels}; longest until it took effect "
              f"{max(outcome.stopped):.2f} s")  # fmt: skip
    tenth = max(1, len(memory) // 10)
    means = (np.mean(memory[i : i + tenth]) for i in range(0, len(memory), tenth))
    print("memory in MB, tenth by tenth: " + " ".join(f"{mean:.0f}" for mean in means))
    deadline = time.monotonic() + KEPT + 3 * CLEARED
    while (left := visitors_files(server)) and time.monotonic() < deadline:
        time.sleep(2)
    print(f"files left {KEPT} s later: {len(left)} {[path.name for path in left][:5]}")
    print(f"problems: {len(outcome.problems)}")
    for problem in outcome.problems:
        print("  " + problem)
    complete = outcome.answered == arguments.jobs and outcome.refused == arguments.bad
    return 0 if complete and len(outcome.stopped) == arguments.cancels and not outcome.problems and not left else 1


def visitors_files(server: Server) -> list[Path]:
    """All temporary files but the page's own examples, which gradio keeps."""
    own = {path.name for path in (ROOT / "assets").iterdir()}
    return [path for path in server.files() if path.name not in own]


if __name__ == "__main__":
    sys.exit(main())
