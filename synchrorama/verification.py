"""What a video says about where it comes from: ``python -m synchrorama verify VIDEO [--trust CERTIFICATES]``.

Two notes are looked for: the container's metadata, which anyone can write and drop, and Content Credentials, whose
signature shows whether the file was changed. The video may be a stranger's: nothing in it is trusted, no address in
it is asked, and its texts are shortened and rid of control characters as soon as they are read.
"""

from __future__ import annotations

import json
import math
import subprocess
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .arguments import ArgumentParser
from .credentials import c2pa_library, undisturbed
from .errors import InputError
from .media import FFMPEG_QUIET, ffmpeg_path, local_input
from .provenance import DIGITAL_SOURCE_TYPE, read_container_metadata
from .settings import MAX_SEED, MAX_TEXT, defaults

# https://cv.iptc.org/newscodes/digitalsourcetype/: all of it, or a part, was made by a trained algorithm
AI_SOURCE_TYPES = (DIGITAL_SOURCE_TYPE, "compositeWithTrainedAlgorithmicMedia")
UNTRUSTED = "signingCredential.untrusted"
CAUTION = "Note: finding nothing does not prove that a video is real, because re-encoding drops these notes."
# Our longest setting has 22 characters, and there are fewer than 30 of them.
_MAX_KEY, _MAX_NAME, _MAX_SHOWN, _MAX_ENTRIES = 60, 200, 80, 50


@dataclass(frozen=True)
class Credentials:
    """What the Content Credentials of a file say, and what came of checking them.

    Attributes:
        issuer, common_name: the organisation and the name in the signer's certificate.
        time: when it was signed, if a timestamp server confirmed that.
        state: invalid; valid: the signature matches the content; trusted: and its signer is on the trust list.
        generator: the program that made the manifest, with its version.
        digital_source_type: the address of the IPTC term for how the content, or what it was edited from, came about.
        problems: codes of the C2PA specification with an explanation, such as "assertion.bmffHash.mismatch: ...".
    """

    state: str
    issuer: str | None = None
    common_name: str | None = None
    time: str | None = None
    generator: str | None = None
    digital_source_type: str | None = None
    problems: tuple[str, ...] = ()

    def to_lines(self) -> Iterator[str]:
        name = f" ({self.common_name})" if self.common_name else ""
        time = f"at {self.time}" if self.time else "at a time that nobody confirms"
        if self.issuer is None and self.common_name is None:
            yield "Content Credentials: found, but who signed them cannot be read."
        else:
            yield f"Content Credentials: signed by {self.issuer or 'no organisation'}{name}, {time}."
        if self.state == "trusted":
            yield "Signature: matches the content, and the signer is on the trust list."
        elif self.state == "valid":
            yield "Signature: matches the content, but the signer is not on a trust list."
        elif any(".mismatch" in problem for problem in self.problems):
            yield "Signature: does not match: the file was changed after signing."
        else:
            problems = [problem for problem in self.problems if not problem.startswith(UNTRUSTED)]
            yield f"Signature: not valid ({_shortened(', '.join(problems) or 'no reason is given')})."


@dataclass(frozen=True)
class Findings:
    """All that a file says about itself; None where it says nothing.

    Attributes:
        ai_generated: whether the container or the Content Credentials say that an AI made it, or part of it.
        tool, version, profile, seed, settings: what the container says made it, and how.
        content_credentials: None where the file has none.
    """

    ai_generated: bool
    tool: str | None = None
    version: str | None = None
    profile: str | None = None
    seed: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    content_credentials: Credentials | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def to_text(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        if self.tool is not None:
            version = "" if self.version is None else f" {self.version}"
            seed = "" if self.seed is None else f", seed {self.seed}"
            profile = "" if self.profile is None else f", profile {self.profile}"
            yield f"AI-generated: yes, the container says so: made by {self.tool}{version}{profile}{seed}."
            yield f"Settings that differ from the defaults: {', '.join(self._changed_settings()) or 'none'}."
        elif self.ai_generated:
            yield "AI-generated: yes, the file says so, but not with which settings."
        else:
            yield "AI-generated: nothing in the file says so."
        if self.content_credentials is None:
            yield "Content Credentials: none in the file."
        else:
            yield from self.content_credentials.to_lines()
        yield CAUTION

    def _changed_settings(self) -> Iterator[str]:
        usual = {**defaults(), "seed": self.seed}
        for name, value in self.settings.items():
            if name not in usual or value != usual[name]:
                yield f"{name} = {_shortened(json.dumps(value, ensure_ascii=False))}"


def verify(video: str | Path, trust: str | Path | None = None) -> Findings:
    """Read what a video says about itself.

    Args:
        video: any video that ffmpeg reads.
        trust: a PEM file with the certificates of the issuers to trust; without it no signer is trusted.

    Raises:
        InputError: there is no such video, the trust list cannot be read, or c2pa-python is missing.
    """
    anchors = None if trust is None else _trust_anchors(Path(trust))
    _check_video(Path(video))
    metadata = read_container_metadata(video)
    said = _our_description(metadata.get("description", ""))
    seed = said.get("seed")
    credentials = undisturbed(_read_credentials, Path(video), anchors)
    source_type = None if credentials is None else credentials.digital_source_type
    return Findings(
        ai_generated=bool(said)
        or any(DIGITAL_SOURCE_TYPE in text for text in metadata.values())
        or (source_type or "").rpartition("/")[2] in AI_SOURCE_TYPES,
        tool=_name(said.get("tool")),
        version=_name(said.get("version")),
        profile=_name(said.get("profile")),
        seed=seed if type(seed) is int and 0 <= seed <= MAX_SEED else None,
        settings=_settings(said.get("settings")),
        content_credentials=credentials,
    )


def _check_video(video: Path) -> None:
    """Raises InputError unless this is a file with pictures that ffmpeg can find."""
    if not video.is_file():
        raise InputError("The video file does not exist or may not be read; please check its path.")
    command = [
        ffmpeg_path(), *FFMPEG_QUIET, *local_input(video), "-map", "0:v:0", "-c", "copy", "-t", "0", "-f", "null", "-",
    ]  # fmt: skip
    try:
        found = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60).returncode == 0
    except subprocess.TimeoutExpired:
        found = False
    if not found:
        raise InputError("The file is not a video that can be read; please give an MP4, MOV, WebM, MKV or AVI file.")


