"""What a user may write to choose an emotion, and the sentence for what cannot be read."""

from __future__ import annotations

import pytest

from synchrorama import InputError
from synchrorama.emotion.direction import check_within, keyframes_text, parse_emotion, parse_keyframes


@pytest.mark.parametrize(
    ("text", "mix"),
    [
        ("happy", {"happy": 1.0}),
        (" Anger ", {"angry": 1.0}),
        ("happy 0.6, surprised 0.4", {"happy": 0.6, "surprised": 0.4}),
        ("sad and fearful", {"sad": 0.5, "fearful": 0.5}),
        ("happy: 0.3", {"happy": 0.3}),
        ("happy 1, sad 1", {"happy": 0.5, "sad": 0.5}),
        ("sad 0", {"neutral": 1.0}),
    ],
)
def test_an_emotion_or_a_mix(text, mix):
    assert parse_emotion(text) == pytest.approx(mix)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("bored", "no emotion called 'bored'; choose from neutral, happy"),
        ("happy 1.5", "share of happy is 1.5; give a value from 0 to 1"),
        ("happy often", "share of happy is 'often'; give a number"),
        ("happy 0.5 sad 0.5", "not understood"),
        ("<b>happy</b>", "no emotion called '<b>happy</b>'"),
        ("happy nan", "give a value"),
    ],
)
def test_what_is_no_emotion_is_told_in_one_sentence(text, says):
    with pytest.raises(InputError, match=says):
        parse_emotion(text)


def test_keyframes_in_lines_and_in_json_are_the_same():
    lines = parse_keyframes("0 neutral; 2.5 happy 1.5\n4 sad")
    listed = parse_keyframes(
        [
            {"time": 0, "emotion": "neutral"},
            {"time": 2.5, "emotion": "happy", "strength": 1.5},
            {"time": 4, "emotion": "sad"},
        ]
    )
    assert lines == listed == parse_keyframes(keyframes_text(lines))
    assert [keyframe.time for keyframe in lines] == [0, 2.5, 4]
    assert lines[1].mix == (("happy", 1.0),) and lines[1].strength == 1.5


def test_a_keyframe_may_hold_a_mix():
    (keyframe,) = parse_keyframes('[{"time": 1, "emotion": "happy 0.6, sad 0.4"}]')
    assert dict(keyframe.mix) == pytest.approx({"happy": 0.6, "sad": 0.4})
    assert parse_keyframes(keyframes_text((keyframe,))) == (keyframe,)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "There are no keyframes"),
        ("5 happy; 3 sad", "keyframe at 3 s comes after the one at 5 s"),
        ("1 happy; 1 sad", "later time"),
        ("soon happy", "time of a keyframe is 'soon'; give a number"),
        ("-1 happy", "time of a keyframe is -1; give a value of 0 or more"),
        ("0 jolly", "no emotion called 'jolly'"),
        ("0 happy 2.5", "strength of a keyframe is 2.5; give a value from 0 to 2"),
        ("happy", "not understood; write seconds, emotion and strength"),
        ("[{", "not valid JSON"),
        ('[{"time": 1}]', "must be an object"),
        ('[{"time": 1, "emotion": "sad", "size": 2}]', "no 'size'"),
        ([3], "must be an object"),
        ("; ".join(f"{i} happy" for i in range(300)), "at most 200"),
    ],
)
def test_bad_keyframes_are_told_in_one_sentence(given, says):
    with pytest.raises(InputError, match=says) as error:
        parse_keyframes(given)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_keyframes_end_with_the_recording():
    keyframes = parse_keyframes("0 happy; 4 sad")
    check_within(keyframes, 4.0)
    with pytest.raises(InputError, match=r"keyframe at 4 s is beyond the end; the recording lasts 3.0 s"):
        check_within(keyframes, 3.0)
