"""A description in words → the actions it asks for; sentences that no grammar of ours has written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY

from synchrorama import InputError
from synchrorama.scene import TextEncoder
from synchrorama.scene.text_encoder import MAX_STAGES, TOKEN_CHANNELS, split_stages

SENTENCES = json.loads((Path(__file__).parent / "scene_sentences.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    folder = REPOSITORY / "checkpoints" / "mini" / "scene_encoder"
    return TextEncoder.from_pretrained(folder, low_cpu_mem_usage=False).eval()


def asked(encoder: TextEncoder, text: str) -> list[dict[str, int]]:
    """Action → 1 done, -1 denied, for every stage."""
    stages = encoder.encode(text).plan.stages
    return [{name: int(np.sign(amount)) for name, amount in stage.items()} for stage in stages]


def test_nine_in_ten_sentences_are_done_as_they_say(encoder):
    assert len(SENTENCES) == 60
    wrong = [each["text"] for each in SENTENCES if asked(encoder, each["text"]) != each["stages"]]
    assert len(wrong) <= 6, wrong


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("She smiles.", [{"smiles": 1}]),
        ("She does not smile.", [{"smiles": -1}]),
        ("SMILES, THEN NODS", [{"smiles": 1}, {"nods": 1}]),
        ("He smiles. He nods.", [{"smiles": 1, "nods": 1}]),
        ("She looks to the left and nods.", [{"looks_left": 1, "nods": 1}]),
        ("", []),
        (" \n ", []),
    ],
)
def test_plain_cases(encoder, text, stages):
    assert asked(encoder, text) == stages


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("She smiles.", "smiles"), ("He frowns.", "frowns"), ("She raises her eyebrows.", "raises_brows"),
        ("He furrows his brow.", "furrows_brows"), ("She closes her eyes.", "closes_eyes"),
        ("He opens his eyes wide.", "opens_eyes_wide"), ("She squints.", "squints"), ("He winks.", "winks"),
        ("She blinks often.", "blinks_often"), ("He looks to the left.", "looks_left"),
        ("She looks to the right.", "looks_right"), ("He looks up.", "looks_up"), ("She looks down.", "looks_down"),
        ("He turns his head to the left.", "turns_left"), ("She turns to the right.", "turns_right"),
        ("He nods.", "nods"), ("She shakes her head.", "shakes_head"), ("He tilts his head to the left.", "tilts_left"),
        ("She tilts her head to the right.", "tilts_right"), ("He lowers his head.", "lowers_head"),
        ("She raises her head.", "raises_head"), ("He leans forward.", "leans_forward"),
        ("She keeps still.", "keeps_still"), ("He puckers his lips.", "puckers_lips"),
        ("She wrinkles her nose.", "wrinkles_nose"),
    ],
)  # fmt: skip
def test_every_action_can_be_asked_for(encoder, text, action):
    assert asked(encoder, text) == [{action: 1}]


def test_unknown_words_change_nothing_and_are_listed(encoder):
    plain, odd = encoder.encode("she smiles and nods"), encoder.encode("she zorbly smiles and qwertzly nods zorbly")
    assert odd.not_understood == ("zorbly", "qwertzly") and not plain.not_understood
    assert odd.plan == plain.plan
    np.testing.assert_array_equal(odd.tokens, plain.tokens)


def test_other_scripts_are_not_understood_and_do_nothing(encoder):
    read = encoder.encode("Она улыбается. 彼女は笑う。")
    assert read.plan.stages == () and np.abs(read.tokens).max() == 0
    assert "улыбается" in read.not_understood


def test_markup_is_text(encoder):
    assert asked(encoder, "<b>She smiles</b>") == [{"smiles": 1}]
    assert encoder.encode("<script>alert(1)</script>").plan.stages == ()


def test_what_the_photo_shows_is_not_asked_for(encoder):
    read = encoder.encode("In the photo, the face has a smile, the lips closed. She nods.")
    assert [set(stage) for stage in read.plan.stages] == [{"nods"}]
    still = encoder.encode("In the photo, a person with dark hair is seen before a plain blue background.")
    assert still.plan.stages == () and not still.not_understood and np.abs(still.tokens).max() > 0


def test_contradictions_are_settled_and_told(encoder):
    read = encoder.encode("She looks to the left and looks to the right.")
    assert set(read.plan.stages[0]) == {"looks_right"} and "the last one counts." in read.notes[0]


def test_tokens_are_one_for_each_stage(encoder):
    read = encoder.encode("He smiles, then he nods.")
    assert read.tokens.shape == (MAX_STAGES, TOKEN_CHANNELS) and read.tokens.dtype == np.float32
    assert np.abs(read.tokens[:2]).max() > 0 and np.abs(read.tokens[2:]).max() == 0
    over_time = read.over_time(100)
    assert over_time.shape == (100, TOKEN_CHANNELS)
    np.testing.assert_array_equal(over_time[[0, 49]], read.tokens[[0, 0]])
    np.testing.assert_array_equal(over_time[[50, 99]], read.tokens[[1, 1]])
    np.testing.assert_array_equal(encoder.encode("").over_time(3), np.zeros((3, TOKEN_CHANNELS)))


def test_similar_descriptions_have_similar_tokens(encoder):
    first, similar, other = (
        torch.from_numpy(encoder.encode(text).tokens[0])
        for text in ("The woman smiles.", "A man is grinning.", "He shakes his head.")
    )
    alike, unlike = (torch.cosine_similarity(first, each, dim=0).item() for each in (similar, other))
    assert alike > unlike + 0.2


def test_degrees_scale(encoder):
    amounts = [
        encoder.encode(f"She turns her head to the left{how}.").plan.stages[0]["turns_left"]
        for how in (" slightly", "", " strongly")
    ]
    assert amounts[0] < amounts[1] < amounts[2]


def test_more_steps_than_stages_are_told_about(encoder):
    read = encoder.encode("She smiles, then nods, then looks up, then looks left, then frowns.")
    assert len(read.plan.stages) == MAX_STAGES and "5 steps" in read.notes[0]
    assert {"looks_left", "frowns"} <= set(read.plan.stages[-1])


def test_a_long_text_is_refused_in_one_sentence(encoder):
    with pytest.raises(InputError, match=r"description has 700 words; give at most 600\.$"):
        encoder.encode("nods " * 700)


def test_stages_are_split_where_time_passes():
    assert len(split_stages("smiles and then nods, finally looks up")) == 3
    assert len(split_stages("stands before a wall next to a door")) == 1
    assert len(split_stages("smiles before nodding")) == 2
