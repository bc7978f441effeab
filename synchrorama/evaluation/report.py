"""What a finished video is worth: ``python -m synchrorama evaluate VIDEO [--reference REAL] [--phones phones.json]``.

Everything is measured from the pixels and the sound of the file, so that any system's video can be compared.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from synchrorama.arguments import ArgumentParser
from synchrorama.audio import SAMPLE_RATE, log_mel
from synchrorama.blendshapes import MotionSpace, eye_opening, lip_gap
from synchrorama.errors import InputError
from synchrorama.evaluation import quality
from synchrorama.evaluation.sync import SHORTEST, SyncNet, lip_points
from synchrorama.face_topology import EYE_OUTER_CORNERS, LIPS, MESH_LANDMARKS
from synchrorama.media import read_speech
from synchrorama.motion import FPS, rotation_vector
from synchrorama.tracking import LandmarkTrack, track_video

DEFAULT_CHECKPOINT = Path(__file__).resolve().parents[2] / "checkpoints" / "mini"
_LONGEST_SECONDS = 3600.0


@dataclass
class Report:
    """All measurements of one video; None where something cannot be measured, with the reason in ``notes``.

    Attributes:
        video: the file.
        seconds, sound_seconds: duration of the picture and of the sound.
        width, height: pixels.
        face_rate: share of the frames, at 25 a second, in which a face is found.
        sync_offset: frames of 40 ms; positive: the sound is late (the picture leads).
        sync_confidence: 0 still face or foreign sound; real talking faces 0.25 to 0.45.
        sync_distance: of lips and sound at that offset; 0 to 2, real talking faces 0.85 to 1.0.
        loudness_correlation: Pearson's r of lip gap and loudness.
        silence_opening: mean lip gap in silence over that in speech.
        blinks_per_minute: 1/min.
        head_range: degrees of pitch, yaw and roll between the 2.5th and 97.5th percentile.
        head_speed: mean degrees per second.
        jerk: third over first difference of the head's rotation; free of units, see ``quality.jerk``.
        sharpness: of the face against the first frame's; 1 is as sharp.
        flicker: second over first difference of the face's pixels; see ``quality.PictureQuality``.
        bilabials, bilabials_shut: number of p, b, m and the share during which the lips shut (needs phones).
        vowels, vowels_falsely_shut: number of vowels over 50 ms and the share with a shut frame (needs phones).
        psnr: dB, mean over frames, against the reference (as the next three).
        ssim: structural similarity of luma, mean over frames.
        landmark_distance: mean distance of all landmarks in the picture, % of the interocular distance.
        lip_distance: the same of the lips after the head pose is removed.
        notes: sentences on what could not be measured.
    """

    video: str
    seconds: float
    width: int
    height: int
    face_rate: float
    sound_seconds: float | None = None
    sync_offset: int | None = None
    sync_confidence: float | None = None
    sync_distance: float | None = None
    loudness_correlation: float | None = None
    silence_opening: float | None = None
    blinks_per_minute: float | None = None
    head_range: tuple[float, float, float] | None = None
    head_speed: float | None = None
    jerk: float | None = None
    sharpness: float | None = None
    flicker: float | None = None
    bilabials: int | None = None
    bilabials_shut: float | None = None
    vowels: int | None = None
    vowels_falsely_shut: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    landmark_distance: float | None = None
    lip_distance: float | None = None
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """One JSON object with the attributes as keys."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    def to_text(self) -> str:
        """One line per measurement, for people; what was not measured is left out."""
        sound = "none" if self.sound_seconds is None else f"{self.sound_seconds:.2f} s"
        lines = [
            ("video", f"{self.video}, {self.width} x {self.height}"),
            ("duration", f"picture {self.seconds:.2f} s, sound {sound}"),
            ("face found", f"{self.face_rate:.1%} of the frames"),
        ]
        for name, (label, form) in _LINES.items():
            value = getattr(self, name)
            if value is not None:
                lines.append((label, form(value)))
        return "\n".join(f"{label:<22}{text}" for label, text in [*lines, *(("note", note) for note in self.notes)])


def _offset_text(frames: int) -> str:
    late = {0: "in time", 1: "the sound is late", -1: "the sound is early"}[int(np.sign(frames))]
    return f"{frames:+d} frames ({frames * 1000 // FPS:+d} ms, {late})" if frames else "0 frames (in time)"


