"""How fast and how faithful the motion-frame renderer is.

    python benchmarks/renderer.py PHOTO                 motion frames a second on one thread
    python benchmarks/renderer.py --retrack DATA        drive portraits with tracked clips and track them again

``DATA`` is a folder with ``portraits/*.jpg`` and ``clips/dev/*.mp4``. Retracking prints, per portrait and clip, the
correlation between what the clip shows and what a tracker reads off the rendered frames.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GLOG_minloglevel", "3")

import cv2
import numpy as np

from synchrorama.blendshapes import BLENDSHAPE_INDEX, MotionSpace, eye_opening, lip_gap, mouth_width
from synchrorama.face import find_portrait
from synchrorama.media import read_photo
from synchrorama.motion import FPS, Motion, rotation_vector
from synchrorama.motion_frames import MotionFrameRenderer
from synchrorama.tracking import LandmarkTrack, track_motion, track_video

PORTRAITS = (
    "SadTalker__people_0", "SadTalker__happy1", "AniTalker__monalisa", "AniTalker__cartoon_girl",
    "MakeItTalk__obama", "SadTalker__art_14", "MakeItTalk__stephen", "AniTalker__Einstein",
)  # fmt: skip
CLIPS = ("retalking_5__00", "celebv_-4GNkXEUOwY__00")
TARGETS = {"lip gap": 0.93, "mouth width": 0.85, "blink": 0.88, "yaw": 0.97}


def measures(track: LandmarkTrack, space: MotionSpace) -> dict[str, np.ndarray]:
    """What the tracker sees, frame by frame."""
    canonical = space.canonicalize(track.landmarks)
    return {
        "lip gap": lip_gap(canonical.shapes),
        "mouth width": mouth_width(canonical.shapes),
        "blink": eye_opening(canonical.shapes).mean(axis=1),
        "yaw": rotation_vector(canonical.rotation)[:, 1],
    }


def retrack(data: Path, space: MotionSpace, portraits: list[str], clips: list[str], frames: int) -> None:
    """Print r per portrait, clip and measure, and the medians."""
    table: dict[str, list[float]] = {name: [] for name in TARGETS}
    print(f"{'portrait':28}{'clip':20}" + "".join(f"{name:>13}" for name in TARGETS) + "   closed eye  gap slope")
    for clip in clips:
        driver = track_video(data / "clips" / "dev" / f"{clip}.mp4")
        driver.landmarks = driver.landmarks[:frames]
        expected = measures(driver, space)
        motion = track_motion(driver, space).relative_to_rest()
        for name in portraits:
            portrait = find_portrait(read_photo(data / "portraits" / f"{name}.jpg"))
            renderer = MotionFrameRenderer(portrait.crop, portrait.landmarks, space)
            found = measures(_track_rendered(renderer, motion), space)
            row = {key: float(np.corrcoef(expected[key], found[key])[0, 1]) for key in TARGETS}
            for key, r in row.items():
                table[key].append(r)
            closed = found["blink"].min() / np.median(found["blink"])
            slope = np.polyfit(expected["lip gap"], found["lip gap"], 1)[0]
            cells = "".join(f"{row[key]:13.3f}" for key in TARGETS)
            print(f"{name:28}{clip:20}{cells}{closed:13.2f}{slope:11.2f}", flush=True)
    medians = {key: float(np.median(values)) for key, values in table.items()}
    print(f"{'median':48}" + "".join(f"{medians[key]:13.3f}" for key in TARGETS))
    print(f"{'target':48}" + "".join(f"{TARGETS[key]:13.2f}" for key in TARGETS))


def _track_rendered(renderer: MotionFrameRenderer, motion: Motion) -> LandmarkTrack:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rendered.avi")
        writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), FPS, (renderer.width, renderer.height))
        for frame in renderer.frames(motion):
            writer.write(np.ascontiguousarray(frame[..., ::-1]))
        writer.release()
        return track_video(path)


def speed(photo: Path, space: MotionSpace, frames: int) -> None:
    """Print set-up time and motion frames a second with mouth, lids and head all moving."""
    portrait = find_portrait(read_photo(photo))
    MotionFrameRenderer(portrait.crop, portrait.landmarks, space).render(*_busy_motion(1, 0))  # compile
    start = time.perf_counter()
    renderer = MotionFrameRenderer(portrait.crop, portrait.landmarks, space)
    setup = time.perf_counter() - start
    wall, own = [], []
    for t in range(frames):
        start, own_start = time.perf_counter(), time.thread_time()
        renderer.render(*_busy_motion(frames, t))
        wall.append(time.perf_counter() - start)
        own.append(time.thread_time() - own_start)
    print(f"set-up {setup:.2f} s; {1 / np.median(wall):.1f} frames/s median, {1 / np.mean(wall):.1f} mean")
    print(f"{1 / np.mean(own):.1f} frames per second of this thread's own time (what an idle core would give)")


def _busy_motion(frames: int, t: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    blendshapes = np.zeros(52)
    phase = 2 * np.pi * t / max(1, frames)
    blendshapes[BLENDSHAPE_INDEX["jawOpen"]] = 0.3 + 0.3 * np.sin(9 * phase)
    for side in ("Left", "Right"):
        blendshapes[BLENDSHAPE_INDEX["mouthLowerDown" + side]] = 0.2
        blendshapes[BLENDSHAPE_INDEX["eyeBlink" + side]] = 0.5 + 0.5 * np.sin(5 * phase)
    return blendshapes, np.array([0.1, 0.2, 0.05]) * np.sin(phase), np.zeros(3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="a photo, or with --retrack the folder of the data")
    parser.add_argument("--retrack", action="store_true")
    parser.add_argument("--motion-space", default="checkpoints/mini/motion_space")
    parser.add_argument("--portraits", nargs="*", default=list(PORTRAITS))
    parser.add_argument("--clips", nargs="*", default=list(CLIPS))
    parser.add_argument("--frames", type=int, default=120, help="at most this many per clip, or for the speed")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    space = MotionSpace.from_pretrained(arguments.motion_space)
    if arguments.retrack:
        retrack(arguments.path, space, arguments.portraits, arguments.clips, arguments.frames)
    else:
        speed(arguments.path, space, arguments.frames)


if __name__ == "__main__":
    main()
