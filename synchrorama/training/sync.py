"""Train the sync network: ``python -m synchrorama train sync --data PREPARED --output FOLDER``.

Clips from different sources are out of sync by constant amounts of up to a few frames. So two networks, each trained
on half of the people, estimate the offset of every clip that they have not seen; this is done again with the clips
shifted accordingly; then the network that is kept learns from the aligned clips. About ten minutes on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from synchrorama.blendshapes import MotionSpace
from synchrorama.errors import InputError
from synchrorama.evaluation.sync import (
    EDGE_FRAMES,
    LIP_POINTS,
    SHORTEST,
    SyncNet,
    contrast_in_time,
    lip_points,
    normalize_lips,
    result_of,
)

CROP_FRAMES = 50 + 2 * EDGE_FRAMES  # 2 s that count
SPEED = 0.12
SURE = 0.12  # confidence from which a clip's own offset is believed
OFFSET_CONVENTION = (
    "offset in frames at 25 per second; positive = the sound is late (the picture leads): "
    "lips[t] belong to mel of frame t + offset"
)
# Reversing both lip rings around the corners mirrors the mouth.
_MIRROR = [(10 - i) % 20 for i in range(20)] + [20 + (10 - i) % 20 for i in range(20)]


@dataclass
class Clip:
    """One prepared clip, as the sync network sees it."""

    name: str
    source: str
    """Person, or system for generated clips: what train and held-out parts and offsets are grouped by."""
    split: str
    shippable: bool
    lips: np.ndarray  # (T, 40, 2) cm
    mel: np.ndarray  # (4T, 80)
    offset: int = 0
    distances: np.ndarray | None = field(default=None, repr=False)


def read_clips(folder: Path, space: MotionSpace) -> list[Clip]:
    """Prepared clips (.npz with landmarks, found, mel, name, identity, split) of a folder, those of a second or more.

    Raises:
        InputError: there is none.
    """
    clips = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            if len(file["landmarks"]) < SHORTEST or file["found"].mean() < 0.9:
                continue
            identity = str(file["identity"])
            clips.append(
                Clip(
                    name=path.stem,
                    source="_".join(identity.split("_")[:2]) if identity.startswith("gen_") else identity,
                    split=str(file["split"]),
                    shippable=bool(file["shippable"]) if "shippable" in file else True,
                    lips=lip_points(file["landmarks"], space),
                    mel=file["mel"].astype(np.float32),
                )
            )
    if not clips:
        raise InputError(f"The folder {str(folder)!r} holds no prepared clips; make them with prepare track.")
    return clips


def share(text: str, seed: int) -> float:
    """A number in [0, 1) that depends on the text and the seed only: who is held out, who is in which half."""
    return int(hashlib.sha256(f"{seed}/{text}".encode()).hexdigest()[:8], 16) / 2**32


def halves(clips: list[Clip], seed: int) -> tuple[list[Clip], list[Clip]]:
    """Two parts of about equal duration without common sources."""
    seconds: dict[str, int] = {}
    for clip in clips:
        seconds[clip.source] = seconds.get(clip.source, 0) + len(clip.lips)
    parts: tuple[set[str], set[str]] = (set(), set())
    filled = [0, 0]
    for source in sorted(seconds, key=lambda source: share(source, seed)):
        lighter = int(filled[1] < filled[0])
        parts[lighter].add(source)
        filled[lighter] += seconds[source]
    first, second = ([clip for clip in clips if clip.source in part] for part in parts)
    return first, second


class Crops:
    """Random, augmented crops of aligned lips and sound."""

    def __init__(self, clips: list[Clip], rng: np.random.Generator) -> None:
        self._clips, self._rng = clips, rng
        self._lips = [normalize_lips(torch.from_numpy(clip.lips)[None])[0].flatten(1).numpy() for clip in clips]
        weight = np.sqrt([len(clip.lips) for clip in clips])
        self._weight = weight / weight.sum()

    def batch(self, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(size, 62, 40, 2) normalised lips, (size, 248, 80) mel, (size, 62) which frames exist."""
        rng = self._rng
        drawn = [self._crop(self._clips[i], self._lips[i]) for i in rng.choice(len(self._clips), size, p=self._weight)]
        lips, mel, valid = (np.stack(part) for part in zip(*drawn, strict=True))
        return torch.from_numpy(self._vary_lips(lips)), torch.from_numpy(self._vary_mel(mel)), torch.from_numpy(valid)

    def _crop(self, clip: Clip, normalised: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        speed = self._rng.uniform(1 - SPEED, 1 + SPEED)
        # frames whose sound exists too
        first, last = max(0, -clip.offset), len(clip.lips) - max(0, clip.offset)
        wanted = CROP_FRAMES * speed
        start = first + self._rng.uniform(0, max(1e-6, last - first - wanted))
        at = start + speed * np.arange(CROP_FRAMES)
        lips = _at(normalised, at).reshape(-1, LIP_POINTS, 2)
        columns = 4 * (start + clip.offset) + speed * (np.arange(4 * CROP_FRAMES) + 0.5) - 0.5
        return lips, _at(clip.mel, columns), at < last - EDGE_FRAMES * speed

    def _vary_lips(self, lips: np.ndarray) -> np.ndarray:
        rng, n = self._rng, len(lips)
        if rng.random() < 0.5:  # as seen in a short clip, whose mean is its own
            lips = lips - lips.mean(1, keepdims=True)
        mirrored = rng.random(n) < 0.5
        lips[mirrored] = lips[mirrored][:, :, _MIRROR] * np.float32([-1, 1])
        smooth = rng.random(n) < 0.2  # as other trackers and renderers do
        lips[smooth, 1:-1] = 0.5 * lips[smooth, 1:-1] + 0.25 * (lips[smooth, :-2] + lips[smooth, 2:])
        angle = rng.normal(0, 0.05, n)
        turn = np.stack([np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)], -1).reshape(n, 1, 2, 2)
        size = rng.uniform(0.75, 1.3, (n, 1, 1, 1)) * rng.uniform(0.9, 1.1, (n, 1, 1, 2))
        shape = rng.normal(0, 0.06, (n, 1, LIP_POINTS, 2)) + rng.normal(0, 0.06, (n, 1, 1, 2))
        noise = rng.uniform(0, 0.03, (n, 1, 1, 1)) * rng.normal(size=lips.shape)
        return (lips @ turn * size + shape + noise).astype(np.float32)

    def _vary_mel(self, mel: np.ndarray) -> np.ndarray:
        rng, n, bands = self._rng, len(mel), mel.shape[-1]
        position = np.arange(bands) / bands - 0.5
        for i in range(n):
            moved = np.arange(bands) * rng.uniform(0.95, 1.05) + rng.uniform(-4, 4)  # another voice
            low = np.clip(np.floor(moved).astype(int), 0, bands - 2)
            part = np.clip(moved - low, 0, 1).astype(np.float32)
            mel[i] = mel[i][:, low] * (1 - part) + mel[i][:, low + 1] * part
        if rng.random() < 0.3:  # another voice behind some of the clips
            behind = rng.random(n) < 0.3
            other = np.roll(mel, 1, 0) - rng.uniform(2.5, 6, (n, 1, 1)).astype(np.float32)
            mel[behind] = np.logaddexp(mel[behind], other[behind])
        mel = mel + rng.normal(0, 0.6, (n, 1, 1)) + rng.normal(0, 1.2, (n, 1, 1)) * position
        floor = rng.uniform(-10, -3.5, (n, 1, 1)) + rng.normal(0, 1, (n, 1, 1)) * position
        mel = np.logaddexp(mel, floor + 0.4 * rng.normal(size=mel.shape))
        for i in np.flatnonzero(rng.random(n) < 0.4):
            start, width = rng.integers(0, bands - 12), rng.integers(2, 12)
            mel[i, :, start : start + width] = mel[i].mean()
            start, width = rng.integers(0, mel.shape[1] - 12), rng.integers(2, 12)
            mel[i, start : start + width] = mel[i].mean()
        return mel.astype(np.float32)


