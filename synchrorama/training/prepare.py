"""Prepare training data: ``python -m synchrorama prepare basis | track | speech | pairs | clips | latents``.

All but ``basis``, which fits the motion space, write one file or a few for each clip, utterance or photo and can be
interrupted and resumed. ``clips`` and ``latents`` are for the full profile. For the others a table with the columns
file, split, identity and shippable says what may train shipped weights.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

import numpy as np

from synchrorama.audio import SAMPLE_RATE, log_mel, loudness
from synchrorama.blendshapes import BLENDSHAPE_INDEX, MotionSpace
from synchrorama.errors import InputError
from synchrorama.media import read_speech
from synchrorama.tracking import track_video
from synchrorama.training import basis, clips, corpus, latents, layouts, pairs
from synchrorama.training.phones import PHONE_INDEX, guess_phones

_VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m synchrorama prepare", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    track = commands.add_parser("track", help="videos of talking people → landmarks and log-mel")
    track.add_argument("videos", type=Path, nargs="+", help="video files, or folders of them")
    track.add_argument("--manifest", type=Path, help="CSV with file, split, identity, shippable; else all is train")
    track.add_argument("-o", "--output", type=Path, default=Path("prepared/clips"))

    speech = commands.add_parser("speech", help="synthetic and recorded speech → log-mel and phones")
    speech.add_argument("recordings", type=Path, nargs="*", help="speech files, or folders of them")
    speech.add_argument("--manifest", type=Path, help="use its shippable training rows among the recordings only")
    speech.add_argument("--synthetic", type=int, default=480, help="synthetic utterances per synthesiser")
    speech.add_argument("-o", "--output", type=Path, default=Path("prepared/speech"))

    pair = commands.add_parser("pairs", help="videos and photos of faces → motion frames beside what they should show")
    pair.add_argument("sources", type=Path, nargs="+", help="video and photo files, or folders of them")
    pair.add_argument("--tracks", type=Path, default=Path("prepared/clips"), help="what ``track`` made of the videos")
    pair.add_argument("--manifest", type=Path, help="use its shippable rows among the sources only")
    pair.add_argument("--photos", type=int, default=4, help="frames of each video that serve as its photo")
    pair.add_argument("--space", type=Path, default=Path("checkpoints/mini/motion_space"))
    pair.add_argument("-o", "--output", type=Path, default=Path("prepared/pairs"))

    fit = commands.add_parser("basis", help="fit the 52-shape basis of the motion space")
    fit.add_argument("videos", type=Path, nargs="+", help="video files, or folders of them")
    fit.add_argument("--face-model", type=Path, required=True, help="ict_facekit.npz")
    fit.add_argument("--canonical-face", type=Path, required=True, help="MediaPipe's canonical_face_model.obj")
    fit.add_argument("--pose-weights", type=Path, required=True, help="geometry_pipeline_metadata_landmarks.pbtxt")
    fit.add_argument("--landmarker", type=Path, required=True, help="face_landmarker_v2_with_blendshapes.task")
    fit.add_argument("--manifest", type=Path, help="use its shippable training rows among the videos only")
    fit.add_argument("-o", "--output", type=Path, default=Path("checkpoints/mini/motion_space"))

    clip = commands.add_parser("clips", help="videos → pieces with motion frames, for the full profile")
    clip.add_argument("videos", type=Path, nargs="+", help="video files, or folders of them")
    clip.add_argument("--layout", choices=layouts.LAYOUTS, default="files", help="how the files are named")
    clip.add_argument("--view", default="front", help="of MEAD")
    clip.add_argument("--part", default="1/1", help="2/8 prepares the second eighth: one part for each process")
    clip.add_argument("--space", type=Path, default=Path("checkpoints/mini/motion_space"))
    clip.add_argument("-o", "--output", type=Path, default=Path("prepared/full"))

    latents.add_arguments(commands.add_parser("latents", help="what frozen networks see and hear in the pieces"))

    options = parser.parse_args(argv)
    {"track": _track, "speech": _speech, "pairs": _pairs, "basis": _basis, "clips": _clips,
     "latents": latents.main}[options.command](options)  # fmt: skip


def prepare_clip(video: Path, row: dict[str, str]) -> dict[str, np.ndarray]:
    """One video → what ``datasets.load_clips`` reads.

    landmarks (T, 478, 3) float32 pixels, found (T,) bool, mel (4T, 80), loudness (T,), phones (n,) int8 and times
    (n, 2) as guessed from the sound, name, identity, split, shippable.
    """
    track = track_video(video)
    sound = read_speech(video).samples
    frames = len(track)
    sound = np.resize(np.pad(sound, (0, frames * SAMPLE_RATE // 25)), frames * SAMPLE_RATE // 25)
    guessed = guess_phones(sound).phones
    return {
        "landmarks": track.landmarks,
        "found": track.found,
        "mel": log_mel(sound),
        "loudness": loudness(sound),
        "phones": np.array([PHONE_INDEX[phone] for phone, _, _ in guessed], np.int8),
        "times": np.array([(start, end) for _, start, end in guessed], np.float32),
        "name": np.array(video.stem),
        "identity": np.array(row.get("identity", video.stem)),
        "split": np.array(row.get("split", "train")),
        "shippable": np.array(row.get("shippable", "True") == "True"),
    }


def _track(options: argparse.Namespace) -> None:
    options.output.mkdir(parents=True, exist_ok=True)
    rows = _manifest(options.manifest)
    for video in _files(options.videos, _VIDEOS):
        row = _row(rows, video)
        target = options.output / f"{row.get('split', 'train')}__{video.stem}.npz"
        if target.exists():
            continue
        try:
            _write(target, prepare_clip(video, row))
            print(target.name, flush=True)
        except InputError as error:
            print(f"{video.name}: {error}", flush=True)


def _speech(options: argparse.Namespace) -> None:
    recordings = _files(options.recordings, (".wav", ".flac", ".ogg", ".mp3"))
    if options.manifest:
        rows = _manifest(options.manifest)
        recordings = [path for path in recordings if _may_train(_row(rows, path))]
    count = corpus.build(options.output, recordings, options.synthetic)
    print(f"{count} utterances in {options.output}")


def _pairs(options: argparse.Namespace) -> None:
    space = MotionSpace.from_pretrained(options.space)
    options.output.mkdir(parents=True, exist_ok=True)
    rows = _manifest(options.manifest)
    for number, source in enumerate(_files(options.sources, (*_VIDEOS, ".jpg", ".jpeg", ".png", ".webp"))):
        row = _row(rows, source)
        split, identity = row.get("split", "train"), row.get("identity", source.stem)
        target = options.output / f"{split}__{identity}__{source.stem}.npz"
        if target.exists() or (rows and row.get("shippable") != "True"):
            continue
        if source.suffix.lower() in _VIDEOS:
            tracked = options.tracks / f"{split}__{source.stem}.npz"
            if not tracked.exists():
                raise InputError(f"{source.name} has no track in {options.tracks}; run prepare track on it first.")
            with np.load(tracked, allow_pickle=False) as file:
                made = pairs.clip_pairs(source, dict(file), space, options.photos, seed=number)
        else:
            made = pairs.still_pairs(source, space)
        if made is None:
            print(f"{source.name}: no face that can be used", flush=True)
            continue
        _write(target, made.arrays())
        print(f"{target.name}: {len(made)} sequences", flush=True)


def _clips(options: argparse.Namespace) -> None:
    space = MotionSpace.from_pretrained(options.space)
    sources = layouts.find_sources(options.videos, options.layout, options.view)
    for told in clips.prepare_clips(sources[layouts.part(options.part)], space, options.output):
        print(told, flush=True)


def _basis(options: argparse.Namespace) -> None:
    videos = _files(options.videos, _VIDEOS)
    if options.manifest:
        rows = _manifest(options.manifest)
        videos = [video for video in videos if _may_train(_row(rows, video))]
    clips = [clip for video in videos if (clip := _scored_clip(video, options.landmarker))]
    space = basis.fit_motion_space(
        basis.read_canonical_face(options.canonical_face),
        basis.read_pose_weights(options.pose_weights),
        basis.FaceModel.load(options.face_model),
        clips,
    )
    space.save_pretrained(options.output)
    print(f"motion space fitted on {len(clips)} clips, saved in {options.output}")


def _scored_clip(video: Path, landmarker: Path) -> basis.Clip | None:
    """Landmarks and blendshape scores of every frame, from MediaPipe's landmarker on single images (no smoothing)."""
    os.environ.setdefault("GLOG_minloglevel", "3")
    import cv2
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(landmarker)), output_face_blendshapes=True, num_faces=1
    )
    landmarks, scores = [], []
    capture = cv2.VideoCapture(str(video))
    with vision.FaceLandmarker.create_from_options(options) as detector:
        while True:
            more, frame = capture.read()
            if not more:
                break
            height, width = frame.shape[:2]
            picture = mediapipe.Image(mediapipe.ImageFormat.SRGB, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            found = detector.detect(picture)
            if found.face_landmarks:
                landmarks.append([(p.x * width, p.y * height, p.z * width) for p in found.face_landmarks[0]])
                row = np.zeros(52)
                for score in found.face_blendshapes[0]:
                    if score.category_name in BLENDSHAPE_INDEX:
                        row[BLENDSHAPE_INDEX[score.category_name]] = score.score
                scores.append(row)
    capture.release()
    return basis.Clip(np.array(landmarks), np.array(scores)) if scores else None


def _files(paths: list[Path], endings: tuple[str, ...]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist; check the path.")
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [file for file in inside if file.suffix.lower() in endings]
    return found


def _manifest(path: Path | None) -> list[dict[str, str]]:
    if path is None:
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _row(rows: list[dict[str, str]], path: Path) -> dict[str, str]:
    """The row of a file: the one whose path ends as this one does."""
    tail = path.resolve().parts[-3:]
    return next((row for row in rows if Path(row["file"]).parts == tail[-len(Path(row["file"]).parts) :]), {})


def _may_train(row: dict[str, str]) -> bool:
    return row.get("shippable") == "True" and row.get("split") in ("train", "generated")


def _write(target: Path, arrays: dict[str, np.ndarray]) -> None:
    temporary = target.with_suffix(".tmp.npz")
    np.savez(temporary, **arrays)
    temporary.replace(target)
