"""Every control is described, checked and survives the way to JSON and back."""

from __future__ import annotations

import dataclasses
import json

import pytest

from synchrorama import GenerationSettings, InputError
from synchrorama.settings import MAX_SEED, controls, defaults

NUMBERS = [name for name, control in controls().items() if control.kind in (int, float)]


def test_every_setting_says_what_it_is():
    for name, control in controls().items():
        assert control.label and control.help.endswith("."), name
        assert control.check(defaults()[name]) == defaults()[name]
        assert control.choices or control.kind in (bool, str) or control.minimum < control.maximum


@pytest.mark.parametrize("name", NUMBERS)
def test_both_ends_of_a_range_are_allowed_and_nothing_beyond(name):
    control = controls()[name]
    for end, beyond in ((control.minimum, control.minimum - 1), (control.maximum, control.maximum + 1)):
        assert getattr(GenerationSettings(**{name: control.kind(end)}), name) == end
        with pytest.raises(InputError, match=f"^{control.label} is .*; give a value from"):
            GenerationSettings(**{name: control.kind(beyond)})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["many", True, float("nan"), float("inf"), [1]])
def test_a_number_must_be_one(name, value):
    with pytest.raises(InputError, match=r"give a (whole )?number"):
        GenerationSettings(**{name: value})


@pytest.mark.parametrize(
    "settings",
    [
        {"framing": "wide"}, {"preview": "yes"}, {"seed": 1.5}, {"head_motion": None}, {"max_seconds": None},
        {"emotion_mode": "mood"}, {"emotion": "bored"}, {"emotion": None}, {"keyframes": "5 sad; 2 happy"},
        {"emotion_mode": "keyframes"}, {"transcript": 7}, {"description": ["nods"]}, {"transcript": "x" * 20_001},
    ],
)
def test_what_is_not_among_the_choices_is_refused(settings):
    with pytest.raises(InputError):
        GenerationSettings(**settings)


def test_numbers_get_the_type_of_their_setting():
    settings = GenerationSettings(seed=7.0, blink_rate=12)
    assert isinstance(settings.seed, int) and isinstance(settings.blink_rate, float)


def test_texts_are_trimmed_and_empty_ones_are_none_at_all():
    settings = GenerationSettings(transcript="  ", description=" She nods. ", keyframes="", emotion=" Happy ")
    assert settings.transcript is None and settings.keyframes is None
    assert settings.description == "She nods." and settings.emotion == "happy"


def test_keyframes_may_be_given_as_a_list():
    listed = GenerationSettings(emotion_mode="keyframes", keyframes=[{"time": 0, "emotion": "sad", "strength": 0.5}])
    assert listed == GenerationSettings(emotion_mode="keyframes", keyframes="0 sad 0.5")


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        GenerationSettings().seed = 3


def test_a_seed_is_drawn_only_if_none_is_set():
    assert GenerationSettings(seed=7).with_seed().seed == 7
    drawn = {GenerationSettings().with_seed().seed for _ in range(20)}
    assert len(drawn) > 15 and all(0 <= seed <= MAX_SEED for seed in drawn)


def test_json_round_trip():
    settings = GenerationSettings(
        seed=MAX_SEED, head_motion=0.3, motion_diversity=2, blink_rate=0, expressiveness=1.4, articulation=1,
        framing="full_picture", face_index=2, preview=True, max_seconds=30, emotion_mode="keyframes", emotion="sad 0.5",
        valence=-0.5, arousal=1, keyframes="0 sad; 2 happy 1.5", emotion_strength=2, text_weight=0, voice_weight=0.2,
        valence_arousal_weight=1, photo_weight=0, transcript="Good morning.", description="She nods.",
    )  # fmt: skip
    assert GenerationSettings.from_json(settings.to_json()) == settings
    assert set(json.loads(settings.to_json())) == set(controls())
    assert GenerationSettings.from_json("{}") == GenerationSettings()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"sped": 1}', "no setting called 'sped'"),
        ("[1]", "one JSON object"),
        ("seed: 7", "not valid JSON"),
        ('{"seed": -1}', "^Seed is -1; give a value from 0 to 2147483647.$"),
    ],
)
def test_bad_json_is_told_in_one_sentence(text, says):
    with pytest.raises(InputError, match=says):
        GenerationSettings.from_json(text)
