"""The paper's second stage in a generation: motion frames in, frames whose mouths are painted out, clip by clip.

Each clip is denoised from noise, under its motion frames, the features of the photo that ReferenceNet reads once, the
sound, Z_emo and C_t. Clips overlap and fade into each other, and each is anchored to the photo, never
to the clip before, so a video may be as long as it likes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler
from torch import Tensor

from synchrorama.audio import MEL_BANDS, SOUND_COLUMNS, log_mel, sound_around
from synchrorama.diffusion import DiffusionNetworks
from synchrorama.diffusion.checkpoint import load_strictly
from synchrorama.diffusion.denoiser import ClipConditions, Denoiser
from synchrorama.diffusion.region import REGION_SIZE, FaceRegion, painted
from synchrorama.diffusion.sampling import Sampler, blend, guided, make_noise, overlapping
from synchrorama.errors import InputError
from synchrorama.guidance import guidance_passes

if TYPE_CHECKING:
    from synchrorama.motion_frames import MotionFrame
    from synchrorama.settings import GenerationSettings

CLIP_FRAMES, OVERLAP = 8, 1
SHARED_NOISE = 0.7
_NEEDS_LESS = "set Diffusion strength to 0, or take the framing crop"
_PALE = 0.25  # mean distance of the largest from the smallest of red, green and blue, which reach from -1 to 1
_FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 1.0}
SAMPLERS: dict[str, Callable[[], Any]] = {
    "euler": FlowMatchEulerDiscreteScheduler,
    "unipc": lambda: UniPCMultistepScheduler(**_FLOW),
    "dpm++": lambda: DPMSolverMultistepScheduler(**_FLOW),
}
"""What ``GenerationSettings.sampler`` may be: solvers of the flow's differential equation."""

AfterStep = Callable[[int, int, Callable[[], np.ndarray]], None]
"""Called as after_step(done, steps, look) after every step of every clip; look() → the clip as it is now,
(F, H, W, 3) uint8 RGB, small. May raise to stop."""


@dataclass(frozen=True)
class Told:
    """What the networks are told about a video of T frames besides its pictures.

    Attributes:
        samples: (n,) float32 mono at 16 kHz, the recording, which may be longer; None for a silent video.
        emotion: (T, 24), Z_emo.
        text: (T, 32), C_t of the small text encoder.
        description: the scene description, for a stage with a text encoder of its own; None where there is none.
    """

    samples: np.ndarray | None
    emotion: np.ndarray
    text: np.ndarray
    description: str | None = None

    def __len__(self) -> int:
        return len(self.emotion)


class DiffusionStage:
    """The trained networks at work.

    Args:
        networks: of the small profile: their latents are gains of brightness (``LogGain``) in the face region.
    """

    def __init__(self, networks: DiffusionNetworks) -> None:
        self.networks = networks.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self._denoiser = Denoiser(networks)
        self.codec = self._denoiser.codec

    @classmethod
    def from_pretrained(cls, folder: Path) -> DiffusionStage:
        """
        Raises:
            InputError: the folder does not hold these networks, whole; the sentence says what is wrong.
        """
        return cls(read_networks(folder))

    def __call__(
        self,
        rendered: Iterable[MotionFrame],
        photo: MotionFrame,
        told: Told,
        settings: GenerationSettings,
        after_step: AfterStep | None = None,
    ) -> Iterator[np.ndarray]:
        """The T frames (H, W, 3) uint8 RGB, each when it is asked for; no more than two clips of them are held.

        Args:
            rendered: the T motion frames; they are taken as they are needed.
            photo: the photo itself as a frame.
            told: about the T frames.
            settings: inference steps, guidance scale, strength, sampler, feature caching, emotion strength and seed.
            after_step: see ``AfterStep``.

        Raises:
            InputError: the memory does not suffice; the sentence names the settings that need less.
        """
        rendered, waiting = iter(rendered), deque()
        cells = REGION_SIZE // self.codec.pixels
        noises = make_noise((3, 1, cells, cells), torch.Generator().manual_seed(settings.seed or 0), SHARED_NOISE)
        reference = _pictures([_region(photo)[1]])
        colour = _colourfulness(reference)
        mel = None if told.samples is None else log_mel(told.samples)
        with explained(_NEEDS_LESS), torch.inference_mode():
            features = self._denoiser.features(reference)

        def clips() -> Iterator[tuple[range, Tensor]]:
            held: deque[tuple[Tensor, Tensor, Tensor]] = deque()
            taken = 0
            for span in overlapping(len(told), CLIP_FRAMES, OVERLAP):
                for frame in islice(rendered, span.stop - taken):
                    place, picture = _region(frame)
                    mouth = torch.from_numpy(place.mouth(frame.mouth, cells))[None]
                    waiting.append((frame, place, painted(mouth[None])[0].numpy()))
                    held.append((_pictures([picture])[0], mouth, next(noises)))
                taken = span.stop
                while len(held) > len(span):
                    held.popleft()
                motion, mouth, noise = (torch.stack(each)[None] for each in zip(*held, strict=True))
                clip = ClipConditions(
                    motion=motion,
                    mouth=mouth,
                    sound=torch.from_numpy(_sound(mel, span))[None],
                    emotion=torch.from_numpy(told.emotion[span.start : span.stop])[None],
                    text=torch.from_numpy(told.text[span.start : span.stop])[None],
                )
                yield span, self._denoise(clip, noise[:, :, :, 0].transpose(1, 2), features, settings, after_step)

        for latents in blend(clips()):
            frame, place, mask = waiting.popleft()
            grey = latents.mean(0, keepdim=True)  # what all colours gain alike
            field = (grey + colour * (latents - grey)).numpy() * mask
            yield self._paint(frame.image, place, field.transpose(1, 2, 0))

    def _denoise(
        self,
        clip: ClipConditions,
        noise: Tensor,
        features: Any,
        settings: GenerationSettings,
        after_step: AfterStep | None,
    ) -> Tensor:
        """One clip → its latents (3, F, cells, cells)."""
        motion = torch.zeros_like(noise)  # the motion frame is no gain at all
        passes = guidance_passes(settings.guidance_scale, settings.emotion_strength)
        sampler = Sampler(SAMPLERS[settings.sampler](), settings.inference_steps)

        def predict(latents: Tensor, timestep: Tensor, told: str) -> Tensor:
            return self._denoiser.predict(latents, timestep, conditions[told])

        def watch(done: int, steps: int, latents: Tensor) -> None:
            if after_step is not None:
                after_step(done, steps, lambda: _seen(self.codec.preview(latents[0].transpose(0, 1), clip.motion[0])))

        with explained(_NEEDS_LESS), torch.inference_mode():
            conditions = {
                told: self._denoiser.conditions(clip, features, told, deep_every=settings.feature_caching)
                for told in passes
            }
            latents = sampler(lambda x, t: guided(predict, x, t, passes), noise, motion, watch)[0]
        # Zeros are the motion frame, so a share of the latents is a share of the way. To start from the noised motion
        # frame instead leaves the colours of some people further from the real ones for the same gain on others.
        return settings.diffusion_strength * latents

    def _paint(self, image: np.ndarray, place: FaceRegion, latents: np.ndarray) -> np.ndarray:
        """The motion frame with the gains of its region; pixels stay its own where there is none."""
        if not latents.any():
            return image
        with explained(_NEEDS_LESS):
            gain, part = place.spread(self.codec.gain(torch.from_numpy(latents)).numpy(), image.shape)
            result = image.copy()
            lift = 127.5 * (self.codec.LIFT - 1)
            result[part] = np.clip((image[part] + lift) * np.exp(gain) - lift + 0.5, 0, 255)
        return result


