"""What the full profile's networks are told: as Hallo's are, with the same numbers, and what this project adds."""

from __future__ import annotations

from dataclasses import replace

import frame_samples
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from hallo_reference import TOLERANCE, difference, named_tensors, read_reference, small_parts, told_about
from torch import Tensor

from synchrorama.conversion import load_converted
from synchrorama.diffusion.face_regions import coarser, face_box, face_picture, face_regions
from synchrorama.diffusion.frame_denoiser import PASSES, FrameConditions, FrameDenoiser, Pass
from synchrorama.diffusion.hallo import SCHEDULER, load_hallo
from synchrorama.diffusion.networks import HALLO_PARTS, DiffusionNetworks
from synchrorama.diffusion.sampling import Sampler
from synchrorama.diffusion.unet import DeepFeatures
from synchrorama.face_topology import FACE_OVAL, OUTER_LIPS
from synchrorama.guidance import AUDIO, FULL, WITHOUT, guidance_passes

F, CELLS = 3, frame_samples.CELLS
BOTH = [PASSES[WITHOUT], PASSES[AUDIO]]

# ------------------------------------------------------------------------------------------ Hallo's numbers


@pytest.fixture(scope="module")
def reference() -> dict:
    return read_reference()


@pytest.fixture(scope="module")
def hallo(tmp_path_factory) -> FrameDenoiser:
    """Hallo's networks, through a folder of the layout that is published."""
    networks, folder = DiffusionNetworks(small_parts()), tmp_path_factory.mktemp("hallo")
    load_hallo(networks, named_tensors(networks))
    for name in HALLO_PARTS:
        getattr(networks, name).save_pretrained(folder / name)
    return FrameDenoiser(load_converted(folder))


def prepared(denoiser: FrameDenoiser, reference: dict, passes: list[Pass]) -> dict:
    """The conditions of Hallo's clip; its masks are given per level and its regions are weighed."""
    frames = int(reference["metadata"]["frames"])
    clip = FrameConditions(
        motion=torch.zeros(1, frames, 3, 1, 1), mouth=torch.zeros(1, frames, 1, 1, 1),
        place=reference["in.face_mask"][:, 0, None].float().expand(1, frames, 1, -1, -1),
        regions={}, sound=reference["in.wav2vec"],
        emotion=torch.zeros(1, frames, 24), text=torch.zeros(1, frames, 1, 32),
    )  # fmt: skip
    person = denoiser.person(reference["in.reference_latents"], reference["in.face_embedding"])
    features = denoiser.features(person, reference["in.motion_latents"][None], passes, frames)
    conditions = denoiser.conditions(clip, person, features, passes)
    theirs = told_about(denoiser.networks, reference)
    masks = {
        region: [level[:1].expand(len(passes), -1, -1) for level in levels]
        for region, levels in theirs["masks"].items()
    }
    return conditions | {"masks": masks, "region_weights": theirs["region_weights"]}


@torch.no_grad()
def test_conditions_are_those_of_hallo(hallo: FrameDenoiser, reference: dict) -> None:
    ours, theirs = prepared(hallo, reference, BOTH), told_about(hallo.networks, reference)
    for name in ("image_tokens", "audio_tokens", "guide"):
        assert difference(ours[name], theirs[name]) <= TOLERANCE
    frames = int(reference["metadata"]["frames"])
    for mine, other in zip(ours["features"].motion, theirs["features"].motion, strict=True):
        assert difference(mine, other) <= TOLERANCE
    rows = ours["features"].rows[frames:]  # the pass that sees
    for mine, other in zip(ours["features"].reference, theirs["features"].reference, strict=True):
        assert difference(mine[rows], other[frames:]) <= TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("together", [[BOTH], [[each] for each in BOTH]], ids=["one batch", "one by one"])
