"""What a pipeline is made of: for each component its backend, and where the weights of that lie.

A profile is a file, such as ``checkpoints/full.json``; docs/full.md says what stands in it. A folder or a repository of
weights may hold one with the name ``profile.json``. A component of which it says nothing has the first backend of the
table in ``components.py``, and its weights lie in the subfolder that stands there.
"""

from __future__ import annotations

import os
import re
import shlex
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .arguments import backend_option
from .components import COMPONENTS, check_backend
from .converted import converted, is_converted, place_of
from .errors import InputError
from .hub import FILES, Folder, HubRepository, Weights, is_commit, is_repository, within
from .needs import Needs, needs_of
from .profile_file import Entry, ProfileFile, read_profile
from .settings import GenerationSettings

DEFAULT_PROFILE = "checkpoints/mini"
PROFILE_FILE = "profile.json"
FULL = "full"
_BESIDE_THE_PACKAGE = Path(__file__).resolve().parent.parent
_NAME = re.compile(r"[\w-]+", re.ASCII)
_finding = threading.RLock()  # so that all threads get the same repositories, which keep their commits


def find_profile(
    place: str | os.PathLike[str] = DEFAULT_PROFILE,
    revision: str | None = None,
    backends: Mapping[str, str] | None = None,
    *,
    accept_non_commercial: bool = False,
) -> Profile:
    """
    Args:
        place: a folder of weights or the file of a profile, looked for in the working directory, then beside the
            package, so that scripts run from anywhere; "full" or "mini" for those in ``checkpoints``; else
            "owner/repository" on the Hub, or "owner/repository@revision".
        revision: of a repository: a branch, a tag or a commit; its main branch when None.
        backends: component → backend, where another one than the profile's is wanted.
        accept_non_commercial: whether licences that forbid commercial use are accepted.

    Raises:
        InputError: there is no such place, or no such component or backend, or the profile cannot be used.
    """
    name = os.fspath(place)
    choice = {"backends": backends, "accept_non_commercial": accept_non_commercial}
    named = [Path("checkpoints", name), Path("checkpoints", f"{name}.json")] if _NAME.fullmatch(name) else []
    for candidate in (Path(name), *named):
        for here in (candidate, _BESIDE_THE_PACKAGE / candidate):
            is_file = here.suffix == ".json" and here.is_file()
            if not is_file and not here.is_dir():
                continue
            if revision is not None:
                raise InputError(f"The folder {name!r} has no revision {revision!r}; leave it out.")
            if is_file:
                profile = Profile(name, Folder(here.parent.resolve(), name), read_profile(here), **choice)
            else:
                profile = Profile(name, Folder(here.resolve(), name), **choice)
            profile.check()
            return profile
    if not is_repository(name):
        raise InputError(
            f"There is no folder of weights called {name!r}; give one such as {DEFAULT_PROFILE}, which comes with the "
            "repository, or full, or owner/repository on the Hub."
        )
    return Profile(name, HubRepository.named(name, revision), **choice)


@dataclass(frozen=True)
class Part:
    """A component as a pipeline has it.

    Attributes:
        component: its name.
        entry: its backend and the place of its weights.
        checkpoint: what the entry's folder is a subfolder of, unless it names a repository.
        repository: where the weights are fetched from; None where they are part of the checkpoint.
    """

    component: str
    entry: Entry
    checkpoint: Weights
    repository: HubRepository | None

    @property
    def folder_name(self) -> str:
        """Of the checkpoint or the repository; "" where there are no weights or they fill the repository."""
        own = COMPONENTS[self.component].backends[self.entry.backend].folder
        return self.entry.folder or ("" if self.repository else own)

    @property
    def is_ours(self) -> bool:
        """Whether the weights are part of the checkpoint: trained by whoever made that."""
        return self.repository is None and bool(self.folder_name)

    @property
    def source(self) -> tuple[HubRepository, tuple[str, ...]] | None:
        """What is to be fetched: patterns of files in a repository; None where nothing is."""
        if self.repository is not None:
            return self.repository, self.entry.files
        if isinstance(self.checkpoint, HubRepository) and self.folder_name:
            return self.checkpoint, within(self.folder_name, self.entry.files or FILES)
        return None

    @property
    def identity(self) -> str:
        """A text that is another one for another backend or other weights, as far as names can say that."""
        place = self.folder_name if self.repository is None else f"{self.repository.identity}/{self.entry.folder}"
        return f"{self.component}={self.entry.backend}:{place}"

    @property
    def conversion_place(self) -> Path | None:
        """Where the converted copy is, or will be; None where nothing is converted."""
        if self.entry.hallo is None:
            return None
        return place_of(self.repository.name, self.repository.commit, self.entry.hallo)

    def fetch(self, *, anew: bool = False) -> Path:
        """The folder with the weights, here. Raises InputError if it cannot be had; the sentence says why."""
        if self.repository is None:
            if anew and self.source is not None:
                repository, files = self.source
                repository.fetch(files, anew=True)
            return self.checkpoint.folder(self.folder_name, self.entry.files or FILES)
        place = self.conversion_place
        if place is not None and is_converted(place) and not anew:
            return place
        root = self.repository.fetch(self.entry.files, anew=anew)
        if place is not None:
            return converted(root / self.entry.hallo.file, place, self.entry.hallo, anew=anew)
        return root / self.entry.folder


