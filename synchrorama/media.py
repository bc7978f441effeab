"""What enters as a file: a photo and a recording are read and checked.

Photos are read by Pillow. Sound is decoded by the ffmpeg that imageio-ffmpeg carries: always through an argument list,
never a shell, and with nothing but local files of known audio and video formats allowed, so that a crafted playlist
cannot make it open addresses or other files.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import subprocess
import warnings as python_warnings
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image, ImageCms, ImageOps

from .errors import InputError

FRAMES_PER_SECOND = 25
SPEECH_SAMPLE_RATE = 16_000
MIN_SPEECH_SECONDS = 0.3
MAX_SPEECH_SECONDS = 600.0
MAX_SPEECH_BYTES = 2 << 30
MAX_PHOTO_BYTES = 64 << 20
# The largest phone cameras in wide use make 64-megapixel pictures (9248 x 6936).
MAX_PHOTO_PIXELS = 65_000_000

PHOTO_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "AVIF")
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")

# Containers and raw streams only: playlists (hls, dash, concat, ...), devices, subtitles and text are left out.
RECORDING_FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,webm,mov,mp4,m4a,3gp,mp3,mpeg,mpegts,"
    "mpegvideo,ogg,opus,rm,tta,voc,w64,wav,wv"
)
# Timestamps decide what is heard when: a gap is filled with silence and an overlap cut, in the samples that are
# analysed and in the sound track alike, so that lips and sound cannot drift apart.
SOUND_TIMING = "aresample=async=1:first_pts=0"
FFMPEG_QUIET = ("-hide_banner", "-nostdin", "-loglevel", "error")


@dataclass(frozen=True)
class Speech:
    """A recording that has been checked.

    ``samples`` is float32 (n,), mono, 16 kHz, in [-1, 1]: for analysis. ``source`` is the original file, from which
    the sound track of the video is made.
    """

    samples: np.ndarray
    seconds: float
    source: Path
    warnings: tuple[str, ...] = ()

    @property
    def frame_count(self) -> int:
        """Number of frames of the video: round(25 x seconds), at least 1."""
        return max(1, round(FRAMES_PER_SECOND * self.seconds))


def read_photo(
    source: str | os.PathLike[str] | np.ndarray | Image.Image, warnings: list[str] | None = None
) -> np.ndarray:
    """Read a photo as uint8 RGB (H, W, 3), turned upright as its EXIF orientation says.

    ``source`` is a path (JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF), a Pillow image, or an array (H, W[, 1 | 3 | 4]) of
    uint8, uint16, or floats in [0, 1]. Transparency becomes white, embedded colour profiles become sRGB. Sentences
    for the user (an animation of which only the first frame is used) are appended to ``warnings``.
    Raises InputError when it is no usable picture or larger than MAX_PHOTO_BYTES or MAX_PHOTO_PIXELS.
    """
    if isinstance(source, np.ndarray):
        return _array_to_rgb(source)
    if isinstance(source, Image.Image):
        return _decode_photo(source, warnings)
    path = _existing_file(source, "photo", MAX_PHOTO_BYTES)
    Image.init()
    formats = [name for name in PHOTO_FORMATS if name in Image.OPEN]
    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # _check_size is stricter
            image = Image.open(path, formats=formats)
    except Image.DecompressionBombError:
        raise _too_many_pixels() from None
    except Exception as error:  # Pillow's readers raise about everything on broken headers
        raise InputError(_unreadable_photo(path)) from error
    with image:
        return _decode_photo(image, warnings)


def _decode_photo(image: Image.Image, warnings: list[str] | None) -> np.ndarray:
    _check_size(*image.size)  # known from the header: nothing has been decoded yet
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO" and warnings is not None:  # MPO: phone snapshots
        what = "has several pages" if image.format == "TIFF" else "is animated"
        warnings.append(f"The picture {what}; only the first {'page' if 'page' in what else 'frame'} is used.")
    try:
        image.load()
        with contextlib.suppress(Exception):  # a damaged EXIF block does not make the picture unusable
            image = ImageOps.exif_transpose(image)
        return _image_to_rgb(image)
    except MemoryError:
        raise _too_many_pixels() from None
    except Exception as error:  # see read_photo
        raise InputError(
            "The photo is damaged or cut off and cannot be decoded; please save it again as JPEG or PNG."
        ) from error


def _image_to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":  # 16 or 32 bits a pixel, grey
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        peak = values.max(initial=0)
        white = 1.0 if image.mode == "F" and peak <= 1 else 255.0 if image.mode == "F" and peak <= 255 else 65535.0
        grey = (np.clip(values / max(white, peak), 0, 1) * 255 + 0.5).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        profile = image.info.get("icc_profile")
        image = image.convert("RGBA")
        white_sheet = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white_sheet, image).convert("RGB")
        image.info["icc_profile"] = profile
    return np.array(_to_srgb(image).convert("RGB"))


def _to_srgb(image: Image.Image) -> Image.Image:
    """Apply the embedded colour profile (wide-gamut phone photos, CMYK print files), if there is a usable one."""
    data = image.info.get("icc_profile")
    if not data or image.mode not in ("RGB", "CMYK", "L"):
        return image
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        if "sRGB" in ImageCms.getProfileDescription(profile):
            return image
        converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):  # a broken profile: Pillow's plain conversion will do
        return image
    return converted if converted is not None else image


def _array_to_rgb(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise InputError("The picture must be an array of shape (height, width), (…, 1), (…, 3) or (…, 4).")
    _check_size(array.shape[1], array.shape[0])
    if array.dtype == np.uint16:
        array = (array.astype(np.uint32) * 255 + 32767) // 65535
    elif np.issubdtype(array.dtype, np.floating):
        finite = np.nan_to_num(array)
        if finite.min() < 0 or finite.max() > 1:
            raise InputError("A picture given as floating-point numbers must have values from 0 to 1.")
        array = finite * 255 + 0.5
    elif array.dtype != np.uint8:
        raise InputError("A picture given as an array must be of type uint8, uint16 or floating point.")
    array = array.astype(np.uint8)
    if array.shape[2] == 4:
        return np.array(_image_to_rgb(Image.fromarray(array)))
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else np.ascontiguousarray(array).copy()


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PHOTO_PIXELS:
        raise _too_many_pixels()


def _too_many_pixels() -> InputError:
    return InputError(
        f"The photo has more than {MAX_PHOTO_PIXELS // 1_000_000} million pixels; please scale it down and try again."
    )


def _unreadable_photo(path: Path) -> str:
    with path.open("rb") as file:
        header = file.read(12)
    if header[4:8] == b"ftyp" and header[8:12] in HEIC_BRANDS:
        return "HEIC photos cannot be read here; please save the photo as JPEG or PNG."
    return "The file is not a picture that can be read; please give a JPEG, PNG, WebP, BMP or TIFF file."


def _existing_file(source: str | os.PathLike[str], what: str, max_bytes: int) -> Path:
    path = Path(source)
    size = path.stat().st_size if path.is_file() else -1
    if size < 0 or not os.access(path, os.R_OK):
        raise InputError(f"The {what} file does not exist or may not be read; please check its path.")
    if size == 0:
        raise InputError(f"The {what} file is empty; please choose another one.")
    if size > max_bytes:
        raise InputError(f"The {what} file is larger than {max_bytes >> 20} MB; please give a smaller one.")
    return path


def read_speech(source: str | os.PathLike[str], max_seconds: float = MAX_SPEECH_SECONDS) -> Speech:
    """Read and check a recording: any sound file that ffmpeg decodes, or the first sound track of a video.

    Raises InputError unless it holds between MIN_SPEECH_SECONDS and ``max_seconds`` of sound; silence is allowed.
    Decoding stops a little after ``max_seconds``, however long the file is.
    """
    path = _existing_file(source, "recording", MAX_SPEECH_BYTES)
    command = [
        ffmpeg_path(), *FFMPEG_QUIET, *local_input(path), "-map", "0:a:0", "-af", SOUND_TIMING,
        "-t", f"{max_seconds + 1:.3f}", "-ac", "1", "-ar", str(SPEECH_SAMPLE_RATE), "-f", "f32le", "pipe:1",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60 + max_seconds)
    except subprocess.TimeoutExpired:
        raise InputError("Decoding the recording took too long; please convert it to WAV or MP3 first.") from None
    messages = done.stderr.decode("utf-8", "replace")
    if "matches no streams" in messages:
        raise InputError("The file has no sound; please give a recording, or a video with a sound track.")
    samples = np.frombuffer(done.stdout, dtype="<f4", count=len(done.stdout) // 4)
    samples = np.clip(np.nan_to_num(samples), -1, 1).astype(np.float32)
    seconds = len(samples) / SPEECH_SAMPLE_RATE
    if seconds < MIN_SPEECH_SECONDS and done.returncode != 0:  # even noise holds now and then what looks like a frame
        raise InputError("The file is not a recording that can be decoded; please give a WAV, MP3, M4A or OGG file.")
    if seconds < MIN_SPEECH_SECONDS:
        raise InputError(
            f"The recording lasts only {seconds:.2f} seconds; at least {MIN_SPEECH_SECONDS} seconds are needed."
        )
    if seconds > max_seconds + 0.1:  # MP3 and AAC files come out a few hundredths of a second too long
        raise InputError(f"The recording lasts longer than {max_seconds:g} seconds; please cut it into shorter parts.")
    warnings = []
    if done.returncode != 0 or messages.strip():
        warnings.append("Parts of the recording are damaged; what can be decoded is used.")
    if np.abs(samples).max() < 1e-4:
        warnings.append("The recording is silent: the face will only blink and move a little.")
    return Speech(samples, seconds, path.absolute(), tuple(warnings))


@functools.cache
def ffmpeg_path() -> str:
    """The ffmpeg that imageio-ffmpeg carries."""
    return imageio_ffmpeg.get_ffmpeg_exe()


def local_input(path: str | os.PathLike[str]) -> list[str]:
    """Arguments that make a sound or video file an input of ffmpeg, and nothing else whatever it is called or holds."""
    # "file:" and an absolute path: no name can be taken for an option or for another protocol.
    location = f"file:{os.path.abspath(path)}"
    return ["-protocol_whitelist", "file", "-format_whitelist", RECORDING_FORMATS, "-i", location]
