"""Published weights become a folder of ours, or one sentence says why not and nothing is left."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from conftest import REPOSITORY
from diffusers import DDIMScheduler
from hallo_reference import TOLERANCE, difference, face_guide, named_tensors, read_reference, small_parts, told_about
from safetensors import SafetensorError

from synchrorama import InputError, conversion
from synchrorama.__main__ import main
from synchrorama.conversion import CARD, convert_hallo, load_converted
from synchrorama.diffusion.hallo import SCHEDULER
from synchrorama.diffusion.networks import HALLO_PARTS, DiffusionNetworks


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    """Small weights under the names of Hallo's file."""
    return named_tensors(DiffusionNetworks(small_parts()))


@pytest.fixture(scope="module")
def net(tensors: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hallo") / "net.pth"
    torch.save(tensors, path)
    return path


@pytest.fixture(scope="module")
def folder(net: Path) -> Path:
    convert_hallo(net, net.with_name("converted"), "float32", small_parts())
    return net.with_name("converted")


@pytest.fixture
def small_hallo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command takes the small networks for Hallo's."""
    whole = convert_hallo
    monkeypatch.setattr(conversion, "convert_hallo", lambda *given: whole(*given, small_parts()))


def test_converted_networks_compute_what_hallos_computed(folder: Path) -> None:
    networks, reference = load_converted(folder), read_reference()
    assert not networks.training and not any(each.requires_grad for each in networks.parameters())
    tokens = networks.image_projection(reference["in.face_embedding"])
    assert difference(tokens, reference["out.face_tokens"]) <= TOLERANCE
    assert difference(networks.audio_projection(reference["in.wav2vec"]), reference["out.audio_tokens"]) <= TOLERANCE
    assert difference(face_guide(networks, reference), reference["out.face_locator"]) <= TOLERANCE
    told, latents = told_about(networks, reference), reference["in.noise"]
    denoised = networks.denoising_unet(latents.repeat(2, 1, 1, 1, 1), torch.tensor(499), **told)
    assert difference(denoised, reference["out.denoised_t499"]) <= TOLERANCE
    scheduler = DDIMScheduler(**SCHEDULER)
    scheduler.set_timesteps(3)
    for timestep in scheduler.timesteps:
        without, given = networks.denoising_unet(latents.repeat(2, 1, 1, 1, 1), timestep, **told).chunk(2)
        latents = scheduler.step(without + 3.5 * (given - without), timestep, latents, eta=0.0).prev_sample
    assert difference(latents, reference["out.latents_3_ddim_steps_cfg_3_5"]) <= TOLERANCE


def test_the_folder_has_a_subfolder_for_each_network_and_a_card(
    folder: Path, tensors: dict[str, torch.Tensor]
) -> None:
    assert {path.name for path in folder.iterdir()} == {*HALLO_PARTS, CARD}
    for name in HALLO_PARTS:
        files = {path.name for path in (folder / name).iterdir()}
        assert files == {"config.json", "diffusion_pytorch_model.safetensors"}
    card = (folder / CARD).read_text(encoding="utf-8")
    count = sum(each.numel() for each in tensors.values())
    for part in ("fudan-generative-ai/hallo", "MIT", "ArcFace", "non-commercial", "float32", f"{count:,}", "2,656"):
        assert part in card


def test_large_networks_are_sharded(net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(conversion, "_SHARD_BYTES", 1 << 20)
    convert_hallo(net, tmp_path / "converted", "float32", small_parts())
    files = sorted((tmp_path / "converted" / "denoising_unet").glob("*.safetensors"))
    assert len(files) > 1
    whole, sharded = load_converted(folder).state_dict(), load_converted(tmp_path / "converted").state_dict()
    assert whole.keys() == sharded.keys() and all(torch.equal(whole[name], sharded[name]) for name in whole)
    files[0].unlink()
    with pytest.raises(InputError, match=r"^denoising_unet in converted: .*lacks.*convert the weights again\.$"):
        load_converted(tmp_path / "converted")


def test_numbers_become_what_is_asked_for(net: Path, tmp_path: Path) -> None:
    done = convert_hallo(net, tmp_path / "converted", "float16", small_parts())
    assert done.dtype == "float16"
    assert {each.dtype for each in load_converted(tmp_path / "converted").state_dict().values()} == {torch.float16}
    loaded = load_converted(tmp_path / "converted", dtype=torch.bfloat16, device="cpu")
    assert {each.dtype for each in loaded.state_dict().values()} == {torch.bfloat16}


def test_an_empty_folder_is_filled_and_a_full_one_refused(net: Path, tmp_path: Path) -> None:
    (tmp_path / "converted").mkdir()
    convert_hallo(net, tmp_path / "converted", "float16", small_parts())
    (tmp_path / "converted" / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match=r"^converted is there already and not empty; .*\.$"):
        convert_hallo(net, tmp_path / "converted", "float16", small_parts())
    assert (tmp_path / "converted" / "mine.txt").read_text() == "kept"
    with pytest.raises(InputError, match="does not exist; please make it first"):
        convert_hallo(net, tmp_path / "nowhere" / "converted", "float16", small_parts())


class _Runs:
    """A pickle of this would run a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


class Given(NamedTuple):
    """What a damaging function may write and read."""

    path: Path
    tensors: dict[str, torch.Tensor]


def _save_other(change: Callable[[dict[str, Any]], object]) -> Callable[[Given], object]:
    def write(given: Given) -> None:
        tensors = dict(given.tensors)
        change(tensors)
        torch.save(tensors, given.path)

    return write


def _truncate(given: Given) -> None:
    torch.save(given.tensors, given.path)
    with given.path.open("r+b") as file:
        file.truncate(given.path.stat().st_size // 2)


DAMAGES: dict[str, tuple[Callable[[Given], object], str]] = {
    "missing": (
        _save_other(lambda tensors: [tensors.pop(name) for name in list(tensors)[:9]]),
        r"it lacks reference_net\.\S+, \S+, \S+ and 6 more; fetch net\.pth of",
    ),
    "left over": (
        _save_other(lambda tensors: tensors.update({"imageproj.extra": torch.zeros(1), "other": torch.zeros(1)})),
        "it has too many image_projection.extra, other; fetch",
    ),
    "shape": (
        _save_other(lambda tensors: tensors.update({"denoising_unet.conv_out.bias": torch.zeros(5)})),
        r"another shape for denoising_unet.conv_out.bias \(5,\) instead of \(4,\); fetch",
    ),
    "nan": (
        _save_other(lambda tensors: tensors.update({"denoising_unet.conv_out.bias": torch.full((4,), torch.nan)})),
        "not finite in denoising_unet.conv_out.bias; fetch",
    ),
    "code": (
        lambda given: torch.save({**given.tensors, "extra": _Runs(given.path.with_name("ran"))}, given.path),
        "holds more than tensors, such as code, and is not read",
    ),
    "bare pickle": (
        lambda given: given.path.write_bytes(pickle.dumps(_Runs(given.path.with_name("ran")))),
        "is damaged, cut short or no file of PyTorch",
    ),
    "truncated": (_truncate, "is damaged, cut short or no file of PyTorch"),
    "text": (lambda given: given.path.write_text("<html>404</html>"), "is damaged, cut short or no file of PyTorch"),
    "a list": (lambda given: torch.save(list(given.tensors.values()), given.path), "not a list of named tensors"),
    "numbers": (_save_other(lambda tensors: tensors.update({"epoch": 7})), "not a list of named tensors"),
    "control characters": (
        _save_other(lambda tensors: tensors.update({"\x1b[2J": torch.zeros(1)})), "not a list of named tensors"
    ),
    "not there": (lambda given: None, "does not exist or may not be read"),
    "a folder": (lambda given: given.path.mkdir(), "does not exist or may not be read"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "sentence"), DAMAGES.values(), ids=DAMAGES)
def test_what_is_not_hallos_is_refused_in_one_sentence(
    tensors: dict[str, torch.Tensor], tmp_path: Path, damage: Callable[[Given], object], sentence: str
) -> None:
    damage(Given(tmp_path / "net.pth", tensors))
    with pytest.raises(InputError, match=sentence) as caught:
        convert_hallo(tmp_path / "net.pth", tmp_path / "converted", "float16", small_parts())
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".") and str(tmp_path) not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} <= {"net.pth"}


def test_numbers_too_large_for_half_precision_are_refused(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(tensors | {"denoising_unet.conv_out.bias": torch.full((4,), 1e6)}, tmp_path / "net.pth")
    with pytest.raises(InputError, match=r"^denoising_unet.conv_out.bias is too large for float16; take"):
        convert_hallo(tmp_path / "net.pth", tmp_path / "converted", "float16", small_parts())
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), SafetensorError("No space left on device"), KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)
def test_nothing_is_left_of_a_conversion_that_did_not_end(
    net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object, **__: object) -> None:
        assert any(path.suffix == ".part" for path in tmp_path.iterdir())
        raise error

    monkeypatch.setattr(conversion, "_card", fail)  # the last thing that is written
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else InputError
    with pytest.raises(expected, match=None if expected is KeyboardInterrupt else "No space left on device"):
        convert_hallo(net, tmp_path / "converted", "float16", small_parts())
    assert list(tmp_path.iterdir()) == []


def test_too_little_space_is_said_before_anything_is_written(
    net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000))
    monkeypatch.setattr(conversion, "_write", lambda *_: pytest.fail("written"))
    with pytest.raises(InputError, match=r"^The weights need 0\.\d GB and there is less space for converted; free"):
        convert_hallo(net, tmp_path / "converted", "float16", small_parts())


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / "face_locator" / "config.json").unlink(), "lacks face_locator/config.json"),
        (lambda folder: (folder / "face_locator" / "config.json").write_text("[]"), "lacks face_locator/config.json"),
        (
            lambda folder: (folder / "face_locator" / "config.json").write_text('{"depth": 3}'),
            "does not describe these networks",
        ),
        (
            lambda folder: os.truncate(folder / "face_locator" / "diffusion_pytorch_model.safetensors", 999),
            "The weights of face_locator in converted are damaged",
        ),
        (
            lambda folder: (folder / "face_locator" / "diffusion_pytorch_model.safetensors").unlink(),
            "face_locator in converted: .* lacks conv_in.weight",
        ),
    ],
    ids=["no config", "no object", "unknown argument", "truncated", "no weights"],
)
def test_a_damaged_folder_is_refused_in_one_sentence(
    folder: Path, tmp_path: Path, damage: Callable[[Path], object], sentence: str
) -> None:
    copy = shutil.copytree(folder, tmp_path / "converted")
    damage(copy)
    with pytest.raises(InputError, match=sentence) as caught:
        load_converted(copy)
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_the_command_says_what_was_made(
    net: Path, tmp_path: Path, small_hallo: None, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "converted"
    assert main(["convert", "hallo", str(net), "-o", str(output), "--dtype", "bfloat16", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["output"] == str(output) and said["dtype"] == "bfloat16" and said["tensors"] == 2656
    assert set(said["networks"]) == set(HALLO_PARTS)
    assert said["parameters"] == sum(each["parameters"] for each in said["networks"].values())
    assert main(["convert", "hallo", str(net), "-o", str(output), "--json"]) == 2
    assert "not empty" in json.loads(capsys.readouterr().out)["error"]
    assert main(["convert", "hallo", str(net), "-o", str(tmp_path / "other")]) == 0
    assert "5 networks, 2,656 tensors" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [[], ["hallo"], ["hallo", "net.pth"], ["other", "net.pth", "-o", "x"], ["hallo", "n", "-o", "x", "--dtype", "i"]],
)
def test_wrong_arguments_are_told_in_one_sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", *arguments]) == 2
    assert capsys.readouterr().err.strip().endswith("see python -m synchrorama convert --help.")


def test_a_signal_ends_the_command_and_leaves_nothing(net: Path, tmp_path: Path) -> None:
    """In a process of its own, which stops itself when the last network has been written."""
    code = f"""
import os, signal, sys
sys.path[:0] = [{str(REPOSITORY)!r}, {str(REPOSITORY / "tests")!r}]
from hallo_reference import small_parts
from synchrorama import conversion
from synchrorama.__main__ import main
whole = conversion.convert_hallo
conversion.convert_hallo = lambda *given: whole(*given, small_parts())
conversion._card = lambda done: os.kill(os.getpid(), signal.SIGTERM)
sys.exit(main(["convert", "hallo", {str(net)!r}, "-o", "converted"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert done.stderr.strip() == "Stopped; nothing unfinished was kept." and list(tmp_path.iterdir()) == []
