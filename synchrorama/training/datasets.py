"""What the networks learn from: tracked clips, the phonetic corpus, and the ways both are varied."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synchrorama.a2m import FACE_BLENDSHAPES, STYLE_NAMES
from synchrorama.audio import HOPS_PER_FRAME, MEL_BANDS, log_mel
from synchrorama.blendshapes import BLENDSHAPE_INDEX, BLENDSHAPE_NAMES, MotionSpace, lip_gap, mouth_width
from synchrorama.motion import FPS, Motion
from synchrorama.tracking import LandmarkTrack, track_motion
from synchrorama.training import corpus, noises, teacher
from synchrorama.training.phones import PHONE_INDEX
from synchrorama.visemes import lip_gap_gain

UNKNOWN = -1.0  # a closure or phone that nobody knows
_SWAPPED = {"Left": "Right", "Right": "Left"}


def _other_side(name: str) -> str:
    for side, other in _SWAPPED.items():
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name


_MIRROR = np.array([BLENDSHAPE_INDEX[_other_side(name)] for name in BLENDSHAPE_NAMES])


@dataclass
class Sequence:
    """One recording with what the face does: all arrays on the frame clock, mel at four columns a frame."""

    name: str
    mel: np.ndarray  # (4T, 80) log-mel, not normalised
    mouth: np.ndarray  # (T, 52) coefficients, mouth and jaw filled in
    gap: np.ndarray  # (T,) cm
    width: np.ndarray  # (T,) cm, of the neutral person
    closures: np.ndarray  # (T, 2) or UNKNOWN
    phones: np.ndarray  # (T,) int, -1 unknown
    style: np.ndarray  # (6,)
    weight: float
    motion: Motion | None = None  # relative to rest; tracked clips only
    split: str = "train"
    loudness: np.ndarray | None = None  # (T,), with the next: tracked clips whose phones were guessed
    spoken: tuple[np.ndarray, np.ndarray] | None = None  # phones (n,), times (n, 2) in seconds
    guessed: bool = False  # its phones are those of another language as English ears hear them

    def __len__(self) -> int:
        return len(self.mouth)


def load_clips(folder: Path, space: MotionSpace, offsets: Path | None, splits: tuple[str, ...]) -> list[Sequence]:
    """Prepared clips (see ``prepare track``), shifted so that lips and sound agree.

    Args:
        offsets: JSON written by ``train sync``: per clip by how many frames its sound lags its lips.
        splits: which of train, dev, generated to load; clips that may not train shipped weights are left out.
    """
    table = json.loads(offsets.read_text(encoding="utf-8")) if offsets else {}
    clips = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            split = str(file["split"])
            if split not in splits or not bool(file["shippable"]) or file["found"].mean() < 0.9:
                continue
            lag = int(table.get(path.stem, {}).get("offset", 0))
            clips.append(_clip(path.stem, file, space, lag))
    return [clip for clip in clips if len(clip) >= 30]


def _clip(name: str, file: np.lib.npyio.NpzFile, space: MotionSpace, lag: int) -> Sequence:
    landmarks, mel = file["landmarks"], file["mel"].astype(np.float32)
    track = LandmarkTrack(landmarks, file["found"], 1, 1)
    motion = track_motion(track, space)
    frames = min(len(motion), len(mel) // HOPS_PER_FRAME)
    motion, mel = motion[:frames], mel[: frames * HOPS_PER_FRAME]
    if lag > 0:  # the sound comes late: drop its beginning and the motion's end
        motion, mel = motion[:-lag], mel[lag * HOPS_PER_FRAME :]
    elif lag < 0:
        motion, mel = motion[-lag:], mel[: lag * HOPS_PER_FRAME]
    mouth = motion.blendshapes.copy()
    shapes = space.apply(mouth)
    gap, width = lip_gap(shapes), mouth_width(shapes)
    frames = len(mouth)
    loud, spoken = None, None
    if "phones" in file.files:
        shift = max(0, lag)
        loud = file["loudness"].astype(np.float32)[shift : shift + frames]
        spoken = file["phones"].astype(int), file["times"] - shift / FPS
    weight = np.sqrt(frames) * (0.6 if str(file["split"]) == "generated" else 1.0)
    return Sequence(
        name, mel, mouth, gap, width, np.full((frames, 2), UNKNOWN, np.float32), np.full(frames, -1),
        style_of(mouth, gap, width, space, tracked=1.0), weight, motion.relative_to_rest(),
        str(file["split"]), loud, spoken,
    )  # fmt: skip


def load_phonetic(folder: Path, space: MotionSpace, table: np.ndarray) -> list[Sequence]:
    """The phonetic corpus (see ``prepare speech``) with the teacher's answers."""
    gap_gain = lip_gap_gain(space)
    width_gain = mouth_width(space.basis)
    silence = PHONE_INDEX["sil"]
    sequences = []
    for item in corpus.load(folder):
        mel, loud = item["mel"].astype(np.float32), item["loudness"].astype(np.float32)
        phones, times = item["phones"].astype(int), item["times"].astype(float)
        frames = len(loud)
        if frames < 30:
            continue
        mouth = teacher.speak(phones, times, loud, table, gap_gain).astype(np.float32)
        gap, width = mouth @ gap_gain, mouth_width(space.neutral) + mouth @ width_gain
        clock = (np.arange(frames) + 0.5) / FPS
        spoken = np.full(frames, silence)
        for phone, (start, end) in zip(phones, times, strict=True):
            spoken[(clock >= start) & (clock < end)] = phone
        guessed = float(item["weight"]) < 0.5
        weight = np.sqrt(frames) * (1.0 if guessed else float(item["weight"]))
        sequences.append(
            Sequence(
                str(item["name"]), mel, mouth, gap, width, teacher.closures(phones, times, frames).astype(np.float32),
                spoken, style_of(mouth, gap, width, space, tracked=0.0), weight,
                guessed=guessed,
            )
        )  # fmt: skip
    return sequences


