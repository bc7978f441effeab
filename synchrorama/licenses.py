"""Under which licences the parts of a profile are: ``python -m synchrorama licenses``."""

from __future__ import annotations

import importlib.metadata
import json
import re
from dataclasses import asdict, dataclass

from .arguments import ArgumentParser
from .components import COMPONENTS, Backend
from .hub import Folder, Weights
from .profile import Part, Profile, find_profile

NOT_STATED = "not stated"
_CARDS = ("MODEL_CARD.md", "README.md")
# What stands in model cards, https://huggingface.co/docs/hub/repositories-licenses, of those that set no limit.
_FREE = ("apache-2.0", "mit", "bsd", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0")


@dataclass(frozen=True)
class Licence:
    """The licence of one backend of a component.

    Attributes:
        component, backend: whose it is.
        purpose: what the component is for.
        source: a repository, a folder of the checkpoint, a package, or this project.
        revision: of the repository.
        license: as the publisher calls it, or "not stated".
        commercial_use: whether it allows that; None where it is not stated.
        own: whether the weights are part of the checkpoint, which was trained with the code of this project.
        used: whether the profile uses it unless told otherwise.
        note: what else one has to know.
    """

    component: str
    backend: str
    purpose: str
    source: str
    revision: str | None
    license: str
    commercial_use: bool | None
    own: bool
    used: bool
    note: str


def licences_of(profile: Profile) -> list[Licence]:
    """Of every backend that the profile names, those first that it uses. Raises InputError if it cannot be had."""
    found = [_of_part(profile, part, used=True) for part in profile.parts.values()]
    for component, entries in profile.file.components.items():
        for entry in entries:
            if entry != profile.parts[component].entry:
                found.append(_of_part(profile, profile.part_of(component, entry), used=False))
    return [each for each in found if each.backend != "none"]


def _of_part(profile: Profile, part: Part, *, used: bool) -> Licence:
    entry, component = part.entry, COMPONENTS[part.component]
    backend = component.backends[entry.backend]
    source, license, commercial_use, note = entry.repository, entry.license, entry.commercial_use, entry.note
    if part.is_ours:
        checkpoint = part.checkpoint
        source = f"{checkpoint.path.name if isinstance(checkpoint, Folder) else checkpoint.name}/{part.folder_name}"
        stated = _in_card(part.checkpoint, part.folder_name)
        license, commercial_use = stated, allows_commercial_use(stated)
    elif not backend.needs_weights:
        source, license = backend.package or "this project", _of_package(backend)
        commercial_use = allows_commercial_use(license)
    return Licence(
        part.component,
        entry.backend,
        component.purpose,
        source,
        entry.revision,
        license,
        commercial_use,
        part.is_ours,
        used,
        note,
    )


def allows_commercial_use(license: str) -> bool | None:
    """What the name of a licence says of commercial use; None where it says nothing."""
    name = license.lower().replace(" ", "-")
    if re.search(r"\bnc\b|non-?commercial", name):
        return False
    return True if name.startswith(_FREE) else None


def _in_card(checkpoint: Weights, folder: str) -> str:
    """The licence in the front matter of the model card that is nearest to a folder of a checkpoint."""
    parents = [f"{'/'.join(folder.split('/')[:depth])}/" for depth in range(folder.count("/"), 0, -1)] + [""]
    for place in parents:
        for name in _CARDS:
            path = checkpoint.file(f"{place}{name}")
            if path is None:
                continue
            front_matter = re.match(r"---\n(.*?)\n---", path.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
            stated = front_matter and re.search(r"^license:\s*(\S+)\s*$", front_matter[1], re.MULTILINE)
            if stated:
                return stated[1]
    return NOT_STATED


def _of_package(backend: Backend) -> str:
    """What an installed package says of itself; the licence of this project for what is no package."""
    if not backend.package:
        return "Apache-2.0"
    try:
        about = importlib.metadata.metadata(backend.package)
    except importlib.metadata.PackageNotFoundError:
        return NOT_STATED
    classifiers = [each.split(" :: ")[-1] for each in about.get_all("Classifier", []) if each.startswith("License")]
    return about.get("License-Expression") or about.get("License") or next(iter(classifiers), NOT_STATED)


# ---------------------------------------------------------------------------------------------- command line

_WORDS = {True: "commercial use: yes", False: "commercial use: no", None: "commercial use: not stated"}


def _to_text(each: Licence) -> str:
    revision = f"@{each.revision[:12]}" if each.revision else ""
    origin = "trained with the code of this project" if each.own else ""
    parts = [f"{each.source}{revision}", origin, each.license, _WORDS[each.commercial_use], each.note]
    return f"  {each.component} ({each.backend}), {each.purpose}\n      " + "; ".join(part for part in parts if part)


def summary(licences: list[Licence]) -> str:
    """What may be done with all of what is used, in words."""
    forbidden = sorted({each.component for each in licences if each.used and each.commercial_use is False})
    unclear = sorted({each.component for each in licences if each.used and each.commercial_use is None})
    said = [f"not for commercial use, because of {', '.join(forbidden)}"] if forbidden else []
    said += [f"whether commercial use is allowed is not stated for {', '.join(unclear)}"] if unclear else []
    return "; ".join(said) or "all of it may be used commercially"


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``python -m synchrorama licenses``. Raises InputError for bad input."""
    parser = ArgumentParser(
        prog="python -m synchrorama licenses",
        description="List every component of a profile: where it comes from, its licence as its publisher states it, "
        "whether that allows commercial use, what it is for, and what was trained with the code of this project.",
    )
    parser.add_argument(
        "profile", nargs="?", default="full", help="full (if left out), mini, a folder, a profile or owner/repository"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array with an object for each")
    options = parser.parse_args(argv)
    profile = find_profile(options.profile)
    licences = licences_of(profile)
    if options.json:
        print(json.dumps([asdict(each) for each in licences]))
        return 0
    optional = [each for each in licences if not each.used]
    lines = [f"{profile.name}: {summary(licences)}.", *(_to_text(each) for each in licences if each.used)]
    if optional:
        lines += ["Off unless asked for:", *map(_to_text, optional)]
    lines.append("As their publishers state them; read the originals before you rely on this.")
    print("\n".join(lines))
    return 0
