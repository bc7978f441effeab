"""What is computed from the same content is computed once."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from synchrorama import Cancelled
from synchrorama.content_cache import ContentCache, content_key


def test_a_result_is_made_once_and_the_least_used_goes_first():
    cache, made = ContentCache(2), []

    def make(name):
        return cache.get(name, lambda: made.append(name) or name.upper())

    assert [make("a"), make("b"), make("a")] == ["A", "B", "A"] and made == ["a", "b"]
    make("c")  # b was used least recently
    make("a")
    assert made == ["a", "b", "c"]
    make("b")
    assert made == ["a", "b", "c", "b"]


def test_what_raises_is_not_kept():
    cache = ContentCache(2)
    with pytest.raises(ZeroDivisionError):
        cache.get("x", lambda: 1 / 0)
    assert cache.get("x", lambda: 5) == 5


def test_who_waits_for_somebody_who_stops_is_not_stopped():
    cache, begun, stop = ContentCache(2), threading.Event(), threading.Event()

    def stopped():
        begun.set()
        stop.wait(5)
        raise Cancelled

    def first():
        with pytest.raises(Cancelled):
            cache.get("x", stopped)

    with ThreadPoolExecutor(2) as visitors:
        one = visitors.submit(first)
        begun.wait(5)
        other = visitors.submit(cache.get, "x", lambda: 7)
        stop.set()
        one.result(5)
        assert other.result(5) == 7


def test_a_key_is_the_content_whatever_its_name(photo_path, tmp_path):
    shutil.copy(photo_path, tmp_path / "other name.jpg")
    assert content_key(photo_path) == content_key(str(tmp_path / "other name.jpg"))
    (tmp_path / "other name.jpg").write_bytes(photo_path.read_bytes() + b" ")
    assert content_key(photo_path) != content_key(tmp_path / "other name.jpg")
    assert content_key(tmp_path / "none.jpg") != content_key(tmp_path / "nothing.jpg")


def test_pictures_and_arrays_have_keys_too():
    array = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert content_key(array) == content_key(array.copy()) != content_key(array[::-1])
    assert content_key(array) != content_key(array.reshape(2, 8, 3))
    assert content_key(Image.fromarray(array)) == content_key(Image.fromarray(array))


def test_another_strength_hears_nothing_again(pipeline, photo_path, speech_path, monkeypatch):
    from dataclasses import replace

    from synchrorama import GenerationSettings
    from synchrorama.motion_frames import renderer

    settings = GenerationSettings(seed=1)
    first = pipeline(photo_path, speech_path, settings)

    def fail(*_args, **_options):
        raise AssertionError("computed again")

    for component in ("transcription", "sentiment", "speech_emotion", "valence_arousal"):
        monkeypatch.setattr(pipeline.components, component, fail, raising=False)
    monkeypatch.setattr(renderer.MotionFrameRenderer, "__init__", fail)
    again = pipeline(photo_path, speech_path, replace(settings, emotion_strength=2.0, text_weight=0.2))
    assert again.renderer is first.renderer
