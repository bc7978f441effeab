"""Parts of the transformers library from a local folder: whole or not at all, offline, and without foreign code."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.utils import logging

from synchrorama.errors import InputError

_WEIGHTS = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
)  # fmt: skip
_LOCAL = {"local_files_only": True, "trust_remote_code": False}
_NEVER_USED = r"masked_spec_embed$|position_ids$"  # for training alone; made anew where published files lack them


def load_network(
    kind: Any,
    folder: Path,
    part: str,
    *,
    device: str | torch.device,
    dtype: torch.dtype,
    may_lack: str = _NEVER_USED,
    **options: Any,
) -> nn.Module:
    """A network in evaluation mode, with every weight from the folder.

    Safetensors are read before pytorch_model.bin, which is read as tensors alone (``weights_only``): a pickle with code
    is refused.

    Args:
        kind: a model class of transformers, or one of its Auto classes.
        folder: config.json and the weights.
        part: what it is, for messages, as in "the speech recogniser".
        device, dtype: where and how it computes.
        may_lack: regular expression of weights that may be missing.
        options: for ``kind.from_pretrained``.

    Raises:
        InputError: the folder is not one of these, is damaged or lacks weights.
    """
    _check_weights(folder, part)
    with explained(part), quiet():
        network, found = kind.from_pretrained(
            folder, **_LOCAL, weights_only=True, dtype=dtype, output_loading_info=True, **options
        )
    lacking = sorted(name for name in found["missing_keys"] if not re.search(may_lack, name))
    if lacking:
        raise InputError(
            f"The weights of {part} lack {lacking[0]!r}{f' and {len(lacking) - 1} more' if lacking[1:] else ''}; they "
            "are those of another network, or incomplete: fetch them again."
        )
    return network.eval().to(device)


def load_companion(kind: Any, folder: Path, part: str, **options: Any) -> Any:
    """A tokenizer, feature extractor or processor. Raises InputError if the folder has none that can be read."""
    check_folder(folder, part)
    with explained(part, "settings"), quiet():
        return kind.from_pretrained(folder, **_LOCAL, **options)


def check_folder(folder: Path, part: str) -> None:
    """Raises InputError unless the folder is there."""
    if not Path(folder).is_dir():
        raise InputError(f"There is no folder with the weights of {part}; fetch them again.")


def _check_weights(folder: Path, part: str) -> None:
    check_folder(folder, part)
    if not (Path(folder) / "config.json").is_file():
        raise InputError(f"The folder of {part} has no config.json; fetch it again.")
    if not any((Path(folder) / name).is_file() for name in _WEIGHTS):
        raise InputError(f"The folder of {part} has no weights ({_WEIGHTS[0]}); fetch it again.")


@contextlib.contextmanager
def explained(part: str, what: str = "weights") -> Iterator[None]:
    """Makes an InputError, one sentence, of whatever reading damaged or foreign files raises."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise InputError(
            f"The {what} of {part} cannot be read: damaged, or made for another network; fetch the folder again."
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the library's advice and progress bars, which are for those who write programs with it."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
