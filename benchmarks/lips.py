"""How well the lips of generated videos follow the sound: python benchmarks/lips.py [--data FOLDER] [--json].

Six parts, of which --parts chooses some:

clips      real clips with sound in ../data: lip gap and mouth width of the generated motion against the tracked ones,
           aligned by the sync network (or by --offsets of ``train sync``)
closures   flite sentences of a voice and texts that no training has seen, made into videos, tracked again from the
           pixels: p, b, m that shut and vowels that falsely shut; clean and with white noise, babble and music at 10 dB
phones     the same count on the motion itself, without a video: seconds instead of minutes
silence    noise, music and silence alone: mean opening of the lips over that in speech
languages  recordings in seven languages: sync confidence relative to English
face       blinks, head motion and jerk of the videos of "closures" against the real clips

Needs flite (Debian: apt-get install flite) for closures, phones and silence, and a data folder with MANIFEST.csv,
clips/dev and speech/ for the rest.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

import numpy as np  # noqa: E402

from synchrorama import GenerationSettings, SynchroRaMaPipeline  # noqa: E402
from synchrorama.acting import act  # noqa: E402
from synchrorama.audio import SAMPLE_RATE, frame_count, log_mel, loudness  # noqa: E402
from synchrorama.blendshapes import eye_opening, lip_gap, mouth_width  # noqa: E402
from synchrorama.emotion.direction import parse_emotion  # noqa: E402
from synchrorama.emotion.embedding import chosen  # noqa: E402
from synchrorama.evaluation import quality  # noqa: E402
from synchrorama.evaluation.report import load_sync_net, mel_for  # noqa: E402
from synchrorama.evaluation.sync import SyncResult  # noqa: E402
from synchrorama.face_topology import LIPS  # noqa: E402
from synchrorama.media import read_speech  # noqa: E402
from synchrorama.motion import Motion, rotation_vector  # noqa: E402
from synchrorama.scene import ScenePlan  # noqa: E402
from synchrorama.tracking import track_video  # noqa: E402

VOICE = "rms"
TEXTS = (
    "Please put both empty cups beside the lamp.",
    "A small plump rabbit jumped up from the bush.",
    "The champion climbed the steep path in December.",
    "Grandma bakes apple pie and plum jam every summer.",
    "Peter's puppy was barking at the postman.",
    "Nobody bumped into the marble column by the entrance.",
    "The captain mopped the deck of the ship this morning.",
    "Both bakers complained about the damp cupboard.",
    "My uncle repaired the broken pump behind the barn.",
    "Bumblebees hum among the poppies and the mint.",
    "The drummer tapped a simple rhythm on the table.",
    "Maybe the museum opens at about a quarter past nine.",
    "A heap of paper lamps was packed in the basement.",
    "Some people prefer a cheap apartment to a palace.",
    "The boy stumbled and dropped a tub of popcorn.",
    "Camels and zebras roam the open plain.",
    "Tom compared the price of lemons and mushrooms.",
    "The submarine submerged below the black iceberg.",
    "I hope the plumber will stop that pipe from dripping.",
    "Amber and emerald beads hung from the ribbon.",
)
LANGUAGES = ("en", "de", "es", "fr", "ja", "ru", "zh")
PER_VIDEO = 4  # sentences in one video
PAUSE = 0.3  # seconds between them
NOISE_DECIBELS = 10.0
LONGEST = 20.0  # seconds of a recording that "languages" uses

Spoken = tuple[np.ndarray, list[tuple[str, float, float]]]  # sound (n,) at 16 kHz; phones with start and end in s
Face = dict[str, np.ndarray]  # tracks of one video: lips (T, 40, 2) cm, gap, width, eyes (T, 2), rotation (T, 3)


@dataclass
class Line:
    """One line of the result: what, its value, what it should be and whether it is."""

    part: str
    name: str
    value: float
    target: str = ""
    met: bool | None = None


class Benchmark:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.pipeline = SynchroRaMaPipeline.from_pretrained(options.checkpoint)
        self.space = self.pipeline.motion_space
        self.net = load_sync_net(self.pipeline.profile.checkpoint.folder("sync_net").parent)
        self.lines: list[Line] = []
        self.generated: list[Face] = []  # the clean videos of "closures", for "face"

    def add(self, part: str, name: str, value: float, at_least: float = -np.inf, at_most: float = np.inf) -> None:
        bounds = [f">= {at_least:g}"] * (at_least > -np.inf) + [f"<= {at_most:g}"] * (at_most < np.inf)
        met = bool(at_least <= value <= at_most) if bounds else None
        self.lines.append(Line(part, name, float(value), ", ".join(bounds), met))
        print(self.format(self.lines[-1]), file=sys.stderr, flush=True)

    @staticmethod
    def format(line: Line) -> str:
        mark = {None: "", True: "met", False: "MISSED"}[line.met]
        return f"{line.part:10s} {line.name:52s} {line.value:9.3f}  {line.target:18s} {mark}".rstrip()

    def motion(self, speech: np.ndarray, seed: int = 0) -> Motion:
        if self.options.emotion is None:
            return self.pipeline.a2m.generate(speech, seed=seed)
        track = chosen(parse_emotion(self.options.emotion), frame_count(len(speech) / SAMPLE_RATE))
        acting = act(track, 1.0, np.zeros(52), loudness(speech), ScenePlan(), seed)
        return self.pipeline.a2m.generate(speech, seed=seed, emotion=track.embedding, acting=acting)

    def settings(self, seed: int) -> GenerationSettings:
        if self.options.emotion is None:
            return GenerationSettings(seed=seed, emotion_strength=0)
        return GenerationSettings(seed=seed, emotion_mode="emotion", emotion=self.options.emotion)

    def lips_of(self, motion: Motion) -> np.ndarray:
        """(T, 40, 2) lip points in cm that a motion gives the neutral face."""
        return self.space.apply(motion.blendshapes)[:, list(LIPS), :2].astype(np.float32)

    # ------------------------------------------------------------------------------------------ parts

    def clips(self) -> None:
        known = json.loads(self.options.offsets.read_text()) if self.options.offsets else {}
        rows, pauses = [], []
        for path, face in self.real_clips(measured=True):
            speech = read_speech(path).samples
            frames = len(face["gap"])
            late = known.get(f"dev__{path.stem}", {}).get("offset")
            if late is None:
                late = self.sync_of(face, speech).offset
            motion = self.motion(speech)
            gap, width = quality.motion_lips(motion, self.space)
            at = np.arange(max(0, -late), min(frames, len(gap) - late))  # lips of frame t, sound of frame t + late
            r_gap = quality.correlation(face["gap"][at], gap[at + late]) or 0.0
            r_width = quality.correlation(face["width"][at], width[at + late]) or 0.0
            ours = self.net.measure(self.lips_of(motion), log_mel(speech))
            amplitude = gap[at + late].std() / face["gap"][at].std()
            both = [quality.lip_statistics(track, speech).silence_opening for track in (face["gap"], gap)]
            pauses += [both] if None not in both else []
            rows.append((r_gap, r_width, amplitude, ours.offset, ours.confidence))
            print(f"  {path.stem}: clip's offset {late:+d}; r gap {r_gap:.2f} width {r_width:.2f} "
                  f"amplitude {amplitude:.2f}; generated offset {ours.offset:+d} confidence {ours.confidence:.2f}",
                  file=sys.stderr)  # fmt: skip
        table = np.array(rows)
        self.add("clips", f"mean r of lip gap, {len(rows)} clips", table[:, 0].mean(), at_least=0.58)
        self.add("clips", "mean r of mouth width", table[:, 1].mean(), at_least=0.30)
        self.add("clips", "mean amplitude ratio of the lip gap", table[:, 2].mean(), 0.85, 1.15)
        self.add("clips", "largest |offset| of the generated lips, frames", np.abs(table[:, 3]).max(), at_most=1)
        self.add("clips", "mean sync confidence of the generated lips", table[:, 4].mean())
        if pauses:
            real, generated = np.mean(pauses, axis=0)
            self.add("clips", f"opening in pauses over speech, {len(pauses)} real clips", real)
            self.add("clips", "opening in pauses over speech, generated for them", generated)

    def closures(self) -> None:
        for kind, groups in self.conditions():
            clean = kind == "clean"
            faces = [self.video_of(sound, seed, f"{kind} {seed}") for seed, (sound, _) in enumerate(groups)]
            self.count("closures", kind, [face["gap"] for face in faces], groups)
            if clean:
                self.generated = faces
                results = [self.sync_of(face, sound) for face, (sound, _) in zip(faces, groups, strict=True)]
                offset = max(abs(result.offset) for result in results)
                self.add("closures", "largest |offset| of the videos, frames", offset, at_most=1)
                self.add("closures", "mean sync confidence of the videos", np.mean([r.confidence for r in results]))

    def phones(self) -> None:
        for kind, groups in self.conditions():
            self.count("phones", kind, [self.opening(sound, seed) for seed, (sound, _) in enumerate(groups)], groups)

    def conditions(self) -> Iterator[tuple[str, list[Spoken]]]:
        """The sentences of TEXTS in groups, clean and with each kind of noise."""
        groups = [spoken_group(TEXTS[i : i + PER_VIDEO], self.options.voice) for i in range(0, len(TEXTS), PER_VIDEO)]
        yield "clean", groups
        if self.options.clean:
            return
        for kind in ("white noise", "babble", "music"):
            yield (
                f"{kind} at {NOISE_DECIBELS:g} dB",
                [
                    (mixed(speech, background(kind, len(speech), seed=i), NOISE_DECIBELS), phones)
                    for i, (speech, phones) in enumerate(groups)
                ],
            )

    def count(self, part: str, kind: str, gaps: list[np.ndarray], groups: list[Spoken]) -> None:
        counted = [quality.closures(gap, phones) for gap, (_, phones) in zip(gaps, groups, strict=True)]
        bilabials, vowels = sum(c.bilabials for c in counted), sum(c.vowels for c in counted)
        shut = sum(c.bilabials * c.shut for c in counted) / bilabials
        false = sum(c.vowels * c.falsely_shut for c in counted) / vowels
        clean = kind == "clean"
        self.add(part, f"p, b, m shut, {kind}, of {bilabials}", shut, at_least=0.9 if clean else 0.75)
        self.add(part, f"vowels falsely shut, {kind}, of {vowels}", false, at_most=0.1 if clean else np.inf)
        if clean:
            pauses = [quality.lip_statistics(gap, sound) for gap, (sound, _) in zip(gaps, groups, strict=True)]
            pauses = [statistics.silence_opening for statistics in pauses if statistics.silence_opening is not None]
            self.add(part, "opening in short pauses over speech", float(np.mean(pauses)))

    def silence(self) -> None:
        speech = spoken_group(TEXTS[:PER_VIDEO], self.options.voice)[0]
        usual = self.opening(speech)[loudness(speech) > quality.SPEECH].mean()
        sounds = {kind: background(kind, 6 * SAMPLE_RATE, seed=9) for kind in ("white noise", "pink noise", "music")}
        sounds["silence"] = np.zeros(6 * SAMPLE_RATE, np.float32)
        for stem in ("pinknoise_4s", "silence_4s"):
            path = self.options.data / "speech" / f"{stem}.flac"
            if path.exists():
                sounds[stem] = read_speech(path).samples
        for name, sound in sounds.items():
            limit = 0.05 if "silence" in name else 0.2
            self.add("silence", f"opening over speech, {name}", self.opening(sound).mean() / usual, at_most=limit)

    def opening(self, sound: np.ndarray, seed: int = 0) -> np.ndarray:
        """(T,) lip gap in cm that the generated motion gives the neutral face."""
        return np.maximum(quality.motion_lips(self.motion(sound, seed), self.space)[0], 0)

    def languages(self) -> None:
        confidences = {}
        for language in LANGUAGES:
            results = []
            for path in sorted((self.options.data / "speech").glob(f"{language}_*.flac")):
                speech = read_speech(path).samples[: round(LONGEST * SAMPLE_RATE)]
                result = self.net.measure(self.lips_of(self.motion(speech)), log_mel(speech))
                print(f"  {path.stem}: {result}", file=sys.stderr)
                results.append(result.confidence)
            confidences[language] = np.mean(results)
        self.add("languages", "sync confidence, en", confidences["en"])
        for language in LANGUAGES[1:]:
            share = confidences[language] / confidences["en"]
            self.add("languages", f"sync confidence over English, {language}", share, at_least=0.85)

    def face(self) -> None:
        if not self.generated:
            groups = [spoken_group(TEXTS[i : i + PER_VIDEO], self.options.voice) for i in (0, PER_VIDEO)]
            self.generated = [self.video_of(speech, i, f"face {i}") for i, (speech, _) in enumerate(groups)]
        real = [face for _, face in self.real_clips(measured=False)]
        blinks, frames = (sum(count) for count in zip(*((len(quality.blink_frames(f["eyes"])), len(f["eyes"]))
                                                        for f in self.generated), strict=True))  # fmt: skip
        self.add("face", "blinks per minute", blinks * 1500 / frames, 8, 25)
        real_jerk = np.median([quality.jerk(face["rotation"]) for face in real])
        self.add("face", "median head jerk, real clips", real_jerk)
        jerk = np.median([quality.jerk(face["rotation"]) for face in self.generated])
        self.add("face", "median head jerk, generated", jerk, at_most=real_jerk)
        for name, faces in (("real clips", real), ("generated", self.generated)):
            ranges = np.median([quality.head_range(face["rotation"]) for face in faces], axis=0)
            for axis, value in zip(("pitch", "yaw", "roll"), ranges, strict=True):
                self.add("face", f"median head {axis} range in degrees, {name}", value)
            speed = np.median([quality.head_speed(face["rotation"]) for face in faces])
            self.add("face", f"median head speed in degrees/s, {name}", speed)

    # ------------------------------------------------------------------------------------------ means

    def real_clips(self, measured: bool) -> Iterator[tuple[Path, Face]]:
        """Clips of the dev split, tracked; ``measured``: only those whose sync the manifest vouches for."""
        with open(self.options.data / "MANIFEST.csv", newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                clip = row["class"] == "real_video" and row["split"] == "dev"
                if clip and (not measured or "measured" in row["sync_evidence"]):
                    path = self.options.data / row["file"]
                    yield path, self.tracked(path)

    def tracked(self, video: Path) -> Face:
        canonical = self.space.canonicalize(track_video(video).landmarks)
        return {
            "lips": canonical.shapes[:, list(LIPS), :2].astype(np.float32),
            "gap": lip_gap(canonical.shapes),
            "width": mouth_width(canonical.shapes),
            "eyes": eye_opening(canonical.shapes),
            "rotation": rotation_vector(canonical.rotation),
        }

    def sync_of(self, face: Face, sound: np.ndarray) -> SyncResult:
        return self.net.measure(face["lips"], mel_for(sound, len(face["lips"])))

    def video_of(self, sound: np.ndarray, seed: int, name: str) -> Face:
        """What is seen in the pixels of a video generated from this sound."""
        with tempfile.TemporaryDirectory() as folder:
            keep = self.options.videos or Path(folder)
            keep.mkdir(parents=True, exist_ok=True)
            speech, video = keep / f"{name}.wav", keep / f"{name}.mp4"
            write_wav(speech, sound)
            self.pipeline(self.options.portrait, speech, self.settings(seed)).save(video)
            return self.tracked(video)


def spoken_group(texts: Sequence[str], voice: str) -> Spoken:
    """Sentences with pauses, spoken by flite, and the times of all their phones in seconds."""
    pause = np.zeros(round(PAUSE * SAMPLE_RATE), np.float32)
    sound, phones = [pause], []
    start = PAUSE
    for text in texts:
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/speech.wav"
            command = ["flite", "-voice", voice, "-psdur", "-t", text, "-o", path]
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            samples = read_speech(path).samples
        before = 0.0
        for item in printed.split():
            phone, end = item.rsplit(":", 1)
            phones.append((phone, start + before, start + float(end)))
            before = float(end)
        sound += [samples, pause]
        start += len(samples) / SAMPLE_RATE + PAUSE
    return np.concatenate(sound), phones


def background(kind: str, count: int, seed: int) -> np.ndarray:
    """(count,) float32 of something that is not the speaker, at the level of speech."""
    random = np.random.default_rng(seed)
    if kind == "babble":  # six foreign sentences at once, by other voices
        sound = np.zeros(count)
        for i in range(6):
            voice = ("slt", "awb", "kal16")[i % 3]
            other, _ = spoken_group([TEXTS[random.integers(len(TEXTS))] for _ in range(3)], voice)
            other = np.resize(np.roll(other, random.integers(len(other))), count)
            sound += other / other.std()
    elif kind == "music":  # chords of decaying tones with a beat
        clock = np.arange(count) / SAMPLE_RATE
        sound = np.zeros(count)
        for beat, start in enumerate(np.arange(0, count / SAMPLE_RATE, 0.5)):
            root = 110 * 2 ** (random.choice([0, 3, 5, 7]) / 12)
            since = clock - start
            decay = np.where(since > 0, np.exp(-since * 3), 0)
            for semitones in (0, 4, 7, 12, random.choice([14, 16, 19])):
                for partial in (1, 2, 3, 4):
                    pitch = root * 2 ** (semitones / 12) * partial
                    sound += decay * np.sin(2 * np.pi * pitch * since) / partial**1.5
            if beat % 2:
                sound += 2 * random.normal(size=count) * np.where(since > 0, np.exp(-since * 40), 0)
    else:
        spectrum = np.fft.rfft(random.normal(size=count))
        if kind == "pink noise":
            spectrum /= np.sqrt(np.arange(1, len(spectrum) + 1))
        sound = np.fft.irfft(spectrum, count)
    return (0.12 * sound / sound.std()).astype(np.float32)


def mixed(speech: np.ndarray, noise: np.ndarray, decibels: float) -> np.ndarray:
    """Speech with noise so many decibels below the mean power of its loud parts."""
    loud = np.abs(speech) > 0.1 * np.percentile(np.abs(speech), 99)
    power = (speech[loud] ** 2).mean()
    noise = noise * np.sqrt(power / (noise**2).mean() / 10 ** (decibels / 10))
    sound = speech + noise
    return sound / max(1.0, np.abs(sound).max())


def write_wav(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def main() -> int:
    parts = ("clips", "closures", "phones", "silence", "languages", "face")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--offsets", type=Path, help="offsets of the clips, by train sync; else measured here")
    parser.add_argument("--checkpoint", default="checkpoints/mini")
    parser.add_argument("--portrait", type=Path, default=REPOSITORY / "assets" / "eileen_collins.jpg")
    parser.add_argument("--voice", default=VOICE, help="a flite voice that no training has heard")
    parser.add_argument("--videos", type=Path, help="keep the generated videos in this folder")
    parser.add_argument("--emotion", help="that the face shows at strength 1 meanwhile; none when left out")
    parser.add_argument("--clean", action="store_true", help="closures and phones without noise only")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    benchmark = Benchmark(options)
    for part in options.parts:
        getattr(benchmark, part)()
    if options.json:
        print(json.dumps([asdict(line) for line in benchmark.lines], indent=2))
    else:
        print("\n".join(map(benchmark.format, benchmark.lines)))
    return int(any(line.met is False for line in benchmark.lines))


if __name__ == "__main__":
    sys.exit(main())
