"""Fetching weights from the Hub before they are needed: ``python -m synchrorama download full``."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .arguments import ArgumentParser, add_profile_options, find_profile_of
from .errors import InputError
from .hub import HubRepository, RemoteFile
from .needs import in_words, is_converted_here
from .profile import PROFILE_FILE, Profile


@dataclass
class Download:
    """What is fetched of one repository.

    Attributes:
        patterns: of its files.
        files: those that match.
    """

    repository: HubRepository
    patterns: list[str] = field(default_factory=list)
    files: list[RemoteFile] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(each.size for each in self.files)

    def missing(self, *, anew: bool) -> int:
        """Bytes that are to be fetched."""
        return sum(each.size for each in self.files if anew or not each.is_here)

    def to_dict(self, *, anew: bool) -> dict[str, Any]:
        return {
            "repository": self.repository.name,
            "revision": self.repository.revision,
            "commit": self.repository.commit,
            "files": len(self.files),
            "bytes": self.size,
            "fetched_bytes": self.missing(anew=anew),
        }


def downloads_of(profile: Profile, *, anew: bool = False) -> list[Download]:
    """What ``profile.fetch`` fetches, repository by repository. Raises InputError if that cannot be found out.

    What has been converted already is not fetched once more, unless ``anew``.
    """
    found: dict[str, Download] = {}
    if isinstance(profile.checkpoint, HubRepository) and profile.checkpoint.file(PROFILE_FILE) is not None:
        found[profile.checkpoint.identity] = Download(profile.checkpoint, [PROFILE_FILE])
    for part in profile.with_weights:
        if part.source is None or (is_converted_here(part) and not anew):
            continue
        repository, patterns = part.source
        download = found.setdefault(repository.identity, Download(repository))
        download.patterns += [each for each in patterns if each not in download.patterns]
    for download in found.values():
        download.files = download.repository.files(download.patterns)
    return list(found.values())


def _check_room(size: int, profile: Profile) -> None:
    """Raises InputError unless the disk of the cache has room for so many bytes."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    there = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if free < size:
        raise InputError(
            f"{in_words(size)} of {profile.name} are to be fetched, converted copies included, but only "
            f"{in_words(free)} are free; make room, or set HF_HOME to a folder on another disk."
        )


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``python -m synchrorama download``. Raises InputError for bad input and whatever goes wrong."""
    parser = ArgumentParser(
        prog="python -m synchrorama download",
        description="Fetch the weights of a profile, or of a repository of the Hugging Face Hub, so that they can be "
        "used without a network. What is here already is not fetched again; after an interruption run it again.",
    )
    parser.add_argument(
        "checkpoint",
        metavar="profile",
        help="full, the file of a profile, owner/repository or owner/repository@revision",
    )
    parser.add_argument("--revision", help="of a repository: a branch, a tag or a commit; its main branch if left out")
    parser.add_argument("--force", action="store_true", help="also fetch what is here already, for damaged files")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_profile_options(parser)
    options = parser.parse_args(argv)
    profile, anew = find_profile_of(options), options.force
    profile.check_licences()
    downloads = downloads_of(profile, anew=anew)
    for download in downloads:
        missing = download.missing(anew=anew)
        _tell(
            f"{download.repository.identity}: {len(download.files)} files, {in_words(download.size)}; "
            f"{in_words(missing) if missing else 'nothing'} of it to be fetched."
        )
    copies = sum(
        part.entry.hallo.bytes for part in profile.with_weights if part.entry.hallo and not is_converted_here(part)
    )
    _check_room(sum(each.missing(anew=anew) for each in downloads) + copies, profile)
    told = [each.to_dict(anew=anew) for each in downloads]  # before they are here
    folders = {component: str(folder) for component, folder in profile.fetch(anew=anew).items()}
    result = {
        "profile": profile.name,
        **{key: sum(each[key] for each in told) for key in ("files", "bytes", "fetched_bytes")},
        "repositories": told,
        "folders": folders,
    }
    print(json.dumps(result) if options.json else "\n".join(dict.fromkeys(folders.values())))
    return 0