def style_of(mouth: np.ndarray, gap: np.ndarray, width: np.ndarray, space: MotionSpace, tracked: float) -> np.ndarray:
    """(6,) the style code of a sequence, see ``a2m.STYLE_NAMES``; limited to ±2.5."""
    smile = mouth[:, BLENDSHAPE_INDEX["mouthSmileLeft"]] + mouth[:, BLENDSHAPE_INDEX["mouthSmileRight"]]
    style = [
        np.log((gap.std() + 0.05) / 0.42), (gap.mean() - 0.5) / 0.3, (width.mean() - mouth_width(space.neutral)) / 0.2,
        (mouth[:, BLENDSHAPE_INDEX["mouthPucker"]].mean() - 0.2) / 0.15, (smile.mean() - 0.2) / 0.2, tracked,
    ]  # fmt: skip
    return np.clip(style, -2.5, 2.5).astype(np.float32)


def face_channels(motion: Motion) -> np.ndarray:
    """Motion relative to rest → (T, 21) what the latent governs: 13 blendshapes, gaze, rotation, translation."""
    at = motion.column
    columns = [at(name) for name in FACE_BLENDSHAPES]
    right = at("eyeLookOutLeft") - at("eyeLookInLeft")
    down = at("eyeLookDownLeft") - at("eyeLookUpLeft")
    return np.column_stack([*columns, right, down, motion.rotation, motion.translation]).astype(np.float32)


def mirrored(blendshapes: np.ndarray) -> np.ndarray:
    """(T, 52) of the face in a mirror."""
    return blendshapes[:, _MIRROR]


class Noises:
    """A store of synthetic noise and music as log-mel, and of silence, to mix in or to stay shut through."""

    def __init__(self, generator: np.random.Generator, count: int = 100, seconds: float = 6.0) -> None:
        self.noise = [log_mel(noises.noise(generator, seconds)) for _ in range(count)]
        self.music = [log_mel(noises.music(generator, seconds)) for _ in range(count)]

    def draw(self, generator: np.random.Generator, columns: int, music: bool) -> np.ndarray:
        """(columns, 80) log-mel of one sound at its normal level."""
        sounds = self.music if music else self.noise
        sound = sounds[generator.integers(len(sounds))]
        start = generator.integers(0, max(1, len(sound) - columns))
        return np.resize(sound[start : start + columns], (columns, MEL_BANDS)).copy()


