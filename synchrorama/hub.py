"""Where weights lie: in a folder, or in a repository of the Hugging Face Hub.

A checkpoint has a subfolder for each component. Of a repository nothing is fetched before a component is used, then
its files alone, and all files come from the one commit that was the newest when the first was asked for.
huggingface_hub keeps what is fetched, and heeds HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE and HF_TOKEN.
"""

from __future__ import annotations

import hashlib
import json
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

FOLDERS = ("motion_space", "a2m", "speech_emotion", "scene_encoder", "diffusion")
"""The subfolders of a checkpoint that a generation needs, unless a profile says otherwise."""

FILES = ("config.json", "*.safetensors", "*.json")
"""What is fetched of a subfolder. Never pickles: they run code of whoever made them."""

# https://huggingface.co/docs/huggingface_hub: letters, digits, - _ . in both parts, a revision after @
_REPOSITORY = re.compile(r"(\w[\w.-]*/\w[\w.-]*)(?:@(.+))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ANSWER_SECONDS = 10.0  # a Hub that says nothing for so long is taken for unreachable


class Weights(Protocol):
    """The place of a checkpoint.

    Attributes:
        identity: a text that is another one for other weights, as far as a name can say that.
    """

    @property
    def identity(self) -> str: ...

    def folder(self, name: str, files: Sequence[str] = FILES) -> Path:
        """A subfolder, here. From the Hub comes what matches the patterns, each of which has to match a file of it.

        Raises InputError if it cannot be had; the sentence says why.
        """

    def file(self, name: str) -> Path | None:
        """A file beside the subfolders, here; None if there is none. Raises InputError like ``folder``."""


def is_repository(name: str) -> bool:
    """Whether this may name a repository: owner/repository, or with @revision behind it."""
    return bool(_REPOSITORY.fullmatch(name))


def within(folder: str, files: Sequence[str] = FILES) -> tuple[str, ...]:
    """The patterns of files in a subfolder, as patterns of files in all."""
    return tuple(f"{folder}/{pattern}" for pattern in files)


@dataclass(frozen=True)
class Folder:
    """A checkpoint on this computer; ``identity`` is its name as it was given."""

    path: Path
    identity: str

    def folder(self, name: str, files: Sequence[str] = FILES) -> Path:
        folder = self.path / name
        if not folder.is_dir():
            raise InputError(f"The weights lack the folder {name!r}; fetch {self.path.name} again.")
        return folder

    def file(self, name: str) -> Path | None:
        return self.path / name if (self.path / name).is_file() else None


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository: its path there, its size in bytes, and whether it is here already."""

    path: str
    size: int
    is_here: bool


@dataclass
class HubRepository:
    """A repository of the Hugging Face Hub; as a checkpoint it is one of ``Weights``.

    Args:
        name: owner/repository.
        revision: a branch, a tag or a commit; the main branch when None.
        part_of: the profile that names it, if one does: ``download`` fetches that.
    """

    name: str
    revision: str | None = None
    part_of: str = field(default="", compare=False)
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

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process; a commit that is known goes along, so that all work with the same."""
        return {**vars(self), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    @property
    def identity(self) -> str:
        return f"{self.name}@{self.commit}"

    @property
    def command(self) -> str:
        """What fetches this."""
        if self.part_of:
            return f"`python -m synchrorama download {shlex.quote(self.part_of)}`"
        revision = f" --revision {shlex.quote(self.revision)}" if self.revision else ""
        return f"`python -m synchrorama download {self.name}{revision}`"

    def folder(self, name: str, files: Sequence[str] = FILES) -> Path:
        return self.fetch(within(name, files), what=f"The folder {name!r} of {self.name}") / name

    def file(self, name: str) -> Path | None:
        from huggingface_hub import HfApi, get_cached_repo_tree
        from huggingface_hub.errors import CachedRepoTreeNotFoundError

        with self._explained(self.name):
            try:
                listed = {each.path for each in get_cached_repo_tree(self.name, revision=self.commit)}
            except CachedRepoTreeNotFoundError:
                try:
                    self._knock(self.commit)
                    listed = set(HfApi().list_repo_files(self.name, revision=self.commit))
                except Exception as error:
                    if not is_unreachable(error) or self._here([]) is None:
                        raise
                    listed = {name} if self._here([name]) is not None else set()  # what is here is all we know
        return self.fetch([name]) / name if name in listed else None

    def fetch(self, patterns: Sequence[str], *, what: str = "", anew: bool = False) -> Path:
        """The folder in the cache that has all files that match any of the patterns; each has to match one.

        Args:
            what: is being fetched, in words for the user; the repository if left out.
            anew: also fetch what is here already.

        Raises InputError if something cannot be had; the sentence says why.
        """
        with self._explained(what or self.name):
            root = None if anew else self._here(patterns)
            fresh = root is None
            if fresh:
                self._knock(self.commit)
                root = Path(self._snapshot(patterns, force_download=anew))
            self._check(root, patterns, fresh=fresh)
        return root

    def files(self, patterns: Sequence[str]) -> list[RemoteFile]:
        """What ``fetch`` fetches. Raises InputError like it."""
        with self._explained(self.name):
            if self._here(patterns) is None:
                self._knock(self.commit)
            found = self._snapshot(patterns, dry_run=True)
        return [RemoteFile(each.filename, each.file_size, each.is_cached) for each in found]

    def has(self, patterns: Sequence[str]) -> bool:
        """Whether ``fetch`` would find everything here already. Asks nobody, so False where that is not known."""
        if self._commit is None and not _COMMIT.fullmatch(self.revision or ""):
            return False
        with self._explained(self.name):
            return self._here(patterns) is not None

    def _here(self, patterns: Sequence[str]) -> Path | None:
        """The folder in the cache if it has these files, else None. Asks nobody but for the commit."""
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            root = Path(self._snapshot(patterns, local_files_only=True))
        except LocalEntryNotFoundError:
            return None
        return root if all(any(root.glob(pattern)) for pattern in patterns) else None

    def _snapshot(self, patterns: Sequence[str], **options: bool) -> Any:
        from huggingface_hub import snapshot_download

        bar = _progress_bar(shown=sys.stderr.isatty() and not options.get("dry_run"))
        return snapshot_download(
            self.name, revision=self.commit, allow_patterns=list(patterns), tqdm_class=bar, **options
        )

    def _check(self, root: Path, patterns: Sequence[str], *, fresh: bool) -> None:
        """Raises InputError unless every pattern has its files, and they can be opened; fresh ones are read whole."""
        from huggingface_hub import HfApi

        for pattern in patterns:
            files = sorted(root.glob(pattern))
            if not files:
                HfApi().list_repo_files(self.name, revision=self.commit)  # raises where it is only that we are offline
                raise InputError(
                    f"{self.name} has no {pattern}, which is needed; name a repository or a revision that has."
                )
            for path in files:
                if not opens(path) or (fresh and not _is_what_it_is_called(path)):
                    command = f"{self.command[:-1]} --force`"
                    file = path.relative_to(root).as_posix()
                    raise InputError(f"The file {file} of {self.name} arrived damaged; fetch it again with {command}.")

    def _explained(self, what: str) -> AbstractContextManager[None]:
        return explained(self.name, self.revision, f"{what} cannot be fetched", self.command)


def opens(path: Path) -> bool:
    """Whether a .json or .safetensors file is what its name says and whole; of weights only the header is read."""
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".safetensors":
            with safe_open(path, framework="numpy"):
                pass
    except (SafetensorError, OSError, ValueError):
        return False
    return True


def _is_what_it_is_called(path: Path) -> bool:
    """Whether a file of the cache has the content that the Hub has announced.

    huggingface_hub compares sizes only, but calls what it stores by its hash: SHA-256 of large files, that of git of
    small ones. Where it cannot link to what it stores, the name says nothing.
    """
    stored = path.resolve()
    size = stored.stat().st_size
    if re.fullmatch(r"[0-9a-f]{64}", stored.name):
        digest = hashlib.sha256()
    elif _COMMIT.fullmatch(stored.name):
        digest = hashlib.sha1(b"blob %d\0" % size)
    else:
        return True
    with open(stored, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == stored.name


def _progress_bar(*, shown: bool) -> type:
    """The bar of huggingface_hub, which left to itself also draws where there is no terminal."""
    from huggingface_hub.utils import tqdm

    class ProgressBar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            options["disable"] = options.get("disable") or not shown
            super().__init__(*arguments, **options)

    return ProgressBar