def _our_description(text: str) -> dict[str, Any]:
    """What ``container_metadata`` wrote; empty for anything else."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) and said.get("ai_generated") is True else {}


def _settings(said: Any) -> dict[str, Any]:
    """Settings as far as they are plain values, which ours are."""
    entries = list(said.items())[:_MAX_ENTRIES] if isinstance(said, dict) else []
    return {_clean(name, _MAX_KEY): _plain(value) for name, value in entries}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return _clean(value, MAX_TEXT)
    if isinstance(value, float) and not math.isfinite(value):  # JSON has no name for these
        return None
    return value if isinstance(value, bool | int | float) else None


# ---------------------------------------------------------------------------------------------- Content Credentials


def _trust_anchors(path: Path) -> str:
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        text = ""
    if "-----BEGIN CERTIFICATE-----" not in text:  # the library would take it for an empty list
        raise InputError("The trust list cannot be read; give a PEM file of certificates.")
    return text


def _read_credentials(video: Path, anchors: str | None) -> Credentials | None:
    """What the library finds; None where there is nothing in the file, as opposed to something broken."""
    c2pa = c2pa_library()
    settings: dict[str, Any] = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
    if anchors is not None:
        settings["trust"] = {"trust_anchors": anchors}
    try:
        with (
            c2pa.Context.from_dict(settings) as context,
            video.open("rb") as file,
            c2pa.Reader(file, context=context) as reader,
        ):
            store = json.loads(reader.json())
    except (c2pa.C2paError.ManifestNotFound, c2pa.C2paError.NotSupported):
        return None
    except c2pa.C2paError as error:
        # "Remote": there is but the address of some, which is the stranger's and is not asked.
        return None if str(error).startswith("Remote") else Credentials("invalid", problems=(_name(str(error)) or "",))
    manifests = store.get("manifests", {})
    active = manifests.get(store.get("active_manifest"), {})
    signature = active.get("signature_info") or {}
    return Credentials(
        state=str(store.get("validation_state") or "Invalid").lower(),
        issuer=_name(signature.get("issuer")),
        common_name=_name(signature.get("common_name")),
        time=_name(signature.get("time")),
        generator=_generator(active),
        digital_source_type=_source_type(manifests, store.get("active_manifest")),
        problems=tuple(_problems(store)),
    )


def _generator(manifest: dict[str, Any]) -> str | None:
    for generator in _objects(manifest.get("claim_generator_info")):
        return _name(f"{generator.get('name', '')} {generator.get('version') or ''}")
    return _name(manifest.get("claim_generator"))


def _problems(store: dict[str, Any]) -> Iterator[str]:
    for status in _objects(store.get("validation_status"))[:_MAX_ENTRIES]:
        yield _clean(f"{status.get('code')}: {status.get('explanation')}", _MAX_NAME)


def _source_type(manifests: dict[str, Any], label: str | None) -> str | None:
    """The digital source type of a manifest's actions, or else of what it was edited from, as far back as it goes."""
    seen = set()
    while label in manifests and label not in seen:
        seen.add(label)
        for assertion in _objects(manifests[label].get("assertions")):
            data = assertion.get("data")
            if str(assertion.get("label")).startswith("c2pa.actions") and isinstance(data, dict):
                for action in _objects(data.get("actions")):
                    if source_type := _name(action.get("digitalSourceType")):
                        return source_type
        ingredients = _objects(manifests[label].get("ingredients"))
        parents = [each.get("active_manifest") for each in ingredients if each.get("relationship") == "parentOf"]
        label = parents[0] if parents else None
    return None


def _objects(found: Any) -> list[dict[str, Any]]:
    """The JSON objects of what should be a list of them."""
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


# ---------------------------------------------------------------------------------------------- strangers' texts


def _clean(text: str, limit: int) -> str:
    """Without what could move the cursor, turn the direction of writing or end the line, and not longer than that."""
    kept = "".join(" " if unicodedata.category(each)[0] in "CZ" else each for each in text[:limit])
    return " ".join(kept.split())


def _name(value: Any) -> str | None:
    """A short text; None for nothing and for what is no text."""
    return _clean(value, _MAX_NAME) or None if isinstance(value, str) else None


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


# ---------------------------------------------------------------------------------------------- command line


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``python -m synchrorama verify``. Raises InputError for bad input."""
    parser = ArgumentParser(
        prog="python -m synchrorama verify", description="Say what a video says about where it comes from."
    )
    parser.add_argument("video", help="the video to look into")
    parser.add_argument("--trust", metavar="CERTIFICATES", help="a PEM file of the issuers to trust")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    findings = verify(options.video, options.trust)
    print(findings.to_json() if options.json else findings.to_text())
    return 0
