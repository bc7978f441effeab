"""Ways of speaking, each a handful of settings that go well together."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .errors import InputError
from .settings import defaults

NAMES = ("head_motion", "motion_diversity", "blink_rate", "expressiveness", "articulation", "emotion_strength")
"""The settings that every preset sets; all others stay as they are."""


def _preset(*values: float) -> Mapping[str, float]:
    return MappingProxyType(dict(zip(NAMES, values, strict=True)))


PRESETS: Mapping[str, Mapping[str, float]] = MappingProxyType({
    "natural": MappingProxyType({name: defaults()[name] for name in NAMES}),
    "presenter": _preset(0.7, 0.8, 12.0, 1.1, 0.8, 0.8),
    "storyteller": _preset(1.3, 1.3, 16.0, 1.2, 0.6, 1.4),
    "calm": _preset(0.5, 0.6, 10.0, 0.85, 0.4, 0.6),
    "exaggerated": _preset(1.8, 1.6, 20.0, 1.6, 0.7, 2.0),
})  # fmt: skip


def preset(name: str) -> dict[str, float]:
    """The settings of a preset by its name. Raises InputError for an unknown one."""
    if name not in PRESETS:
        raise InputError(f"There is no preset called {name!r}; choose one of {', '.join(PRESETS)}.")
    return dict(PRESETS[name])
