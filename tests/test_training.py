"""Training code: the teacher's rules, the variations, and a run of each command on a handful of made-up data."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from synchrorama.a2m import A2M
from synchrorama.audio import SAMPLE_RATE, log_mel, loudness
from synchrorama.blendshapes import BLENDSHAPE_INDEX, BLENDSHAPE_NAMES, MotionSpace
from synchrorama.media import read_speech
from synchrorama.motion import rotation_matrix
from synchrorama.training import a2m, corpus, noises, phones, teacher
from synchrorama.training.datasets import Noises, Variation, load_clips, load_phonetic, mirrored
from synchrorama.training.phones import PHONE_INDEX
from synchrorama.visemes import lip_gap_gain

ROOT = Path(__file__).parents[1]
SPACE = ROOT / "checkpoints" / "mini" / "motion_space"


@pytest.fixture(scope="module")
def space() -> MotionSpace:
    return MotionSpace.from_pretrained(SPACE)


def spoken(*segments: tuple[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """("aa", 0.2), … → phones and times one after the other."""
    ends = np.cumsum([seconds for _, seconds in segments])
    times = np.stack([ends - [seconds for _, seconds in segments], ends], axis=1)
    return np.array([PHONE_INDEX[phone] for phone, _ in segments]), times


def answer(space: MotionSpace, *segments: tuple[str, float]) -> np.ndarray:
    indices, times = spoken(*segments)
    frames = round(times[-1, 1] * 25)
    return teacher.speak(indices, times, np.ones(frames), teacher.viseme_table(), lip_gap_gain(space))


def test_teacher_opens_for_vowels_and_shuts_for_bilabials(space: MotionSpace) -> None:
    for bilabial in ("p", "b", "m"):
        gap = answer(space, ("aa", 0.3), (bilabial, 0.08), ("aa", 0.3)) @ lip_gap_gain(space)
        assert gap[3] > 0.7 and gap[-4] > 0.7
        assert gap[7:10].min() < 0.02


def test_teacher_shuts_even_for_a_plosive_shorter_than_a_frame(space: MotionSpace) -> None:
    for start in np.arange(0.2, 0.24, 0.005):
        gap = answer(space, ("aa", float(start)), ("p", 0.05), ("aa", 0.3)) @ lip_gap_gain(space)
        assert gap.min() < 0.05


def test_teacher_rounds_spreads_and_touches(space: MotionSpace) -> None:
    at = BLENDSHAPE_INDEX
    assert answer(space, ("uw", 0.4))[5, at["mouthPucker"]] > 0.5 > answer(space, ("iy", 0.4))[5, at["mouthPucker"]]
    assert answer(space, ("iy", 0.4))[5, at["mouthStretchLeft"]] > 0.15
    labiodental = answer(space, ("ae", 0.2), ("f", 0.12), ("ae", 0.2))
    assert labiodental[6, at["mouthRollLower"]] > 0.3
    assert (labiodental @ lip_gap_gain(space))[6] < 0.25


def test_neighbours_colour_a_phone(space: MotionSpace) -> None:
    pucker = BLENDSHAPE_INDEX["mouthPucker"]
    assert answer(space, ("s", 0.1), ("uw", 0.2))[1, pucker] > answer(space, ("s", 0.1), ("iy", 0.2))[1, pucker] + 0.1


def test_fitted_table_recovers_the_shapes_it_was_shown(space: MotionSpace) -> None:
    generator = np.random.default_rng(0)
    truth = teacher.viseme_table()
    truth[PHONE_INDEX["aa"], BLENDSHAPE_INDEX["jawOpen"]] = 0.8
    clips = []
    for _ in range(30):
        indices, times = spoken(*((generator.choice(["aa", "iy", "s", "m", "uw"]), 0.16) for _ in range(12)))
        loud = np.ones(round(times[-1, 1] * 25))
        tracked = teacher.dominance(indices, times, len(loud)) @ truth * 1.07
        clips.append((indices, times, loud, tracked))
    fitted = teacher.fit_table(clips, teacher.viseme_table(), ridge=1.0)
    assert fitted[PHONE_INDEX["aa"], BLENDSHAPE_INDEX["jawOpen"]] > 0.6


def test_mirror_swaps_the_sides() -> None:
    row = np.arange(52.0)[None]
    swapped = mirrored(row)[0]
    for i, name in enumerate(BLENDSHAPE_NAMES):
        other = BLENDSHAPE_NAMES[int(swapped[i])]
        assert other == name or {name[-4:], other[-4:]} == {"Left", "ight"}
    np.testing.assert_array_equal(mirrored(mirrored(row)), row)


def test_phone_names_of_every_source_become_ours() -> None:
    merged = phones.simplified([("SIL", 0, 0.1), ("+NSN+", 0.1, 0.2), ("AX", 0.2, 0.3), ("Pau", 0.3, 0.5)])
    assert merged == [("sil", 0, 0.2), ("ah", 0.2, 0.3), ("sil", 0.3, 0.5)]


@pytest.mark.skipif(not shutil.which("flite"), reason="flite is a training tool of the system")
def test_flite_tells_when_it_speaks_a_bilabial() -> None:
    utterance = phones.flite("My mother.", "slt")
    assert [phone for phone, _, _ in utterance.phones if phone != "sil"][:4] == ["m", "ay", "m", "ah"]
    assert utterance.phones[-1][2] == pytest.approx(len(utterance.speech) / SAMPLE_RATE, abs=0.05)


def test_noises_are_neither_silent_nor_clipped() -> None:
    generator = np.random.default_rng(0)
    for make in (noises.noise, noises.music):
        for _ in range(4):
            sound = make(generator, 1.0)
            assert 0.1 < np.abs(sound).max() <= 0.31 and np.isfinite(sound).all()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, space: MotionSpace) -> Path:
    """A corpus of two utterances and three clips of a face that opens its mouth with the loudness."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "speech").mkdir()
    (folder / "clips").mkdir()
    speech = read_speech(ROOT / "assets" / "english_slt.flac").samples[: 4 * SAMPLE_RATE]
    loud = loudness(speech)
    indices, times = spoken(*(("aa", 0.2), ("m", 0.1), ("iy", 0.2)) * 8)
    for i in range(2):
        corpus._save(
            folder / "speech" / f"utterance{i}.npz",
            phones.Utterance(speech, [(phones.PHONES[p], *t) for p, t in zip(indices, times, strict=True)]),
            1.0,
        )
    generator = np.random.default_rng(0)
    for split, shippable in (("train", True), ("train", False), ("dev", True)):
        coefficients = np.zeros((len(loud), 52))
        coefficients[:, BLENDSHAPE_INDEX["jawOpen"]] = 0.4 * loud
        shapes = np.concatenate([space.apply(coefficients), np.zeros((len(loud), 10, 3))], axis=1)
        for first, ring in ((468, (33, 133)), (473, (263, 362))):
            shapes[:, first : first + 5] = shapes[:, ring].mean(1, keepdims=True)
        angles = np.cumsum(generator.normal(0, 0.01, (len(loud), 3)), axis=0)
        landmarks = space.project(
            shapes, np.full(len(loud), 20.0), rotation_matrix(angles), np.tile([250.0, -250.0, 0.0], (len(loud), 1))
        )
        np.savez(
            folder / "clips" / f"{split}__{'own' if shippable else 'foreign'}.npz",
            landmarks=landmarks.astype(np.float32), found=np.ones(len(loud), bool), mel=log_mel(speech),
            name="own", identity="somebody", split=split, shippable=shippable,
        )  # fmt: skip
    return folder


