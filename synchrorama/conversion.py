"""Weights that others have published, as a folder of ours: ``python -m synchrorama convert hallo NET -o FOLDER``.

A stranger's pickle is read once, for its tensors only, and what comes out is safetensors. The folder holds a subfolder
for each network, with config.json and weights, and a MODEL_CARD.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import ArgumentParser
from .errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from .diffusion import DiffusionNetworks

DTYPES = ("float16", "bfloat16", "float32")
CARD = "MODEL_CARD.md"
_CONFIG = "config.json"
_AGAIN = "fetch net.pth of fudan-generative-ai/hallo from the Hugging Face Hub again"
_SHARD_BYTES = 1 << 30  # safetensors are put together in memory before they are written
_MAX_NAME = 200  # the longest name in Hallo's file has 122 characters


@dataclass(frozen=True)
class Conversion:
    """What came of a conversion.

    Attributes:
        output: the folder.
        dtype: of all tensors.
        networks: network → its tensors and their numbers, both counted.
    """

    output: str
    dtype: str
    networks: dict[str, dict[str, int]]

    @property
    def tensors(self) -> int:
        return sum(each["tensors"] for each in self.networks.values())

    @property
    def parameters(self) -> int:
        return sum(each["parameters"] for each in self.networks.values())

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "tensors": self.tensors, "parameters": self.parameters})

    def to_text(self) -> str:
        size = f"{self.tensors:,} tensors, {self.parameters:,} parameters, {self.dtype}"
        return f"{self.output}: {len(self.networks)} networks, {size}"


def convert_hallo(
    net: str | Path, folder: str | Path, dtype: str = "float16", parts: dict[str, dict[str, Any]] | None = None
) -> Conversion:
    """Hallo's ``net.pth`` as a folder that ``load_converted`` reads.

    The file is mapped, not read into memory, and one network is copied at a time. The folder appears when it is
    complete; whatever happens before, nothing is left of it.

    Args:
        net: the file, a pickled state dict.
        folder: to be made; it may exist if it is empty.
        dtype: one of ``DTYPES``.
        parts: the configuration of ``DiffusionNetworks``; Hallo's if left out.

    Raises:
        InputError: the file is not Hallo's, not whole or not safe to read, or the folder cannot be made.
    """
    net, folder = Path(net), Path(folder)
    _check_place(folder)
    networks = _read(net, parts)
    bytes_needed = sum(tensor.numel() for tensor in networks.state_dict().values()) * (4 if dtype == "float32" else 2)
    if shutil.disk_usage(folder.parent).free < bytes_needed:
        raise InputError(
            f"The weights need {bytes_needed / 1e9:.1f} GB and there is less space for {folder.name}; "
            "free some or choose another place."
        )
    counts = {}
    with _appearing(folder) as partial:
        for name in [name for name, _ in networks.named_children()]:
            counts[name] = _write(getattr(networks, name), partial / name, dtype)
            setattr(networks, name, None)  # its copy has to go before the next is made
        done = Conversion(str(folder), dtype, counts)
        (partial / CARD).write_text(_card(done), encoding="utf-8")
    return done


def load_converted(
    folder: str | Path, *, dtype: torch.dtype | None = None, device: str | torch.device = "cpu"
) -> DiffusionNetworks:
    """The networks of a folder that ``convert_hallo`` made, ready for use: they evaluate and learn nothing.

    Args:
        folder: where they are.
        dtype: what their tensors become; those of the folder if left out.
        device: where they go, one network after the other.

    Raises:
        InputError: something of the folder is missing or damaged; the sentence says what.
    """
    import torch

    from .diffusion import DiffusionNetworks
    from .diffusion.checkpoint import load_strictly
    from .diffusion.networks import HALLO_PARTS

    folder = Path(folder)
    configs = {name: _read_config(folder, name) for name in HALLO_PARTS}
    try:
        with torch.device("meta"):
            networks = DiffusionNetworks(configs)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        problem = str(error).splitlines()[0][:200]
        raise InputError(
            f"The folder {folder.name} does not describe these networks ({problem}); convert the weights again."
        ) from None
    networks.eval().requires_grad_(False)
    for name in HALLO_PARTS:
        tensors = _read_tensors(folder, name, dtype, str(device))
        try:
            load_strictly(getattr(networks, name), tensors)
        except ValueError as error:
            raise InputError(
                f"{name} in {folder.name}: {str(error).rstrip('.')}; convert the weights again."
            ) from None
    return networks


# ---------------------------------------------------------------------------------------------- reading


def _read(net: Path, parts: dict[str, dict[str, Any]] | None) -> DiffusionNetworks:
    """The networks with the tensors of the file, which stay in it until they are needed."""
    import torch

    from .diffusion import DiffusionNetworks
    from .diffusion.hallo import load_hallo

    tensors = _read_pickle(net)
    with torch.device("meta"):
        networks = DiffusionNetworks(parts).requires_grad_(False)
    try:
        load_hallo(networks, tensors)
    except ValueError as error:
        raise InputError(f"{net.name} is not Hallo's: {str(error).rstrip('.')}; {_AGAIN}.") from None
    return networks


def _read_pickle(net: Path) -> dict[str, Tensor]:
    """The tensors of a pickled state dict. No code in it is run, and nothing but tensors is accepted."""
    import pickle

    import torch

    if not net.is_file():
        raise InputError(f"The file {net.name} does not exist or may not be read; please check its path.")
    try:
        held = torch.load(net, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{net.name} holds more than tensors, such as code, and is not read; fetch net.pth from its authors."
        ) from None
    except Exception:  # on a stranger's file these readers raise about everything
        raise InputError(f"{net.name} is damaged, cut short or no file of PyTorch; {_AGAIN}.") from None
    if not isinstance(held, dict) or not all(_is_named_tensor(*item) for item in held.items()):
        raise InputError(f"{net.name} is not a list of named tensors as Hallo's is; {_AGAIN}.")
    return held


def _is_named_tensor(name: Any, value: Any) -> bool:
    """Whether this may be from a state dict, with a name that can be shown."""
    import torch

    named = isinstance(name, str) and len(name) <= _MAX_NAME and name.isprintable()
    return named and isinstance(value, torch.Tensor) and value.is_floating_point() and value.layout == torch.strided


def _read_config(folder: Path, name: str) -> dict[str, Any]:
    """The arguments of a network."""
    try:
        config = json.loads((folder / name / _CONFIG).read_text(encoding="utf-8"))
        return {key: value for key, value in config.items() if not key.startswith("_")}
    except (OSError, ValueError, AttributeError):
        raise InputError(
            f"The folder {folder.name} lacks {name}/{_CONFIG} or it is damaged; give one that convert has made."
        ) from None


def _read_tensors(folder: Path, name: str, dtype: torch.dtype | None, device: str) -> dict[str, Tensor]:
    """All tensors of a network, from however many files, one in memory at a time."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    try:
        for file in sorted((folder / name).glob("*.safetensors")):
            tensors |= {key: each.to(dtype) for key, each in load_file(file, device=device).items()}
    except (SafetensorError, OSError, ValueError):
        raise InputError(f"The weights of {name} in {folder.name} are damaged; convert them again.") from None
    return tensors


