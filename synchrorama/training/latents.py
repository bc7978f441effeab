"""What the frozen networks of the full profile see and hear in prepared pieces, computed once.

    python -m synchrorama prepare latents prepared/full --autoencoder sd-vae-ft-mse --wav2vec2 wav2vec2-base-960h

``NAME.safetensors`` beside each piece: latents and motion (T, 4, 64, 64) of its frames and motion frames, audio
(T, layers, width) as its sound is heard, texts (n, tokens, width) of its descriptions, face (width,) of its photo, all
float16. So training holds nothing but the networks that it trains, and those that these stand on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from synchrorama.diffusion.autoencoder import KLAutoencoder
from synchrorama.errors import InputError
from synchrorama.training.clips import VIDEOS, Piece
from synchrorama.training.layouts import part

HEARD = np.arange(-2, 3)
"""The frames that the audio projection hears around each. Only the frame itself is stored."""
_AT_ONCE = 8  # frames


@dataclass(frozen=True)
class Encoders:
    """The frozen networks.

    Attributes:
        autoencoder: see ``KLAutoencoder``.
        audio: samples (N,) float32 at 16 kHz and the number of frames → (frames, 5, layers, width).
        text: a description → (n, width).
        face: a photo (H, W, 3) uint8 and its landmarks (478, 3) → (width,); None leaves faces out.
        device: of the autoencoder.
        backends: component → backend of the profile that does the same in a generation; goes into the files.
    """

    autoencoder: KLAutoencoder
    audio: Callable[[np.ndarray, int], Tensor]
    text: Callable[[str], Tensor]
    face: Callable[[np.ndarray, np.ndarray], Tensor] | None
    device: torch.device
    backends: dict[str, str] = field(default_factory=dict)


def encode_pieces(folder: Path, encoders: Encoders, chosen: slice = slice(None)) -> Iterator[str]:
    """Encode the pieces of a folder that are not, and say of each that it is done.

    Raises:
        InputError: there are none, or one is damaged.
    """
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise InputError(f"{folder} holds no pieces; make them with `prepare clips`.")
    for path in paths[chosen]:
        target = path.with_suffix(".safetensors")
        if target.exists():
            continue
        temporary = target.with_suffix(".part")
        save_file(encode(path, encoders), temporary, encoders.backends)
        temporary.replace(target)
        yield target.name


@torch.inference_mode()
def encode(path: Path, encoders: Encoders) -> dict[str, Tensor]:
    """The tensors of one piece, see above."""
    piece = Piece.load(path)
    frames, motion = (read_video(path.with_name(f"{path.stem}.{kind}.mp4"), range(len(piece))) for kind in VIDEOS)
    tensors = {
        "latents": _latents(frames, encoders),
        "motion": _latents(motion, encoders),
        "audio": encoders.audio(piece.samples, len(piece))[:, int(np.flatnonzero(HEARD == 0)[0])],
        "texts": _texts(piece.texts, encoders),
    }
    if encoders.face is not None:
        tensors["face"] = encoders.face(frames[piece.photo], piece.photo_landmarks)
    return {name: each.to("cpu", torch.float16).contiguous() for name, each in tensors.items()}


def _texts(texts: tuple[str, ...], encoders: Encoders) -> Tensor:
    """(n, tokens, width); zeros where nothing is said."""
    something = torch.as_tensor(encoders.text(next(filter(None, texts), "she smiles")))
    return torch.stack([torch.as_tensor(encoders.text(text)) if text else something * 0 for text in texts])


def _latents(pictures: np.ndarray, encoders: Encoders) -> Tensor:
    """(T, H, W, 3) uint8 → (T, C, h, w)."""
    parts = torch.from_numpy(pictures).movedim(-1, 1).split(_AT_ONCE)
    return torch.cat([encoders.autoencoder.encode_reference(part.to(encoders.device) / 127.5 - 1) for part in parts])


def read_video(path: Path, span: range) -> np.ndarray:
    """Some frames of a video, (len(span), H, W, 3) uint8 RGB.

    Raises:
        InputError: it does not have them.
    """
    capture = cv2.VideoCapture(str(path))
    pictures = []
    try:
        for t in range(span.stop):
            if not capture.grab():
                break
            if t >= span.start:
                pictures.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
    finally:
        capture.release()
    if len(pictures) < len(span):
        raise InputError(f"{path.name} is missing or cut short; remove its .npz and prepare it anew.")
    return np.stack(pictures)


def _encoders(options: argparse.Namespace) -> Encoders:
    from diffusers import AutoencoderKL

    from synchrorama.backends.arcface import ArcFaceEmbedding
    from synchrorama.backends.clip import ClipTextEncoder
    from synchrorama.backends.wav2vec2 import Wav2Vec2Features
    from synchrorama.scene import TextEncoder

    device = torch.device(options.device)
    if not options.autoencoder.is_dir():  # else diffusers would look for it on the Hub
        raise InputError(f"There is no folder {options.autoencoder}; give that of the autoencoder.")
    try:
        autoencoder = AutoencoderKL.from_pretrained(options.autoencoder).eval().to(device)
    except (OSError, ValueError) as error:
        problem = str(error).splitlines()[0][:200]
        raise InputError(f"The autoencoder in {options.autoencoder} cannot be loaded ({problem}).") from None
    if options.text:
        clip = ClipTextEncoder.from_pretrained(options.text, device=device)
        text = clip.encode
    else:
        own = TextEncoder.from_pretrained(options.checkpoints / "scene_encoder").eval()

        def text(description: str) -> Tensor:
            return torch.from_numpy(own.encode(description).tokens[:1])

    return Encoders(
        KLAutoencoder(autoencoder),
        Wav2Vec2Features.from_pretrained(options.wav2vec2, device=device),
        text,
        ArcFaceEmbedding.from_pretrained(options.face, device=device) if options.face else None,
        device,
        {
            "face_embedding": "arcface" if options.face else "none",
            "text_encoder": "clip" if options.text else "none",
            "autoencoder": "sd-vae",
            "audio_features": "wav2vec2",
        },
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pieces", type=Path, help="folder of `prepare clips`")
    parser.add_argument("--autoencoder", type=Path, required=True, help="folder as of stabilityai/sd-vae-ft-mse")
    parser.add_argument("--wav2vec2", type=Path, required=True, help="folder as of facebook/wav2vec2-base-960h")
    parser.add_argument("--face", type=Path, help="ArcFace (non-commercial): else nobody's face is embedded")
    parser.add_argument(
        "--text", type=Path, help="folder as of openai/clip-vit-large-patch14; else the shipped encoder"
    )
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints/mini"), help="where that is")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--part", default="1/1", help="2/8 encodes the second eighth: one part for each GPU")


def main(options: argparse.Namespace) -> None:
    """``python -m synchrorama prepare latents``."""
    for told in encode_pieces(options.pieces, _encoders(options), part(options.part)):
        print(told, flush=True)
