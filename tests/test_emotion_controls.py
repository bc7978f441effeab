"""Every control of emotion and scene moves the result as its help text says; each source of emotion alone does too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import ASSETS

from synchrorama import GenerationSettings, InputError, Motion
from synchrorama.emotion.categories import EMOTION_INDEX
from synchrorama.media import read_photo
from synchrorama.motion import gaze

MEDIA = Path(__file__).parent / "media"
WEIGHTS = ("text_weight", "voice_weight", "valence_arousal_weight", "photo_weight")
ALONE = {name: {other: float(other == name) for other in WEIGHTS} for name in WEIGHTS}


@pytest.fixture(scope="module")
def make(pipeline, photo_path, speech_path):
    photo, made = read_photo(photo_path), {}

    def generation(speech=speech_path, picture=None, **settings):
        key = (speech, picture, *sorted(settings.items()))
        if key not in made:
            given = photo if picture is None else read_photo(picture)
            made[key] = pipeline(given, speech, GenerationSettings(**{"seed": 1, "blink_rate": 0, **settings}))
        return made[key]

    return generation


def level(motion: Motion, *names: str) -> float:
    """Mean of some coefficients after an expression has had its time to come."""
    return float(np.mean([motion.column(name)[15:] for name in names]))


def smile(motion: Motion) -> float:
    return level(motion, "mouthSmileLeft", "mouthSmileRight")


def share(result, emotion: str) -> float:
    return float(result.emotion.probabilities[:, EMOTION_INDEX[emotion]].mean())


def test_control_emotion_mode(make):
    plain = make(emotion_mode="emotion", emotion="neutral").motion
    for mode, chosen in (
        ("emotion", {"emotion": "happy"}),
        ("valence_arousal", {"valence": 0.8, "arousal": 0.5}),
        ("keyframes", {"keyframes": "0 happy"}),
    ):
        assert smile(make(emotion_mode=mode, **chosen).motion) > smile(plain) + 0.2
        assert smile(make(emotion_mode="speech", **chosen).motion) < smile(plain) + 0.2  # not listened to


def test_control_emotion(make):
    happy, angry, mix = (make(emotion_mode="emotion", emotion=e) for e in ("happy", "angry", "happy 0.5, angry 0.5"))
    assert smile(happy.motion) > smile(mix.motion) > smile(angry.motion)
    brows = [level(each.motion, "browDownLeft", "browDownRight") for each in (angry, mix, happy)]
    assert brows[0] > brows[1] > brows[2]


def test_control_valence(make):
    low, high = (make(emotion_mode="valence_arousal", valence=v, arousal=0.3) for v in (-0.7, 0.7))
    assert smile(high.motion) > smile(low.motion) + 0.2


def test_control_arousal(make):
    low, high = (make(emotion_mode="valence_arousal", valence=-0.6, arousal=a) for a in (-0.4, 0.8))
    assert level(low.motion, "mouthFrownLeft") > level(high.motion, "mouthFrownLeft") + 0.2  # sad, not afraid
    assert high.acting.head_range.mean() > low.acting.head_range.mean() + 0.2


def test_control_keyframes(make):
    motion = make(emotion_mode="keyframes", keyframes="0 sad; 0.8 sad; 1.2 happy; 1.9 happy 2").motion
    smiles = motion.column("mouthSmileLeft")
    assert smiles[5:20].mean() < smiles[35:45].mean() - 0.3
    with pytest.raises(InputError, match="beyond the end"):
        make(emotion_mode="keyframes", keyframes="0 sad; 3 happy")


def test_control_emotion_strength(make):
    def strengths(emotion: str, *names: str) -> list[float]:
        return [
            level(make(emotion_mode="emotion", emotion=emotion, emotion_strength=s).motion, *names)
            for s in (0, 0.5, 1, 1.5, 2)
        ]

    assert (np.diff(strengths("sad", "browInnerUp", "mouthFrownLeft", "mouthFrownRight")) > 0.03).all()
    brows_and_lids = ("browDownLeft", "browDownRight", "eyeSquintLeft", "eyeSquintRight")
    assert (np.diff(strengths("angry", *brows_and_lids)) > 0.03).all()
    angry, sad = (make(emotion_mode="emotion", emotion=name, emotion_strength=0).motion for name in ("angry", "sad"))
    assert np.array_equal(angry.blendshapes, sad.blendshapes)


def test_control_text_weight(make):
    """Happy and sad words, said without feeling."""
    happy, sad = (make(speech=MEDIA / name, **ALONE["text_weight"]) for name in ("happy_words.flac", "sad_words.flac"))
    assert share(happy, "happy") > 0.3 > 0.1 > share(sad, "happy") and share(sad, "sad") > share(happy, "sad") + 0.15
    assert smile(happy.motion) > smile(sad.motion) + 0.1
    weighed = [
        share(make(speech=MEDIA / "happy_words.flac", **{**ALONE["text_weight"], "text_weight": weight}), "happy")
        for weight in (0.0, 0.5, 1.0)
    ]
    assert weighed[0] == 0 < weighed[1] < weighed[2]


def test_control_voice_weight(make):
    """Neutral words in an angry and in a neutral voice."""
    angry, neutral = (
        make(speech=MEDIA / f"{name}_voice.flac", **ALONE["voice_weight"]) for name in ("angry", "neutral")
    )
    assert share(angry, "angry") > share(neutral, "angry") + 0.2
    assert level(angry.motion, "browDownLeft") > level(neutral.motion, "browDownLeft") + 0.1
    deaf = make(speech=MEDIA / "angry_voice.flac", **dict.fromkeys(WEIGHTS, 0.0))
    assert share(deaf, "neutral") == 1


def test_control_valence_arousal_weight(make):
    angry, neutral = (
        make(speech=MEDIA / f"{name}_voice.flac", **ALONE["valence_arousal_weight"]) for name in ("angry", "neutral")
    )
    assert angry.emotion.arousal.mean() > neutral.emotion.arousal.mean() + 0.15
    assert angry.acting.head_range.mean() > neutral.acting.head_range.mean()


def test_control_photo_weight(make):
    """A smile in the photo is a prior: it adds to a neutral recording, and never doubles."""
    smiling = ASSETS / "eileen_collins.jpg"
    with_, without = (
        make(picture=smiling, **{**ALONE["photo_weight"], "photo_weight": w}) for w in (1.0, 0.0)
    )
    assert share(with_, "happy") > share(without, "happy") + 0.3
    assert smile(with_.motion) > smile(without.motion)
    own = float(np.mean([with_.renderer.expression[i] for i in (23, 24)]))
    assert own + smile(with_.motion) < 1.1


def test_control_transcript(make):
    """What is typed wins over what is heard."""
    typed = make(transcript="I hate this, it is horrible and I am furious!", **ALONE["text_weight"])
    assert share(typed, "angry") > 0.2 and typed.emotion.valence.mean() < -0.1
    assert level(typed.motion, "browDownLeft") > level(make(**ALONE["text_weight"]).motion, "browDownLeft") + 0.1


def test_control_description(make):
    plain = make()
    asked = make(description="She looks to the left and raises her eyebrows.")
    assert gaze(asked.motion.blendshapes)[15:, 0].mean() < gaze(plain.motion.blendshapes)[15:, 0].mean() - 0.2
    assert level(asked.motion, "browInnerUp") > level(plain.motion, "browInnerUp") + 0.5
    unknown = make(description="Zorbly qwertz.")
    assert "Not understood in the description, and left out: zorbly, qwertz." in unknown.warnings
    assert np.array_equal(unknown.motion.blendshapes, plain.motion.blendshapes)


def test_an_angry_voice_with_happy_words_shows_both(make):
    """Sources that disagree share the face."""
    voice = MEDIA / "angry_voice.flac"
    said = "How wonderful! I love it, I am so happy."
    both = make(speech=voice, transcript=said, text_weight=1.0, voice_weight=1.0, valence_arousal_weight=0.0)
    voice_alone = make(speech=voice, **ALONE["voice_weight"])
    assert share(both, "happy") > share(voice_alone, "happy") + 0.2
    assert share(both, "angry") > 0.15


def test_words_in_another_language_do_not_weigh_in_and_it_is_said(make):
    german = make(speech=ASSETS / "german_espeak.flac", **ALONE["text_weight"])
    assert share(german, "neutral") == 1
    assert any("do not weigh in" in warning for warning in german.warnings)
