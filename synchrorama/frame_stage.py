"""The paper's second stage at full size: diffusion makes every pixel of the frame, clip by clip.

Each clip starts from the noised latents of its motion frames (SDEdit, Meng et al. 2022) or from noise alone, and is
denoised under what ReferenceNet reads off the photo, once for a video, and off the two motion frames before the clip,
the sound, and Z_emo and C_t where the weights know them. Clips overlap and fade into each other. None sees what was
made before it, so a video does not drift from its photo however long it is.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from torch import Tensor

from synchrorama.audio import SAMPLES_PER_FRAME
from synchrorama.background import ahead
from synchrorama.diffusion import DiffusionNetworks
from synchrorama.diffusion.autoencoder import KLAutoencoder
from synchrorama.diffusion.face_regions import face_picture, face_regions
from synchrorama.diffusion.frame_denoiser import FRAMES_BEFORE, PASSES, FrameConditions, FrameDenoiser, Person
from synchrorama.diffusion.hallo import SCHEDULER
from synchrorama.diffusion.region import FaceRegion
from synchrorama.diffusion.sampling import Sampler, blend, make_noise, overlapping
from synchrorama.diffusion_stage import AfterStep, Told, explained
from synchrorama.errors import Cancelled
from synchrorama.guidance import guidance_passes
from synchrorama.motion_frames.drawing import smoothstep
from synchrorama.placement import Placement

if TYPE_CHECKING:
    from synchrorama.motion_frames import MotionFrame
    from synchrorama.settings import GenerationSettings

CLIP_FRAMES, OVERLAP = 16, 2
RIM = 0.05  # share of the side over which a frame fades into its motion frame, whose border stands still
_WAITING = CLIP_FRAMES  # finished frames that wait for whoever uses them
_NEEDS_LESS = "end other programs that use the GPU, or take the profile mini"
_SOLVER = {name: value for name, value in SCHEDULER.items() if name != "clip_sample"}
SAMPLERS: dict[str, Callable[[], Any]] = {
    "euler": lambda: DDIMScheduler(**SCHEDULER),
    "unipc": lambda: UniPCMultistepScheduler(**_SOLVER),
    "dpm++": lambda: DPMSolverMultistepScheduler(**_SOLVER),
}
"""What ``GenerationSettings.sampler`` may be: solvers for Hallo's schedule, which ends in pure noise, and its velocity
prediction. ``euler`` is DDIM (Song et al. 2021), the solver of first order, with which Hallo samples; in diffusers it
leaves a trace of noise, a thirtieth, where the number of steps does not divide 1000."""


class Encodes(Protocol):
    """A text encoder."""

    def encode(self, text: str) -> Tensor:
        """(n, width)."""


@dataclass
class _Shown:
    """A motion frame as the networks get it: H × W latents of P pixels each.

    Attributes:
        picture: (3, P·H, P·W) in [-1, 1].
        mouth, place, regions, noise: of ``FrameConditions``, without batch and frames; noise (C, 1, H, W).
        latents: (C, H, W) once they were needed.
    """

    picture: Tensor
    mouth: Tensor
    place: Tensor
    regions: dict[str, Tensor]
    noise: Tensor | None = None
    latents: Tensor | None = None


class FrameStage:
    """The networks of the full profile at work. Safe for threads: they take turns, clip by clip.

    Args:
        networks: of Hallo's kind, with or without what this project adds to them.
        autoencoder: such as sd-vae-ft-mse.
        audio_features: (samples, frames) → (frames, …), what the audio projection expects of each frame.
        face_embedding: (picture (H, W, 3) uint8, landmarks (478, 2)) → (width,); None, or where it returns None, the
            embedding is zeros.
        text_encoder: of the scene description, for networks with a text projection; None takes C_t as it is told.
        placement: where and how they run.
        overlap: frames that a clip shares with the one before.
    """

    def __init__(
        self,
        networks: DiffusionNetworks,
        autoencoder: AutoencoderKL,
        audio_features: Callable[[np.ndarray, int], Tensor],
        face_embedding: Callable[[np.ndarray, np.ndarray], Tensor | None] | None,
        text_encoder: Encodes | None,
        placement: Placement,
        *,
        overlap: int = OVERLAP,
    ) -> None:
        self.networks, self.autoencoder, self.placement = networks, autoencoder, placement
        self._audio_features, self._face_embedding, self._text_encoder = audio_features, face_embedding, text_encoder
        self._overlap = overlap
        self._large = (networks.reference_net, networks.denoising_unet, autoencoder)
        placement.place([part for part in networks.children() if part not in self._large], self._large)
        if placement.compiles:
            for unet in (networks.reference_net, networks.denoising_unet):
                for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
                    block.compile()
        self.codec = KLAutoencoder(autoencoder, placement.decoded_at_once)
        self.denoiser = FrameDenoiser(networks)
        self._turn = threading.RLock()

    def __call__(
        self,
        rendered: Iterable[MotionFrame],
        photo: MotionFrame,
        told: Told,
        settings: GenerationSettings,
        after_step: AfterStep | None = None,
    ) -> Iterator[np.ndarray]:
        """The T frames (H, W, 3) uint8 RGB, made ahead in a thread while those before are used, a clip's worth at most.

        Args:
            rendered: the T motion frames, of P·H × P·W pixels; they are taken in that thread.
            photo: the photo itself as a frame.
            told: about the T frames.
            settings: inference steps, guidance scale, strength (1 starts from noise alone, less keeps more of the
                motion frames, 0 leaves them as they are), sampler, feature caching, emotion strength and seed.
            after_step: see ``AfterStep``; called in that thread.

        Raises:
            InputError: the memory does not suffice; the sentence says what needs less.
        """
        if settings.diffusion_strength == 0:
            return (frame.image for frame in rendered)
        return ahead(lambda stopped: self._frames(rendered, photo, told, settings, after_step, stopped), _WAITING)

    def _frames(
        self,
        rendered: Iterable[MotionFrame],
        photo: MotionFrame,
        told: Told,
        settings: GenerationSettings,
        after_step: AfterStep | None,
        stopped: Callable[[], bool],
    ) -> Iterator[np.ndarray]:
        images: deque[np.ndarray] = deque()

        def kept() -> Iterator[MotionFrame]:
            for frame in rendered:
                images.append(frame.image)
                yield frame

        def watch(done: int, steps: int, latents: Tensor) -> None:
            if stopped():
                raise Cancelled("Nobody wants the rest of the frames.")
            if after_step is not None:
                after_step(done, steps, lambda: _bytes(self.codec.preview(latents[0].transpose(0, 1))))

        latents = blend(self._clips(kept(), photo, told, settings, watch))
        while group := list(islice(latents, self.placement.decoded_at_once)):
            with self._working(self.autoencoder):
                pictures = _bytes(self.codec.decode(torch.stack(group)))
            for picture in pictures:
                image = images.popleft()
                yield (image + _rim(image.shape[0]) * (picture.astype(np.float32) - image) + 0.5).astype(np.uint8)

    def _clips(
        self,
        rendered: Iterator[MotionFrame],
        photo: MotionFrame,
        told: Told,
        settings: GenerationSettings,
        watch: Callable[[int, int, Tensor], None],
    ) -> Iterator[tuple[range, Tensor]]:
        """Clips and their latents (C, F, H, W)."""
        sound, text = self._sound(told), self._text(told)
        origin = self._shown(photo)
        with self._turn:
            person = self._person(photo, origin)
        generator = torch.Generator().manual_seed(settings.seed or 0)
        channels, height, width = origin.latents.shape
        # Hallo's noise has nothing in common between frames
        noises = make_noise((channels, 1, height, width), generator, shared=0)
        shown: list[_Shown] = []  # from two frames before the clip to its end
        taken = 0
        for span in overlapping(len(told), CLIP_FRAMES, self._overlap):
            for frame in islice(rendered, span.stop - taken):
                shown.append(self._shown(frame))
                shown[-1].noise = next(noises)
            taken = span.stop
            shown = shown[-(len(span) + FRAMES_BEFORE) :]
            clip, before = shown[-len(span) :], ([origin] * FRAMES_BEFORE + shown[: -len(span)])[-FRAMES_BEFORE:]
            conditions = FrameConditions(
                motion=self._stack([each.picture for each in clip]),
                mouth=self._stack([each.mouth for each in clip]),
                place=self._stack([each.place for each in clip]),
                regions={region: self._stack([each.regions[region] for each in clip]) for region in origin.regions},
                sound=sound[span.start : span.stop][None].to(self.placement.device),
                emotion=torch.from_numpy(told.emotion[span.start : span.stop])[None].to(self.placement.device),
                text=text[span.start : span.stop][None].to(self.placement.device),
            )
            with self._turn:
                latents = self._denoise(clip, before, conditions, person, settings, watch)
            yield span, latents

    def _denoise(
        self,
        clip: list[_Shown],
        before: list[_Shown],
        conditions: FrameConditions,
        person: Person,
        settings: GenerationSettings,
        watch: Callable[[int, int, Tensor], None],
    ) -> Tensor:
        """One clip → its latents (C, F, H, W)."""
        weights = self.denoiser.told_apart(guidance_passes(settings.guidance_scale, settings.emotion_strength))
        together = [list(weights)] if self.placement.passes_at_once else [[told] for told in weights]
        with self._working(self.autoencoder):
            self._encode(before if settings.diffusion_strength == 1 else [*before, *clip])
        with self._working(self.networks.reference_net):
            earlier = torch.stack([each.latents for each in before])[None]
            prepared = []
            for names in together:
                passes = [PASSES[told] for told in names]
                features = self.denoiser.features(person, earlier, passes, len(clip))
                given = self.denoiser.conditions(
                    conditions, person, features, passes, deep_every=settings.feature_caching
                )
                prepared.append(([weights[told] for told in names], given))

        def predict(latents: Tensor, timestep: Tensor) -> Tensor:
            total = 0
            for factors, given in prepared:
                batch = latents.expand(len(factors), -1, -1, -1, -1)
                predicted = self.denoiser.predict(batch, timestep.to(latents.device), given)
                total = total + sum(factor * each for factor, each in zip(factors, predicted.split(1), strict=True))
            return total

        with self._working(self.networks.denoising_unet):
            noise = self._stack([each.noise[:, 0] for each in clip]).transpose(1, 2)
            motion = torch.zeros_like(noise)
            if settings.diffusion_strength < 1:
                motion = torch.stack([each.latents for each in clip], 1)[None]
            sampler = Sampler(SAMPLERS[settings.sampler](), settings.inference_steps, settings.diffusion_strength)
            return sampler(predict, noise, motion, watch)[0]

    # ------------------------------------------------------------------------------------------ what they are told

    def _shown(self, frame: MotionFrame) -> _Shown:
        size = frame.image.shape[0]
        cells = size // self.codec.pixels
        mouth = FaceRegion(np.eye(2, 3), size).mouth(frame.mouth, cells)
        return _Shown(
            picture=torch.from_numpy(frame.image).movedim(-1, 0).float() / 127.5 - 1,
            mouth=torch.from_numpy(mouth)[None],
            place=torch.from_numpy(face_picture(frame.landmarks, size))[None],
            regions={
                region: torch.from_numpy(mask) for region, mask in face_regions(frame.landmarks, size, cells).items()
            },
        )

    def _person(self, photo: MotionFrame, origin: _Shown) -> Person:
        width = self.networks.image_projection.config.width_in
        embedding = None if self._face_embedding is None else self._face_embedding(photo.image, photo.landmarks)
        embedding = torch.zeros(width) if embedding is None else torch.as_tensor(embedding)
        with self._working(self.autoencoder):
            self._encode([origin])
        with self._working(self.networks.reference_net):
            return self.denoiser.person(origin.latents[None], embedding[None].to(self.placement.device))

    def _sound(self, told: Told) -> Tensor:
        """(T, …); a silent video is told of silence."""
        samples = told.samples
        if samples is None:
            samples = np.zeros(len(told) * SAMPLES_PER_FRAME, np.float32)
        with explained(_NEEDS_LESS):
            return self._audio_features(samples, len(told))

    def _text(self, told: Told) -> Tensor:
        """(T, n, width)."""
        projection = self.networks.text_projection
        if projection is None or self._text_encoder is None:
            return torch.from_numpy(told.text)[:, None]
        if told.description is None:
            return torch.zeros(len(told), 1, projection.proj.in_features)
        with explained(_NEEDS_LESS):
            return self._text_encoder.encode(told.description)[None].expand(len(told), -1, -1)

    # ------------------------------------------------------------------------------------------ on the device

    @contextmanager
    def _working(self, network: torch.nn.Module) -> Iterator[None]:
        """While this one of the large networks works, it has the device to itself."""
        with self._turn, explained(_NEEDS_LESS):
            self.placement.bring(network, self._large)
            with torch.inference_mode():
                yield

    def _encode(self, frames: list[_Shown]) -> None:
        """Give frames their latents, each once."""
        frames = [each for each in frames if each.latents is None]
        if frames:
            pictures = torch.stack([each.picture for each in frames]).to(self.placement.device)
            for each, latents in zip(frames, self.codec.encode(pictures), strict=True):
                each.latents = latents

    def _stack(self, tensors: list[Tensor]) -> Tensor:
        """Of frame after frame → (1, F, …) on the device."""
        return torch.stack(tensors)[None].to(self.placement.device)


@functools.cache
def _rim(size: int) -> np.ndarray:
    """(size, size, 1) float32: 1 inside, falling smoothly to 0 at the border."""
    place = (np.arange(size) + 0.5) / size
    inside = smoothstep(np.minimum(place, 1 - place) / RIM)
    return np.minimum(inside[:, None], inside[None]).astype(np.float32)[..., None]


def _bytes(pictures: Tensor) -> np.ndarray:
    """(F, 3, H, W) in [-1, 1] → (F, H, W, 3) uint8."""
    return ((pictures + 1) * 127.5).round().byte().movedim(1, -1).cpu().numpy()
