"""Content Credentials: a signature by which anyone can check who made a video, how, and that it is unchanged.

They follow the C2PA specification 2.2 (https://spec.c2pa.org) and are written by its reference implementation,
c2pa-python. Nothing is signed unless the environment names a certificate and a key, and nothing is sent anywhere
unless it names a timestamp server.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from .errors import InputError
from .provenance import DIGITAL_SOURCE_TYPE

CERTIFICATE = "SYNCHRORAMA_C2PA_CERTIFICATE"  # a PEM file: the chain, end-entity certificate first
KEY = "SYNCHRORAMA_C2PA_KEY"  # a PEM file: the private key, PKCS#8
ALGORITHM = "SYNCHRORAMA_C2PA_ALGORITHM"  # optional: one of ALGORITHMS
TIMESTAMP_URL = "SYNCHRORAMA_C2PA_TIMESTAMP_URL"  # optional: an RFC 3161 server
# Those that C2PA allows; a key fits one of them, but for RSA, where the first is taken.
ALGORITHMS = ("es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519")
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
SETTINGS_LABEL = "synchrorama.generation"  # our assertion: what the container's description says, as JSON

Returned = TypeVar("Returned")


def c2pa_library() -> ModuleType:
    """c2pa-python. Raises InputError where it is not installed or has no build for this system."""
    try:
        import c2pa
    except (ImportError, OSError, RuntimeError, ValueError):
        raise InputError(
            "Content Credentials need the package c2pa-python, which cannot be loaded here; "
            "install it with pip install c2pa-python."
        ) from None
    return c2pa


def undisturbed(work: Callable[..., Returned], *arguments: Any) -> Returned:
    """What ``work`` returns. It runs on a thread of its own, which no signal interrupts.

    The library reads and writes through callbacks. An interrupt that is raised inside one of them is lost, and the
    library goes on as if the file had ended there.
    """
    with ThreadPoolExecutor(1) as executor:
        executor.submit(int).result()  # an executor waits at its end, but only for threads that have begun by then
        return executor.submit(work, *arguments).result()


@dataclass(frozen=True)
class VideoSigner:
    """Signs finished videos; ``signer_from_environment`` makes one that is known to work.

    Attributes:
        certificate: the chain as PEM, end-entity certificate first.
        key: the private key as PEM.
        algorithm: one of ALGORITHMS.
        timestamp_url: the server that confirms when something was signed; None asks nobody.
    """

    certificate: bytes
    key: bytes = field(repr=False)
    algorithm: str
    timestamp_url: str | None = None

    def sign(self, video: Path, metadata: Mapping[str, str]) -> None:
        """Put a signed manifest into a finished mp4; ``metadata`` is what ``container_metadata`` returned.

        The file is replaced when the signed one is complete; after an error it is as it was, with nothing beside it.

        Raises:
            InputError: the disk is full, or the timestamp server does not answer.
        """
        signed = video.with_suffix(".signed.mp4")
        try:
            undisturbed(self._sign_file, video, signed, _manifest(metadata, "video/mp4"))
            os.replace(signed, video)
        except (c2pa_library().C2paError, OSError) as error:
            asked = "" if self.timestamp_url is None else f", that {TIMESTAMP_URL} answers"
            raise InputError(
                f"The video could not be signed ({_reason(error)}); check that the disk has room for it twice{asked} "
                f"and that the certificate of {CERTIFICATE} is still valid."
            ) from error
        finally:
            signed.unlink(missing_ok=True)

    def _sign_file(self, source: Path, target: Path, manifest: dict[str, Any]) -> None:
        with source.open("rb") as unsigned, target.open("w+b") as signed:
            self._sign(unsigned, signed, manifest)

    def _sign(self, source: io.IOBase, target: io.IOBase, manifest: dict[str, Any]) -> None:
        """Raises C2paError, also where the result does not pass the library's own check."""
        c2pa = c2pa_library()
        with self._open() as signer, c2pa.Builder(manifest) as builder:
            builder.sign(signer, manifest["format"], source, target)

    def _open(self) -> Any:
        """The library's signer. Raises C2paError unless the key is one for the algorithm."""
        c2pa = c2pa_library()
        information = c2pa.C2paSignerInfo(self.algorithm, self.certificate, self.key, self.timestamp_url)
        return c2pa.Signer.from_info(information)

    def has_usable_key(self) -> bool:
        try:
            self._open().close()
        except c2pa_library().C2paError:
            return False
        return True

    def try_out(self) -> None:
        """Sign a picture of one pixel, in memory. Raises C2paError for what would make a video fail too."""
        from PIL import Image

        picture = io.BytesIO()
        Image.new("RGB", (1, 1)).save(picture, "PNG")
        picture.seek(0)
        undisturbed(self._sign, picture, io.BytesIO(), _manifest({"title": "", "description": "{}"}, "image/png"))


