"""Presets: each is valid, differs from the others, and moves the face the way its name says."""

from __future__ import annotations

import numpy as np
import pytest

from synchrorama import GenerationSettings, InputError
from synchrorama.presets import NAMES, PRESETS, preset
from synchrorama.settings import defaults


def test_they_are_valid_settings_and_natural_is_what_one_gets_anyway():
    assert set(PRESETS) == {"natural", "presenter", "storyteller", "calm", "exaggerated"}
    for name in PRESETS:
        assert set(preset(name)) == set(NAMES)
        GenerationSettings(**preset(name))
    assert preset("natural") == {name: defaults()[name] for name in NAMES}
    assert len({tuple(preset(name).values()) for name in PRESETS}) == len(PRESETS)


def test_an_unknown_one_is_answered_with_the_names():
    with pytest.raises(InputError, match="natural, presenter"):
        preset("heroic")


def test_calm_moves_less_and_exaggerated_more_than_natural(pipeline, photo_path, speech_path):
    def movement(name):
        settings = GenerationSettings(seed=3, emotion_mode="emotion", emotion="happy", **preset(name))
        motion = pipeline(photo_path, speech_path, settings).motion
        return np.abs(motion.rotation).mean(), motion.blendshapes.mean()

    calm, natural, exaggerated = map(movement, ("calm", "natural", "exaggerated"))
    assert calm[0] < natural[0] < exaggerated[0]
    assert calm[1] < natural[1] < exaggerated[1]