@dataclass
class Variation:
    """Random changes of a training window in the log-mel domain, where a mixture is a sum of exponentials."""

    sequences: list[Sequence]
    noises: Noises
    window: int = 75  # frames

    def batches(self, generator: np.random.Generator, size: int) -> Iterator[dict[str, np.ndarray]]:
        """Endless batches; a longer sequence is drawn more often."""
        weights = np.array([sequence.weight for sequence in self.sequences])
        weights /= weights.sum()
        while True:
            drawn = generator.choice(len(self.sequences), size, p=weights)
            items = [self.vary(self.sequences[i], generator) for i in drawn]
            yield {key: np.stack([item[key] for item in items]) for key in items[0]}

    def vary(self, sequence: Sequence, generator: np.random.Generator) -> dict[str, np.ndarray]:
        """One window: cut, change the speed, the voice, the microphone and the background."""
        window, chance = self.window, generator.random
        speed = np.exp(generator.uniform(-0.18, 0.18)) if chance() < 0.5 else 1.0
        length = min(len(sequence), int(np.ceil(window * speed)))
        start = generator.integers(0, len(sequence) - length + 1)
        at = (
            np.linspace(0, length - 1, window) if length < window else np.minimum(np.arange(window) * speed, length - 1)
        )
        frames = start + at
        columns = (
            start * HOPS_PER_FRAME
            + np.repeat(at * HOPS_PER_FRAME, HOPS_PER_FRAME)
            + np.tile(np.arange(HOPS_PER_FRAME) * (at[-1] / max(window - 1, 1)), window)
        )
        mel = _interpolate(sequence.mel, np.minimum(columns, len(sequence.mel) - 1))
        nearest = np.round(frames).astype(int)
        item = {
            "mouth": _interpolate(sequence.mouth, frames),
            "closures": _latched(sequence.closures, frames),
            "phones": sequence.phones[nearest],
            "style": self._style(sequence.style, generator),
            "guessed": np.bool_(sequence.guessed),
        }
        mel = _vary_voice(mel, generator)
        mel, spoken = self._background(mel, generator)
        if not spoken:
            item["mouth"], item["closures"] = np.zeros_like(item["mouth"]), np.zeros_like(item["closures"])
            item["phones"] = np.full(window, PHONE_INDEX["sil"])
        item["mel"] = ((np.maximum(mel, -9.2) + 4) / 4).astype(np.float32)
        return item

    @staticmethod
    def _style(style: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        style = style.copy()
        known = len(STYLE_NAMES) - 1  # the articulation is always told
        if generator.random() < 0.35:
            style[:known] = 0
        style[:known] += generator.normal(0, 0.15, known)
        return style

    def _background(self, mel: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, bool]:
        """Mix in noise, babble or music at 0 to 20 dB; sometimes the background alone. Returns whether one speaks."""
        kind, peak = generator.random(), np.percentile(mel, 97)
        decibel = np.log(10) / 10  # of power, in natural logarithms
        if kind < 0.22:
            sound = self.noises.draw(generator, len(mel), music=False)
        elif kind < 0.34:
            sound = self.noises.draw(generator, len(mel), music=True)
        elif kind < 0.46:
            others = [self.sequences[generator.integers(len(self.sequences))].mel for _ in range(3)]
            sound = np.logaddexp.reduce([np.resize(other, mel.shape) for other in others])
        elif kind < 0.60:
            music = generator.random() < 0.5
            sound = self.noises.draw(generator, len(mel), music) + generator.uniform(-8, 1.5)
            return sound + generator.normal(0, 0.3), False
        elif kind < 0.62:
            return np.full_like(mel, -9.2) + np.abs(generator.normal(0, 0.5, mel.shape)), False
        else:
            return mel, True
        level = peak - np.percentile(sound, 97) - generator.uniform(0, 20) * decibel
        return np.logaddexp(mel, sound + level), True


def _vary_voice(mel: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Another vocal tract, less pitch, another microphone and level, a lost band."""
    if generator.random() < 0.6:
        bands = np.arange(MEL_BANDS) * (1 + generator.normal(0, 0.03)) + generator.uniform(-4.5, 4.5)
        mel = _interpolate(mel.T, np.clip(bands, 0, MEL_BANDS - 1)).T
    if generator.random() < 0.5:
        mel = (mel + np.roll(mel, 1, 1) + np.roll(mel, -1, 1)) / 3
    mel = mel + generator.normal(0, 0.7)
    if generator.random() < 0.6:
        mel = mel + np.cumsum(generator.normal(0, 0.09, MEL_BANDS))
    if generator.random() < 0.3:
        first = generator.integers(0, 70)
        mel = mel.copy()
        mel[:, first : first + generator.integers(2, 10)] = mel.mean()
    return mel


def _interpolate(array: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Rows of (N, K) at fractional positions."""
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, len(array) - 1)
    share = (at - low)[:, None].astype(np.float32)
    return array[low] * (1 - share) + array[high] * share


def _latched(closures: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Closures at fractional positions; one that touches a frame shuts it, interpolation would open it a little."""
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, len(closures) - 1)
    share = (at - low)[:, None]
    return np.maximum(np.where(share < 0.75, closures[low], UNKNOWN), np.where(share > 0.25, closures[high], UNKNOWN))
