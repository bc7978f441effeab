"""Putting a checkpoint onto the Hub: ``python -m synchrorama push FOLDER owner/repository``.

Everything goes in one commit, so that nobody who loads the repository meanwhile gets half of it. (upload_folder of
huggingface_hub spreads large folders over several commits.)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from .arguments import ArgumentParser
from .components import Components
from .errors import InputError
from .hub import FILES, Folder, HubRepository, opens
from .hub_errors import explained, host
from .needs import in_words
from .profile import PROFILE_FILE, Profile

PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
CARDS = ("README.md", "MODEL_CARD.md")
# https://huggingface.co/docs/hub/model-cards: what the Hub reads at the top of a README.md
FRONT_MATTER = """---
license: other
library_name: synchrorama
tags:
- talking-head
---
"""


def files_to_push(folder: Path) -> list[Path]:
    """The .json and .safetensors files in the subfolders of a checkpoint that is fit to be given to others.

    With them goes its ``profile.json``, if it has one, which may name other repositories for some of the components.

    Raises:
        InputError: it lacks a component, holds pickles or damaged files, or does not load.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PICKLES:
            raise InputError(
                f"{folder.name} holds the pickle {path.relative_to(folder)}, which runs code when it is loaded; save "
                "it as safetensors and take it out."
            )
    profile = Profile(folder.name, Folder(folder, folder.name))
    own = {part.folder_name: part for part in profile.parts.values() if part.is_ours}
    for name, part in own.items():
        for pattern in part.entry.files or FILES:
            if not any((folder / name).glob(pattern)):
                raise InputError(f"{folder.name} lacks {name}/{pattern}; a whole checkpoint has {', '.join(own)}.")
    found = {path for pattern in FILES for path in folder.rglob(pattern) if path.parent != folder}
    files = sorted(found | ({folder / PROFILE_FILE} if (folder / PROFILE_FILE).is_file() else set()))
    for path in files:
        if not opens(path):
            raise InputError(f"The file {path.relative_to(folder)} is damaged; make it anew or fetch it again.")
    _check_that_they_load(profile)
    return files


def _check_that_they_load(profile: Profile) -> None:
    """Raises InputError unless its own weights load, as a generation would load them; those of others are theirs."""
    components = Components(profile)
    try:
        for name, part in profile.parts.items():
            if part.is_ours:
                components.check(name)
    except InputError:
        raise
    except Exception as error:  # diffusers raises about everything on configurations and tensors of another network
        problem = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise InputError(f"The weights in {profile.name} do not load ({problem}); give a whole checkpoint.") from None


def model_card(folder: Path) -> str:
    """The README.md for the Hub: README.md or else MODEL_CARD.md, below a front matter if it has none of its own.

    Raises InputError when there is neither.
    """
    for name in CARDS:
        if (folder / name).is_file():
            try:
                text = (folder / name).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                raise InputError(f"The file {name} cannot be read; save it as UTF-8.") from None
            return text if text.startswith("---") else f"{FRONT_MATTER}{text}"
    raise InputError(f"{folder.name} has no MODEL_CARD.md; say in one what the weights are and who may use them.")


def push(folder: Path, repository: HubRepository, message: str, *, private: bool = False) -> dict[str, Any]:
    """Upload a checkpoint in one commit and say what was done.

    Args:
        folder: of weights, see ``files_to_push``.
        repository: to push to; it is created if it does not exist.
        message: of the commit.
        private: whether a repository that is created is seen by its owner alone.

    Raises:
        InputError: the folder cannot be pushed, there is no token, or the Hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    if repository.revision is not None:
        raise InputError(f"Weights are pushed to the main branch; leave out @{repository.revision}.")
    if not folder.is_dir():
        raise InputError(f"There is no folder called {str(folder)!r}; give a folder of weights.")
    card, files = model_card(folder).encode(), files_to_push(folder)
    if get_token() is None:
        raise InputError(f"To push, a token is needed; set HF_TOKEN to one that may write, from https://{host()}/settings/tokens.")
    size = len(card) + sum(path.stat().st_size for path in files)
    print(f"{folder.name}: {len(files) + 1} files, {in_words(size)}.", file=sys.stderr, flush=True)
    name, api = repository.name, HfApi()
    with explained(name, None, f"{name} cannot be written", "the same command again"):
        api.create_repo(name, private=private, exist_ok=True)
        additions = [CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in files]
        try:
            done = api.create_commit(name, [*additions, CommitOperationAdd("README.md", card)], commit_message=message)
        except ValueError as error:
            if "README.md" not in str(error):
                raise
            raise InputError("The Hub does not understand the front matter of the model card; correct it.") from None
    return {
        "repository": name, "url": f"{api.endpoint}/{name}", "commit": done.oid, "files": len(files) + 1, "bytes": size,
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``python -m synchrorama push``. Raises InputError for bad input and whatever goes wrong."""
    parser = ArgumentParser(
        prog="python -m synchrorama push",
        description="Put a folder of weights into a repository of the Hugging Face Hub, which is created if there is "
        "none. MODEL_CARD.md becomes its README.md. HF_TOKEN must hold a token that may write.",
    )
    parser.add_argument("folder", type=Path, help="the weights, such as checkpoints/mini")
    parser.add_argument("repository", help="owner/repository")
    parser.add_argument("--private", action="store_true", help="show a repository that is created to its owner alone")
    parser.add_argument("--message", default="Weights for SynchroRaMa", metavar="TEXT", help="of the commit")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    if not options.message.strip():
        raise InputError("The message is empty; write what is new.")
    repository = HubRepository.named(options.repository)
    done = push(options.folder, repository, options.message, private=options.private)
    print(json.dumps(done) if options.json else done["url"])
    return 0
