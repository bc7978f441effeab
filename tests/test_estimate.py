"""The estimate of a generation's time: it grows with the work and becomes what is measured."""

from __future__ import annotations

import pickle

import pytest

from synchrorama import GenerationSettings
from synchrorama.estimate import FRAME, FRAME_ON_CPU, MOUTH, Speed, rates_of


def test_it_grows_with_the_recording_and_with_what_takes_longer():
    speed = Speed()
    plain = speed.seconds(10, GenerationSettings())
    assert speed.seconds(20, GenerationSettings()) > 1.5 * plain
    for slower in ({"framing": "full_picture"}, {"inference_steps": 2}, {"guidance_scale": 2.0}):
        assert speed.seconds(10, GenerationSettings(**slower)) > plain, slower
    steps = GenerationSettings(inference_steps=8)
    assert speed.seconds(10, GenerationSettings(inference_steps=8, feature_caching=2)) < 0.8 * speed.seconds(10, steps)
    for faster in ({"preview": True}, {"diffusion_strength": 0.0}):
        assert speed.seconds(10, GenerationSettings(**faster)) < plain, faster


@pytest.mark.parametrize("factor", [0.3, 4.0])
def test_it_learns_how_fast_the_machine_is_for_all_settings(factor):
    speed, settings = Speed(), GenerationSettings()
    for _ in range(8):
        speed.learn(5, settings, factor * MOUTH.rendering_seconds(5, settings))
    assert speed.seconds(10, settings) == pytest.approx(factor * Speed().seconds(10, settings), rel=0.02)
    full = GenerationSettings(framing="full_picture")
    assert speed.seconds(10, full) == pytest.approx(factor * Speed().seconds(10, full), rel=0.02)


def test_a_moment_of_video_and_a_freak_teach_little():
    speed, settings = Speed(), GenerationSettings()
    before = speed.seconds(10, settings)
    speed.learn(0.2, settings, 30.0)
    speed.learn(2.0, GenerationSettings(preview=True), 30.0)
    assert speed.seconds(10, settings) == before
    speed.learn(2.0, settings, 1e9)
    assert speed.seconds(10, settings) <= 51 * before


def test_a_generation_teaches_the_pipeline(pipeline, photo_path, speech_path, tmp_path):
    settings = GenerationSettings(seed=1, diffusion_strength=0)
    result = pipeline(photo_path, speech_path, settings)
    result.work.speed._factor = 30.0  # as if this machine had been very slow
    before = pipeline.look(photo_path, speech_path, settings).estimated_seconds
    result.save(tmp_path / "video.mp4")
    assert pipeline.look(photo_path, speech_path, settings).estimated_seconds < 0.8 * before


def test_each_kind_of_diffusion_has_rates_of_its_own_and_learns_for_itself():
    mouth, frame = Speed(rates_of("mouth")), Speed(FRAME)
    assert rates_of("frame") in (FRAME, FRAME_ON_CPU) and mouth.rates is MOUTH
    settings = GenerationSettings(inference_steps=20, guidance_scale=3.5, diffusion_strength=1.0)
    slow = Speed(FRAME_ON_CPU).seconds(1, settings)
    assert slow > 3600 > 100 > frame.seconds(1, settings)
    frame.learn(4, settings, 2 * FRAME.rendering_seconds(4, settings))  # the first measurement beats arithmetic
    assert frame.has_learnt and frame.rendering_seconds(1, settings) == 2 * FRAME.rendering_seconds(1, settings)
    assert mouth.rendering_seconds(1, settings) == MOUTH.rendering_seconds(1, settings) and not mouth.has_learnt
    sent = pickle.loads(pickle.dumps(frame))
    assert sent.seconds(3, settings) == frame.seconds(3, settings)
