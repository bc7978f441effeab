"""Where the weights of a pipeline come from: a folder, or a repository of the Hugging Face Hub.

A checkpoint has a subfolder for each component. Of a repository nothing is fetched before a component is used, then
its subfolder alone, and all components come from the one commit that was the newest when the first was asked for.
huggingface_hub keeps what is fetched, and heeds HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE and HF_TOKEN.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .errors import InputError
from .hub_errors import explained, is_unreachable

DEFAULT_CHECKPOINT = "checkpoints/mini"
COMPONENTS = ("motion_space", "a2m", "speech_emotion", "scene_encoder", "diffusion")
"""The subfolders of a checkpoint that a generation needs."""

FILES = ("*.json", "*.safetensors")
"""What is fetched of a subfolder. Never pickles: they run code of whoever made them."""

_BESIDE_THE_PACKAGE = Path(__file__).resolve().parent.parent
# https://huggingface.co/docs/huggingface_hub: letters, digits, - _ . in both parts, a revision after @
_REPOSITORY = re.compile(r"(\w[\w.-]*/\w[\w.-]*)(?:@(.+))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ANSWER_SECONDS = 10.0  # a Hub that says nothing for so long is taken for unreachable


class Weights(Protocol):
    """The components of one checkpoint.

    Attributes:
        identity: a text that is another one for other weights, as far as a name can say that.
    """

    @property
    def identity(self) -> str: ...

    def folder(self, component: str) -> Path:
        """The folder of one component, here. Raises InputError if it cannot be had; the sentence says why."""

    def fetch(self) -> Path:
        """The folder with all of ``COMPONENTS``, here. Raises InputError like ``folder``."""


def find_weights(place: str | os.PathLike[str], revision: str | None = None) -> Weights:
    """
    Args:
        place: a folder, looked for in the working directory, then beside the package, so that scripts run from
            anywhere; else "owner/repository" on the Hub, or "owner/repository@revision".
        revision: of a repository: a branch, a tag or a commit; its main branch when None.

    Raises:
        InputError: there is no such folder, and it is not the name of a repository either.
    """
    name = os.fspath(place)
    for candidate in (Path(place), _BESIDE_THE_PACKAGE / place):
        if candidate.is_dir():
            if revision is not None:
                raise InputError(f"The folder {name!r} has no revision {revision!r}; leave it out.")
            return Folder(candidate, name)
    if not _REPOSITORY.fullmatch(name):
        raise InputError(
            f"There is no folder of weights called {name!r}; give one such as {DEFAULT_CHECKPOINT}, which comes with "
            "the repository, or owner/repository on the Hub."
        )
    return HubRepository.named(name, revision)


@dataclass(frozen=True)
class Folder:
    """A checkpoint on this computer; ``identity`` is its name as it was given."""

    path: Path
    identity: str

    def folder(self, component: str) -> Path:
        folder = self.path / component
        if not folder.is_dir():
            raise InputError(f"The weights lack the folder {component!r}; fetch {self.path.name} again.")
        return folder

    def fetch(self) -> Path:
        return self.path.resolve()


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository: its path there, its size in bytes, and whether it is here already."""

    path: str
    size: int
    is_here: bool


