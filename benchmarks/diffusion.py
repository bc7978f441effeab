"""What diffusion adds to the motion frames: python benchmarks/diffusion.py --pairs FOLDER [--photos FOLDER] [--json].

Two parts:

real       sequences of people that no training has seen (`prepare pairs` of the split dev): error of motion frame and
           of result to the real picture, in luminance and chroma of blocks of 4 x 4 pixels of the face region (8 x 8
           of a frame), between the lips and in the whole region; and the contact sheet photo | motion frame | result |
           real
generated  videos of photos and one recording, with and without diffusion: sharpness of the face and flicker as the
           ratio of the two; and the contact sheet photo | motion frame | result ...
"""

from __future__ import annotations

import argparse
import json
import os
import sys
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
from torch import Tensor  # noqa: E402

from synchrorama import GenerationSettings, InputError, SynchroRaMaPipeline  # noqa: E402
from synchrorama.diffusion.region import FaceRegion  # noqa: E402
from synchrorama.evaluation import quality  # noqa: E402
from synchrorama.training.diffusion import contact_sheet, paint  # noqa: E402
from synchrorama.training.pair_batches import PairSequences, unvaried  # noqa: E402

BLOCK = 4  # pixels of the face region: 8 of a frame
SPEECH = REPOSITORY / "assets" / "english_slt.flac"
SECONDS = 4
TO_LUMA_CHROMA = torch.tensor([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])


def blocks(pictures: Tensor) -> Tensor:
    """(F, 3, H, W) in [-1, 1] → luminance and chroma of blocks, (F, 3, H / 4, W / 4)."""
    return torch.einsum("dc,fchw->fdhw", TO_LUMA_CHROMA, F.avg_pool2d(pictures, BLOCK))


def measure_real(pipe: SynchroRaMaPipeline, pairs: Path, steps: int, sheet: Path | None) -> dict[str, Any]:
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
            for pictures in (batch.clip.motion[0], paint(networks, batch, steps)):
                error = (blocks(pictures) - real).abs().mean(1, keepdim=True)
                row += [float((error * mouth).sum() / mouth.sum()), float(error.mean())]
            rows.append(row)
        if rows:
            people[person] = np.mean(rows, axis=0)
        examples.append(max(map(unvaried, each), key=lambda batch: float(batch.clip.mouth.amax((0, 2, 3, 4)).sum())))
    if sheet:
        picture = contact_sheet(networks, examples, torch.device("cpu"))
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


def measure_generated(pipe: SynchroRaMaPipeline, photos: list[Path], steps: int, sheet: Path | None) -> dict[str, Any]:
    """Sharpness and flicker with diffusion over those without, for each photo."""
    rows, ratios = [], {}
    for photo in photos:
        settings = GenerationSettings(seed=1, inference_steps=steps)
        try:
            result = pipe(photo, SPEECH, settings)
        except InputError as error:
            print(f"{photo.name}: {error}", file=sys.stderr)
            continue
        result.motion = result.motion[: 25 * SECONDS]
        both = [list(each.frames) for each in (replace(result, diffusion=None), result)]
        landmarks = result.portrait.landmarks
        box = quality.face_box(landmarks[None], result.renderer.width, result.renderer.height)
        before, after = (quality.picture_quality(quality.face_picture(each, box) for each in frames) for frames in both)
        ratios[photo.stem] = {
            "sharpness": after.sharpness / before.sharpness,
            "flicker": after.flicker / max(before.flicker, 1e-6),
        }
        rows.append(_row(result, both))
    if sheet and rows:
        picture = _two_columns(np.concatenate(rows), len(rows[0]))
        cv2.imwrite(str(sheet.with_name(sheet.stem + "_generated.png")), picture[:, :, ::-1])
    tables = {name: np.array([each[name] for each in ratios.values()]) for name in ("sharpness", "flicker")}
    return {
        f"{name}_{kind}": float(of(table)) for name, table in tables.items()
        for kind, of in (("mean", np.mean), ("least", np.min), ("most", np.max))
    } | {"by_photo": {name: {k: round(v, 3) for k, v in each.items()} for name, each in ratios.items()}}  # fmt: skip


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
    parser.add_argument("--checkpoint", default="checkpoints/mini")
    parser.add_argument("--sheet", type=Path, help="write the contact sheets beside this name, as PNG")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    arguments = parser.parse_args()
    pipe = SynchroRaMaPipeline.from_pretrained(arguments.checkpoint)
    figures = {}
    if arguments.pairs:
        figures["real"] = measure_real(pipe, arguments.pairs, arguments.steps, arguments.sheet)
    found = [file for path in arguments.photos for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    photos = [file for file in found if file.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")][: arguments.limit]
    if photos:
        figures["generated"] = measure_generated(pipe, photos, arguments.steps, arguments.sheet)
    if arguments.json:
        print(json.dumps(figures))
        return
    for part, values in figures.items():
        print(part)
        for name, value in values.items():
            print(f"  {name:24s}{value if not isinstance(value, float) else round(value, 4)}")


if __name__ == "__main__":
    main()
