"""A server on this machine that answers as the Hugging Face Hub does, as far as huggingface_hub asks it here."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

NAME = "someone/talking"
TOKEN = "hf_thisIsSecret"  # the one that the server accepts
Files = dict[str, bytes]


def files_of(folder: Path) -> Files:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def oid(content: bytes) -> str:
    """How git names a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Repository:
    """What a repository holds; empty until it is created.

    Attributes:
        commits: commit → its files.
        branches: branch → commit.
    """

    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)


@dataclass
class HubServer:
    """Repositories and how the server behaves; what is set here holds for the next request.

    Attributes:
        repositories: name → what it holds; ``commits`` and ``branches`` are those of NAME, which may be written.
        requests: "METHOD path", in the order they came; ranges: the Range headers among them.
        may_read: "anyone"; "owner": with TOKEN only; "agreed": by nobody who has not accepted terms.
        only_for: repository → the same, where it is another one.
        may_write: whether TOKEN may write.
        damaged: paths that are served with other bytes, as many as they should be.
        cut: paths whose first transfer ends in the middle.
        silent: whether it takes connections and says nothing.
        failing: an HTTP status that it answers with to everything.
        created: what was asked for when a repository was created.
    """

    repositories: dict[str, Repository] = field(default_factory=lambda: {NAME: Repository()})
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    may_read: str = "anyone"
    only_for: dict[str, str] = field(default_factory=dict)
    may_write: bool = True
    damaged: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)
    silent: bool = False
    failing: int = 0
    created: dict | None = None

    def __enter__(self) -> HubServer:
        self._speak = threading.Event()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._speak.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def commits(self) -> dict[str, Files]:
        return self.repositories[NAME].commits

    @property
    def branches(self) -> dict[str, str]:
        return self.repositories[NAME].branches

    def commit(self, files: Files, branch: str = "main", repository: str = NAME, number: str | None = None) -> str:
        """Add files as a commit; ``number`` is what it is called, else what it is called follows from the files."""
        if number is None:
            contents = repr(sorted((name, oid(data)) for name, data in files.items()))
            number = hashlib.sha1(contents.encode()).hexdigest()
        kept = self.repositories.setdefault(repository, Repository())
        kept.commits.setdefault(number, {}).update(files)
        kept.branches[branch] = number
        return number

    def fetched(self, repository: str = NAME) -> set[str]:
        """The files of a repository whose content was asked for."""
        found = (re.fullmatch(rf"GET /{repository}/resolve/\w+/(.+)", each) for each in self.requests)
        return {match[1] for match in found if match}

    def asked(self) -> set[str]:
        """The repositories of which a file was asked for."""
        return {name for name in self.repositories if self.fetched(name)}


class _Handler(BaseHTTPRequestHandler):
    """In HTTP/1.0, so that no connection outlives the server."""

    hub: HubServer

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_arguments: object) -> None:
        pass

    def _answer(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        hub.requests.append(f"{self.command} {path}")
        if hub.silent:
            hub._speak.wait(30)
        elif hub.failing:
            self._send(hub.failing)
        elif self.command == "POST":
            self._written(path, body)
        else:
            match = re.fullmatch(r"/(?:api/models/)?([^/]+/[^/]+)(?:/(revision|tree|resolve)/([^/]+)(?:/(.+))?)?", path)
            if self._may_read(match and match[1]):
                self._read(*(match.groups() if match else [""] * 4))

    def _has_token(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _may_read(self, repository: str | None) -> bool:
        may_read = self.hub.only_for.get(repository, self.hub.may_read)
        if "Authorization" in self.headers and not self._has_token():
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif may_read == "agreed":
            self._refuse(403, "GatedRepo")
        elif may_read == "owner" and not self._has_token():
            self._refuse(401, "RepoNotFound", "Invalid username or password.")
        else:
            return True
        return False

    def _read(self, repository: str, what: str | None, revision: str | None, file: str | None) -> None:
        kept = self.hub.repositories.get(repository)
        if kept is None or not kept.branches:
            return self._refuse(404, "RepoNotFound", "Repository not found")
        number = kept.branches.get(revision or "main", revision)
        if number not in kept.commits:
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = kept.commits[number]
        if what == "resolve":
            return self._send_file(number, file, files)
        if what == "tree":
            rows = [{"type": "file", "path": p, "size": len(data), "oid": oid(data)} for p, data in files.items()]
            return self._send_json(rows)
        return self._send_json({"id": repository, "sha": number, "siblings": [{"rfilename": each} for each in files]})

    def _send_file(self, number: str, file: str, files: Files) -> None:
        hub = self.hub
        if file not in files:
            return self._refuse(404, "EntryNotFound", "Entry not found")
        content = files[file]
        headers = {"X-Repo-Commit": number, "ETag": f'"{oid(content)}"'}
        if file in hub.damaged:
            content = bytes(len(content))
        if self.command == "HEAD":
            return self._send(200, content, headers)
        span = self.headers.get("Range")
        start = int(re.match(r"bytes=(\d+)-", span)[1]) if span else 0
        if span:
            hub.ranges.append(span)
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if file in hub.cut:
            hub.cut.discard(file)
            return self._send(200, content, headers, sent=len(content) // 2)
        return self._send(206 if span else 200, content[start:], headers)

    def _written(self, path: str, body: bytes) -> None:
        hub = self.hub
        if not self._has_token():
            return self._refuse(401, "", "Invalid credentials in Authorization header")
        if path == "/api/validate-yaml":
            return self._send_json({"warnings": [], "errors": []})
        if not hub.may_write:
            return self._refuse(403, "", "You don't have the rights")
        if path == "/api/repos/create":
            if hub.branches:
                return self._send_json({"url": f"{hub.url}/{NAME}"}, 409)
            hub.created = json.loads(body)
            hub.commit({})
            return self._send_json({"url": f"{hub.url}/{NAME}"})
        if path == f"/api/models/{NAME}/preupload/main":
            files = [
                {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                for each in json.loads(body)["files"]
            ]
            return self._send_json({"files": files})
        if path == f"/api/models/{NAME}/commit/main":
            rows = [json.loads(line) for line in body.splitlines()]
            files = dict(hub.commits[hub.branches["main"]])
            hub.messages += [row["value"]["summary"] for row in rows if row["key"] == "header"]
            for row in rows:
                if row["key"] == "file":
                    files[row["value"]["path"]] = base64.b64decode(row["value"]["content"])
            number = hub.commit(files)
            return self._send_json({"commitUrl": f"{hub.url}/{NAME}/commit/{number}", "commitOid": number})
        return self._refuse(404, "RepoNotFound", "Repository not found")

    def _refuse(self, status: int, code: str, message: str = "") -> None:
        self._send(status, headers={"X-Error-Code": code, "X-Error-Message": message})

    def _send_json(self, answer: object, status: int = 200) -> None:
        self._send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _send(
        self, status: int, content: bytes = b"", headers: dict[str, str] | None = None, sent: int | None = None
    ) -> None:
        """``sent`` bytes of ``content``, all when None, though Content-Length promises all."""
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:sent])
