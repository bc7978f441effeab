"""The settings of one run of the full networks, from a JSON file: LoopConfig and what the two stages need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from synchrorama.errors import InputError
from synchrorama.training.run_config import LoopConfig, at_least_one

STAGES = (1, 2)


@dataclass(frozen=True, kw_only=True)
class FrameRunConfig(LoopConfig):
    """A run of the full profile.

    Attributes:
        stage: 1 trains appearance on single frames, 2 sound, time, emotion and text on clips.
        pieces: folder of `prepare clips` and `prepare latents`.
        start: folders of weights to begin with, see ``start_from``; none trains from nothing.
        clips_per_step: of each process and each accumulation.
        accumulation: batches whose gradients make one step.
        clip_frames: F; 1 in the first stage.
        frames_before: M, real frames that precede a clip, from which the networks go on; 0 in the first stage.
        beginnings: share of clips before which nothing was: the photo stands in for the frames before, as it does
            where a video begins.
        without_image, without_sound, without_emotion, without_guide: shares of clips for which one thing is not
            told, each drawn for itself: the face and the reference; the sound, and with it emotion and text; emotion
            and text alone; the motion frames.
        noise_offset: a little noise common to all places of a channel (Guttenberg 2023), so that brightness is learnt.
        min_snr: γ of the weights of the loss (Hang et al. 2023).
        licence: of the weights, for their model card; data and starting weights may restrict it.
    """

    stage: int
    pieces: Path
    start: tuple[Path, ...] = ()
    clips_per_step: int = 1
    accumulation: int = 1
    clip_frames: int = 14
    frames_before: int = 2
    beginnings: float = 0.05
    without_image: float = 0.05
    without_sound: float = 0.05
    without_emotion: float = 0.05
    without_guide: float = 0.15
    noise_offset: float = 0.05
    min_snr: float = 5.0
    checkpoints: Path = Path("checkpoints/mini")
    licence: str = "other"

    def _check(self, name: str) -> None:
        super()._check(name)
        if self.stage not in STAGES:
            raise InputError(f"stage in {name} must be 1 or 2.")
        for number in ("clips_per_step", "accumulation", "clip_frames"):
            at_least_one(self, number, name)
        if self.stage == 1 and (self.clip_frames, self.frames_before) != (1, 0):
            raise InputError(
                f"The first stage learns from single frames; set clip_frames to 1 and frames_before to 0 in {name}."
            )
        for share in ("beginnings", "without_image", "without_sound", "without_emotion", "without_guide"):
            if not 0 <= getattr(self, share) <= 1:
                raise InputError(f"{share} in {name} must be from 0 to 1.")
        needed = {"reference_net", "denoising_unet", "image_projection", "face_locator"}
        needed |= {"audio_projection"} if self.stage == 2 else set()
        if missing := sorted(needed - set(self.networks)):
            raise InputError(f"networks in {name} must have {', '.join(missing)}.")
        places = self.networks["denoising_unet"].get("max_frames", 32)
        if self.stage == 1 and places:
            raise InputError(
                f"The first stage has no temporal attention; set max_frames of denoising_unet to 0 in {name}."
            )
        if self.stage == 2 and self.clip_frames + self.frames_before > places:
            raise InputError(f"max_frames of denoising_unet in {name} must hold clip_frames and frames_before.")