def _at(track: np.ndarray, position: np.ndarray) -> np.ndarray:
    """(T, C) track → its linear interpolation at positions in frames, held at the ends."""
    position = np.clip(position, 0, len(track) - 1)
    low = np.minimum(position.astype(int), len(track) - 2)
    part = (position - low).astype(np.float32)[:, None]
    return track[low] * (1 - part) + track[low + 1] * part


def train(clips: list[Clip], steps: int, seed: int, label: str, batch: int = 24, rate: float = 2e-3) -> SyncNet:
    """A network that has learnt from the clips, which are taken as aligned by their ``offset``."""
    torch.manual_seed(seed)
    net = SyncNet().train()
    crops = Crops(clips, np.random.default_rng(seed))
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.15)
    began, running = time.time(), None
    for step in range(1, steps + 1):
        lips, mel, valid = crops.batch(batch)
        loss = _loss(net, lips, mel, valid)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        running = loss.item() if running is None else 0.97 * running + 0.03 * loss.item()
        if step % 100 == 0 or step == steps:
            print(f"{label} step {step}/{steps} loss {running:.3f} {time.time() - began:.0f} s", flush=True)
    return net.eval()


def _loss(net: SyncNet, lips: torch.Tensor, mel: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    inner = slice(EDGE_FRAMES, -EDGE_FRAMES)
    seen, heard = net.encode_lips(lips)[:, inner], net.encode_sound(mel)[:, inner]
    sharpness = net.log_sharpness.exp().clamp(max=30)
    complete = valid[:, inner].all(1)
    within = contrast_in_time(seen[complete], heard[complete], sharpness)
    # and among other clips: every third frame of all
    keep = valid[:, inner][:, ::3]
    a, b = seen[:, ::3][keep], heard[:, ::3][keep]
    logits = sharpness * a @ b.T
    own = torch.arange(len(logits))
    return within + 0.25 * (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own))


