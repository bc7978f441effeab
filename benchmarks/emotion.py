"""Can the emotion be read back from the pixels? python benchmarks/emotion.py [--data FOLDER] [--json FILE]

Seven emotions, twelve portraits of people that no training has seen and two recordings are made into videos at
strengths 0, 0.5, 1, 1.5 and 2, and tracked again. Printed are the share of the videos at strength 1 whose emotion is
named rightly by the rule in synchrorama/evaluation/emotion.py, the confusions, and the share of the series in which
the face moves further towards the emotion with every step of strength.

Needs a data folder with MANIFEST.csv and face_photos/. Takes about a quarter of an hour on two cores;
--portraits 3 is quick.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
import wave
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

import numpy as np  # noqa: E402

from synchrorama import GenerationSettings, InputError, SynchroRaMaPipeline  # noqa: E402
from synchrorama.audio import SAMPLE_RATE  # noqa: E402
from synchrorama.evaluation import emotion as reading  # noqa: E402
from synchrorama.media import read_speech  # noqa: E402
from synchrorama.tracking import track_video  # noqa: E402

RECORDINGS = (("english_slt.flac", 0.0), ("german_espeak.flac", 1.0))  # and the second at which each starts
SECONDS = 2.6
STRENGTHS = (0.5, 1.0, 1.5, 2.0)
SEED = 3


def dev_portraits(data: Path, count: int) -> list[Path]:
    """Every n-th portrait of the development split, in the order of their names, that has a usable face."""
    with open(data / "MANIFEST.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = sorted(row["file"] for row in rows if row["class"] == "face_photo" and row["split"] == "dev")
    return [data / name for name in names[:: max(1, len(names) // count)]][:count]


def excerpt(name: str, start: float, folder: Path) -> Path:
    samples = read_speech(REPOSITORY / "assets" / name).samples
    samples = samples[round(start * SAMPLE_RATE) :][: round(SECONDS * SAMPLE_RATE)]
    path = folder / f"{Path(name).stem}.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


class Benchmark:
    def __init__(self, folder: Path) -> None:
        self.pipeline = SynchroRaMaPipeline.from_pretrained()
        self.space = self.pipeline.motion_space
        self.folder = folder

    def shown(self, photo: Path, speech: Path, emotion: str, strength: float) -> tuple[np.ndarray, np.ndarray]:
        """Distances of a rendered video, and the photo's own expression."""
        settings = GenerationSettings(seed=SEED, emotion_mode="emotion", emotion=emotion, emotion_strength=strength)
        result = self.pipeline(photo, speech, settings)
        video = result.save(self.folder / "video.mp4")
        return reading.distances(track_video(video), self.space), result.renderer.expression

    def run(self, portraits: list[Path], speeches: list[Path], strengths: tuple[float, ...]) -> list[dict[str, Any]]:
        rows = []
        for photo in portraits:
            for speech in speeches:
                plain, expression = self.shown(photo, speech, "neutral", 0.0)
                neutral = plain - reading.photo_smile(expression, self.space)
                at_rest = reading.read_emotion(plain, neutral)
                for emotion in reading.PROTOTYPES:
                    series = [at_rest]
                    for strength in strengths:
                        series.append(reading.read_emotion(self.shown(photo, speech, emotion, strength)[0], neutral))
                    moved = [reading.projection(each.units, emotion) for each in series]
                    row = {
                        "photo": photo.stem, "speech": speech.stem, "emotion": emotion,
                        "read": series[1 + strengths.index(1.0)].emotion, "moved": moved,
                        "units": series[1 + strengths.index(1.0)].units.round(2).tolist(),
                    }  # fmt: skip
                    rows.append(row)
                    print(json.dumps(row), file=sys.stderr, flush=True)
        return rows


def one_portrait(photo: Path, strengths: tuple[float, ...]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        speeches = [excerpt(name, start, Path(folder)) for name, start in RECORDINGS]
        return Benchmark(Path(folder)).run([photo], speeches, strengths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--portraits", type=int, default=12)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only-natural", action="store_true", help="strength 1 alone, without the series")
    parser.add_argument("--json", type=Path, help="also write every row there")
    options = parser.parse_args()
    if not (options.data / "MANIFEST.csv").is_file():
        raise SystemExit(str(InputError(f"There is no MANIFEST.csv in {options.data}; give --data FOLDER.")))
    strengths = (1.0,) if options.only_natural else STRENGTHS
    portraits = dev_portraits(options.data, options.portraits)
    with ProcessPoolExecutor(options.processes) as pool:
        rows = [row for part in pool.map(one_portrait, portraits, [strengths] * len(portraits)) for row in part]
    right = np.mean([row["read"] == row["emotion"] for row in rows])
    print(f"named rightly at strength 1     {right:8.1%}      (at least 85 %), {len(rows)} videos")
    for emotion in reading.PROTOTYPES:
        read = Counter(row["read"] for row in rows if row["emotion"] == emotion)
        print(f"  {emotion:12s} read as {', '.join(f'{name} {count}' for name, count in read.most_common())}")
    if len(strengths) > 1:
        grows = [bool((np.diff(row["moved"]) > 0).all()) for row in rows]
        print(f"grows with every strength       {np.mean(grows):8.1%}      (at least 95 %)")
        for emotion in reading.PROTOTYPES:
            share = np.mean([g for g, row in zip(grows, rows, strict=True) if row["emotion"] == emotion])
            print(f"  {emotion:12s} {share:.1%}")
    if options.json:
        options.json.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