def signer_from_environment(environment: Mapping[str, str] = os.environ) -> VideoSigner | None:
    """What signs the videos of this process; None when neither certificate nor key is configured.

    It is tried out here, with the timestamp server if there is one, so that no rendering is in vain.

    Raises:
        InputError: only half is configured, a file cannot be read, the certificate is refused or does not belong to
            the key, the timestamp server does not answer, or c2pa-python is missing.
    """
    names = [environment.get(name) for name in (CERTIFICATE, KEY)]
    if not any(names):
        return None
    if not all(names):
        present, absent = (CERTIFICATE, KEY) if names[0] else (KEY, CERTIFICATE)
        raise InputError(f"{present} is set but {absent} is not; set both to sign videos, or neither.")
    c2pa = c2pa_library()
    certificate, key = _read(CERTIFICATE, names[0]), _read(KEY, names[1])
    signer = VideoSigner(certificate, key, _algorithm(certificate, key, environment.get(ALGORITHM)))
    try:
        signer.try_out()
    except c2pa.C2paError as error:
        raise InputError(
            f"The certificate of {CERTIFICATE} cannot sign ({_reason(error)}); give one for the key of {KEY} that is "
            "valid today and meant for signing documents, then those of its issuers."
        ) from None
    url = environment.get(TIMESTAMP_URL)
    if not url:
        return signer
    signer = replace(signer, timestamp_url=url)
    try:
        signer.try_out()
    except c2pa.C2paError:
        raise InputError(
            f"The timestamp server of {TIMESTAMP_URL} does not answer as it should; check its address, or unset it."
        ) from None
    return signer


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError):
        raise InputError(f"The file that {name} names cannot be read; check the path and the permissions.") from None


def _algorithm(certificate: bytes, key: bytes, wanted: str | None) -> str:
    """The algorithm for a private key. Raises InputError unless there is one, and it is the wanted one if any."""
    if wanted and wanted not in ALGORITHMS:
        raise InputError(f"{ALGORITHM} is not an algorithm of C2PA; give one of {', '.join(ALGORITHMS)}, or unset it.")
    for algorithm in (wanted,) if wanted else ALGORITHMS:
        if VideoSigner(certificate, key, algorithm).has_usable_key():
            return algorithm
    purpose = f"for {ALGORITHM}={wanted}" if wanted else "(EC, RSA or Ed25519)"
    raise InputError(f"The private key of {KEY} cannot be used; give one {purpose} as PKCS#8 in PEM, without password.")


def _manifest(metadata: Mapping[str, str], format: str) -> dict[str, Any]:
    """What is signed, in the form of https://opensource.contentauthenticity.org/docs/manifest/json-ref/.

    ``created`` says that an assertion is our own, not something gathered from elsewhere.
    """
    from . import __version__

    generator = {"name": "SynchroRaMa", "version": __version__}
    action = {
        "action": "c2pa.created",
        "softwareAgent": generator,
        "digitalSourceType": SOURCE_TYPES + DIGITAL_SOURCE_TYPE,
    }
    return {
        "claim_generator_info": [generator],
        "title": metadata["title"],
        "format": format,
        "assertions": [
            {"label": "c2pa.actions.v2", "created": True, "data": {"actions": [action]}},
            {"label": SETTINGS_LABEL, "created": True, "data": json.loads(metadata["description"])},
        ],
    }


def _reason(error: Exception) -> str:
    """A few words for the middle of a sentence, without path or address: of "Kind: reason (details)" the reason."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error).partition(" (")[0].rpartition(": ")[2].rstrip(".")[:100] or type(error).__name__
