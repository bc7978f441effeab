"""Nested guidance: which passes of the denoising UNet a step takes, and how much each counts."""

from __future__ import annotations

WITHOUT, AUDIO, FULL = "without", "audio", "full"
"""The three things that a pass may be told: nothing but the pictures, the sound too, sound and emotion."""


def guidance_passes(guidance_scale: float, emotion_strength: float) -> dict[str, float]:
    """The passes of nested guidance and their weights, which sum to 1; passes of weight 0 are left out.

    ε = ε(∅) + a·(ε(audio) - ε(∅)) + s·a·(ε(audio, emotion) - ε(audio)), with guidance scale a and emotion strength s,
    after classifier-free guidance (Ho & Salimans 2022) for two conditions (Brooks et al. 2023).
    """
    a, s = guidance_scale, emotion_strength
    weights = {WITHOUT: 1 - a, AUDIO: a * (1 - s), FULL: a * s}
    return {told: weight for told, weight in weights.items() if weight != 0}