def read_networks(folder: Path, dtype: torch.dtype = torch.float32) -> DiffusionNetworks:
    """The networks of a checkpoint folder: config.json and safetensors.

    Args:
        folder: where they are.
        dtype: what their tensors become.

    Raises:
        InputError: something of it is missing, damaged, not ours or pickled; the sentence says what.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights = folder / "diffusion_pytorch_model.safetensors"
    again = f"fetch {folder.name} again"
    if not weights.is_file():
        if any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.ckpt")):
            raise InputError(f"The weights in {folder.name} are pickled, which is not loaded; give safetensors.")
        raise InputError(f"The folder {folder.name} lacks {weights.name}; {again}.")
    try:
        config = DiffusionNetworks.load_config(folder)
        with torch.device("meta"):  # all that is random is replaced
            networks = DiffusionNetworks(config["parts"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        problem = str(error).splitlines()[0][:200]
        raise InputError(f"The config.json of {folder.name} does not describe the networks ({problem}).") from None
    try:
        tensors = load_file(weights)
    except (SafetensorError, OSError, ValueError):
        raise InputError(f"The file {weights.name} in {folder.name} is damaged; {again}.") from None
    try:
        load_strictly(networks, {name: tensor.to(dtype) for name, tensor in tensors.items()})
    except ValueError as error:
        raise InputError(f"{str(error).rstrip('.')}; {again}.") from None
    return networks


@contextmanager
def explained(remedy: str) -> Iterator[None]:
    """Too little memory, in words for the user with what to do about it; what was taken is free again by then."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise InputError(f"There is not enough memory to paint the frames; {remedy}.") from None


def _sound(mel: np.ndarray | None, frames: range) -> np.ndarray:
    """(4T, 80) log-mel → (len(frames), 20, 80) float32; zeros mean that nothing is told of the sound."""
    if mel is None:
        return np.zeros((len(frames), SOUND_COLUMNS, MEL_BANDS), np.float32)
    return sound_around(mel, frames)


def _region(frame: MotionFrame) -> tuple[FaceRegion, np.ndarray]:
    place = FaceRegion.of(frame, REGION_SIZE)
    return place, place.cut(frame.image)


def _colourfulness(photo: Tensor) -> float:
    """How far a picture (1, 3, H, W) is from grey: 0 for black and white, 1 from pale colours on.

    The weights have seen colour only and would tint the mouth of a grey face.
    """
    spread = (photo.amax(1) - photo.amin(1)).mean()
    return float((spread / _PALE).clamp(0, 1))


def _pictures(regions: list[np.ndarray]) -> Tensor:
    """(N, 3, size, size) in [-1, 1]."""
    return torch.from_numpy(np.stack(regions)).movedim(-1, 1).float() / 127.5 - 1


def _seen(pictures: Tensor) -> np.ndarray:
    """(F, 3, H, W) in [-1, 1] → (F, H, W, 3) uint8."""
    return ((pictures + 1) * 127.5).round().byte().movedim(1, -1).numpy()