_LINES = {
    "sync_offset": ("lip-sync offset", _offset_text),
    "sync_confidence": ("lip-sync confidence", lambda v: f"{v:.3f} (real faces 0.25-0.45, still face 0)"),
    "sync_distance": ("lip-sync distance", lambda v: f"{v:.3f}"),
    "loudness_correlation": ("lips and loudness", lambda v: f"r {v:.2f}"),
    "silence_opening": ("mouth in silence", lambda v: f"{v:.2f} of its opening in speech"),
    "blinks_per_minute": ("blinks", lambda v: f"{v:.1f} a minute"),
    "head_range": ("head range", lambda v: "pitch {:.1f}°, yaw {:.1f}°, roll {:.1f}°".format(*v)),
    "head_speed": ("head speed", lambda v: f"{v:.1f}°/s"),
    "jerk": ("head jerk", lambda v: f"{v:.2f} (third over first difference; real heads 0.4-0.8)"),
    "sharpness": ("sharpness", lambda v: f"{v:.2f} of the first frame"),
    "flicker": ("flicker", lambda v: f"{v:.2f} (second over first difference)"),
    "bilabials_shut": ("p, b, m shut", lambda v: f"{v:.1%}"),
    "vowels_falsely_shut": ("vowels falsely shut", lambda v: f"{v:.1%}"),
    "psnr": ("PSNR", lambda v: f"{v:.2f} dB"),
    "ssim": ("SSIM", lambda v: f"{v:.4f}"),
    "landmark_distance": ("landmark distance", lambda v: f"{v:.2f} % of the interocular distance"),
    "lip_distance": ("lip distance", lambda v: f"{v:.2f} % of the interocular distance, head pose removed"),
}


def evaluate(
    video: str | os.PathLike[str],
    reference: str | os.PathLike[str] | None = None,
    phones: quality.Phones | None = None,
    checkpoint: str | os.PathLike[str] = DEFAULT_CHECKPOINT,
) -> Report:
    """Measure a finished video.

    Args:
        video: any video file with a face; other frame rates than 25 are resampled.
        reference: the real video of the same speech, for PSNR, SSIM and landmark distance.
        phones: (phone, start, end in seconds) of all phones, for synthetic speech whose times are known.
        checkpoint: folder with motion_space/ and sync_net/.

    Raises:
        InputError: a file cannot be read, shows no face, or the reference has another shape.
    """
    video, checkpoint = Path(video), Path(checkpoint)
    space = MotionSpace.from_pretrained(checkpoint / "motion_space")
    track = _track(video)
    canonical = space.canonicalize(track.landmarks)
    rotation = rotation_vector(canonical.rotation)
    box = quality.face_box(track.landmarks[:1], track.width, track.height)
    picture = quality.picture_quality(quality.face_picture(frame, box) for frame in read_frames(video))
    report = Report(
        video=str(video),
        seconds=len(track) / FPS,
        width=track.width,
        height=track.height,
        face_rate=float(track.found.mean()),
        blinks_per_minute=quality.blinks_per_minute(eye_opening(canonical.shapes)),
        head_range=quality.head_range(rotation),
        head_speed=quality.head_speed(rotation),
        jerk=quality.jerk(rotation),
        sharpness=picture.sharpness,
        flicker=picture.flicker,
    )
    _measure_sound(report, video, track, space, checkpoint)
    if phones is not None:
        counted = quality.closures(lip_gap(canonical.shapes), phones)
        report.bilabials, report.bilabials_shut = counted.bilabials, counted.shut
        report.vowels, report.vowels_falsely_shut = counted.vowels, counted.falsely_shut
    if reference is not None:
        _compare(report, video, track, Path(reference), space)
    return report


def _track(path: Path) -> LandmarkTrack:
    if not path.is_file():
        raise InputError(f"The video {str(path)!r} does not exist; check its name.")
    return track_video(path)


def _measure_sound(report: Report, video: Path, track: LandmarkTrack, space: MotionSpace, checkpoint: Path) -> None:
    try:
        speech = read_speech(video, max_seconds=_LONGEST_SECONDS)
    except InputError as error:
        report.notes.append(f"The sound is not measured: {error}")
        return
    report.sound_seconds = speech.seconds
    gap = lip_gap(space.canonicalize(track.landmarks).shapes)
    lips = quality.lip_statistics(gap, speech.samples)
    report.loudness_correlation, report.silence_opening = lips.loudness_correlation, lips.silence_opening
    if len(track) < SHORTEST:
        report.notes.append(f"Lip sync is not measured in less than {SHORTEST / FPS:.0f} s.")
        return
    result = load_sync_net(checkpoint).measure(lip_points(track.landmarks, space), mel_for(speech.samples, len(track)))
    report.sync_offset, report.sync_confidence, report.sync_distance = (
        result.offset,
        result.confidence,
        result.distance,
    )


