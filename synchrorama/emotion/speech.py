"""What a voice sounds like: emotions, valence and arousal over time, from the sound alone, whatever is said.

One small network hears three seconds at a time. The sound of a window is taken relative to the window's own level and
to its own mean spectrum, so that neither loudness nor microphone nor the length of the recording decides. It was taught
by acted speech (see training/emotion.py): it tells how an actor would have meant it, not what a person feels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from synchrorama.audio import HOPS_PER_FRAME, MEL_BANDS, log_mel, loudness
from synchrorama.emotion.categories import EMOTION_INDEX, EMOTIONS
from synchrorama.emotion.prosody import PROSODY_FEATURES, activity, pitch, prosody

HEARD_EMOTIONS = EMOTIONS[:7]
"""The emotions that training speech had. Contempt is not among them: nobody recorded it."""

WINDOW = 75  # frames, 3 s: a phrase
_STEP = 10  # frames from one window to the next
_BATCH = 32  # windows that are heard at once: memory does not grow with the length of the recording
_CONTEMPT = 0.02  # of what is not neutral: it was never heard, so it can be neither found nor ruled out
_SILENCE = float(np.log(1e-4))  # log-mel of nothing
_VOICED = (0.35, 0.6)  # loudness (see audio.loudness) between which a frame passes from pause to voice
_SMOOTHING = 8.0  # frames; with windows of 3 s the reading glides instead of flickering
_MEMORY = 20.0  # frames for which an emotion outlasts the voice


@dataclass(frozen=True)
class VoiceReading:
    """What was heard, 25 times a second.

    Attributes:
        probabilities: (T, 8) over EMOTIONS, each row sums to 1.
        valence, arousal: (T,) in [-1, 1], on the scale of ``categories.CIRCUMPLEX``.
        voiced: (T,) in [0, 1]; where it is 0 nobody speaks. Long silence, noise and music alone read as neutral.
    """

    probabilities: np.ndarray
    valence: np.ndarray
    arousal: np.ndarray
    voiced: np.ndarray


class SpeechEmotion(ModelMixin, ConfigMixin):
    """Speech emotion recognition on log-mel; ``read`` makes a ``VoiceReading`` from a recording of any length.

    Convolutions over time and frequency see the spectrogram of a window twice: relative to the window's level, and
    relative to its mean spectrum (which removes channel and much of the speaker). Attentive statistics pooling (Okabe
    et al. 2018) over the columns that are not silent then makes one vector of a window. A second, far smaller judge
    knows only the statistics of ``prosody``; it errs in other ways, and the two are averaged.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        channels: tuple[int, ...] = (32, 48, 64, 96),
        hidden: int = 192,
        heads: int = 4,
        dropout: float = 0.2,
        prosody_share: float = 0.6,
        temperature: float = 1.0,
        bias: tuple[float, ...] = (0.0,) * len(HEARD_EMOTIONS),
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 2
        for width, stride in zip(channels, ((2, 2), (2, 2), (1, 2), (2, 2)), strict=True):
            kernel = 5 if before == 2 else 3
            layers += [
                nn.Conv2d(before, width, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(width), nn.SiLU(),
            ]  # fmt: skip
            before = width
        self.trunk = nn.Sequential(*layers)
        self.input = nn.Sequential(
            nn.Conv1d(before * MEL_BANDS // 16, hidden, 3, padding=1, bias=False), nn.BatchNorm1d(hidden), nn.SiLU()
        )
        self.melody = nn.Sequential(
            nn.Conv1d(4, 48, 5, 2, 2, bias=False), nn.BatchNorm1d(48), nn.SiLU(), nn.Conv1d(48, hidden, 5, 2, 2)
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Dropout(dropout / 2),
                nn.Conv1d(hidden, hidden, 3, padding=dilation, dilation=dilation, bias=False),
                nn.BatchNorm1d(hidden),
                nn.SiLU(),
            )
            for dilation in (1, 2)
        )
        self.attention = nn.Conv1d(hidden, heads, 1)
        self.summary = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * hidden, 128, bias=False))
        self.range = nn.Linear(3, 128)
        self.output = nn.Sequential(nn.BatchNorm1d(128), nn.SiLU(), nn.Dropout(dropout))
        self.prosody = nn.Sequential(
            nn.BatchNorm1d(PROSODY_FEATURES, affine=False),
            nn.Hardtanh(-4, 4),
            nn.Dropout(dropout),
            nn.Linear(PROSODY_FEATURES, 128),
            nn.BatchNorm1d(128),
            nn.SiLU(),
            nn.Dropout(0.5),
            nn.Linear(128, len(HEARD_EMOTIONS) + 2),
        )
        self.emotion = nn.Linear(128, len(HEARD_EMOTIONS))
        self.plane = nn.Linear(128, 2)  # valence, arousal
        self.voice = nn.Linear(128, 1)  # is it a voice at all?

    def forward(self, mel: Tensor) -> dict[str, Tensor]:
        """Log-mel of windows (B, 4T, 80), as ``audio.log_mel`` makes it → what each window sounds like.

        Returns:
            ``emotion`` (B, 7) logits over HEARD_EMOTIONS, ``valence`` and ``arousal`` (B,) in [-1, 1], ``voice`` (B,)
            logit of there being a voice.
        """
        fine, coarse = self.both(mel)
        share = self.config.prosody_share
        blend = {name: (1 - share) * fine[name] + share * coarse[name] for name in coarse}
        return blend | {"voice": fine["voice"]}

    def both(self, mel: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What the spectrogram says and what prosody says, apart, so that each is taught to judge by itself."""
        active = activity(mel)
        x = self.trunk(_relative(mel, active))  # (B, C, N / 8, 5)
        melody, pitch_range = _melody(mel, active)
        x = self.input(x.permute(0, 1, 3, 2).flatten(1, 2)) + F.avg_pool1d(self.melody(melody), 2, ceil_mode=True)
        for block in self.blocks:
            x = x + block(x)
        x = x.to(mel.dtype)  # training computes convolutions in bfloat16, which would spoil the spread below
        active_now = F.adaptive_avg_pool1d(active[:, None], x.shape[-1])
        weights = (self.attention(x) + (active_now + 1e-4).log()).softmax(-1)  # (B, heads, N / 8)
        x = x.unflatten(1, (weights.shape[1], -1))
        mean = (x * weights[:, :, None]).sum(-1)
        spread = ((x * x * weights[:, :, None]).sum(-1) - mean.square()).clamp(min=1e-4).sqrt()
        x = self.output(self.summary(torch.cat([mean.flatten(1), spread.flatten(1)], 1)) + self.range(pitch_range))
        valence, arousal = torch.tanh(self.plane(x)).unbind(1)
        fine = {"emotion": self.emotion(x), "valence": valence, "arousal": arousal, "voice": self.voice(x)[:, 0]}
        with torch.autocast(mel.device.type, enabled=False):
            statistics = prosody(mel, active)
        coarse = self.prosody(statistics)
        emotion, plane = coarse[:, : len(HEARD_EMOTIONS)], torch.tanh(coarse[:, len(HEARD_EMOTIONS) :])
        return fine, {"emotion": emotion, "valence": plane[:, 0], "arousal": plane[:, 1]}

    @torch.no_grad()
    def read(self, samples: np.ndarray, check: Callable[[], None] | None = None) -> VoiceReading:
        """Hear a recording: (n,) float32 mono at 16 kHz, any length → a reading on the frame clock.

        The level of the recording does not matter, and the same recording always gives the same reading. ``check`` is
        called every few seconds of the recording; what it raises ends the reading.
        """
        return self.read_mel(log_mel(samples), loudness(samples), check)

    @torch.no_grad()
    def read_mel(self, mel: np.ndarray, loud: np.ndarray, check: Callable[[], None] | None = None) -> VoiceReading:
        """The same for what ``audio.log_mel`` (4T, 80) and ``audio.loudness`` (T,) have made of a recording."""
        windows, starts = _windows(mel)
        heard = []
        for i in range(0, len(starts), _BATCH):
            if check is not None:
                check()
            heard.append(self._hear(windows[starts[i : i + _BATCH]]))
        heard = np.concatenate(heard)  # (W, 7 + 3): emotions, valence, arousal, voice
        frames = np.arange(len(mel) // HOPS_PER_FRAME)
        centres = starts + min(WINDOW, len(frames)) / 2
        tracks = np.stack([np.interp(frames, centres, column) for column in heard.T], 1)

        voiced = voicing(loud[: len(frames)]) * tracks[:, -1]
        tracks = settled(tracks[:, :-1], voiced)
        probabilities = np.zeros((len(frames), len(EMOTIONS)), np.float32)
        probabilities[:, : len(HEARD_EMOTIONS)] = tracks[:, :-2]
        probabilities[:, EMOTION_INDEX["neutral"]] = 0
        others = probabilities.sum(1)
        probabilities *= 1 - _CONTEMPT
        probabilities[:, EMOTION_INDEX["contempt"]] = _CONTEMPT * others
        probabilities[:, EMOTION_INDEX["neutral"]] = 1 - others
        return VoiceReading(
            np.clip(probabilities, 0, 1),
            tracks[:, -2].astype(np.float32),
            tracks[:, -1].astype(np.float32),
            voiced.astype(np.float32),
        )

    def _hear(self, windows: np.ndarray) -> np.ndarray:
        """Log-mel windows (B, N, 80) → (B, 10): calibrated probabilities, valence, arousal, P(voice)."""
        answer = self(torch.from_numpy(windows).to(self.device, self.dtype))
        logits = answer["emotion"].float() / self.config.temperature
        logits = logits + torch.tensor(self.config.bias, device=logits.device)
        rest = [answer["valence"].float(), answer["arousal"].float(), answer["voice"].float().sigmoid()]
        return torch.cat([logits.softmax(1), torch.stack(rest, 1)], 1).cpu().numpy()


def voicing(loud: np.ndarray) -> np.ndarray:
    """(T,) loudness, see ``audio.loudness`` → (T,) in [0, 1]: from pause to voice."""
    return np.clip((loud - _VOICED[0]) / (_VOICED[1] - _VOICED[0]), 0, 1)


def settled(tracks: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """(T, K) what is heard in each frame, and (T,) how much of a voice there is → (T, K) tracks that glide.

    Where nobody speaks there is nothing to hear: what was heard in the words around lasts on, and then fades to 0.
    """
    weight = gaussian_filter1d(voiced, _SMOOTHING, mode="nearest")[:, None] + 1e-6
    tracks = gaussian_filter1d(tracks * (voiced[:, None] + 1e-6), _SMOOTHING, axis=0, mode="nearest") / weight
    return tracks * np.clip(3 * gaussian_filter1d(voiced, _MEMORY, mode="nearest"), 0, 1)[:, None]


def _relative(mel: Tensor, active: Tensor) -> Tensor:
    """(B, N, 80) → (B, 2, N, 80): relative to the level of the window, and to its mean spectrum."""
    spectrum = (mel * (active / active.sum(1, keepdim=True))[:, :, None]).sum(1, keepdim=True)
    level = spectrum.mean(2, keepdim=True)
    return torch.stack([(mel - level).clamp(min=-8) / 4, (mel - spectrum).clamp(min=-8) / 3], 1)


def _melody(mel: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
    """Melody of windows (B, N, 80): (B, 4, N) pitch in octaves from its mean and from 160 Hz, how surely there is one,
    and its change; (B, 3) mean, spread and sureness in the whole window."""
    octaves, _, sure = pitch(mel, active)
    weights = sure / (sure.sum(1, keepdim=True) + 0.1)
    mean = (weights * octaves).sum(1, keepdim=True)
    spread = (weights * (octaves - mean).square()).sum(1, keepdim=True).clamp(min=1e-4).sqrt()
    total = (sure.sum(1, keepdim=True) / (active.sum(1, keepdim=True) + 1e-3)).clamp(max=1)
    change = F.pad(octaves.diff(dim=1), (1, 0)).clamp(-0.2, 0.2) * sure
    melody = torch.stack([3 * (octaves - mean) * sure, octaves * sure, sure, 10 * change], 1)
    return melody, torch.cat([mean, 3 * spread, total], 1)


def _windows(mel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(4T, 80) → a view of the 3 s from each frame on (T - 74, 300, 80), and the frames at which to listen (W,).

    A recording shorter than a window is followed by silence, which the network leaves out of account.
    """
    length = WINDOW * HOPS_PER_FRAME
    if len(mel) < length:
        mel = np.pad(mel, ((0, length - len(mel)), (0, 0)), constant_values=_SILENCE)
    last = (len(mel) - length) // HOPS_PER_FRAME
    starts = np.unique(np.r_[np.arange(0, last, _STEP), last])
    view = np.lib.stride_tricks.sliding_window_view(mel, length, axis=0)[::HOPS_PER_FRAME]
    return view.transpose(0, 2, 1), starts
