"""Build the phonetic corpus (``python -m synchrorama prepare speech``): log-mel and phones of many utterances.

Every item becomes one ``.npz``: mel (4T, 80) float16, loudness (T,) float16, phones (n,) int8 into PHONES,
times (n, 2) float32 seconds, weight (how far its phone times can be trusted).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from synchrorama.audio import SAMPLE_RATE, log_mel, loudness
from synchrorama.training import phones as phone_sources
from synchrorama.training.phones import PHONE_INDEX, Utterance
from synchrorama.training.sentences import OTHER_LANGUAGES, english_sentence

# The voice rms stays out of training: lips are measured on it.
FLITE_VOICES = {"slt": 170.0, "awb": 125.0, "kal16": 105.0, "kal": 105.0}  # usual pitch in Hz
ESPEAK_VARIANTS = (
    "", "+f1", "+f2", "+f3", "+f4", "+f5", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7",
    "+croak", "+anika", "+linda", "+steph", "+adam", "+david", "+john", "+whisper", "+whisperf",
)  # fmt: skip
RAVDESS_TEXTS = {"01": "kids are talking by the door", "02": "dogs are sitting by the door"}


def build(folder: Path, recordings: list[Path], synthetic: int = 600, seed: int = 1) -> int:
    """Write the corpus to ``folder`` and return the number of items; existing items are kept, so it can be resumed.

    Args:
        recordings: speech files. Those of RAVDESS are aligned with their known text, English ones (LibriSpeech) with
            what is recognised in them, others get guessed phones.
        synthetic: number of English synthetic utterances per synthesiser; other languages add their own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    jobs = [*_synthetic_jobs(synthetic, seed), *((_name(path), path) for path in recordings)]
    for name, job in jobs:
        target = folder / f"{name}.npz"
        if not target.exists():
            found = _from_recording(job) if isinstance(job, Path) else job()
            if found is None or not found[0].phones:
                continue
            _save(target, *found)
        count += 1
    return count


def load(folder: Path) -> Iterator[dict[str, np.ndarray]]:
    """The items of a corpus as dictionaries of arrays, with their ``name``."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            yield {"name": np.array(path.stem), **{key: file[key] for key in file.files}}


def _synthetic_jobs(count: int, seed: int) -> Iterator[tuple[str, object]]:
    source = random.Random(seed)
    words = _dictionary_words()
    voices = list(FLITE_VOICES)
    for i in range(count):
        text = english_sentence(source, words)
        voice = voices[i % len(voices)]
        pitch, stretch = FLITE_VOICES[voice] * source.uniform(0.75, 1.35), source.uniform(0.8, 1.35)
        yield (
            f"flite_{i:04d}_{voice}",
            lambda t=text, v=voice, p=pitch, s=stretch: (phone_sources.flite(t, v, p, s), 1.0),
        )
    for i in range(count):
        text = english_sentence(source, words)
        voice = source.choice(("en-us", "en-gb-x-rp", "en-gb-scotland")) + source.choice(ESPEAK_VARIANTS)
        speed, pitch = source.randint(120, 210), source.randint(20, 80)
        yield f"espeak_{i:04d}", lambda t=text, v=voice, w=speed, p=pitch: (phone_sources.espeak(t, v, w, p), 0.8)
    for language, sentences in OTHER_LANGUAGES.items():
        for i in range(count // 6):
            text = source.choice(sentences)
            voice, speed = language + source.choice(ESPEAK_VARIANTS), source.randint(120, 200)
            yield (
                f"espeak_{language}_{i:03d}",
                lambda t=text, v=voice, w=speed: (phone_sources.espeak(t, v, w), 0.8),
            )


def _from_recording(path: Path) -> tuple[Utterance, float] | None:
    samples, rate = soundfile.read(path, dtype="float32")
    samples = samples.mean(1) if samples.ndim > 1 else samples
    if rate != SAMPLE_RATE:
        import librosa

        samples = librosa.resample(samples, orig_sr=rate, target_sr=SAMPLE_RATE)
    if "ravdess" in path.name:
        code = path.stem.split("__")[-1].split("-")[4]
        aligned = phone_sources.align(samples, RAVDESS_TEXTS[code])
        return (aligned, 0.8) if aligned else None
    if "librispeech" in str(path):
        recognised = phone_sources.recognise(samples)
        return (recognised, 0.8) if recognised else None
    return phone_sources.guess_phones(samples), 0.4


def _save(target: Path, utterance: Utterance, weight: float) -> None:
    temporary = target.with_suffix(".tmp.npz")
    np.savez(
        temporary,
        mel=log_mel(utterance.speech).astype(np.float16),
        loudness=loudness(utterance.speech).astype(np.float16),
        phones=np.array([PHONE_INDEX[phone] for phone, _, _ in utterance.phones], np.int8),
        times=np.array([(start, end) for _, start, end in utterance.phones], np.float32),
        weight=np.float32(weight),
    )
    temporary.replace(target)


def _name(path: Path) -> str:
    return f"{path.parent.name}_{path.stem}"


def _dictionary_words() -> list[str]:
    from pocketsphinx import get_model_path

    lines = Path(get_model_path("en-us/cmudict-en-us.dict")).read_text(encoding="utf-8").splitlines()
    return sorted({word for line in lines if re.fullmatch("[a-z]{3,9}", word := line.split()[0])})