def test_only_shippable_clips_of_the_split_train(data: Path, space: MotionSpace) -> None:
    assert [clip.name for clip in load_clips(data / "clips", space, None, ("train",))] == ["train__own"]


def test_offsets_shift_lips_against_sound(data: Path, space: MotionSpace, tmp_path) -> None:
    (tmp_path / "offsets.json").write_text('{"train__own": {"offset": 3}}')
    plain = load_clips(data / "clips", space, None, ("train",))[0]
    shifted = load_clips(data / "clips", space, tmp_path / "offsets.json", ("train",))[0]
    assert len(shifted) == len(plain) - 3 == len(shifted.mel) // 4
    np.testing.assert_allclose(shifted.gap, plain.gap[:-3], atol=1e-6)
    np.testing.assert_array_equal(shifted.mel, plain.mel[12:])


def test_variations_keep_shapes_and_silence_shuts_the_mouth(data: Path, space: MotionSpace) -> None:
    sequences = load_phonetic(data / "speech", space, teacher.viseme_table())
    generator = np.random.default_rng(0)
    variation = Variation(sequences, Noises(generator, count=3, seconds=4))
    batch = next(variation.batches(generator, 40))
    assert batch["mel"].shape == (40, 300, 80) and batch["mouth"].shape == (40, 75, 52)
    assert np.isfinite(batch["mel"]).all()
    silent = (batch["phones"] == PHONE_INDEX["sil"]).all(1)
    assert silent.any() and not silent.all()
    assert np.abs(batch["mouth"][silent]).max() == 0


def test_loss_prefers_the_truth_and_lively_amplitude(data: Path, space: MotionSpace) -> None:
    sequence = load_phonetic(data / "speech", space, teacher.viseme_table())[0]
    columns = list(a2m.MOUTH_AND_JAW)
    true = torch.from_numpy(sequence.mouth[None, :75])
    batch = {
        "mouth": true, "closures": torch.from_numpy(sequence.closures[None, :75]),
        "phones": torch.from_numpy(sequence.phones[None, :75]), "guessed": torch.tensor([False]),
    }  # fmt: skip
    losses = a2m.LipLosses(space)

    def total(coefficients: torch.Tensor) -> float:
        output = {
            "coefficients": coefficients, "closures": torch.zeros(1, 75, 2), "phones": torch.zeros(1, 75, 40),
        }  # fmt: skip
        return sum(losses(output, batch).values()).item()

    own = true[..., columns]
    average = own.mean(1, keepdim=True).expand_as(own)
    assert total(own) < total(0.5 * own + 0.5 * average) < total(average)


def test_training_command_writes_a_network_that_speaks(data: Path, tmp_path, capsys: pytest.CaptureFixture) -> None:
    a2m.main(
        ["--clips", str(data / "clips"), "--speech", str(data / "speech"), "--motion-space", str(SPACE),
         "--output", str(tmp_path / "a2m"), "--teacher-steps", "2", "--joint-steps", "2", "--face-steps", "2",
         "--batch-size", "4", "--noise-sounds", "2",
         "--sync-loss", str(ROOT / "checkpoints" / "mini" / "sync_loss")]
    )  # fmt: skip
    assert "r_gap" in capsys.readouterr().out
    network = A2M.from_pretrained(tmp_path / "a2m")
    assert network.lip_gap_gain.abs().max() > 1
    motion = network.generate(np.zeros(SAMPLE_RATE, np.float32), seed=1)
    assert len(motion) == 25
