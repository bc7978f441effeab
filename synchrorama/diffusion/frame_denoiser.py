"""One pass of the full profile's denoiser: what of a clip goes into which network, and what a pass may be told.

The latents are those of whole frames. The networks are told what Hallo's are (arXiv 2406.08801): the person, the frames
before the clip, the sound in three regions of the face, and where the face is; and the motion frames, Z_emo and C_t
where a checkpoint has networks for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from synchrorama.diffusion.face_regions import coarser
from synchrorama.diffusion.networks import DiffusionNetworks
from synchrorama.diffusion.reference_net import ReferenceFeatures, as_maps
from synchrorama.diffusion.unet import DeepFeatures
from synchrorama.guidance import AUDIO, FULL, WITHOUT

FRAMES_BEFORE = 2  # a clip, that ReferenceNet reads for its temporal attention


class Pass(NamedTuple):
    """What is told about one clip besides its motion frames and the frames before it.

    Attributes:
        face: the photo, the face embedding, where the face is.
        sound: the sound.
        meaning: Z_emo and C_t.
    """

    face: bool
    sound: bool
    meaning: bool


PASSES = {WITHOUT: Pass(False, False, False), AUDIO: Pass(True, True, False), FULL: Pass(True, True, True)}
"""The passes of nested guidance (``guidance.guidance_passes``)."""

TokenOrder = Literal["hallo", "own"]
"""With whose image tokens ReferenceNet reads: ``own`` with those of the pass; ``hallo`` in Hallo's order, a slip with
which its weights were trained: frames before the clip with those of the other half in turn, and every other frame sees
the photo as read without a face."""


@dataclass(frozen=True)
class FrameConditions:
    """What is known about B clips of F frames, whose pictures have P·H × P·W pixels and whose latents H × W.

    Attributes:
        motion: (B, F, 3, P·H, P·W) in [-1, 1], the motion frames; looked at by ``motion_guide`` alone.
        mouth: (B, F, 1, H, W) in [0, 1], how much of each place lies between the lips; likewise.
        place: (B, F, 1, P·H, P·W) of zeros and ones, the box around the face (``face_regions.face_picture``).
        regions: region of the face → (B, F, H, W) in [0, 1] (``face_regions.face_regions``).
        sound: (B, F, …), what the audio projection expects of each frame: for Hallo's (B, F, 5, 12, 768).
        emotion: (B, F, 24), Z_emo.
        text: (B, F, n, width), C_t.
    """

    motion: Tensor
    mouth: Tensor
    place: Tensor
    regions: dict[str, Tensor]
    sound: Tensor
    emotion: Tensor
    text: Tensor


@dataclass(frozen=True)
class Person:
    """What is known about the persons of B clips, the same for all their frames.

    Attributes:
        tokens: without and with the face embedding, two of (B, n, image_width).
        photo: per self-attention (R, H·W, C), what ReferenceNet reads off the photos.
        versions: which of the R the frames of clip b see in turn.
    """

    tokens: tuple[Tensor, Tensor]
    photo: list[Tensor]
    versions: list[list[int]]


class FrameDenoiser:
    """The networks of a checkpoint as functions of ``FrameConditions`` and ``Person``.

    All tensors are on the networks' device; their type becomes that of the networks.

    Args:
        networks: with image and audio projection and face locator; motion guide, emotion and text projection if they
            have them.
        order: see ``TokenOrder``; left out, Hallo's for networks that have no more than Hallo's parts. Training takes
            ``own``.
        dtype: what tensors become instead, for networks whose parts differ.
    """

    def __init__(
        self, networks: DiffusionNetworks, order: TokenOrder | None = None, dtype: torch.dtype | None = None
    ) -> None:
        self.networks = networks
        ours = (networks.motion_guide, networks.emotion_projection, networks.text_projection)
        self.order: TokenOrder = order or ("hallo" if all(part is None for part in ours) else "own")
        self._dtype = dtype
        self._levels = len(networks.denoising_unet.config.block_out_channels)

    @property
    def dtype(self) -> torch.dtype:
        """What tensors become."""
        return self._dtype or self.networks.dtype

    @property
    def knows_meaning(self) -> bool:
        """Whether Z_emo or C_t can change anything."""
        return self.networks.emotion_projection is not None or self.networks.text_projection is not None

    def told_apart(self, passes: dict[str, float]) -> dict[str, float]:
        """Passes and weights (``guidance.guidance_passes``) without those that would predict what another does."""
        if self.knows_meaning:
            return passes
        merged = {WITHOUT: passes.get(WITHOUT, 0.0), AUDIO: passes.get(AUDIO, 0.0) + passes.get(FULL, 0.0)}
        return {told: weight for told, weight in merged.items() if weight != 0}

    def person(self, photo: Tensor, embedding: Tensor) -> Person:
        """The same for all clips of a video.

        Args:
            photo: (B, C, H, W) latents.
            embedding: (B, width_in) of the face; zeros where there is none.
        """
        project, kind = self.networks.image_projection, self.dtype
        embedding = embedding.to(kind)
        tokens = project(torch.zeros_like(embedding)), project(embedding)
        batch = len(photo)
        if self.order == "hallo":
            read = self._read(photo.repeat(2, 1, 1, 1), torch.cat(tokens))
            return Person(tokens, read, [[clip, batch + clip] for clip in range(batch)])
        return Person(tokens, self._read(photo, tokens[1]), [[clip] for clip in range(batch)])

    def features(self, person: Person, before: Tensor, passes: Sequence[Pass], frames: int) -> ReferenceFeatures:
        """What the denoising UNet sees of the person and of the frames before the clips.

        Args:
            person: of B clips.
            before: (B, M, C, H, W) latents of these frames; M is ``FRAMES_BEFORE``, or 0 for stills.
            passes: one for each clip; or, of one clip, any number of passes that are run at once.
            frames: F.
        """
        clips = self._clips(person, passes)
        wanted = [
            (clip, slot, self._told_face(told, slot))
            for clip, told in zip(clips, passes, strict=True)
            for slot in range(before.shape[1])
        ]
        rows = [person.versions[clip][frame % len(person.versions[clip])] for clip in clips for frame in range(frames)]
        if not wanted:
            return ReferenceFeatures(person.photo, [], rows)
        read_once = list(dict.fromkeys(wanted))
        pictures = torch.stack([before[clip, slot] for clip, slot, _ in read_once])
        tokens = torch.stack([person.tokens[face][clip] for clip, _, face in read_once])
        height, width = before.shape[3:]
        order = [read_once.index(each) for each in wanted]
        motion = [
            as_maps(read, height, width)[order].unflatten(0, (len(passes), -1))
            for read in self._read(pictures, tokens)
        ]
        return ReferenceFeatures(person.photo, motion, rows)

    def conditions(
        self,
        clip: FrameConditions,
        person: Person,
        features: ReferenceFeatures,
        passes: Sequence[Pass],
        *,
        deep_every: int = 1,
        guided: Tensor | None = None,
    ) -> dict[str, Any]:
        """What the denoising UNet is given besides latents and timestep: the same at every step of a clip.

        Args:
            clip, person: of B clips.
            features: for the same passes.
            passes: as for ``features``; N of them.
            deep_every: at every how many steps everything is computed anew (``DeepFeatures``).
            guided: (N,) bool, which passes see the motion frames, for training to need what else is told; None is all.
        """
        networks, kind = self.networks, self.dtype
        frames = clip.place.shape[1]
        clips = self._clips(person, passes)
        face, sound, meaning = (torch.tensor(flags, device=clip.place.device) for flags in zip(*passes, strict=True))
        where = networks.face_locator(clip.place.to(kind).flatten(0, 1).expand(-1, 3, -1, -1))
        guide = where.unflatten(0, (-1, frames)).transpose(1, 2) * face[:, None, None, None, None]
        if networks.motion_guide is not None:  # guidance is not to lead away from the motion frames
            seen = networks.motion_guide(clip.motion.to(kind).flatten(0, 1), clip.mouth.to(kind).flatten(0, 1))
            seen = seen.unflatten(0, (-1, frames)).transpose(1, 2)
            guide = guide + (seen if guided is None else seen * guided[:, None, None, None, None])
        heard = None
        if networks.audio_projection is not None:  # else it is the first stage of a training
            heard = networks.audio_projection(clip.sound.to(kind)) * sound[:, None, None, None]
        tokens = {}
        if networks.emotion_projection is not None:
            tokens["emotion"] = networks.emotion_projection(clip.emotion.to(kind)) * meaning[:, None, None, None]
        if networks.text_projection is not None:
            text = networks.text_projection(clip.text.to(kind)).flatten(2, 3)
            tokens["text"] = text * meaning[:, None, None, None]
        masks = coarser(clip.regions, self._levels)
        return {
            "features": features,
            "sees_reference": [told.face for told in passes],
            "image_tokens": torch.stack(
                [person.tokens[told.face][row] for told, row in zip(passes, clips, strict=True)]
            ),
            "audio_tokens": heard,
            "masks": {
                region: [level.to(kind).expand(len(passes), -1, -1) for level in levels]
                for region, levels in masks.items()
            },
            "tokens": tokens,
            "guide": guide,
            "deep": DeepFeatures(deep_every),
        }

    def predict(self, latents: Tensor, timestep: Tensor, conditions: dict[str, Any]) -> Tensor:
        """Noisy latents (N, C, F, H, W) at timesteps () or (N·F,) → the prediction as float32, which a scheduler needs:
        steps add up."""
        return self.networks.denoising_unet(latents.to(self.dtype), timestep, **conditions).float()

    def _read(self, pictures: Tensor, tokens: Tensor) -> list[Tensor]:
        return self.networks.reference_net(pictures.to(self.dtype), tokens).reference

    def _told_face(self, told: Pass, slot: int) -> bool:
        """Whether ReferenceNet reads a frame before the clip with the face's tokens."""
        if self.order == "own":
            return told.face
        # of [reference, first, second | reference, first, second] every other picture, whichever pass it belongs to
        return bool((told.face * (1 + FRAMES_BEFORE) + 1 + slot) % 2)

    def _clips(self, person: Person, passes: Sequence[Pass]) -> Sequence[int]:
        """Which of the B clips each pass is of."""
        batch = len(person.versions)
        if batch not in (1, len(passes)):
            raise ValueError(f"{len(passes)} passes for {batch} clips; give one for each")
        return [0] * len(passes) if batch == 1 else range(batch)
