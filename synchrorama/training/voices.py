"""Recordings of acted emotion as training data: what their labels mean here, and in how many ways they may sound.

Decided before anything was trained:

- The labels of the corpora become emotions, and points of the valence-arousal plane, by ``LABELS``. The points of the
  emotions are ``CIRCUMPLEX``. Calm and bored speech is ``neutral``; its arousal is that of "relaxed" (0.68, -0.46) and
  "bored" (-0.65, -0.62) of the same study (Russell & Mehrabian 1977), its valence 0.3 times theirs, since a voice that
  is merely calm or flat says little about pleasure.
- RAVDESS says how strongly was acted (fourth field of its file names): 1, normal, counts 0.75, and 2, strong, 1.
- High arousal: angry, happy, fearful, surprised. Low: sad, neutral, calm, bored. Disgust is neither.
- Positive valence: happy. Negative: sad, angry, fearful, disgusted. Surprise and the neutral ones are neither.
"""

from __future__ import annotations

import csv
import subprocess
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt

from synchrorama.audio import SAMPLE_RATE, log_mel
from synchrorama.emotion.categories import CIRCUMPLEX, EMOTION_INDEX
from synchrorama.emotion.speech import HEARD_EMOTIONS
from synchrorama.media import read_speech
from synchrorama.training import noises

LABELS = {
    "neutral": ("neutral", 0.0, 0.0),
    "calm": ("neutral", 0.3 * 0.68, -0.46),
    "bored": ("neutral", 0.3 * -0.65, -0.62),
} | {
    label: (emotion, *map(float, CIRCUMPLEX[EMOTION_INDEX[emotion]]))
    for label, emotion in {
        "happy": "happy", "sad": "sad", "angry": "angry", "fear": "fearful", "disgust": "disgusted",
        "surprise": "surprised",
    }.items()
}  # fmt: skip
"""Label of a corpus → emotion, valence, arousal."""

HIGH_AROUSAL, LOW_AROUSAL = ("angry", "happy", "fearful", "surprised"), ("sad", "neutral")
POSITIVE, NEGATIVE = ("happy",), ("sad", "angry", "fearful", "disgusted")
_NORMAL_INTENSITY = 0.75
_HELD_OUT_READERS = 10, 3  # of ten readers of neutral speech, this many measure and do not train
_LONGEST = 8.0  # seconds of one recording


@dataclass
class Voice:
    """One recording and its variations."""

    file: Path
    corpus: str
    speaker: str
    label: str
    strength: float
    mels: list[np.ndarray]  # (4T, 80) float16 each: as recorded, then as it might have been

    @property
    def emotion(self) -> int:
        return EMOTION_INDEX[LABELS[self.label][0]]

    @property
    def plane(self) -> tuple[float, float]:
        """Valence and arousal."""
        return LABELS[self.label][1] * self.strength, LABELS[self.label][2] * self.strength


def list_voices(data: Path, manifest: Path, split: str) -> list[Voice]:
    """The recordings of one split ("train" or "dev") of a manifest with the columns file, class, split, identity,
    emotion and shippable, whose class is ``emo_speech`` (acted) or ``read_speech`` (taken for neutral).

    Read speech has no split: three in ten of its readers, in the order of their names, are for measuring.
    """
    with manifest.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["shippable"] == "True"]
    readers = sorted({row["identity"] for row in rows if row["class"] == "read_speech"})
    tens, out = _HELD_OUT_READERS
    held_out = {reader for i, reader in enumerate(readers) if i % tens >= tens - out}
    voices = []
    for row in rows:
        speaker, strength, label = row["identity"], 1.0, row["emotion"]
        if row["class"] == "read_speech":
            row_split, label = "dev" if speaker in held_out else "train", "neutral"
        elif row["class"] == "emo_speech" and label in LABELS:
            row_split = row["split"]
            name = Path(row["file"]).stem.rsplit("__", 1)[-1].split("-")
            if speaker.startswith("ravdess") and name[3] == "01":
                strength = _NORMAL_INTENSITY
        else:
            continue
        if row_split == split:
            voices.append(Voice(data / row["file"], speaker.split("_")[0], speaker, label, strength, []))
    return voices


def corpus_emotions(voices: list[Voice]) -> dict[str, np.ndarray]:
    """Corpus → (7,) bool, the emotions that it has. That others are absent from it is no evidence against them."""
    masks: dict[str, np.ndarray] = {}
    for voice in voices:
        masks.setdefault(voice.corpus, np.zeros(len(HEARD_EMOTIONS), bool))[voice.emotion] = True
    return {corpus: mask if mask.sum() > 1 else np.ones_like(mask) for corpus, mask in masks.items()}


def hear_voices(voices: list[Voice], cache: Path, variations: int, seed: int) -> None:
    """Fill in ``mels``: as recorded and ``variations`` more, kept in the folder ``cache`` for the next time."""
    cache.mkdir(parents=True, exist_ok=True)
    copies = range(variations + 1)
    missing = [copy for copy in copies if not (cache / f"{copy}.npz").exists()]
    if missing:
        made: dict[int, dict[str, np.ndarray]] = {copy: {} for copy in missing}
        for voice in voices:
            speech = read_speech(voice.file).samples[: int(_LONGEST * SAMPLE_RATE)]
            for copy in missing:
                generator = np.random.default_rng([seed, copy, *voice.file.name.encode()])
                varied = vary(speech, generator) if copy else speech
                made[copy][voice.file.name] = log_mel(varied).astype(np.float16)
        for copy in missing:
            np.savez(cache / f"{copy}.npz", **made[copy])
    for copy in copies:
        with np.load(cache / f"{copy}.npz") as known:
            for voice in voices:
                voice.mels.append(known[voice.file.name])


