"""The diffusion stage with the shipped weights: what it changes, what it listens to, how it is stopped and refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ASSETS, REPOSITORY
from safetensors.torch import load_file, save_file
from torch import Tensor

from synchrorama import Cancelled, GenerationSettings, InputError
from synchrorama.audio import log_mel, sound_around
from synchrorama.diffusion.denoiser import ClipConditions, Denoiser
from synchrorama.diffusion.region import REGION_SIZE, FaceRegion, painted
from synchrorama.diffusion.sampling import guided
from synchrorama.diffusion_stage import CLIP_FRAMES, SAMPLERS, DiffusionStage, Told, read_networks
from synchrorama.face import find_portrait
from synchrorama.guidance import AUDIO, FULL, WITHOUT, guidance_passes
from synchrorama.media import read_photo
from synchrorama.motion_frames import MotionFrame, MotionFrameRenderer

SETTINGS = GenerationSettings(seed=1)
CHECKPOINT = REPOSITORY / "checkpoints" / "mini" / "diffusion"
WEIGHTS = "diffusion_pytorch_model.safetensors"
OPEN = 4  # frame of ``clip`` whose mouth is widest


@pytest.fixture(scope="module")
def stage(pipeline) -> DiffusionStage:
    return pipeline.diffusion


@pytest.fixture(scope="module")
def result(pipeline, photo_path, speech_path):
    return pipeline(photo_path, speech_path, SETTINGS)


@pytest.fixture(scope="module")
def shown(pipeline, photo_path) -> list[MotionFrame]:
    """The photo, and a mouth that opens and shuts."""
    portrait = find_portrait(read_photo(photo_path))
    return _opening(MotionFrameRenderer(portrait.crop, portrait.landmarks, pipeline.motion_space))


def _opening(renderer: MotionFrameRenderer) -> list[MotionFrame]:
    jaw = np.zeros((CLIP_FRAMES, 52))
    jaw[:, 17] = 0.5 * np.sin(np.arange(CLIP_FRAMES) * np.pi / CLIP_FRAMES)
    return [renderer.photo_frame, *(renderer.frame(each, np.zeros(3), np.zeros(3)) for each in jaw)]


def conditions(frames: list[MotionFrame], speech: np.ndarray) -> tuple[Tensor, ClipConditions]:
    """The reference (1, 3, 128, 128), and what is known about a happy clip whose description says something."""
    places = [FaceRegion.of(frame, REGION_SIZE) for frame in frames]
    pictures = torch.from_numpy(
        np.stack([place.cut(frame.image) for place, frame in zip(places, frames, strict=True)])
    ).movedim(-1, 1) / 127.5 - 1
    mouth = np.stack([place.mouth(frame.mouth, 32) for place, frame in zip(places, frames, strict=True)])
    emotion = torch.zeros(1, CLIP_FRAMES, 24)
    emotion[..., [1, 9, 17]] = torch.tensor([1.0, 0.8, 0.5])
    text = torch.randn(32, generator=torch.Generator().manual_seed(0)) * 0.5
    clip = ClipConditions(
        motion=pictures[None, 1:],
        mouth=torch.from_numpy(mouth[1:])[None, :, None],
        sound=torch.from_numpy(sound_around(log_mel(speech), range(20, 20 + CLIP_FRAMES)))[None],
        emotion=emotion,
        text=text.expand(1, CLIP_FRAMES, -1),
    )
    return pictures[:1], clip


@pytest.fixture(scope="module")
def clip(shown, speech_samples) -> tuple[Tensor, ClipConditions]:
    return conditions(shown, speech_samples)


def latents_of(stage: DiffusionStage, reference: Tensor, clip: ClipConditions, told: str = FULL) -> Tensor:
    """(3, F, 32, 32), in one step from the same noise."""
    denoiser = Denoiser(stage.networks)
    noise = torch.randn(1, 3, 1, 32, 32, generator=torch.Generator().manual_seed(0)).expand(-1, -1, CLIP_FRAMES, -1, -1)
    with torch.inference_mode():
        conditions = denoiser.conditions(clip, denoiser.features(reference), told)
        flow = denoiser.predict(noise, torch.tensor(1000.0), conditions)
    return (noise - flow)[0]


# ------------------------------------------------------------------------------------------ what it changes


def test_the_mouth_is_painted_and_the_rest_of_the_picture_stays(result):
    before = list(islice(replace(result, diffusion=None).frames, 30))
    after = list(islice(result.frames, 30))
    changed = 0
    for t, (motion_frame, painted_frame) in enumerate(zip(before, after, strict=True)):
        difference = np.abs(painted_frame.astype(int) - motion_frame).max(axis=2)
        motion = result.motion
        frame = result.renderer.frame(motion.blendshapes[t], motion.rotation[t], motion.translation[t])
        distance = np.hypot(*(np.indices(difference.shape)[::-1] - frame.mouth.mean(0)[:, None, None]))
        assert difference[distance > 8 * frame.pixels_per_cm].max() == 0
        changed = max(changed, int(difference.max()))
    assert changed > 15


def test_a_shut_mouth_leaves_the_motion_frame_alone(stage, shown):
    still = [shown[1]] * CLIP_FRAMES  # jaw at rest
    closed = [replace(frame, mouth=np.tile(frame.mouth.mean(0), (len(frame.mouth), 1))) for frame in still]
    told = Told(None, np.zeros((CLIP_FRAMES, 24), np.float32), np.zeros((CLIP_FRAMES, 32), np.float32))
    for frame, painted_frame in zip(closed, stage(closed, shown[0], told, SETTINGS), strict=True):
        assert np.array_equal(painted_frame, frame.image)


def test_strength_zero_and_preview_are_the_motion_frames(pipeline, photo_path, speech_path, result):
    assert pipeline(photo_path, speech_path, replace(SETTINGS, diffusion_strength=0)).diffusion is None
    assert pipeline(photo_path, speech_path, replace(SETTINGS, preview=True)).diffusion is None
    assert result.excerpt(0, 10).diffusion is None
    gentle = replace(result, settings=replace(SETTINGS, diffusion_strength=0.02))
    gentle = next(islice(gentle.frames, 12, None))
    assert np.abs(gentle.astype(int) - result.frame(12)).max() < 25


def test_a_seed_paints_the_same_however_long_the_video_is(result):
    whole = list(islice(result.frames, 6))
    part = replace(result, motion=result.motion[:20])
    assert all(np.array_equal(a, b) for a, b in zip(whole, islice(part.frames, 6), strict=True))
    other = replace(result, settings=replace(SETTINGS, seed=2))
    assert any(not np.array_equal(a, b) for a, b in zip(result.frames, other.frames, strict=True))


def test_a_silent_motion_is_painted_too(pipeline, photo_path, result):
    silent = pipeline(photo_path, motion=result.motion)
    before = list(replace(silent, diffusion=None).frames)
    assert any(not np.array_equal(a, b) for a, b in zip(before, silent.frames, strict=True))


# ------------------------------------------------------------------------------------------ what it listens to


def near_and_far(change: Tensor, clip: ClipConditions) -> tuple[float, float]:
    """Mean absolute change (3, F, 32, 32) in the frame with the widest mouth: where is painted, and elsewhere."""
    where = painted(clip.mouth[0])[OPEN, 0]
    size = change[:, OPEN].abs().mean(0)
    return float((size * where).sum() / where.sum()), float((size * (1 - where)).sum() / (1 - where).sum())


@pytest.mark.parametrize("condition", ["sound", "emotion", "text"])
def test_swapping_what_is_told_changes_the_mouth(stage, clip, speech_samples, condition):
    reference, given = clip
    reversed_speech = log_mel(speech_samples[::-1].copy())
    swapped = {
        "sound": torch.from_numpy(sound_around(reversed_speech, range(40, 40 + CLIP_FRAMES)))[None],
        "emotion": given.emotion.roll(2, -1),
        "text": -given.text,
    }[condition]
    change = latents_of(stage, reference, replace(given, **{condition: swapped})) - latents_of(stage, reference, given)
    near, far = near_and_far(change, given)
    assert near > 5e-4
    if condition == "sound":
        assert near > 1.5 * far  # it is heard at the lips


def test_swapping_the_reference_changes_the_mouth(stage, clip, shown):
    reference, given = clip
    other = find_portrait(read_photo(ASSETS / "painted_kofi.jpg"))
    other = FaceRegion.of(
        MotionFrame(other.crop, shown[0].mouth, shown[0].lower_face, shown[0].pixels_per_cm, other.landmarks[:, :2]),
        REGION_SIZE,
    ).cut(other.crop)
    other = torch.from_numpy(other).movedim(-1, 0)[None] / 127.5 - 1
    change = latents_of(stage, other, given) - latents_of(stage, reference, given)
    assert near_and_far(change, given)[0] > 1e-3


def test_the_painting_goes_where_the_motion_frames_have_their_mouth(stage, clip):
    """Motion frames with the mouth six cells higher: what is painted moves along."""
    reference, given = clip
    moved = replace(given, motion=given.motion.roll(-24, -2), mouth=given.mouth.roll(-6, -2))
    here, there = (
        (latents_of(stage, reference, each) * painted(each.mouth[0]).transpose(0, 1))[:, OPEN].abs().mean(0)
        for each in (given, moved)
    )
    rows = torch.arange(32.0)
    middle = [float((each.sum(1) * rows).sum() / each.sum()) for each in (here, there)]
    assert 4 < middle[0] - middle[1] < 8


def test_guidance_identities(stage, clip):
    """DESIGN of nested guidance: a = 1 and s = 1 is one pass that knows all, s = 0 one that knows no emotion."""
    reference, given = clip
    denoiser = Denoiser(stage.networks)
    noise = torch.randn(1, 3, CLIP_FRAMES, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = denoiser.features(reference)

        def predict(latents: Tensor, timestep: Tensor, told: str) -> Tensor:
            return denoiser.predict(latents, timestep, denoiser.conditions(given, features, told))

        def mixed(a: float, s: float) -> Tensor:
            return guided(predict, noise, torch.tensor(700.0), guidance_passes(a, s))

        nothing, audio, full = (predict(noise, torch.tensor(700.0), told) for told in (WITHOUT, AUDIO, FULL))
        assert torch.allclose(mixed(1, 1), full, atol=1e-5)
        assert torch.allclose(mixed(1, 0), audio, atol=1e-5)
        assert torch.allclose(mixed(3, 1), nothing + 3 * (full - nothing), atol=1e-5)
        assert torch.allclose(mixed(3, 0), nothing + 3 * (audio - nothing), atol=1e-5)
        silent = replace(given, emotion=given.emotion * 0, text=given.text * 0)
        assert torch.allclose(
            audio, denoiser.predict(noise, torch.tensor(700.0), denoiser.conditions(silent, features)), atol=1e-5
        )
        assert not torch.allclose(audio, full, atol=1e-4) and not torch.allclose(audio, nothing, atol=1e-4)


# ------------------------------------------------------------------------------------------ controls


def painting(result, **settings) -> np.ndarray:
    """The tenth to fourteenth frame, as floats."""
    return np.stack(list(islice(replace(result, settings=replace(SETTINGS, **settings)).frames, 10, 14))).astype(float)


def test_control_inference_steps(result):
    calls = []
    counted = replace(result, settings=replace(SETTINGS, inference_steps=3))
    counted.work = replace(counted.work, after_step=lambda done, steps, look: calls.append((done, steps)))
    next(counted.frames)
    assert calls == [(1, 3), (2, 3), (3, 3)] * 2  # a clip fades into the next, so two are denoised
    assert np.abs(painting(result, inference_steps=3) - painting(result)).max() > 2


def test_control_guidance_scale(result):
    """Further from what is painted deaf, the more it counts."""
    deaf, natural, exaggerated = (painting(result, guidance_scale=a) for a in (0, 1, 3))
    assert 0 < np.abs(natural - deaf).mean() < np.abs(exaggerated - deaf).mean()


def test_control_diffusion_strength(result):
    motion = np.stack([result.frame(t) for t in range(10, 14)]).astype(float)
    gentle, half, whole = (np.abs(painting(result, diffusion_strength=x) - motion).mean() for x in (0.1, 0.5, 1))
    assert gentle < half and gentle < whole


def test_control_sampler(result):
    pictures = [painting(result, sampler=name, inference_steps=4) for name in SAMPLERS]
    for i, picture in enumerate(pictures):
        assert np.abs(picture - pictures[i - 1]).max() > 0.5
        assert np.abs(picture - pictures[i - 1]).mean() < 3  # the same flow, solved in another way


def test_control_feature_caching(result):
    """Less exact, the more steps reuse what an earlier one has found; as exact as ever where no step is left to."""
    exact, second, fourth = (painting(result, feature_caching=n, inference_steps=4) for n in (1, 2, 4))
    assert 0 < np.abs(second - exact).mean() <= np.abs(fourth - exact).mean() < 3
    assert np.array_equal(painting(result, feature_caching=1), painting(result, feature_caching=5))


# ------------------------------------------------------------------------------------------ watched, stopped, refused


def test_steps_can_be_watched_in_small_pictures(pipeline, photo_path, speech_path):
    looks = []
    watched = pipeline(
        photo_path, speech_path, replace(SETTINGS, inference_steps=2),
        after_step=lambda done, steps, look: looks.append(look()),
    )  # fmt: skip
    next(watched.frames)
    assert looks[0].shape == (CLIP_FRAMES, 32, 32, 3) and looks[0].dtype == np.uint8
    assert looks[1].std() > 10  # a picture, not a flat one
    assert not np.array_equal(looks[0], looks[1])


def test_a_generation_stops_between_steps(pipeline, photo_path, speech_path):
    steps = []
    stopped = pipeline(
        photo_path, speech_path, replace(SETTINGS, inference_steps=50),
        after_step=lambda done, *_: steps.append(done), should_stop=lambda: len(steps) >= 3,
    )  # fmt: skip
    with pytest.raises(Cancelled):
        next(stopped.frames)
    assert steps == [1, 2, 3]


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("inference_steps", 0, "Inference steps is 0; give a value from 1 to 50."),
        ("inference_steps", 51, "Inference steps is 51; give a value from 1 to 50."),
        ("inference_steps", 1.5, "Inference steps is 1.5; give a whole number."),
        ("guidance_scale", -1, "Guidance scale is -1; give a value from 0 to 5."),
        ("diffusion_strength", 1.1, "Diffusion strength is 1.1; give a value from 0 to 1."),
        ("sampler", "magic", "Sampler is 'magic'; choose one of euler, unipc, dpm++."),
    ],
)
def test_settings_out_of_range_are_named(setting, value, says):
    with pytest.raises(InputError) as error:
        GenerationSettings(**{setting: value})
    assert str(error.value) == says


def test_too_little_memory_is_said_and_leaves_the_stage_usable(result, monkeypatch):
    def full(*_args, **_kwargs):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(result.diffusion.networks.denoising_unet, "forward", full)
        with pytest.raises(InputError, match=r"not enough memory.*Diffusion strength to 0"):
            next(result.frames)
    assert next(result.frames).shape == (512, 512, 3)


def test_another_error_is_not_taken_for_too_little_memory(result, monkeypatch):
    def broken(*_args, **_kwargs):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(result.diffusion.networks.denoising_unet, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        next(result.frames)


@pytest.fixture
def copy(tmp_path) -> Path:
    return shutil.copytree(CHECKPOINT, tmp_path / "diffusion")


def _edited(folder: Path, edit) -> Path:
    tensors = load_file(folder / WEIGHTS)
    edit(tensors)
    save_file(tensors, folder / WEIGHTS)
    return folder


NAME = "denoising_unet.conv_in.weight"


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda t: t.pop(NAME), f"lacks {NAME}"),
        (lambda t: t.update(extra=torch.zeros(1)), "has too many extra"),
        (lambda t: t.update({NAME: t[NAME][:1].clone()}), f"has another shape for {NAME}"),
        (lambda t: t.update({NAME: t[NAME] * float("nan")}), f"not finite in {NAME}"),
    ],
)
def test_a_checkpoint_with_wrong_tensors_is_refused_by_their_names(copy, edit, says):
    with pytest.raises(InputError) as error:
        read_networks(_edited(copy, edit))
    assert says in str(error.value) and str(error.value).endswith("; fetch diffusion again.")


def test_a_damaged_file_is_refused(copy):
    (copy / WEIGHTS).write_bytes((copy / WEIGHTS).read_bytes()[:1000])
    with pytest.raises(InputError, match="is damaged; fetch diffusion again"):
        read_networks(copy)


def test_missing_weights_are_refused(copy):
    (copy / WEIGHTS).unlink()
    with pytest.raises(InputError, match=f"lacks {WEIGHTS}"):
        read_networks(copy)


def test_pickled_weights_are_not_loaded(copy):
    (copy / WEIGHTS).unlink()
    torch.save({NAME: torch.zeros(1)}, copy / "diffusion_pytorch_model.bin")
    with pytest.raises(InputError, match="pickled, which is not loaded; give safetensors"):
        read_networks(copy)


@pytest.mark.parametrize("config", ["{", "[]", '{"parts": {"nonsense": {}}}', "{}", '{"parts": {"reference_net": 3}}'])
def test_a_config_of_something_else_is_refused(copy, config):
    (copy / "config.json").write_text(config)
    with pytest.raises(InputError, match=r"config\.json of diffusion does not describe the networks"):
        read_networks(copy)


def test_a_config_of_other_widths_names_the_tensors(copy):
    config = json.loads((copy / "config.json").read_text())
    config["parts"]["audio_projection"]["hidden"] = 64
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="another shape for audio_projection"):
        read_networks(copy)