def align(clips: list[Clip], learnt: list[Clip], steps: int, seed: int, in_sync: tuple[str, ...]) -> None:
    """Estimate the offset of all clips by two networks, each of which learns from half of the people of ``learnt``."""
    parts = halves(learnt, seed)
    nets = [train(part, steps, seed + i, f"half {i}") for i, part in enumerate(parts)]
    for clip in clips:
        unseen = [net for net, part in zip(nets, parts, strict=True) if clip not in part]
        clip.distances = np.mean([net.distances(clip.lips, clip.mel) for net in unseen], axis=0)
    estimate_offsets(clips, in_sync)


def estimate_offsets(clips: list[Clip], in_sync: tuple[str, ...] = ()) -> None:
    """Set ``offset`` of clips from their ``distances``, which are those of networks that have not seen them.

    A clip takes the usual offset of its source if that is known from three clips, unless it says clearly that it
    differs by more than a frame, or if it says little for itself. What zero means is a matter of the sources a network
    has learnt from; recordings known to be in sync correct it.

    Args:
        in_sync: beginnings of the names of sources that are known to be in sync, such as laboratory recordings.
    """
    results = {clip.name: result_of(clip.distances) for clip in clips}
    sure = [clip for clip in clips if results[clip.name].confidence >= SURE and abs(results[clip.name].offset) <= 8]
    known = [results[clip.name].offset for clip in sure if clip.source.startswith(in_sync)] if in_sync else []
    zero = round(float(np.mean(known))) if known else 0
    for clip in clips:
        others = [results[other.name].offset for other in sure if other.source == clip.source]
        usual = round(float(np.median(others))) if others else zero
        own = results[clip.name].offset
        believed = clip in sure and (len(others) < 3 or abs(own - usual) > 1)
        clip.offset = (own if believed else usual) - zero