def vary(speech: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The same words in another throat, room, noise and over another line: (n,) → about as many samples.

    Pitch and formants move together by at most two semitones, so that an excited voice stays an excited one.
    """
    if generator.random() < 0.7:
        speech = resample(speech, 2 ** (generator.uniform(-2, 2) / 12))
    if generator.random() < 0.5:
        speech = stretch(speech, generator.uniform(0.87, 1.15))
    if generator.random() < 0.4:
        speech = reverberate(speech, generator)
    if generator.random() < 0.5:
        speech = add_noise(speech, generator)
    if generator.random() < 0.5:
        speech = over_a_line(speech, generator)
    return np.clip(speech * generator.uniform(0.1, 1.0), -1, 1).astype(np.float32)


def resample(speech: np.ndarray, factor: float) -> np.ndarray:
    """Play faster by ``factor``: pitch, formants and tempo rise together."""
    return resample_poly(speech, 100, round(100 * factor)).astype(np.float32)


def stretch(speech: np.ndarray, factor: float) -> np.ndarray:
    """Make longer by ``factor`` at the same pitch: pieces of 40 ms, each laid where it fits best what is there
    (waveform-similarity overlap-add, Verhelst & Roelands 1993)."""
    size, reach = 640, 160
    hop, fade = size // 2, np.hanning(size)
    if len(speech) < 2 * size:
        return speech
    padded = np.pad(speech, (reach, size + 2 * reach + hop))
    count = int(len(speech) * factor) // hop
    stretched = np.zeros(count * hop + size, np.float32)
    follow = None
    for i in range(count):
        start = min(int(i * hop / factor), len(speech))
        area = padded[start : start + size + 2 * reach]
        at = reach if follow is None else int(np.argmax(np.correlate(area, follow, "valid")))
        stretched[i * hop : i * hop + size] += area[at : at + size] * fade
        begin = min(start + at + hop, len(padded) - size)
        follow = padded[begin : begin + size]
    return stretched[: count * hop]


def reverberate(speech: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A room: noise that decays by 60 dB within 0.1 to 0.8 s."""
    seconds = generator.uniform(0.1, 0.8)
    tail = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    response = generator.normal(size=len(tail)) * 10 ** (-3 * tail / seconds)
    response *= generator.uniform(0.2, 1.0) / (np.linalg.norm(response) + 1e-9)
    response[0] += 1
    return fftconvolve(speech, response)[: len(speech)].astype(np.float32)


def add_noise(speech: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Noise, sometimes music, 5 to 30 dB below the voice."""
    make = noises.music if generator.random() < 0.2 else noises.noise
    sound = make(generator, len(speech) / SAMPLE_RATE + 0.1)[: len(speech)]
    ratio = 10 ** (-generator.uniform(5, 30) / 20)
    return speech + sound * (ratio * speech.std() / (sound.std() + 1e-9))


def over_a_line(speech: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Telephone band, low-pass, µ-law steps, or a tilted spectrum; or a real MP3 or Opus coder at a low rate."""
    kind = generator.integers(6)
    if kind == 0:
        band = [generator.uniform(150, 350), generator.uniform(3000, 3800)]
        return sosfilt(butter(4, band, "bandpass", fs=SAMPLE_RATE, output="sos"), speech)
    if kind == 1:
        return sosfilt(butter(4, generator.uniform(2500, 7500), fs=SAMPLE_RATE, output="sos"), speech)
    if kind == 2:
        peak = np.abs(speech).max() + 1e-9
        law = np.sign(speech) * np.log1p(255 * np.abs(speech) / peak) / np.log(256)
        law = np.round(law * 127) / 127
        return np.sign(law) * (256 ** np.abs(law) - 1) / 255 * peak
    if kind == 3:
        return np.append(0, speech[1:] + generator.uniform(-0.6, 0.6) * speech[:-1])
    coder, container = (("libmp3lame", "mp3"), ("libopus", "ogg"))[kind - 4]
    return _coded(speech, coder, container, int(generator.choice([16, 24, 32])))


def _coded(speech: np.ndarray, coder: str, container: str, rate: int) -> np.ndarray:
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-threads", "1"]
    raw = ["-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", "1"]
    encode = [*ffmpeg, *raw, "-i", "-", "-c:a", coder, "-b:a", f"{rate}k", "-f", container, "-"]
    decode = [*ffmpeg, "-f", container, "-i", "-", *raw, "-"]
    coded = subprocess.run(encode, input=speech.astype("<f4").tobytes(), capture_output=True, check=True).stdout
    sound = np.frombuffer(subprocess.run(decode, input=coded, capture_output=True, check=True).stdout, "<f4")
    return np.pad(sound, (0, max(0, len(speech) - len(sound))))[: len(speech)]


def noise_mels(count: int, seed: int) -> list[np.ndarray]:
    """Log-mel of sounds without a voice: noise, music, near silence."""
    generator, mels = np.random.default_rng(seed), []
    for i in range(count):
        sound = (noises.noise, noises.music)[i % 2](generator, 4.0)
        if i % 8 == 0:
            sound = sound * 10 ** generator.uniform(-4, -2)
        mels.append(log_mel(sound).astype(np.float16))
    return mels
