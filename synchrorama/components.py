"""The parts of a pipeline and what may do their work: a table with a line for each backend of each component.

A profile (``profile.py``) says which backend each component has and where its weights lie. All backends of a component
have its interface (``interfaces.py``), so one is exchanged for another without anything else changing. Nothing is
imported before it is used.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .content_cache import ContentCache, content_key
from .errors import InputError
from .first_import import import_alone

if TYPE_CHECKING:
    import torch
    from diffusers import AutoencoderKL
    from torch import Tensor

    from .a2m import A2M
    from .blendshapes import MotionSpace
    from .diffusion import DiffusionNetworks
    from .diffusion_stage import DiffusionStage
    from .emotion.speech import SpeechEmotion, VoiceReading
    from .frame_stage import FrameStage
    from .interfaces import (
        Check,
        Describe,
        EmbedFace,
        EncodeText,
        HearDimensions,
        HearEmotion,
        HearSound,
        Paint,
        ReadSentiment,
        Transcribe,
    )
    from .placement import Placement
    from .profile import Profile
    from .scene import TextEncoder

# ---------------------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class Backend:
    """One way to do what a component is for.

    Attributes:
        load: makes it from the folder of its weights, None where it has none, and from the other components.
        folder: the subfolder of a checkpoint of ours that holds its weights, if there is one.
        package: what it comes with where it needs no weights, as the package is called on PyPI.
    """

    load: Callable[[Path | None, Components], Any]
    folder: str = ""
    package: str = ""
    needs_weights: bool = True


@dataclass(frozen=True)
class Component:
    """A part of a pipeline: what it is for, and its backends; a checkpoint that says nothing has the first."""

    purpose: str
    backends: dict[str, Backend]

    @property
    def default(self) -> str:
        return next(iter(self.backends))


def _own(module: str, name: str, **options: Any) -> Callable[[Path, Components], Any]:
    """A network of ours, ready for use."""

    def load(folder: Path, _others: Components) -> Any:
        made = getattr(importlib.import_module(f"synchrorama.{module}"), name).from_pretrained(folder, **options)
        return made.eval() if hasattr(made, "eval") else made

    return load


def _function(module: str, name: str) -> Callable[[None, Components], Any]:
    """A function that needs no weights."""
    return lambda _folder, _others: getattr(importlib.import_module(f"synchrorama.{module}"), name)


def _published(module: str, name: str, *, paints: bool = False, half: bool = True) -> Callable[[Path, Components], Any]:
    """A model that others have published, on the device of the pipeline; ``half``: in its precision, too.

    ``paints``: it works while frames are painted, and not before.
    """

    def load(folder: Path, others: Components) -> Any:
        import_alone("transformers")
        kind = getattr(importlib.import_module(f"synchrorama.backends.{module}"), name)
        try:
            placement = others.placement if paints else others.placement.for_analysis
        except InputError:  # a GPU too small for diffusion; what reads and hears is content with the CPU
            return kind.from_pretrained(folder)
        precision = {"dtype": placement.dtype} if half else {}
        return kind.from_pretrained(folder, device=placement.device, **precision)

    return load


def _nothing(_folder: None, _others: Components) -> None:
    return None


def _voice(folder: Path, others: Components) -> HearEmotion:
    return others.own_voice(folder)


def _dimensions(folder: Path, others: Components) -> HearDimensions:
    return OwnDimensions(others.own_voice(folder))


def _mouth(folder: Path, _others: Components) -> DiffusionStage:
    from .diffusion_stage import DiffusionStage

    return DiffusionStage.from_pretrained(folder)


def _autoencoder(folder: Path, _others: Components) -> AutoencoderKL:
    from diffusers import AutoencoderKL

    try:
        return AutoencoderKL.from_pretrained(folder, **_PLAIN, use_safetensors=True).eval()
    except MemoryError:
        raise
    except Exception as error:  # diffusers raises about everything on files of other networks
        raise InputError(
            "The weights of the autoencoder are damaged or of another network; fetch them again."
        ) from error


def _frame_networks(folder: Path, dtype: torch.dtype | None = None) -> DiffusionNetworks:
    """Networks of full size, from a folder as training or as a conversion leaves it."""
    from .conversion import load_converted
    from .diffusion_stage import read_networks

    if not (folder / "config.json").is_file():  # a converted folder has a configuration for each network
        return load_converted(folder, dtype=dtype)
    return read_networks(folder) if dtype is None else read_networks(folder, dtype)


def _frame(folder: Path, others: Components) -> FrameStage:
    from .frame_stage import FrameStage

    for name in ("autoencoder", "audio_features"):
        if getattr(others, name) is None:
            raise InputError(
                f"The diffusion backend frame needs the component {name}; name its backend in the profile."
            )
    networks = _frame_networks(folder, others.placement.dtype)
    encoder, projection = others.text_encoder, networks.text_projection
    if encoder is not None and projection is not None:
        _check_width("text_encoder", encoder.encode("").shape[-1], projection.proj.in_features)
    return FrameStage(
        networks,
        others.autoencoder,
        others.audio_features,
        others.face_embedding and _of_width(others.face_embedding, networks.image_projection.config.width_in),
        encoder,
        others.placement,
    )


def _of_width(embed: EmbedFace, width: int) -> EmbedFace:
    """A face embedding that says so if it is not the one that the networks were trained with."""

    def checked(photo: np.ndarray, landmarks: np.ndarray) -> Tensor:
        embedding = embed(photo, landmarks)
        _check_width("face_embedding", len(embedding), width)
        return embedding

    return checked


def _check_width(component: str, given: int, wanted: int) -> None:
    if given != wanted:
        raise InputError(
            f"The diffusion networks take {wanted} numbers from {component} and its backend gives {given}; choose the "
            "backend that they were trained with, or none."
        )


# False says what is so without the package accelerate anyway, and spares its advertisement
_PLAIN = {"low_cpu_mem_usage": False}
_NONE = Backend(_nothing, needs_weights=False)

COMPONENTS: dict[str, Component] = {
    "motion_space": Component(
        "52 blendshapes on the face mesh",
        {"synchrorama": Backend(_own("blendshapes", "MotionSpace"), "motion_space")},
    ),
    "a2m": Component("speech to motion of the face", {"synchrorama": Backend(_own("a2m", "A2M", **_PLAIN), "a2m")}),
    "transcription": Component(
        "the words of the recording",
        {
            "pocketsphinx": Backend(
                _function("emotion.transcript", "transcribe_as_it_comes"), package="pocketsphinx", needs_weights=False
            ),
            "whisper": Backend(_published("whisper", "WhisperTranscriber")),
        },
    ),
    "sentiment": Component(
        "the feeling of the words",
        {
            "vader": Backend(
                _function("emotion.sentiment", "read_sentiment"), package="vaderSentiment", needs_weights=False
            ),
            "xlm-roberta": Backend(_published("sentiment", "MultilingualSentiment")),
        },
    ),
    "speech_emotion": Component(
        "the emotion in the tone of the voice",
        {
            "synchrorama": Backend(_voice, "speech_emotion"),
            "wav2vec2": Backend(_published("voice_emotion", "VoiceEmotionClassifier")),
        },
    ),
    "valence_arousal": Component(
        "how pleasant and how excited the voice sounds",
        {
            "synchrorama": Backend(_dimensions, "speech_emotion"),
            "audeering": Backend(_published("valence_arousal", "VoiceDimensions")),
        },
    ),
    "scene_description": Component(
        "what the photo shows, in words",
        {
            "measured": Backend(_function("scene", "describe"), needs_weights=False),
            "smolvlm": Backend(_published("vision_language", "VisionLanguageDescriber")),
        },
    ),
    "scene_encoder": Component(
        "reads what the person is to do",
        {"synchrorama": Backend(_own("scene", "TextEncoder", **_PLAIN), "scene_encoder")},
    ),
    "diffusion": Component(
        "paints the frames",
        {"mouth": Backend(_mouth, "diffusion"), "frame": Backend(_frame, "diffusion")},
    ),
    "autoencoder": Component("latents of the frames", {"none": _NONE, "sd-vae": Backend(_autoencoder)}),
    "audio_features": Component(
        "what diffusion hears",
        {"none": _NONE, "wav2vec2": Backend(_published("wav2vec2", "Wav2Vec2Features", paints=True, half=False))},
    ),
    "face_embedding": Component(
        "who the photo shows, for diffusion",
        {
            "none": _NONE,
            "arcface": Backend(_published("arcface", "ArcFaceEmbedding", paints=True)),
            "clip": Backend(_published("clip", "ClipImageEncoder", paints=True)),
        },
    ),
    "text_encoder": Component(
        "the scene description, for diffusion",
        {"none": _NONE, "clip": Backend(_published("clip", "ClipTextEncoder", paints=True))},
    ),
}  # fmt: skip
"""Every component by its name."""

CHOICES = ("transcription", "sentiment", "speech_emotion", "valence_arousal", "scene_description", "face_embedding")
"""The components whose backend a user may want to choose."""


def check_backend(component: str, backend: str) -> None:
    """Raises InputError unless there are such a component and such a backend of it."""
    if component not in COMPONENTS:
        raise InputError(f"There is no component {component!r}; the components are {', '.join(COMPONENTS)}.")
    backends = COMPONENTS[component].backends
    if backend not in backends:
        raise InputError(f"The component {component} has no backend {backend!r}; choose one of {', '.join(backends)}.")


# ---------------------------------------------------------------------------------------------- the components


class OwnVoice:
    """Our network that hears voices, as two components use it: what both ask for is heard once."""

    def __init__(self, network: SpeechEmotion) -> None:
        self.network = network
        self._heard = ContentCache(2)

    def read(self, samples: np.ndarray, check: Check | None = None) -> VoiceReading:
        return self._heard.get(content_key(samples), lambda: self.network.read(samples, check))


@dataclass(frozen=True)
class OwnDimensions:
    """Valence and arousal as our network hears them."""

    voice: OwnVoice

    def read(self, samples: np.ndarray, check: Check | None = None) -> tuple[np.ndarray, np.ndarray]:
        reading = self.voice.read(samples, check)
        return reading.valence, reading.arousal


class Components:
    """The components of a pipeline: each is fetched and loaded when it is first used, and then kept.

    Safe for threads. Using one raises InputError if its weights cannot be had; the sentence says why.

    Args:
        profile: which backends, and where their weights lie.
        placement: where those run that others have published; found out when it is needed if None.
    """

    motion_space: MotionSpace
    a2m: A2M
    transcription: Transcribe
    sentiment: ReadSentiment
    speech_emotion: HearEmotion
    valence_arousal: HearDimensions
    scene_description: Describe
    scene_encoder: TextEncoder
    diffusion: Paint
    autoencoder: AutoencoderKL | None
    audio_features: HearSound | None
    face_embedding: EmbedFace | None
    text_encoder: EncodeText | None

    def __init__(self, profile: Profile, placement: Placement | None = None) -> None:
        self.profile = profile
        self._placement = placement
        self._kept: dict[Any, Any] = {}
        self._locks = {name: threading.RLock() for name in (*COMPONENTS, "")}  # one component may need others

    def __getattr__(self, name: str) -> Any:
        if name not in COMPONENTS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self._once(name, lambda: self._load(name))

    def _load(self, name: str) -> Any:
        import_alone("diffusers")
        backend = COMPONENTS[name].backends[self.profile.backend(name)]
        return backend.load(self.profile.folder(name) if backend.needs_weights else None, self)

    @property
    def placement(self) -> Placement:
        """Raises InputError if there is a GPU, but with too little memory."""
        from .placement import Placement

        return self._once("placement", lambda: self._placement or Placement.for_this_machine())

    def check(self, name: str) -> None:
        """Raises what loading a component raises, without loading those that it works with."""
        if self.profile.backend(name) == "frame":
            _frame_networks(self.profile.folder(name))
        else:
            getattr(self, name)

    def own_voice(self, folder: Path) -> OwnVoice:
        """Our network that hears voices, once for the components that use the same."""
        from .emotion.speech import SpeechEmotion

        return self._once(folder, lambda: OwnVoice(SpeechEmotion.from_pretrained(folder, **_PLAIN).eval()))

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        with self._locks[key if key in COMPONENTS else ""]:
            if key not in self._kept:
                self._kept[key] = make()
            return self._kept[key]
