"""A2M: audio to motion (the paper's figure, parts b and c).

A conditional variational autoencoder over ``Motion`` with a volume-preserving normalising flow (VP-Flow) as its prior,
as PortaSpeech (Ren et al. 2021) and GeneFace (Ye et al. 2023) use it. Lips follow the sound nearly deterministically;
the stochastic latent governs what the sound leaves open: head pose, brows, lids, gaze, and a slow style of speaking.
A latent that could also move the lips from frame to frame would cost lip sync.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from synchrorama.acting import Acting
from synchrorama.audio import HOPS_PER_FRAME, MEL_BANDS, log_mel
from synchrorama.blendshapes import BLENDSHAPE_INDEX, MAX_COEFFICIENTS, MOUTH_AND_JAW
from synchrorama.blinks import blink_track
from synchrorama.face_vae import (
    FACE_BLENDSHAPES,
    FACE_CHANNELS,
    FaceDecoder,
    FrameNorm,
    PosteriorEncoder,
    ResidualBlock,
    VPFlow,
)
from synchrorama.motion import Motion, gaze, set_gaze
from synchrorama.visemes import add_with_same_gap, shut_lips, touch_teeth

STYLE_NAMES = ("amplitude", "opening", "width", "rounding", "smile", "tracked")
"""The style code: statistics of how somebody speaks, in units of their spread over people; last, the articulation:
0 crisp as the phonetic teacher, 1 as people do on video."""

MAX_ROTATION = np.radians([10.0, 15.0, 10.0])  # pitch, yaw, roll that a single photo bears
MAX_TRANSLATION = 0.06  # face heights
_STYLE_SPREAD = np.array([0.0, 0.0, 0.35, 0.25, 0.35, 0.0], np.float32)  # what motion diversity may vary
# Columns of the phone head (see training.phones.PHONES): m b p, f v, silence.
_PHONE_COUNT, _BILABIALS, _LABIODENTALS, _SILENCE = 40, (19, 20, 21), (22, 23), 39
_AMPLITUDE = 0.95  # closures widen the spread of the lip gap; this brings it back to that of the development clips
_HEAD = 0.7  # head motion of 1: brings the speed of the head from that of the training clips to the development clips
_HEAD_SMOOTHING = 1.5  # frames
_PEAK = (0.25, 0.16)  # a closure heard more surely than this shuts the lips: at articulation 0, and times that at 1


def _zero_initialised(layer: nn.Conv1d) -> nn.Conv1d:
    """A condition that changes nothing until training has found a use for it."""
    nn.init.zeros_(layer.weight)
    return layer


class LipDecoder(nn.Module):
    """Log-mel and style → mouth coefficients, closures, phones; its hidden features condition the rest of the face."""

    def __init__(self, channels: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.input = nn.Conv1d(HOPS_PER_FRAME * MEL_BANDS, channels, 3, padding=1)
        self.norm = FrameNorm(channels)
        self.blocks = nn.ModuleList(ResidualBlock(channels, d, len(STYLE_NAMES)) for d in dilations)
        self.coefficients = nn.Conv1d(channels, len(MOUTH_AND_JAW), 1)
        self.closures = nn.Conv1d(channels, 2, 1)
        self.phones = nn.Conv1d(channels, _PHONE_COUNT, 1)
        nn.init.constant_(self.coefficients.bias, -2.0)

    def forward(self, mel: Tensor, style: Tensor) -> dict[str, Tensor]:
        """(B, 4T, 80) normalised log-mel, (B, 6) style → coefficients (B, T, 27) in [0, 1]; closure logits (B, T, 2)
        for shut lips and lip at the teeth; phone logits (B, T, 40); features (B, C, T)."""
        frames = mel.reshape(mel.shape[0], -1, HOPS_PER_FRAME * MEL_BANDS).transpose(1, 2)
        x = F.gelu(self.norm(self.input(frames)))
        for block in self.blocks:
            x = block(x, style)
        return {
            "coefficients": torch.sigmoid(self.coefficients(x)).transpose(1, 2),
            "closures": self.closures(x).transpose(1, 2),
            "phones": self.phones(x).transpose(1, 2),
            "features": x,
        }


class A2M(ModelMixin, ConfigMixin):
    """Audio to motion. ``generate`` makes a ``Motion`` from a recording; the parts above are trained together."""

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        channels: int = 160,
        dilations: tuple[int, ...] = (1, 2, 3, 3, 2, 1),
        face_channels: int = 96,
        latent_channels: int = 16,
        latent_stride: int = 8,
        flow_layers: int = 4,
        audio_channels: int = 32,
        emotion_channels: int = 24,
        scene_channels: int = 32,
    ) -> None:
        super().__init__()
        self.lips = LipDecoder(channels, tuple(dilations))
        self.audio_features = nn.Conv1d(channels, audio_channels, 1)
        self.emotion = _zero_initialised(nn.Conv1d(emotion_channels, audio_channels, 1, bias=False))
        self.scene = _zero_initialised(nn.Conv1d(scene_channels, audio_channels, 1, bias=False))
        self.posterior = PosteriorEncoder(audio_channels, face_channels, latent_channels)
        self.prior = VPFlow(latent_channels, audio_channels, face_channels, flow_layers)
        self.face = FaceDecoder(latent_channels, audio_channels, face_channels)
        self.register_buffer("lip_gap_gain", torch.zeros(52))  # cm per unit, from the motion space
        self.register_buffer("face_mean", torch.zeros(FACE_CHANNELS))
        self.register_buffer("face_std", torch.ones(FACE_CHANNELS))

    def condition(self, features: Tensor, emotion: Tensor | None = None, scene: Tensor | None = None) -> Tensor:
        """What the rest of the face is conditioned on: (B, C, T).

        Args:
            features: (B, channels, T) of the lip decoder.
            emotion: (B, 24, T) Z_emo; None, like zeros, where it is not known.
            scene: (B, 32, T) the token of C_t that is in force in each frame; None, like zeros, without a description.
        """
        context = self.audio_features(features)
        if emotion is not None:
            context = context + self.emotion(emotion)
        if scene is not None:
            context = context + self.scene(scene)
        return context

    def pooled_audio(self, context: Tensor) -> Tensor:
        """Context (B, C, T) at the latents' rate, (B, C, ceil(T/8))."""
        stride = self.config.latent_stride
        padding = -context.shape[-1] % stride
        return F.avg_pool1d(F.pad(context, (0, padding), mode="replicate"), stride)

    @torch.no_grad()
    def generate(
        self,
        speech: np.ndarray,
        *,
        seed: int = 0,
        motion_diversity: float = 1.0,
        head_motion: float = 1.0,
        blink_rate: float = 15.0,
        expressiveness: float = 1.0,
        articulation: float = 0.5,
        emotion: np.ndarray | None = None,
        emotion_strength: float = 1.0,
        scene: np.ndarray | None = None,
        acting: Acting | None = None,
    ) -> Motion:
        """Motion for a recording of any length in one pass; the same seed gives the same motion.

        Args:
            speech: (n,) float32 mono at 16 kHz.
            motion_diversity: temperature of the latent; 0 gives the most likely motion for every seed.
            head_motion: scale of head rotation and translation; 0 keeps the head still.
            blink_rate: blinks a minute on average; 0 for none.
            expressiveness: how far the mouth opens; 0 keeps it shut, 1 as people do, 2 exaggerated.
            articulation: 0 as mumbled as people are on video, 1 every consonant shown.
            emotion: (T, 24) Z_emo, see ``emotion.embedding``.
            emotion_strength: guidance: 0 as without emotion, 1 as learned, 2 exaggerated.
            scene: (T, 32) tokens of C_t.
            acting: expressions, actions and manner that are put on the motion; lips still close where they must.
        """
        random = torch.Generator().manual_seed(int(seed))
        mel = torch.from_numpy(normalised_mel(log_mel(speech)))[None].to(self.device, self.dtype)
        frames = mel.shape[1] // HOPS_PER_FRAME
        spread = torch.from_numpy(_STYLE_SPREAD * motion_diversity)
        style = torch.randn(1, len(STYLE_NAMES), generator=random).clamp(-1.5, 1.5) * spread
        style[:, 0] = float(np.log(np.clip(expressiveness, 0.5, 1.6)))
        style[:, -1] = 1.0 - 0.5 * articulation
        # Heard a second time as the crisp teacher hears, which tells p from a pause in loudness far more surely.
        crisp = style * torch.tensor([[1.0] * (len(STYLE_NAMES) - 1) + [0.0]])
        lips = self.lips(mel.expand(2, -1, -1), torch.cat([style, crisp]).to(mel))
        steps = -(-frames // self.config.latent_stride)
        noise = torch.randn(1, self.config.latent_channels, steps, generator=random).to(mel) * motion_diversity
        face = self._face(lips["features"][:1], noise, emotion, emotion_strength, scene)

        silence = _smoothed(lips["phones"][0].softmax(-1)[:, _SILENCE].float().cpu().numpy())
        blendshapes = self._mouth(lips, expressiveness, articulation, acting)
        rates = blink_rate if acting is None else blink_rate * acting.blink_rate
        blinks = blink_track(frames, rates, np.random.default_rng(seed), silence)
        self._add_upper_face(blendshapes, face, blinks)
        head = _HEAD * face[:, -6:]
        if acting is not None:
            head = acting.move_head(head) + np.concatenate([acting.rotation, acting.translation], axis=1)
        head = head_motion * head
        return Motion(
            blendshapes,
            MAX_ROTATION * np.tanh(head[:, :3] / MAX_ROTATION),
            MAX_TRANSLATION * np.tanh(head[:, 3:] / MAX_TRANSLATION),
        )

    def _face(
        self,
        features: Tensor,
        noise: Tensor,
        emotion: np.ndarray | None,
        emotion_strength: float,
        scene: np.ndarray | None,
    ) -> np.ndarray:
        """(T, 21) what the latent governs, from its noise (1, L, T/8).

        Emotion is guided as diffusion models are (Ho & Salimans 2022, "Classifier-free diffusion guidance"): what it
        changes is scaled by its strength.
        """

        def decoded(z_emo: Tensor | None) -> Tensor:
            context = self.condition(features, z_emo, to_tensor(scene))
            return self.face(self.prior.inverse(noise, self.pooled_audio(context)), context)[0].T

        def to_tensor(condition: np.ndarray | None) -> Tensor | None:
            return None if condition is None else torch.from_numpy(np.ascontiguousarray(condition.T))[None].to(features)

        face = decoded(None if emotion_strength == 0 else to_tensor(emotion))
        if emotion is not None and emotion_strength not in (0, 1):
            plain = decoded(None)
            face = plain + emotion_strength * (face - plain)
        return _without_tremor((face * self.face_std + self.face_mean).float().cpu().numpy())

    def _mouth(
        self, lips: dict[str, Tensor], expressiveness: float, articulation: float, acting: Acting | None
    ) -> np.ndarray:
        """The lip decoder's answer, shut where it must be, and the face that is acted: (T, 52).

        It needs no gate for silence and noise, through which the decoder has learned to stay at rest; a gate cuts into
        soft speech and costs lip sync.
        """
        coefficients = lips["coefficients"][0].float().cpu().numpy()
        blendshapes = np.zeros((len(coefficients), 52), np.float32)
        # Within 0.5…1.6 the network's own style changes the amplitude; beyond, and a little within, a plain gain does.
        gain = expressiveness / np.clip(expressiveness, 0.5, 1.6) * np.clip(expressiveness, 0.5, 1.6) ** 0.5
        opening = 1.0 if acting is None else acting.opening[:, None]
        blendshapes[:, MOUTH_AND_JAW] = np.clip(coefficients * (_AMPLITUDE * gain) * opening, 0, 1)
        phones = lips["phones"][1].softmax(-1)
        heard = torch.stack([phones[:, list(group)].sum(1) for group in (_BILABIALS, _LABIODENTALS)], 1)
        score = (torch.sigmoid(lips["closures"][1]) * heard).sqrt().float().cpu().numpy()
        shut, teeth = (closure_amount(column, _PEAK[1] ** articulation * _PEAK[0]) for column in score.T)
        gap_gain = self.lip_gap_gain.float().cpu().numpy()
        blendshapes = touch_teeth(blendshapes, teeth * (1 - shut), gap_gain)
        blendshapes = np.clip(shut_lips(blendshapes, shut, gap_gain), 0, 1)
        if acting is None:
            return blendshapes
        # Lips stay as far apart, or shut, as speech has them.
        blendshapes = add_with_same_gap(blendshapes, acting.blendshapes, gap_gain)
        return np.clip(blendshapes, np.minimum(acting.blendshapes, 0), MAX_COEFFICIENTS)

    @staticmethod
    def _add_upper_face(blendshapes: np.ndarray, face: np.ndarray, blinks: np.ndarray) -> None:
        """Add brows, cheeks and gaze (T, 21) and blinks (T,) to the acted face (T, 52), in place."""
        for name, column in zip(FACE_BLENDSHAPES, face.T, strict=False):
            most = MAX_COEFFICIENTS[BLENDSHAPE_INDEX[name]]
            blendshapes[:, BLENDSHAPE_INDEX[name]] += np.clip(column, -0.5, min(most, 1.0))
        look = face[:, len(FACE_BLENDSHAPES) : len(FACE_BLENDSHAPES) + 2]
        look = np.clip(look, (-0.5, -0.4), (0.5, 0.4)) + gaze(blendshapes)
        set_gaze(blendshapes, *look.T)
        for name in ("eyeBlinkLeft", "eyeBlinkRight"):
            column = BLENDSHAPE_INDEX[name]
            blendshapes[:, column] = np.clip(np.maximum(blendshapes[:, column], blinks), 0, 1)
        np.minimum(blendshapes, MAX_COEFFICIENTS, out=blendshapes)


def closure_amount(score: np.ndarray, peak: float) -> np.ndarray:
    """How far lips close, from how surely the network hears a closure, (T,) → (T,) in [0, 1].

    A closure of 50 ms is one frame long and never sure, so every peak above ``peak`` closes fully; elsewhere only what
    is very likely does, lest the vowels beside it shut as well.
    """
    before, after = np.r_[0, score[:-1]], np.r_[score[1:], 0]
    peaks = (score >= before) & (score > after) & (score > peak)
    return np.maximum(peaks, _ramp(score, 0.6, 0.9))


def _without_tremor(face: np.ndarray) -> np.ndarray:
    """Smooth brows, lids and head over time: the trembling of the tracker is in the clips that taught the network.

    Gaze stays as it is, since eyes do jump.
    """
    smooth = gaussian_filter1d(face, _HEAD_SMOOTHING, axis=0, mode="nearest")
    gaze = slice(len(FACE_BLENDSHAPES), len(FACE_BLENDSHAPES) + 2)
    smooth[:, gaze] = face[:, gaze]
    return smooth


def normalised_mel(mel: np.ndarray) -> np.ndarray:
    """Log-mel as the networks take it: about zero mean and unit spread on speech."""
    return (np.maximum(mel, -9.2) + 4.0) / 4.0


def raw_mel(normalised: Tensor) -> Tensor:
    """The inverse of ``normalised_mel``."""
    return normalised * 4.0 - 4.0


def _ramp(x: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((x - low) / (high - low), 0, 1)


def _smoothed(x: np.ndarray) -> np.ndarray:
    """A short average over time, so that a single doubtful frame neither opens nor shuts the mouth."""
    return np.convolve(np.pad(x, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
