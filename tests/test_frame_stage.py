"""The diffusion stage of the full profile, with tiny random networks: what it makes, repeats, and how it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import frame_samples
import numpy as np
import pytest
import torch
from frame_samples import CELLS, SIZE

from synchrorama import Cancelled, GenerationSettings, InputError
from synchrorama.frame_stage import CLIP_FRAMES, OVERLAP, RIM, SAMPLERS, FrameStage
from synchrorama.placement import MemoryPlan

SETTINGS = GenerationSettings(
    seed=1, inference_steps=2, guidance_scale=2.0, diffusion_strength=0.6, sampler="unipc", emotion_strength=1.0
)
FRAMES = CLIP_FRAMES + 8


def painted(stage: FrameStage, frames: int = FRAMES, settings=SETTINGS, told=None, rendered=None, **watched):
    """(frames, 64, 64, 3) as floats."""
    rendered = map(frame_samples.frame, range(frames)) if rendered is None else rendered
    told = told or frame_samples.told(frames)
    made = stage(rendered, frame_samples.frame(0), told, settings, **watched)
    return np.stack(list(made)).astype(float)


@pytest.fixture(scope="module")
def stage() -> FrameStage:
    return frame_samples.stage()


@pytest.fixture(scope="module")
def result(stage) -> np.ndarray:
    return painted(stage)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert "ahead" not in [thread.name for thread in threading.enumerate()]


# ------------------------------------------------------------------------------------------ what it makes


def test_every_frame_is_made_and_its_border_is_the_motion_frame(result):
    assert result.shape == (FRAMES, SIZE, SIZE, 3)
    motion = np.stack([frame_samples.frame(t).image for t in range(FRAMES)]).astype(float)
    difference = np.abs(result - motion).max(-1)
    inside = slice(round(RIM * SIZE) + 1, -round(RIM * SIZE) - 1)
    assert difference[:, inside, inside].mean() > 10
    edge = np.concatenate([difference[:, 0], difference[:, -1], difference[:, :, 0], difference[:, :, -1]])
    assert edge.mean() < 0.2 * difference[:, inside, inside].mean()


@pytest.mark.parametrize("frames", [1, 5, CLIP_FRAMES, CLIP_FRAMES + 1])
def test_any_number_of_frames(stage, frames):
    assert len(painted(stage, frames)) == frames


def test_strength_zero_is_the_motion_frames(stage):
    settings = replace(SETTINGS, diffusion_strength=0)
    for t, picture in enumerate(painted(stage, 3, settings)):
        assert np.array_equal(picture, frame_samples.frame(t).image)


def test_strength_is_how_far_it_goes_from_the_motion_frames(stage):
    """Towards what noise alone gives, which takes nothing from the motion frames but their border."""
    start = np.stack([np.roll(frame_samples.frame(t).image, 20, axis=1) for t in range(4)])
    changes = []
    for strength in (0.2, 0.6, 1):
        settings = replace(SETTINGS, diffusion_strength=strength, guidance_scale=1, inference_steps=4)
        plain = painted(stage, 4, settings)
        rolled = [replace(frame_samples.frame(t), image=image) for t, image in enumerate(start)]
        changes.append(np.abs(painted(stage, 4, settings, rendered=rolled) - plain)[:, 8:-8, 8:-8].mean())
    assert changes[0] > changes[1] > changes[2] == 0  # this clip is the first: before it is the photo


def test_a_seed_repeats_and_another_differs(stage, result):
    assert np.array_equal(painted(stage), result)
    assert np.abs(painted(stage, settings=replace(SETTINGS, seed=2)) - result).mean() > 1


def test_frames_are_the_same_however_long_the_video_is(stage, result):
    untouched = CLIP_FRAMES - OVERLAP
    longer = painted(stage, FRAMES + 20, told=frame_samples.told(FRAMES + 20))
    shown = np.abs(longer[:8] - result[:8])  # the second clip of the shorter begins with frame 8
    assert untouched > 8 and shown.max() <= 1


@pytest.mark.parametrize("name", SAMPLERS)
def test_control_sampler(stage, name):
    """Each solves the same equation: with many steps they agree."""
    many = replace(SETTINGS, inference_steps=25, guidance_scale=1.0)
    close = painted(stage, 2, replace(many, sampler=name)) - painted(stage, 2, replace(many, sampler="dpm++"))
    assert np.abs(close).mean() < 6
    if name != "dpm++":
        few = replace(SETTINGS, guidance_scale=1.0, inference_steps=5)  # with two, all three do the same
        far = painted(stage, 2, replace(few, sampler=name)) - painted(stage, 2, replace(few, sampler="dpm++"))
        assert np.abs(far).max() > 2


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_follows_hallos_schedule(name):
    scheduler = SAMPLERS[name]()
    scheduler.set_timesteps(8)
    assert scheduler.timesteps.tolist() == [999, 874, 749, 624, 499, 374, 249, 124]  # trailing
    assert scheduler.alphas_cumprod[-1] < 1e-6  # pure noise
    assert scheduler.alphas_cumprod[0] == pytest.approx(1 - 0.00085, abs=1e-5)
    assert scheduler.config.prediction_type == "v_prediction"


def test_what_is_told_is_heard():
    stage = frame_samples.stage(ours=True)
    told = frame_samples.told(4)
    plain = painted(stage, 4, told=told)
    for change in (
        {"samples": told.samples * 3}, {"samples": None}, {"emotion": -told.emotion}, {"text": -told.text},
    ):  # fmt: skip
        assert np.abs(painted(stage, 4, told=replace(told, **change)) - plain).max() >= 1, change


def test_emotion_strength_exaggerates():
    """Further from what is painted without emotion, the more it counts."""
    stage = frame_samples.stage(ours=True)
    without, natural, strong = (
        painted(stage, 4, replace(SETTINGS, emotion_strength=s, guidance_scale=1.0)) for s in (0, 1, 2)
    )
    assert 0 < np.abs(natural - without).mean() < np.abs(strong - without).mean()


def test_the_face_embedding_may_be_missing():
    with_face = painted(frame_samples.stage(), 2)
    without = painted(frame_samples.stage(face_embedding=None), 2)
    assert np.array_equal(without, painted(frame_samples.stage(face_embedding=lambda *_: None), 2))
    assert np.abs(with_face - without).max() >= 1


def test_a_text_encoder_reads_the_description():
    class Encoder:
        def encode(self, text: str) -> torch.Tensor:
            return torch.full((3, 32), len(text) / 10)

    stage = frame_samples.stage(ours=True, text_encoder=Encoder())
    texts = ("smiles", "frowns a lot", None)
    one, other, none = (painted(stage, 2, told=frame_samples.told(2, text)) for text in texts)
    assert np.abs(one - other).max() >= 1 and np.abs(one - none).max() >= 1


# ------------------------------------------------------------------------------------------ the same in other ways


@pytest.mark.parametrize("plan", [MemoryPlan.SEQUENTIAL, MemoryPlan.OFFLOADED])
def test_memory_plans_change_nothing_but_rounding(result, plan):
    assert np.abs(painted(frame_samples.stage(plan=plan)) - result).max() <= 1


def test_passes_go_through_the_network_as_planned(stage, monkeypatch):
    sizes = []
    for each in (stage, frame_samples.stage(plan=MemoryPlan.SEQUENTIAL)):
        forward = each.networks.denoising_unet.forward

        def counted(latents, *args, forward=forward, **kwargs):
            sizes.append(len(latents))
            return forward(latents, *args, **kwargs)

        monkeypatch.setattr(each.networks.denoising_unet, "forward", counted)
        painted(each, 3)
    assert sizes == [2] * SETTINGS.inference_steps + [1] * 2 * SETTINGS.inference_steps
    sizes.clear()
    painted(stage, 3, replace(SETTINGS, guidance_scale=1.0, emotion_strength=1.5))
    assert sizes == [1] * SETTINGS.inference_steps  # these weights know no emotion, so one pass says it all


def test_offloaded_networks_take_turns(monkeypatch):
    """Each of the three large ones is sent to the device when it works and away when another does."""
    stage = frame_samples.stage(plan=MemoryPlan.OFFLOADED)
    where = {}
    names = ("reference_net", "denoising_unet", "autoencoder")
    for name in names:
        network = getattr(stage.networks, name, None) or stage.autoencoder

        def to(*args, name=name, network=network, **kwargs):
            where[name] = "away" if args == ("cpu",) else "here"
            return network

        monkeypatch.setattr(network, "to", to)

    def works(name):
        def checked(*_args):
            assert where == {each: "here" if each == name else "away" for each in names}

        return checked

    stage.networks.reference_net.register_forward_pre_hook(works("reference_net"))
    stage.networks.denoising_unet.register_forward_pre_hook(works("denoising_unet"))
    stage.autoencoder.decoder.register_forward_pre_hook(works("autoencoder"))
    stage.autoencoder.encoder.register_forward_pre_hook(works("autoencoder"))
    assert len(painted(stage, CLIP_FRAMES + 3)) == CLIP_FRAMES + 3


def test_deep_features_once_are_exact_and_reused_differ_a_little(result):
    settings = [replace(SETTINGS, inference_steps=4, feature_caching=n) for n in (1, 1, 2)]
    exact, same, reused = (painted(frame_samples.stage(), 3, each) for each in settings)
    assert np.array_equal(exact, same)
    assert 0 < np.abs(reused - exact).mean() < 10


def test_the_photo_is_read_once_and_the_frames_before_once_a_clip(stage):
    read = []
    handle = stage.networks.reference_net.register_forward_pre_hook(lambda _, given: read.append(len(given[0])))
    painted(stage, 2 * CLIP_FRAMES - OVERLAP)
    handle.remove()
    assert read == [2, 4, 4]  # with and without the face's tokens


# ------------------------------------------------------------------------------------------ long videos


def test_a_long_video_is_anchored_to_its_photo(stage, monkeypatch):
    """The last clip is the same whatever the clips before it became."""
    frames = 60
    plain = painted(stage, frames)
    denoise, clips = stage._denoise, []

    def spoiled(clip, *args):
        clips.append(len(clip))
        latents = denoise(clip, *args)
        return latents if len(clips) == 5 else torch.full_like(latents, 3.0)

    monkeypatch.setattr(stage, "_denoise", spoiled)
    other = painted(stage, frames)
    assert clips == [CLIP_FRAMES] * 5
    last = frames - CLIP_FRAMES
    previous_ends = 3 * (CLIP_FRAMES - OVERLAP) + CLIP_FRAMES
    assert np.abs(other[:last] - plain[:last]).mean() > 5
    assert previous_ends < frames and np.abs(other[previous_ends:] - plain[previous_ends:]).max() == 0


def test_clips_fade_into_each_other(stage, monkeypatch):
    clips = []

    def flat(clip, *_args):
        clips.append(len(clip))
        return torch.full((4, len(clip), CELLS, CELLS), float(len(clips)))

    def noted(latents, decode=stage.codec.decode):
        seen.extend(latents[:, 0, 0, 0].tolist())
        return decode(latents)

    seen = []
    monkeypatch.setattr(stage, "_denoise", flat)
    monkeypatch.setattr(stage.codec, "decode", noted)
    painted(stage, 2 * CLIP_FRAMES - OVERLAP)
    assert clips == [CLIP_FRAMES] * 2
    expected = [1.0] * (CLIP_FRAMES - OVERLAP) + [1 + (i + 1) / (OVERLAP + 1) for i in range(OVERLAP)]
    assert seen == pytest.approx(expected + [2.0] * (CLIP_FRAMES - OVERLAP))


def test_no_more_than_two_clips_are_made_ahead(stage):
    taken = []

    def rendered():
        for t in range(200):
            taken.append(t)
            yield frame_samples.frame(t)

    made = stage(rendered(), frame_samples.frame(0), frame_samples.told(200), replace(SETTINGS, inference_steps=1))
    next(made)
    threading.Event().wait(1.5)
    made.close()
    assert len(taken) <= 4 * CLIP_FRAMES


# ------------------------------------------------------------------------------------------ in the pipeline


@pytest.fixture(scope="module")
def generation(pipeline, photo_path, speech_path):
    """A generation of 4 frames whose pictures have 512 pixels and whose latents 16."""
    result = pipeline(photo_path, speech_path, replace(SETTINGS, inference_steps=2, mark="none"))
    return replace(result, motion=result.motion[:4], diffusion=frame_samples.stage(halvings=5))


def test_it_paints_what_the_pipeline_renders(generation, tmp_path):
    reported = []
    watched = replace(generation, work=replace(generation.work, progress=lambda *told: reported.append(told)))
    frames = list(watched.frames)
    assert len(frames) == 4 and {frame.shape for frame in frames} == {(512, 512, 3)}
    assert np.abs(frames[2].astype(float) - generation.frame(2)).mean() > 5
    assert [done for _, done, _ in reported] == list(range(5))
    assert generation.save(tmp_path / "painted.mp4").stat().st_size > 5_000


def test_a_generation_can_be_left_and_stopped(generation):
    frames = generation.frames
    next(frames)
    frames.close()
    assert "ahead" not in [thread.name for thread in threading.enumerate()]
    steps = []
    work = replace(generation.work, should_stop=lambda: len(steps) > 0, after_step=lambda *_: steps.append(1))
    with pytest.raises(Cancelled):
        list(replace(generation, work=work).frames)
    assert len(steps) == 1


# ------------------------------------------------------------------------------------------ watched, stopped, refused


def test_steps_can_be_watched_in_small_pictures(stage):
    looks = []
    painted(stage, 3, after_step=lambda done, steps, look: looks.append((done, steps, look())))
    assert [look[:2] for look in looks] == [(1, 2), (2, 2)]
    assert looks[0][2].shape == (3, CELLS, CELLS, 3) and looks[0][2].dtype == np.uint8
    assert not np.array_equal(looks[0][2], looks[1][2])


def test_cancelling_stops_between_steps(stage):
    steps = []

    def stop(done, *_args):
        steps.append(done)
        if len(steps) == 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        painted(stage, settings=replace(SETTINGS, inference_steps=50), after_step=stop)
    assert steps == [1, 2, 3]


def test_closing_stops_between_steps(stage):
    steps, going = [], threading.Event()

    def watch(done, *_args):
        steps.append(done)
        if len(steps) > 2 * 8:
            going.set()
            threading.Event().wait(0.2)  # time to close it

    settings = replace(SETTINGS, inference_steps=8)
    made = stage(map(frame_samples.frame, range(90)), frame_samples.frame(0), frame_samples.told(90), settings, watch)
    next(made)
    assert going.wait(60)
    made.close()
    count = len(steps)
    threading.Event().wait(0.2)
    assert len(steps) == count < 3 * 8


def test_errors_of_the_renderer_come_through_as_they_are(stage):
    def broken():
        yield from map(frame_samples.frame, range(CLIP_FRAMES + 3))
        raise KeyError("renderer")

    with pytest.raises(KeyError, match="renderer"):
        painted(stage, rendered=broken())


@pytest.mark.parametrize("where", ["denoising_unet", "reference_net", "decoder"])
def test_too_little_memory_is_said_and_leaves_the_stage_usable(stage, monkeypatch, where):
    def full(*_args, **_kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with monkeypatch.context() as patch:
        network = stage.autoencoder.decoder if where == "decoder" else getattr(stage.networks, where)
        patch.setattr(network, "forward", full)
        with pytest.raises(InputError, match=r"^There is not enough memory to paint the frames; .* profile mini\.$"):
            painted(stage, 3)
    assert len(painted(stage, 3)) == 3


def test_another_error_is_not_taken_for_too_little_memory(stage, monkeypatch):
    def broken(*_args, **_kwargs):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(stage.networks.denoising_unet, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        painted(stage, 3)


def test_two_videos_at_once_are_those_made_alone(result):
    stage = frame_samples.stage(plan=MemoryPlan.OFFLOADED)
    both = {}

    def work(name):
        both[name] = painted(stage)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.abs(both["a"] - result).max() <= 1 and np.abs(both["b"] - result).max() <= 1