class Profile:
    """The components of a pipeline, found but not yet fetched. It can be sent to other processes.

    Args:
        name: as the user has named it.
        checkpoint: where its own weights lie.
        file: what it says; read from ``profile.json`` of the checkpoint, when that is needed, if left out.
        backends: component → backend, where another one than the profile's is wanted.
        accept_non_commercial: whether licences that forbid commercial use are accepted.

    Raises InputError for a component or backend that does not exist.
    """

    def __init__(
        self,
        name: str,
        checkpoint: Weights,
        file: ProfileFile | None = None,
        backends: Mapping[str, str] | None = None,
        *,
        accept_non_commercial: bool = False,
    ) -> None:
        self.name, self.checkpoint = name, checkpoint
        self.backends, self.accept_non_commercial = dict(backends or {}), accept_non_commercial
        self._file = file
        self._repositories: dict[tuple[str, str | None], HubRepository] = {}
        for component, backend in self.backends.items():
            check_backend(component, backend)

    @cached_property
    def file(self) -> ProfileFile:
        """What the profile says. Raises InputError if that cannot be had or is wrong."""
        if self._file is not None:
            return self._file
        path = self.checkpoint.file(PROFILE_FILE)
        return ProfileFile() if path is None else read_profile(path)

    @cached_property
    def _chosen(self) -> dict[str, Part]:
        return {component: self._part(component) for component in COMPONENTS}

    @property
    def parts(self) -> dict[str, Part]:
        """Every component as it is chosen. Raises InputError if the profile cannot be had or is wrong."""
        with _finding:
            return self._chosen

    def _part(self, component: str) -> Part:
        """The profile's own entry for the backend goes first, then that of the full profile, then the table."""
        entries = self.file.components.get(component, ())
        backend = self.backends.get(component) or (entries[0].backend if entries else COMPONENTS[component].default)
        for entry in entries:
            if entry.backend == backend:
                return self.part_of(component, entry)
        if component in self.backends and self.name != FULL:
            full = find_profile(FULL)
            for entry in full.file.components.get(component, ()):
                if entry.backend == backend and entry.repository:
                    return self.part_of(component, entry)
        return self.part_of(component, Entry(backend))

    def part_of(self, component: str, entry: Entry) -> Part:
        """A component as it would be with one of the profile's entries."""
        repository = None
        if entry.repository:
            key = entry.repository, entry.revision, *self._download_words(component, entry)
            repository = self._repositories.setdefault(key, HubRepository(*key[:2], part_of=shlex.join(key[2:])))
        return Part(component, entry, self.checkpoint, repository)

    def _download_words(self, component: str, entry: Entry) -> list[str]:
        """What follows ``download`` in the command that fetches this entry."""
        words = [self.name]
        if self.backends.get(component) == entry.backend and is_commit(entry.revision):  # others share their commit
            words += [backend_option(component), entry.backend]
            words += ["--accept-non-commercial"] if entry.commercial_use is False else []
        return words

    def backend(self, component: str) -> str:
        return self.parts[component].entry.backend

    def folder(self, component: str) -> Path:
        """The folder with a component's weights, here.

        Raises InputError if it cannot be had or its licence is not accepted; the sentence says why.
        """
        self._check_licence(self.parts[component])
        return self.parts[component].fetch()

    def check(self) -> None:
        """Raises InputError if the profile is wrong, or the licence of a backend that was asked for not accepted."""
        parts = self.parts
        for component in self.backends:
            self._check_licence(parts[component])

    def _check_licence(self, part: Part) -> None:
        if part.entry.commercial_use is False and part.repository and not self.accept_non_commercial:
            raise InputError(
                f"{part.repository.name}, for {part.component}, may not be used commercially (licence: "
                f"{part.entry.license}); accept that with --accept-non-commercial or accept_non_commercial=True, or "
                "choose another backend."
            )

    @property
    def label(self) -> str:
        """What it is called where others read it: mini, full, owner/repository, or the last part of a path."""
        if isinstance(self.checkpoint, HubRepository):
            return self.checkpoint.name
        path = Path(self.name)
        return (path.stem if path.suffix == ".json" else path.name) or self.checkpoint.path.name

    @property
    def identity(self) -> str:
        """A text that is another one for other weights or backends, as far as names can say that."""
        usual = [Part(name, Entry(each.default), self.checkpoint, None).identity for name, each in COMPONENTS.items()]
        chosen = [part.identity for part in self.parts.values()]
        return "; ".join([self.checkpoint.identity, *(each for each in chosen if each not in usual)])

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The settings that suit the profile, where they differ from those of ``GenerationSettings``."""
        return self.file.defaults

    @property
    def needs(self) -> Needs:
        """What it needs of this computer, from what it says and what is here. Raises InputError if it is wrong."""
        return needs_of(self)

    def settings(self, **given: Any) -> GenerationSettings:
        """The settings that are given, and for all others the defaults of the profile. Raises InputError."""
        return GenerationSettings.from_dict({**self.defaults, **given})

    def fetch(self, *, anew: bool = False) -> dict[str, Path]:
        """Fetch, and convert, all that a generation needs, so that no network is needed later: component → folder.

        Raises InputError like ``folder``.
        """
        self.check_licences()
        return {part.component: part.fetch(anew=anew) for part in self.with_weights}

    def check_licences(self) -> None:
        """Raises InputError unless the licences of all components are accepted, where that is needed."""
        for part in self.with_weights:
            self._check_licence(part)

    @property
    def with_weights(self) -> list[Part]:
        """The components that have weights."""
        return [part for part in self.parts.values() if part.repository or part.folder_name]
