"""The file of a profile: which backends the components have, where weights come from, under which licence.

A JSON object with the keys of ``ProfileFile``; ``components`` has a list of entries for each component, the first of
which is the profile's choice, and the others are there to be chosen. The keys of an entry are those of ``Entry``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

from .components import COMPONENTS, check_backend
from .conversion import DTYPES
from .errors import InputError
from .hub import is_repository
from .settings import GenerationSettings

LARGEST_BYTES = 1 << 20  # a profile is a page of text


@dataclass(frozen=True)
class Conversion:
    """How a published file becomes a folder of ours; see ``conversion.convert_hallo``.

    Attributes:
        file: of the repository.
        dtype: of the numbers in the folder.
        bytes: what the folder takes on the disk, about.
        parts: the configuration of ``DiffusionNetworks``; Hallo's if None.
    """

    file: str
    dtype: str = "float16"
    bytes: int = 0
    parts: dict[str, Any] | None = None


@dataclass(frozen=True)
class Entry:
    """A backend of a component, and where its weights come from.

    Attributes:
        backend: one of those in ``components.COMPONENTS``.
        folder: of the checkpoint that the profile belongs to, or of ``repository`` if that is given.
        repository: owner/repository on the Hub; "" if the weights are part of the checkpoint.
        revision: of the repository: a commit, so that everybody gets the same, or a branch or a tag.
        files: patterns of what is fetched; each has to match a file.
        bytes: what that is, about.
        hallo: how Hallo's file is converted after it is fetched.
        license: as the publisher calls it, or "not stated".
        commercial_use: whether the licence allows it; None where that is not stated.
        note: what else one has to know.
    """

    backend: str
    folder: str = ""
    repository: str = ""
    revision: str | None = None
    files: tuple[str, ...] = ()
    bytes: int = 0
    hallo: Conversion | None = None
    license: str = ""
    commercial_use: bool | None = None
    note: str = ""


@dataclass(frozen=True)
class ProfileFile:
    """What a profile says.

    Attributes:
        description: in a sentence or two.
        defaults: settings that suit it, where they differ from those of ``GenerationSettings``.
        vram_bytes: memory that a GPU should have for it; 0 if it needs no GPU.
        components: component → its entries.
    """

    description: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    vram_bytes: int = 0
    components: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)


def read_profile(path: Path) -> ProfileFile:
    """Read and check a profile. Raises InputError, whose sentence names what is wrong."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ValueError("it is too large")
        given = json.loads(path.read_text(encoding="utf-8"))
        return _profile(given)
    except OSError as error:
        raise InputError(f"The profile {path.name} cannot be read ({error.strerror}); check its name.") from None
    except json.JSONDecodeError as error:
        raise InputError(f"The profile {path.name} is not valid JSON (line {error.lineno}: {error.msg}).") from None
    except (ValueError, RecursionError) as error:
        problem = str(error).rstrip(".") or "it is nested too deeply"
        raise InputError(f"The profile {path.name} cannot be used: {problem}; correct it.") from None


def _profile(given: Any) -> ProfileFile:
    """Raises ValueError, which InputError is one of."""
    _check(given, ProfileFile, "it")
    components = given.get("components", {})
    for component, entries in components.items():
        if component not in COMPONENTS:
            raise ValueError(f"there is no component {component!r}; the components are {', '.join(COMPONENTS)}")
        if not isinstance(entries, list) or not entries:
            raise ValueError(f"{component} has no list of entries")
    GenerationSettings.from_dict(given.get("defaults", {}))
    checked = {name: tuple(_entry(name, each) for each in entries) for name, entries in components.items()}
    return ProfileFile(**{**given, "components": checked})


def _entry(component: str, given: Any) -> Entry:
    where = f"an entry of {component}"
    _check(given, Entry, where)
    if "backend" not in given:
        raise ValueError(f"{where} has no backend")
    check_backend(component, given["backend"])
    where = f"the entry {given['backend']} of {component}"
    hallo = given.get("hallo")
    if hallo is not None:
        _check(hallo, Conversion, f"hallo in {where}")
        if "file" not in hallo or hallo.get("dtype", DTYPES[0]) not in DTYPES:
            raise ValueError(f"hallo in {where} lacks the file, or its dtype is none of {', '.join(DTYPES)}")
        hallo = Conversion(**hallo)
    entry = Entry(**{**given, "files": tuple(given.get("files", ())), "hallo": hallo})
    for path in (entry.folder, *entry.files, hallo.file if hallo else ""):
        if not isinstance(path, str) or path.startswith("/") or "\\" in path or ".." in PurePosixPath(path).parts:
            raise ValueError(f"{path!r} in {where} is no path within the checkpoint or repository")
    if entry.repository and not is_repository(entry.repository):
        raise ValueError(f"{entry.repository!r} in {where} names no repository; write owner/repository")
    if entry.repository and not entry.files:
        raise ValueError(f"{where} has a repository, but no files to fetch")
    if hallo and not entry.repository:
        raise ValueError(f"{where} has no repository for its file")
    backend = COMPONENTS[component].backends[entry.backend]
    if backend.needs_weights != bool(entry.repository or entry.folder or backend.folder):
        raise ValueError(f"{where} {'lacks' if backend.needs_weights else 'needs no'} weights")
    return entry


_TYPES: dict[str, type | tuple[type, ...]] = {
    "backend": str, "folder": str, "repository": str, "revision": (str, type(None)), "files": list, "bytes": int,
    "hallo": (dict, type(None)), "license": str, "commercial_use": (bool, type(None)), "note": str, "file": str,
    "dtype": str, "parts": (dict, type(None)), "description": str, "defaults": dict, "vram_bytes": int,
    "components": dict,
}  # fmt: skip


def _check(given: Any, kind: type, where: str) -> None:
    """Raises ValueError unless ``given`` is an object with keys of ``kind`` only, each of its type."""
    if not isinstance(given, dict):
        raise ValueError(f"{where} is not an object")
    for key, value in given.items():
        if key not in {each.name for each in fields(kind)}:
            raise ValueError(f"{where} has an unknown key {key!r}; known are {', '.join(f.name for f in fields(kind))}")
        wrong_number = _TYPES[key] is int and (isinstance(value, bool) or (isinstance(value, int) and value < 0))
        if not isinstance(value, _TYPES[key]) or wrong_number:
            raise ValueError(f"{key} of {where} is {json.dumps(value)[:60]}")