@dataclass
class HubRepository:
    """A checkpoint on the Hugging Face Hub.

    Args:
        name: owner/repository.
        revision: a branch, a tag or a commit; the main branch when None.
    """

    name: str
    revision: str | None = None
    _commit: str | None = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    @classmethod
    def named(cls, name: str, revision: str | None = None) -> HubRepository:
        """From "owner/repository" or "owner/repository@revision". Raises InputError for what is neither."""
        match = _REPOSITORY.fullmatch(name)
        if match is None:
            raise InputError(f"{name!r} names no repository; write owner/repository or owner/repository@revision.")
        repository, after_at = match.groups()
        if revision and after_at and revision != after_at:
            raise InputError(f"Both {after_at!r} and {revision!r} are asked of {repository}; name one revision.")
        return cls(repository, revision or after_at)

    @property
    def commit(self) -> str:
        """The commit that all components are of, as 40 hexadecimal digits.

        Asked of the Hub at first use, and then kept, so that a repository that changes meanwhile is not mixed. Without
        the Hub it is the commit that the revision meant when it was last fetched. Raises InputError if nobody knows.
        """
        with self._lock:
            if self._commit is None:
                with self._explained(self.name):
                    self._commit = self._ask_for_commit()
            return self._commit

    def _ask_for_commit(self) -> str:
        from huggingface_hub import HfApi

        if self.revision is not None and _COMMIT.fullmatch(self.revision):
            return self.revision
        api = HfApi()
        try:
            self._knock(self.revision)
            return api.resolve_revision(self.name, revision=self.revision).resolved
        except Exception as error:
            if not is_unreachable(error):
                raise
            try:
                return api.resolve_revision(self.name, revision=self.revision, local_files_only=True).resolved
            except Exception:
                raise error from None  # says more than that there is nothing here

    def _knock(self, revision: str | None) -> None:
        """Raises what huggingface_hub does unless the Hub answers, soon, that it has the revision.

        Other calls of the library have no time limit for a Hub that takes connections and says nothing, and try again
        for half a minute where there is none.
        """
        from huggingface_hub import HfApi

        HfApi().repo_info(self.name, revision=revision, timeout=_ANSWER_SECONDS)

    @property
    def identity(self) -> str:
        return f"{self.name}@{self.commit}"

    @property
    def command(self) -> str:
        """What fetches this."""
        revision = f" --revision {shlex.quote(self.revision)}" if self.revision else ""
        return f"`python -m synchrorama download {self.name}{revision}`"

    def folder(self, component: str) -> Path:
        return self._fetched([component]) / component

    def fetch(self, *, anew: bool = False) -> Path:
        """All of ``COMPONENTS``; ``anew`` also fetches what is here already."""
        return self._fetched(COMPONENTS, anew=anew)

    def files(self) -> list[RemoteFile]:
        """What ``fetch`` fetches. Raises InputError like it."""
        with self._explained(self.name):
            if self._here(COMPONENTS) is None:
                self._knock(self.commit)
            found = self._snapshot(COMPONENTS, dry_run=True)
        return [RemoteFile(each.filename, each.file_size, each.is_cached) for each in found]

    def _fetched(self, components: Sequence[str], *, anew: bool = False) -> Path:
        """The folder in the cache that has these components."""
        what = self.name if len(components) > 1 else f"The folder {components[0]!r} of {self.name}"
        with self._explained(what):
            root = None if anew else self._here(components)
            if root is None:
                self._knock(self.commit)
                root = Path(self._snapshot(components, force_download=anew))
            for component in components:
                self._check(root / component)
        return root

    def _here(self, components: Sequence[str]) -> Path | None:
        """The folder in the cache if it has these components, else None. Asks nobody but for the commit."""
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            root = Path(self._snapshot(components, local_files_only=True))
        except LocalEntryNotFoundError:
            return None
        return root if all((root / component).is_dir() for component in components) else None

    def _snapshot(self, components: Sequence[str], **options: bool) -> Any:
        from huggingface_hub import snapshot_download

        patterns = [f"{component}/{pattern}" for component in components for pattern in FILES]
        bar = _progress_bar(shown=sys.stderr.isatty() and not options.get("dry_run"))
        return snapshot_download(self.name, revision=self.commit, allow_patterns=patterns, tqdm_class=bar, **options)

    def _check(self, folder: Path) -> None:
        """Raises InputError unless there are a configuration and weights in a fetched folder, and all can be opened."""
        from huggingface_hub import HfApi

        files = [path for pattern in FILES for path in sorted(folder.glob(pattern))]
        if not {"config.json", ".safetensors"} <= {path.name for path in files} | {path.suffix for path in files}:
            HfApi().list_repo_files(self.name, revision=self.commit)  # raises where it is only that we are offline
            raise InputError(
                f"{self.name} has no folder {folder.name!r} with config.json and safetensors, all that is loaded; "
                "name a repository or a revision that has."
            )
        for path in files:
            if not opens(path):
                command = f"{self.command[:-1]} --force`"
                raise InputError(
                    f"The file {folder.name}/{path.name} of {self.name} arrived damaged; fetch it again with {command}."
                )

    def _explained(self, what: str) -> AbstractContextManager[None]:
        return explained(self.name, self.revision, f"{what} cannot be fetched", self.command)


def opens(path: Path) -> bool:
    """Whether a .json or .safetensors file is what its name says and whole; of weights only the header is read."""
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        else:
            with safe_open(path, framework="numpy"):
                pass
    except (SafetensorError, OSError, ValueError):
        return False
    return True


def _progress_bar(*, shown: bool) -> type:
    """The bar of huggingface_hub, which left to itself also draws where there is no terminal."""
    from huggingface_hub.utils import tqdm

    class ProgressBar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            options["disable"] = options.get("disable") or not shown
            super().__init__(*arguments, **options)

    return ProgressBar