def write_offsets(clips: list[Clip], path: Path) -> None:
    """Write {name: {offset, confidence}} for every clip, the convention under "_convention"."""
    table: dict[str, object] = {"_convention": OFFSET_CONVENTION}
    for clip in clips:
        table[clip.name] = {"offset": clip.offset, "confidence": round(result_of(clip.distances).confidence, 3)}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def examine(net: SyncNet, clips: list[Clip], seed: int = 0) -> dict[str, float]:
    """How well a network does on clips it has not learnt from, taken as aligned by their ``offset``.

    Returns:
        found: share of clips whose offset it finds within one frame; confidence and distance: means;
        swapped_confidence: the mean with the sound of another clip; auc: how well the distance at no offset tells
        true from swapped sound.
    """
    rng = np.random.default_rng(seed)
    found, true, swapped, at_zero_true, at_zero_swapped = [], [], [], [], []
    for i, clip in enumerate(clips):
        distances = net.distances(*_aligned(clip))
        true.append(result_of(distances))
        found.append(abs(true[-1].offset) <= 1)
        at_zero_true.append(distances[len(distances) // 2])
        for other in rng.choice([c for j, c in enumerate(clips) if j != i], min(5, len(clips) - 1), replace=False):
            frames = min(len(clip.lips), len(other.lips))
            distances = net.distances(clip.lips[:frames], other.mel[: 4 * frames])
            swapped.append(result_of(distances))
            at_zero_swapped.append(distances[len(distances) // 2])
    return {
        "clips": len(clips),
        "found": float(np.mean(found)),
        "confidence": float(np.mean([result.confidence for result in true])),
        "distance": float(np.mean([result.distance for result in true])),
        "swapped_confidence": float(np.mean([result.confidence for result in swapped])),
        "auc": float(np.mean(np.array(at_zero_true)[:, None] < np.array(at_zero_swapped))),
    }


def _aligned(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """Lips and mel of a clip with its offset taken out."""
    frames, late = len(clip.lips), clip.offset
    first, last = max(0, -late), frames - max(0, late)
    return clip.lips[first:last], clip.mel[4 * (first + late) : 4 * (last + late)]


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``python -m synchrorama train sync``."""
    parser = argparse.ArgumentParser(prog="python -m synchrorama train sync", description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, type=Path, help="folder of clips made by prepare track")
    parser.add_argument("--output", required=True, type=Path, help="folder for the network")
    parser.add_argument("--motion-space", type=Path, default=Path("checkpoints/mini/motion_space"))
    parser.add_argument("--seed", type=int, default=0, help="also decides who is held out")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--alignments", type=int, default=2, help="how often offsets are estimated before")
    parser.add_argument("--alignment-steps", type=int, default=400, help="for each half of the people, each time")
    parser.add_argument("--held-out", type=float, default=0.12, help="share of the people kept for measuring")
    parser.add_argument("--in-sync", default="", help="sources known to be in sync (beginnings of names, commas)")
    parser.add_argument("--offsets", type=Path, help="write the offset of every clip here")
    parser.add_argument("--known-offsets", type=Path, help="offsets of an earlier run: no alignment")
    options = parser.parse_args(argv)

    torch.set_num_threads(1)
    clips = read_clips(options.data, MotionSpace.from_pretrained(options.motion_space))
    usable = [clip for clip in clips if clip.shippable and clip.split != "dev"]
    held_out = [clip for clip in usable if share(clip.source, options.seed) < options.held_out]
    learnt = [clip for clip in usable if clip not in held_out]
    print(f"{len(learnt)} clips to learn from, {len(held_out)} held out, {len(clips)} in all")

    if options.known_offsets:
        known = json.loads(options.known_offsets.read_text(encoding="utf-8"))
        for clip in clips:
            clip.offset = known[clip.name]["offset"]
    else:
        in_sync = tuple(filter(None, options.in_sync.split(",")))
        for number in range(options.alignments):
            align(clips, learnt, options.alignment_steps, options.seed + 10 * number, in_sync)
    if options.offsets:
        write_offsets(clips, options.offsets)
    net = train(learnt, options.steps, options.seed + 2, "final")
    net.save_pretrained(options.output)
    for name, part in (("held out", held_out), ("dev", [clip for clip in clips if clip.split == "dev"])):
        if len(part) > 1:
            print(name, {key: round(value, 3) for key, value in examine(net, part).items()})
    return 0