# ---------------------------------------------------------------------------------------------- writing


def _check_place(folder: Path) -> None:
    if not folder.absolute().parent.is_dir():
        raise InputError(f"The folder in which {folder.name} is to be made does not exist; please make it first.")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder.name} is there already and not empty; choose another name or remove it.")


@contextlib.contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A folder beside ``folder`` to write into; it takes the name at the end, and vanishes if that is not reached."""
    from safetensors import SafetensorError

    partial = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        partial.mkdir()
        yield partial
        if folder.is_dir():
            folder.rmdir()
        partial.rename(folder)
    except (OSError, SafetensorError) as error:
        # safetensors puts the system's reason into its own words
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0][:200]
        raise InputError(
            f"{folder.name} cannot be written ({reason}); please choose another place or free some space."
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(network: nn.Module, folder: Path, dtype: str) -> dict[str, int]:
    """Save one network as ``dtype`` and count what it has."""
    import torch

    tensors = {key: each.to(getattr(torch, dtype), copy=True) for key, each in network.state_dict().items()}
    spoiled = [key for key, each in tensors.items() if not torch.isfinite(each).all()]
    if spoiled:
        raise InputError(f"{folder.name}.{spoiled[0]} is too large for {dtype}; take --dtype bfloat16 or float32.")
    network.load_state_dict(tensors, assign=True)
    network.save_pretrained(folder, max_shard_size=_SHARD_BYTES)
    return {"tensors": len(tensors), "parameters": sum(each.numel() for each in tensors.values())}


def _card(done: Conversion) -> str:
    from .diffusion.hallo import RENAMES

    rows = "\n".join(
        f"| `{name}/` | {each['tensors']:,} | {each['parameters']:,} |" for name, each in done.networks.items()
    )
    # A bar inside a table has to be escaped, in code too.
    renames = "\n".join(
        "| `{}` | `{}` |".format(*(each.replace("|", r"\|") for each in rename)) for rename in RENAMES
    )
    return f"""---
license: mit
tags: [talking-face, hallo]
---
# Hallo's networks, converted by SynchroRaMa

The weights of `net.pth` from [fudan-generative-ai/hallo](https://huggingface.co/fudan-generative-ai/hallo) (arXiv
2406.08801, MIT), not trained any further by SynchroRaMa. Its UNets grew out of Stable Diffusion 1.5, whose
CreativeML Open RAIL-M licence forbids certain uses, also of what is derived from it.

**The image projection expects face embeddings of InsightFace's ArcFace model, which is licensed for non-commercial
research only.** That model is not in this folder.

All tensors are {done.dtype}, converted where those of the file are not.

| folder | tensors | parameters, buffers included |
|---|---|---|
{rows}
| in all | {done.tensors:,} | {done.parameters:,} |

Made by `python -m synchrorama convert hallo net.pth -o FOLDER --dtype {done.dtype}`; read by
`synchrorama.conversion.load_converted`. Each tensor has kept its shape, and its name but for these regular expressions,
replaced in this order:

| in `net.pth` | here |
|---|---|
{renames}
"""


# ---------------------------------------------------------------------------------------------- command line


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``python -m synchrorama convert``. Raises InputError for bad input."""
    parser = ArgumentParser(
        prog="python -m synchrorama convert",
        description="Turn weights that others have published into a folder of safetensors that this project reads.",
    )
    parser.add_argument("model", choices=("hallo",), help="whose weights they are")
    parser.add_argument("weights", metavar="NET", help="the file: net.pth of fudan-generative-ai/hallo")
    parser.add_argument("-o", "--output", metavar="FOLDER", required=True, help="the folder to make")
    parser.add_argument("--dtype", choices=DTYPES, default="float16", help="of the numbers (default float16)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    done = convert_hallo(options.weights, options.output, options.dtype)
    print(done.to_json() if options.json else done.to_text())
    return 0