def test_three_steps_with_guidance_are_those_of_hallo(hallo, reference, together) -> None:
    conditions = [prepared(hallo, reference, passes) for passes in together]

    def predict(latents: Tensor, timestep: Tensor) -> Tensor:
        parts = [hallo.predict(latents.expand(len(BOTH) // len(together), -1, -1, -1, -1), timestep, each)
                 for each in conditions]  # fmt: skip
        without, given = torch.cat(parts).split(1)
        return without + 3.5 * (given - without)

    noise = reference["in.noise"]
    latents = Sampler(DDIMScheduler(**SCHEDULER), 3)(predict, noise, torch.zeros_like(noise))
    assert difference(latents, reference["out.latents_3_ddim_steps_cfg_3_5"]) <= TOLERANCE


# ------------------------------------------------------------------------------------------ passes


def clip(batch: int = 1) -> FrameConditions:
    random = torch.Generator().manual_seed(5)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(batch, F, *shape, generator=random)

    return FrameConditions(
        motion=drawn(3, 64, 64) * 2 - 1, mouth=drawn(1, CELLS, CELLS), place=drawn(1, 64, 64).round(),
        regions={region: drawn(CELLS, CELLS) for region in ("full", "face", "lip")}, sound=drawn(5, 2, 3),
        emotion=drawn(24), text=drawn(2, 32),
    )  # fmt: skip


def inputs(batch: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Photo, face embedding, frames before, noise."""
    random = torch.Generator().manual_seed(6)
    shapes = ((4, CELLS, CELLS), (6,), (2, 4, CELLS, CELLS), (4, F, CELLS, CELLS))
    return tuple(torch.randn(batch, *shape, generator=random) for shape in shapes)


@torch.no_grad()
def predicted(denoiser: FrameDenoiser, given: FrameConditions, passes: list[Pass], batch: int = 1) -> Tensor:
    photo, embedding, before, noise = inputs(batch)
    person = denoiser.person(photo, embedding)
    features = denoiser.features(person, before, passes, F)
    conditions = denoiser.conditions(given, person, features, passes)
    return denoiser.predict(noise.expand(len(passes), -1, -1, -1, -1), torch.tensor(600), conditions)


@pytest.fixture(scope="module")
def ours() -> FrameDenoiser:
    return FrameDenoiser(frame_samples.networks(ours=True))


@pytest.fixture(scope="module")
def plain() -> FrameDenoiser:
    return FrameDenoiser(frame_samples.networks())


@pytest.mark.parametrize("kind", ["ours", "plain"])
def test_passes_at_once_are_the_passes_one_by_one(kind, request) -> None:
    denoiser = request.getfixturevalue(kind)
    passes = list(PASSES.values())
    alone = torch.cat([predicted(denoiser, clip(), [each]) for each in passes])
    torch.testing.assert_close(predicted(denoiser, clip(), passes), alone, rtol=0, atol=1e-5)


def test_clips_of_a_batch_are_those_clips_alone(ours: FrameDenoiser) -> None:
    """As training has them: each clip is told something else."""
    passes, given = [PASSES[FULL], Pass(True, False, True), PASSES[WITHOUT]], clip(3)
    together = predicted(ours, given, passes, batch=3)
    photo, embedding, before, noise = inputs(3)
    for row, told in enumerate(passes):
        part = slice(row, row + 1)
        person = ours.person(photo[part], embedding[part])
        features = ours.features(person, before[part], [told], F)
        regions = {region: mask[part] for region, mask in given.regions.items()}
        one = FrameConditions(
            given.motion[part], given.mouth[part], given.place[part], regions,
            given.sound[part], given.emotion[part], given.text[part],
        )  # fmt: skip
        conditions = ours.conditions(one, person, features, [told])
        with torch.no_grad():
            alone = ours.predict(noise[part], torch.tensor(600), conditions)
        torch.testing.assert_close(together[part], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("field", "matters_in"),
    [
        ("motion", {WITHOUT, AUDIO, FULL}), ("mouth", {WITHOUT, AUDIO, FULL}), ("place", {AUDIO, FULL}),
        ("sound", {AUDIO, FULL}), ("emotion", {FULL}), ("text", {FULL}),
    ],
)  # fmt: skip
def test_each_pass_knows_what_it_may(ours: FrameDenoiser, field: str, matters_in: set[str]) -> None:
    other = replace(clip(), **{field: getattr(clip(), field).flip(-1) * 0.5})
    for told in PASSES:
        change = (predicted(ours, other, [PASSES[told]]) - predicted(ours, clip(), [PASSES[told]])).abs().max()
        assert change > 1e-4 if told in matters_in else change == 0


def test_regions_matter(ours: FrameDenoiser) -> None:
    for region in clip().regions:
        regions = {**clip().regions, region: clip().regions[region] * 0}
        silent = predicted(ours, replace(clip(), regions=regions), [PASSES[FULL]])
        assert (silent - predicted(ours, clip(), [PASSES[FULL]])).abs().max() > 1e-4


def test_training_reaches_every_part() -> None:
    networks = frame_samples.networks(ours=True)
    denoiser = FrameDenoiser(networks, order="own")
    passes = [PASSES[FULL], PASSES[WITHOUT]]
    photo, embedding, before, noise = inputs(2)
    person = denoiser.person(photo, embedding)
    conditions = denoiser.conditions(clip(2), person, denoiser.features(person, before, passes, F), passes)
    denoiser.predict(noise, torch.full((2 * F,), 300), conditions).square().mean().backward()
    for name, part in networks.named_children():
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters()), name


def test_a_pass_that_cannot_differ_is_not_paid(ours: FrameDenoiser, plain: FrameDenoiser) -> None:
    passes = guidance_passes(3.5, 1.5)
    assert ours.told_apart(passes) == passes and len(passes) == 3
    assert plain.told_apart(passes) == pytest.approx({WITHOUT: -2.5, AUDIO: 3.5})
    assert plain.told_apart(guidance_passes(1, 1.5)) == pytest.approx({AUDIO: 1})
    assert plain.told_apart(guidance_passes(0, 1)) == pytest.approx({WITHOUT: 1})


def test_wrong_numbers_of_passes_are_refused(ours: FrameDenoiser) -> None:
    with pytest.raises(ValueError, match="2 passes for 3 clips"):
        predicted(ours, clip(3), BOTH, batch=3)


# ------------------------------------------------------------------------------------------ deep features


@torch.no_grad()
@pytest.mark.parametrize("every", [1, 2, 3])
def test_deep_features_are_reused_at_every_step_but_the_nth(ours: FrameDenoiser, every: int) -> None:
    photo, embedding, before, noise = inputs()
    person, passes = ours.person(photo, embedding), [PASSES[FULL]]
    conditions = ours.conditions(clip(), person, ours.features(person, before, passes, F), passes)
    deep = conditions | {"deep": DeepFeatures(every)}
    for step, timestep in enumerate((900, 850, 800, 750)):
        exact = ours.predict(noise, torch.tensor(timestep), conditions)
        saved = ours.predict(noise, torch.tensor(timestep), deep)
        if step % every == 0:
            assert torch.equal(saved, exact)
        else:
            assert 0 < (saved - exact).abs().max() < 0.2 * exact.abs().max()


# ------------------------------------------------------------------------------------------ regions of the face


def test_regions_lie_where_the_landmarks_are() -> None:
    frame = frame_samples.frame(4)
    rows, columns = face_box(frame.landmarks, 64, FACE_OVAL, 1.2)
    assert columns.start == pytest.approx(34 - 16 * 1.2, abs=1.01) and rows.stop == pytest.approx(32 + 26.4, abs=1.01)
    regions = face_regions(frame.landmarks, 64, 16)
    lips = frame.landmarks[list(OUTER_LIPS)].mean(0) / 4
    middle = np.stack(np.mgrid[0:16, 0:16], -1) + 0.5
    for region, mask in regions.items():
        assert mask.shape == (16, 16) and mask.min() >= 0 and mask.max() <= 1, region
    weighted = (middle * regions["lip"][..., None]).sum((0, 1)) / regions["lip"].sum()
    np.testing.assert_allclose(weighted, lips[::-1], atol=0.6)
    np.testing.assert_allclose(regions["full"] + regions["face"] + regions["lip"], 1, atol=0.35)
    assert regions["full"][0, 0] > 0.9 and regions["full"][8, 8] < 0.1
    assert face_picture(frame.landmarks, 64)[32, 34] == 1 and face_picture(frame.landmarks, 64)[2, 2] == 0


def test_a_face_at_the_border_keeps_the_size_of_its_box() -> None:
    landmarks = frame_samples.frame(0).landmarks
    size = [part.stop - part.start for part in face_box(landmarks, 64, FACE_OVAL, 1.2)]
    moved = face_box(landmarks - [40, 0], 64, FACE_OVAL, 1.2)
    assert moved[1].start == 0 and [part.stop - part.start for part in moved] == pytest.approx(size, abs=1)
    assert face_box(landmarks, 64, FACE_OVAL, 9) == (slice(0, 64), slice(0, 64))


def test_coarser_masks_keep_their_mean() -> None:
    levels = coarser({"lip": torch.rand(1, F, 16, 16)}, 3)["lip"]
    assert [level.shape for level in levels] == [(1, F, 256), (1, F, 64), (1, F, 16)]
    for level in levels[1:]:
        torch.testing.assert_close(level.mean(2), levels[0].mean(2), rtol=0, atol=0.05)
