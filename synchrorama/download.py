"""Fetching a checkpoint from the Hub before it is needed: ``python -m synchrorama download owner/repository``."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from .arguments import ArgumentParser
from .errors import InputError
from .hub import HubRepository


def in_words(size: int) -> str:
    """A number of bytes as people say it: 900 B, 27.3 MB."""
    amount, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 999.5:
            break
        amount, unit = amount / 1000, larger
    return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}"


def _check_room(size: int, repository: HubRepository) -> None:
    """Raises InputError unless the disk of the cache has room for so many bytes."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    there = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if free < size:
        raise InputError(
            f"{in_words(size)} of {repository.name} are to be fetched, but only {in_words(free)} are free; make "
            "room, or set HF_HOME to a folder on another disk."
        )


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``python -m synchrorama download``. Raises InputError for bad input and whatever goes wrong."""
    parser = ArgumentParser(
        prog="python -m synchrorama download",
        description="Fetch the weights in a repository of the Hugging Face Hub, so that --checkpoint owner/repository "
        "works without a network. What is here already is not fetched again; after an interruption run it again.",
    )
    parser.add_argument("repository", help="owner/repository, or owner/repository@revision")
    parser.add_argument("--revision", help="a branch, a tag or a commit; the main branch if left out")
    parser.add_argument("--force", action="store_true", help="also fetch what is here already, for damaged files")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    repository = HubRepository.named(options.repository, options.revision)
    files = repository.files()
    size = sum(each.size for each in files)
    missing = sum(each.size for each in files if options.force or not each.is_here)
    print(
        f"{repository.identity}: {len(files)} files, {in_words(size)}; "
        f"{in_words(missing) if missing else 'nothing'} of it to be fetched.",
        file=sys.stderr,
        flush=True,
    )
    _check_room(missing, repository)
    folder = repository.fetch(anew=options.force)
    result = {
        "repository": repository.name,
        "revision": repository.revision,
        "commit": repository.commit,
        "folder": str(folder),
        "files": len(files),
        "bytes": size,
        "fetched_bytes": missing,
    }
    print(json.dumps(result) if options.json else folder)
    return 0