def load_sync_net(checkpoint: str | os.PathLike[str] = DEFAULT_CHECKPOINT) -> SyncNet:
    """The shipped network that measures. Raises InputError when the folder lacks it."""
    try:
        return SyncNet.from_pretrained(Path(checkpoint) / "sync_net").eval()
    except OSError as error:
        raise InputError("The weights lack the folder 'sync_net'; get the whole repository.") from error


def mel_for(speech: np.ndarray, frames: int) -> np.ndarray:
    """(n,) samples at 16 kHz → (4 · frames, 80) log-mel: cut, or filled with silence, to a video's length."""
    wanted = frames * SAMPLE_RATE // FPS
    return log_mel(np.pad(speech[:wanted], (0, max(0, wanted - len(speech)))))


def _compare(report: Report, video: Path, track: LandmarkTrack, reference: Path, space: MotionSpace) -> None:
    """Fill in the measures against a reference, over the frames that both have."""
    import cv2

    other = _track(reference)
    if abs(other.width / other.height * track.height / track.width - 1) > 0.02:
        raise InputError("The reference has another shape than the video; crop one of them so that they match.")
    if abs(len(other) - len(track)) > 2:
        report.notes.append(
            f"The reference lasts {len(other) / FPS:.2f} s; only what both have is compared from the start."
        )
    size = (track.width, track.height)
    psnr, ssim = [], []
    for frame, real in zip(read_frames(video), read_frames(reference), strict=False):
        if real.shape != frame.shape:
            real = cv2.resize(real, size, interpolation=cv2.INTER_AREA)
        psnr.append(quality.psnr(frame, real))
        ssim.append(quality.ssim(frame, real))
    report.psnr, report.ssim = float(np.mean(psnr)), float(np.mean(ssim))
    frames = min(len(other), len(track))
    ours = track.landmarks[:frames, :MESH_LANDMARKS]
    theirs = other.landmarks[:frames, :MESH_LANDMARKS] * (track.width / other.width)
    right, left = EYE_OUTER_CORNERS
    interocular = np.linalg.norm(theirs[:, right, :2] - theirs[:, left, :2], axis=-1)
    report.landmark_distance = quality.landmark_distance(ours, theirs, interocular)
    lips = [space.canonicalize(points).shapes[:, list(LIPS)] for points in (ours, theirs)]
    report.lip_distance = quality.landmark_distance(*lips, np.full(frames, space.interocular))


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """The frames of a video as uint8 RGB at 25 a second; from other frame rates the nearest one each time."""
    import cv2

    capture = cv2.VideoCapture(os.path.abspath(path))
    rate = capture.get(cv2.CAP_PROP_FPS)
    if not capture.isOpened() or not 1 <= rate <= 240:
        raise InputError(f"The video {path.name!r} cannot be read; give an mp4 that plays elsewhere.")
    try:
        written = 0
        for count in range(2**31):
            more, frame = capture.read()
            if not more:
                return
            due = int((count + 1) / rate * FPS + 0.5)  # frames of the 25 fps clock that have begun by now
            if due > written:
                frame = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            for _ in range(due - written):
                yield frame
            written = due
    finally:
        capture.release()


def read_phones(path: str | os.PathLike[str]) -> list[tuple[str, float, float]]:
    """A JSON list of [phone, start_s, end_s]. Raises InputError when the file is something else."""
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
        return [(str(phone), float(start), float(end)) for phone, start, end in rows]
    except (OSError, ValueError, TypeError):
        raise InputError(
            f"The phone times {str(path)!r} cannot be read; give a JSON list of [phone, start, end in seconds]."
        ) from None


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``python -m synchrorama evaluate``. Raises InputError for bad input."""
    parser = ArgumentParser(prog="python -m synchrorama evaluate", description="Measure a finished talking video.")
    parser.add_argument("video", help="the video to measure")
    parser.add_argument("--reference", metavar="REAL", help="the real video, for PSNR, SSIM and landmark distance")
    parser.add_argument("--phones", metavar="JSON", help="known phone times: [[phone, start_s, end_s], ...]")
    parser.add_argument("--checkpoint", default=DEFAULT_CHECKPOINT, metavar="FOLDER", help="the weights to use")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    phones = read_phones(options.phones) if options.phones else None
    report = evaluate(options.video, options.reference, phones, options.checkpoint)
    print(report.to_json() if options.json else report.to_text())
    return 0


__all__ = ["Report", "evaluate", "load_sync_net", "main", "mel_for", "read_frames", "read_phones"]
