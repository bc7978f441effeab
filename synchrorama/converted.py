"""Published files as folders of ours, converted once and kept beside what huggingface_hub keeps."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from filelock import FileLock

from .conversion import CARD, convert_hallo
from .errors import InputError
from .profile_file import Conversion


def place_of(repository: str, commit: str, conversion: Conversion) -> Path:
    """Where the folder is, or will be: another one for each commit and each way to convert."""
    from huggingface_hub import constants

    parts = ""
    if conversion.parts is not None:
        parts = "-" + hashlib.sha256(json.dumps(conversion.parts, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{repository.replace('/', '--')}-{commit[:12]}-{conversion.dtype}{parts}"
    return Path(constants.HF_HUB_CACHE).parent / "synchrorama" / name


def is_converted(folder: Path) -> bool:
    """Whether the folder is complete: it gets its name when it is."""
    return (folder / CARD).is_file()


def converted(net: Path, folder: Path, conversion: Conversion, *, anew: bool = False) -> Path:
    """The folder with the networks of ``net``; made if it is not there, by one process while others wait.

    Args:
        net: the published file.
        folder: see ``place_of``.
        anew: also make what is there already.

    Raises InputError: see ``convert_hallo``; nothing is left of a folder that could not be finished.
    """
    if is_converted(folder) and not anew:
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if anew:
                shutil.rmtree(folder, ignore_errors=True)
            if not is_converted(folder):  # by another process, while this one waited
                shutil.rmtree(folder, ignore_errors=True)
                convert_hallo(net, folder, conversion.dtype, conversion.parts)
    except OSError as error:
        raise InputError(
            f"{folder.name} cannot be made ({error.strerror}); set HF_HOME to a folder where you may write."
        ) from None
    return folder
