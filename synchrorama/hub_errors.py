"""What can go wrong with the Hugging Face Hub, each in one sentence.

The messages of huggingface_hub run over many lines and can hold addresses with signatures and headers with tokens, so
nothing of them is passed on.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from urllib.parse import urlsplit

from .errors import InputError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def host() -> str:
    """The name of the Hub, without what else HF_ENDPOINT may hold, such as a password."""
    from huggingface_hub import constants

    return urlsplit(constants.ENDPOINT).hostname or "the Hub"


def is_unreachable(error: BaseException) -> bool:
    """Whether the Hub gave no answer, or none that helps: no network, too slow, down, or HF_HUB_OFFLINE is set."""
    from huggingface_hub import errors

    if isinstance(error, errors.HfHubHTTPError):
        return error.response.status_code >= 500
    # HTTPError is that of httpx in version 1 and of httpx2 in version 2; the builtin ones cover HF_HUB_OFFLINE
    return isinstance(error, (errors.HTTPError, ConnectionError, TimeoutError))


@contextlib.contextmanager
def explained(repository: str, revision: str | None, problem: str, command: str) -> Iterator[None]:
    """Turns what huggingface_hub raises inside into InputError; what is none of its known failures stays as it is.

    Args:
        repository: owner/name.
        revision: the branch, tag or commit that was asked for, if any.
        problem: what does not work if the Hub cannot be reached, such as "owner/name cannot be fetched".
        command: what to run when the cause is gone.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        sentence = _sentence(_causes(error), repository, revision, problem, command)
        if sentence is None:
            raise
        raise InputError(sentence) from None


def _causes(error: BaseException) -> list[BaseException]:
    """The exception and all that led to it: huggingface_hub wraps the ones that say most."""
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes


def _sentence(
    causes: list[BaseException], repository: str, revision: str | None, problem: str, command: str
) -> str | None:
    from huggingface_hub import errors, get_token

    kinds = tuple(type(each) for each in causes)
    status = next((each.response.status_code for each in causes if isinstance(each, errors.HfHubHTTPError)), 0)
    number = next((each.errno for each in causes if isinstance(each, OSError) and each.errno), 0)

    def any_is(kind: type[BaseException]) -> bool:
        return any(issubclass(each, kind) for each in kinds)

    if any_is(errors.HFValidationError):
        return f"{repository!r} cannot be the name of a repository; write owner/repository as the Hub does."
    if any_is(errors.GatedRepoError):
        page = f"https://{host()}/{repository}"
        return f"{repository} is given only to those who accept its terms; do so at {page} and set HF_TOKEN."
    if any_is(errors.RevisionNotFoundError):
        return f"{repository} has no revision {revision or 'main'!r}; name a branch, a tag or a commit that it has."
    if status == 401 and get_token():
        return f"{host()} does not accept the token in HF_TOKEN; make a new one that may access {repository}."
    if status == 401:
        return (
            f"{repository!r} is no folder here, and on {host()} it is private or does not exist; check the name, and "
            "set HF_TOKEN to a token that may read it if it is private."
        )
    if status == 403:
        return f"The token in HF_TOKEN has no right to this on {repository}; make one that has."
    if any_is(errors.RepositoryNotFoundError):
        return (
            f"{repository!r} is neither a folder here nor a repository on {host()}; check the name, and HF_TOKEN if it "
            "is private."
        )
    if number in _FULL:
        return f"{problem}, because the disk is full; make room or set HF_HOME to another disk, and run {command}."
    if number in _FORBIDDEN:
        return f"{problem}, because its folder may not be written; set HF_HOME to one that may, and run {command}."
    if any_is(errors.OfflineModeIsEnabled):
        return f"{problem}, because HF_HUB_OFFLINE is set; unset it and run {command}."
    if 400 <= status < 500:
        return f"{problem}, because {host()} refused with error {status}; wait a while and run {command}."
    if status >= 500:
        return f"{problem}, because {host()} is out of order (error {status}); wait a while and run {command}."
    gone = (errors.LocalEntryNotFoundError, errors.RevisionResolutionError, errors.FileMetadataError)
    # not in all versions; some of the transfers of large files end in it
    broken = getattr(errors, "XetDownloadError", ())
    if any(is_unreachable(each) or isinstance(each, (gone, broken)) for each in causes):
        return f"{problem}, because {host()} cannot be reached; connect to the network and run {command}."
    if any_is(OSError):  # such as a file of another size than announced
        return f"{problem}, because the transfer was incomplete; run {command}."
    return None
