"""Putting a photo into words: measured things only, and nothing that would move the face again."""

from __future__ import annotations

import re

import numpy as np
import pytest
from conftest import ASSETS

from synchrorama.blendshapes import BLENDSHAPE_INDEX
from synchrorama.scene.description import colour_name, describe, is_statement

GUESSES = re.compile(r"\b(man|woman|male|female|boy|girl|young|old|asian|african|european|white person|sick)\b")


@pytest.fixture(scope="module")
def described(pipeline):
    def of(name: str) -> str:
        return pipeline.analyze(ASSETS / name).description

    return of


@pytest.mark.parametrize("name", ["grace_hopper.jpg", "eileen_collins.jpg", "painted_ada.jpg", "painted_kofi.jpg"])
def test_a_photo_is_described_without_guesses_about_the_person(described, name):
    text = described(name)
    assert text.startswith("In the photo, a person") and text.endswith(".")
    assert not GUESSES.search(text.lower())
    sentences = [each for each in re.split(r"(?<=\.) ", text) if each]
    assert 1 <= len(sentences) <= 2 and all(map(is_statement, sentences))


def test_the_description_of_the_photo_asks_for_nothing(pipeline, described):
    read = pipeline.text_encoder.encode(described("grace_hopper.jpg"))
    assert read.plan.stages == () and read.not_understood == ()


def test_what_is_measured_is_said(pipeline):
    portrait = pipeline.analyze(ASSETS / "painted_ada.jpg").portrait
    smiling = np.zeros(52)
    for side in ("Left", "Right"):
        smiling[BLENDSHAPE_INDEX["mouthSmile" + side]] = 0.7
    calm = describe(portrait.crop, portrait.landmarks, np.zeros(52), np.zeros(3))
    assert "face is calm" in calm and "upright and faces the camera" in calm
    assert "has a smile" in describe(portrait.crop, portrait.landmarks, smiling, np.zeros(3))
    turned = describe(portrait.crop, portrait.landmarks, np.zeros(52), np.radians([0, 15, -10]))
    assert "turned to the right and tilted to the right" in turned
    green = portrait.crop.copy()
    green[:60] = green[:, :60] = (20, 200, 60)
    assert "green background" in describe(green, portrait.landmarks, np.zeros(52), np.zeros(3))


def test_light_from_one_side(pipeline):
    portrait = pipeline.analyze(ASSETS / "painted_ada.jpg").portrait
    shade = np.linspace(1.0, 0.35, portrait.crop.shape[1])[None, :, None]
    lit = (portrait.crop * shade).astype(np.uint8)
    assert "light from the left" in describe(lit, portrait.landmarks, np.zeros(52), np.zeros(3))


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0, 0, 0), "black"), ((255, 255, 255), "white"), ((128, 128, 128), "grey"), ((200, 20, 20), "red"),
        ((20, 160, 40), "green"), ((30, 60, 220), "blue"), ((110, 70, 30), "brown"), ((230, 210, 170), "beige"),
        ((15, 20, 70), "dark blue"),
    ],
)  # fmt: skip
def test_colours_have_everyday_names(rgb, name):
    assert colour_name(np.array(rgb)) == name
