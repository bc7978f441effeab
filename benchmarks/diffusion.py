"""What diffusion adds to the motion frames: python benchmarks/diffusion.py --pairs FOLDER [--photos FOLDER] [--json].

Three parts:

real       sequences of people that no training has seen (`prepare pairs` of the split dev): error of motion frame and
           of result to the real picture, in luminance and chroma of blocks of 4 x 4 pixels of the face region (8 x 8
           of a frame), between the lips and in the whole region; and the contact sheet photo | motion frame | result |
           real
generated  videos of photos and one recording, with and without diffusion: sharpness of the face and flicker as the
           ratio of the two, of the whole face and of the mouth alone; and the contact sheet photo, then motion frame |
           result three times
long       a video of a minute: sharpness and mean colour of the face in its last second over those in its first, and
           the same of the motion frames, whose pose and opening differ as well
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from realtime import repeated_speech  # noqa: E402
from torch import Tensor  # noqa: E402

from synchrorama import GenerationSettings, InputError, SynchroRaMaPipeline  # noqa: E402
from synchrorama.diffusion.region import FaceRegion  # noqa: E402
from synchrorama.evaluation import quality  # noqa: E402
from synchrorama.face_topology import LIPS  # noqa: E402
from synchrorama.training.diffusion import contact_sheet, paint  # noqa: E402
from synchrorama.training.losses import luma_chroma  # noqa: E402
from synchrorama.training.pair_batches import PairSequences, unvaried  # noqa: E402

BLOCK = 4  # pixels of the face region: 8 of a frame
SPEECH = REPOSITORY / "assets" / "english_slt.flac"
SECONDS = 4


def blocks(pictures: Tensor) -> Tensor:
    """(F, 3, H, W) in [-1, 1] → luminance and chroma of blocks, (F, 3, H / 4, W / 4)."""
    return luma_chroma(F.avg_pool2d(pictures, BLOCK))


def measure_real(
    pipe: SynchroRaMaPipeline, pairs: Path, steps: int, strength: float, sheet: Path | None
) -> dict[str, Any]:
    """Mean absolute errors over all frames with an open mouth, each person weighing the same."""
    sequences = PairSequences(pairs, "dev", pipe.text_encoder)
    networks = pipe.diffusion.networks
    people, examples = {}, []
    for person, each in sequences.people.items():
        rows = []
        for batch in map(unvaried, each):
            mouth = batch.clip.mouth[0]
            if mouth.sum() <= 1:
                continue
            real = blocks(batch.target[0])
            row = []
            for pictures in (batch.clip.motion[0], paint(networks, batch, steps, strength)):
                error = (blocks(pictures) - real).abs().mean(1, keepdim=True)
                row += [float((error * mouth).sum() / mouth.sum()), float(error.mean())]
            rows.append(row)
        if rows:
            people[person] = np.mean(rows, axis=0)
        examples.append(unvaried(max(each, key=lambda sequence: sequence["mouth"].max((1, 2)).sum())))
    if sheet:
        picture = contact_sheet(networks, examples, torch.device("cpu"), strength)
        cv2.imwrite(str(sheet.with_name(sheet.stem + "_real.png")), _two_columns(picture, 128)[:, :, ::-1])
    table = np.array(list(people.values()))
    means = table.mean(0)
    return {
        "people": len(people),
        "mouth_motion": means[0], "mouth_result": means[2], "mouth_change": means[2] / means[0] - 1,
        "region_motion": means[1], "region_result": means[3], "region_change": means[3] / means[1] - 1,
        "mouth_change_by_person": {
            name: round(float(row[2] / row[0] - 1), 3) for name, row in zip(people, table, strict=True)
        },
    }  # fmt: skip


def measure_generated(
    pipe: SynchroRaMaPipeline, photos: list[Path], steps: int, strength: float, sheet: Path | None
) -> dict[str, Any]:
    """Sharpness and flicker with diffusion over those without, for each photo."""
    rows, ratios = [], {}
    for photo in photos:
        settings = GenerationSettings(seed=1, inference_steps=steps, diffusion_strength=strength)
        try:
            result = pipe(photo, SPEECH, settings)
        except InputError as error:
            print(f"{photo.name}: {error}", file=sys.stderr)
            continue
        result.motion = result.motion[: 25 * SECONDS]
        both = [list(each.frames) for each in (replace(result, diffusion=None), result)]
        ratios[photo.stem] = {}
        for part, points in (("", slice(None)), ("_of_mouth", list(LIPS))):
            landmarks = result.portrait.landmarks[None, points]
            box = quality.face_box(landmarks, result.renderer.width, result.renderer.height)
            before, after = ([quality.face_picture(each, box) for each in frames] for frames in both)
            sharp = [np.median(list(map(quality.sharpness, faces))) for faces in (before, after)]
            flicker = [quality.picture_quality(faces).flicker for faces in (before, after)]
            ratios[photo.stem] |= {f"sharpness{part}": sharp[1] / sharp[0], f"flicker{part}": flicker[1] / flicker[0]}
        rows.append(_row(result, both))
    if sheet and rows:
        picture = _two_columns(np.concatenate(rows), len(rows[0]))
        cv2.imwrite(str(sheet.with_name(sheet.stem + "_generated.png")), picture[:, :, ::-1])
    figures: dict[str, Any] = {}
    for name in next(iter(ratios.values()), {}):
        values = [each[name] for each in ratios.values()]
        figures |= {f"{name}_mean": np.mean(values), f"{name}_least": min(values), f"{name}_most": max(values)}
    return {name: float(value) for name, value in figures.items()} | {"photos": len(ratios)}


def measure_long(pipe: SynchroRaMaPipeline, photo: Path, seconds: int) -> dict[str, float]:
    """Last second over first, of the face as it is and relative to the motion frames."""
    with tempfile.TemporaryDirectory() as folder:
        speech = repeated_speech(seconds, Path(folder))
        result = pipe(photo, speech, GenerationSettings(seed=1))
        box = quality.face_box(result.portrait.landmarks[None], result.renderer.width, result.renderer.height)
        figures = {}
        for name, each in (("motion", replace(result, diffusion=None)), ("result", result)):
            sharp, colour = [], []
            for t, frame in enumerate(each.frames):
                if t < 25 or t >= len(each) - 25:
                    face = quality.face_picture(frame, box)
                    sharp.append(quality.sharpness(face))
                    left, top, right, bottom = box
                    colour.append(frame[top:bottom, left:right].mean((0, 1)))
            figures[f"sharpness_{name}"] = float(np.mean(sharp[25:]) / np.mean(sharp[:25]))
            for i, channel in enumerate(("red", "green", "blue")):
                means = np.array(colour)[:, i]
                figures[f"{channel}_{name}"] = float(means[25:].mean() / means[:25].mean())
    return figures


def _row(result: Any, both: list[list[np.ndarray]]) -> np.ndarray:
    """Photo, then motion frame | result at the widest mouth and at two less wide ones, cut around the lower face."""
    motion, renderer = result.motion, result.renderer
    shown = [
        renderer.frame(*each) for each in zip(motion.blendshapes, motion.rotation, motion.translation, strict=True)
    ]
    area = [cv2.contourArea(frame.mouth) for frame in shown]
    order = np.argsort(area)[::-1]
    cells = [FaceRegion.of(renderer.photo_frame, 192).cut(renderer.photo_frame.image)]
    for t in order[[0, len(order) // 8, len(order) // 3]]:
        place = FaceRegion.of(shown[t], 192)
        cells += [place.cut(frames[t]) for frames in both]
    return np.concatenate(cells, 1)


def _two_columns(picture: np.ndarray, height: int) -> np.ndarray:
    """A tall sheet with rows of ``height`` as two columns."""
    rows = len(picture) // height
    half = (rows + 1) // 2 * height
    second = np.zeros_like(picture[:half])
    second[: len(picture) - half] = picture[half:]
    return np.concatenate([picture[:half], second], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, help="folder of `prepare pairs` with the split dev")
    parser.add_argument("--photos", type=Path, nargs="*", default=[REPOSITORY / "assets"], help="photos, or folders")
    parser.add_argument("--limit", type=int, default=12, help="photos (default 12)")
    parser.add_argument("--steps", type=int, default=1, help="inference steps (default 1)")
    parser.add_argument("--strength", type=float, default=0.3, help="share of what is painted (default 0.3)")
    parser.add_argument("--checkpoint", default="checkpoints/mini")
    parser.add_argument("--sheet", type=Path, help="write the contact sheets beside this name, as PNG")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    parser.add_argument("--long", type=int, default=0, metavar="SECONDS", help="also measure a video of this length")
    arguments = parser.parse_args()
    pipe = SynchroRaMaPipeline.from_pretrained(arguments.checkpoint)
    figures = {}
    if arguments.pairs:
        figures["real"] = measure_real(
            pipe, arguments.pairs, arguments.steps, arguments.strength, arguments.sheet
        )
    found = [file for path in arguments.photos for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    photos = [file for file in found if file.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")][: arguments.limit]
    if photos:
        figures["generated"] = measure_generated(
            pipe, photos, arguments.steps, arguments.strength, arguments.sheet
        )
    if arguments.long:
        figures["long"] = measure_long(pipe, REPOSITORY / "assets" / "grace_hopper.jpg", arguments.long)
    if arguments.json:
        print(json.dumps(figures))
        return
    for part, values in figures.items():
        print(part)
        for name, value in values.items():
            print(f"  {name:24s}{value if not isinstance(value, float) else round(value, 4)}")


if __name__ == "__main__":
    main()
