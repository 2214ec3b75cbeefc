"""A small Hugging Face Hub over real HTTP, with the endpoints that `huggingface_hub` calls, and faults on demand."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

TOKEN = "hf_made_up"  # noqa: S105 - of this server alone
LARGE = 1024
"""Bytes from which on a file is large: it is uploaded apart and lies on another host."""


@dataclass
class Fault:
    """What goes wrong with the next requests of a kind.

    Attributes:
        method: Method of these requests.
        path: Pattern that their path has to contain.
        times: How many of them fail.
        status: Status that answers them; 0 resets the connection.
        after: Bytes of the answer that are sent before the connection is reset; None fails before anything is done.
        late: Whether what was asked is done before the connection is reset, so that only the answer is lost.
    """

    method: str
    path: str
    times: int = 1
    status: int = 0
    after: int | None = None
    late: bool = False


@dataclass
class Repository:
    """Commits of a repository, each with all of its files, and its branches."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Add a commit with these files, and no others, at the end of a branch."""
        told = json.dumps([len(self.commits), sorted(files)])
        oid = hashlib.sha1(told.encode() + b"".join(files.values())).hexdigest()  # noqa: S324 - as git does
        self.commits[oid] = dict(files)
        self.branches[branch] = oid
        return oid

    def found(self, revision: str) -> str | None:
        """Return the commit of a branch, or the commit itself."""
        return self.branches.get(revision) or (revision if revision in self.commits else None)


@dataclass
class Hub:
    """The state of the server.

    Attributes:
        repositories: By name.
        objects: Large files that were uploaded, by SHA-256.
        faults: What goes wrong next.
        received: Bodies of all requests that wrote something, in order.
        requests: Method and path of all requests, with the range that was asked for.
        sizes: Sizes that metadata tells in place of the true ones, by file.
        endless: Files whose content never ends.
        renamed: Files under another name in listings.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    endless: set[str] = field(default_factory=set)
    endpoint: str = ""

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """Return the files of a repository at a revision."""
        repository = self.repositories[name]
        return repository.commits[str(repository.found(revision))]

    def change(self, name: str, **files: bytes | None) -> str:
        """Commit a repository's files with some replaced, added or removed; ``__`` in a name stands for a dot."""
        named = {path.replace("__", "."): content for path, content in files.items()}
        kept = {path: content for path, content in self.files(name).items() if path not in named}
        added = {path: content for path, content in named.items() if content is not None}
        return self.repositories[name].commit({**kept, **added})

    def asked(self, method: str, pattern: str) -> list[str]:
        """Return requests of a method whose path contains a pattern."""
        return [one for one in self.requests if re.match(method, one) and re.search(pattern, one)]


class _RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _answer(self, method: str) -> None:
        body = self._body()
        address = urlsplit(self.path)
        path = address.path  # a slash inside a revision or a file's name is written as %2F
        span = self.headers.get("Range")
        self.hub.requests.append(f"{method} {unquote(path)}" + (f" {span}" if span else ""))
        if method in ("POST", "PUT"):
            self.hub.received.append(body)
        fault = self._fault(method, path)
        if fault is not None and fault.after is None and not fault.late:
            if fault.status:
                self._send(fault.status, b'{"error": "made up"}')
            else:
                self._reset()
            return
        try:
            self._route(method, path, parse_qs(address.query), body, fault)
        except _RefusedError as refused:
            headers = {"X-Error-Code": refused.code, "X-Error-Message": refused.message}
            told = json.dumps({"error": refused.message}).encode()
            self._send(refused.status, told, {name: value for name, value in headers.items() if value})

    def _fault(self, method: str, path: str) -> Fault | None:
        for fault in self.hub.faults:
            if fault.times and fault.method == method and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _reset(self) -> None:
        """End the connection by a reset, as a broken network does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, values: Any) -> None:
        self._send(200, json.dumps(values).encode(), {"Content-Type": "application/json"})

    def _logged_in(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _require_login(self) -> None:
        if not self._logged_in():
            raise _RefusedError(401, "", "Invalid credentials in Authorization header")

    def _route(self, method: str, path: str, query: dict[str, list[str]], body: bytes, fault: Fault | None) -> None:
        routes: list[tuple[str, str, Callable[..., None]]] = [
            ("POST", r"/api/repos/create", self._create),
            ("POST", r"/api/validate-yaml", lambda _: self._json({"errors": [], "warnings": []})),
            ("GET", r"/api/models/([^/]+/[^/]+)/revision/(.+)", self._info),
            ("GET", r"/api/models/([^/]+/[^/]+)", self._info),
            ("POST", r"/api/models/([^/]+/[^/]+)/preupload/(.+)", self._preupload),
            ("POST", r"/api/models/([^/]+/[^/]+)/branch/(.+)", self._branch),
            ("POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch),
            ("POST", r"/verify", self._verify),
            ("PUT", r"/upload/([0-9a-f]{64})", self._upload),
        ]
        for asked, pattern, answer in routes:
            found = re.fullmatch(pattern, path)
            if asked == method and found is not None:
                answer(*map(unquote, found.groups()), body)
                return
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", path)
        if method == "POST" and found is not None:
            self._commit(*map(unquote, found.groups()), body, lost=fault is not None and fault.late)
            return
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if found is not None:
            self._resolve(*map(unquote, found.groups()), fault)
            return
        found = re.fullmatch(r"/cdn/([0-9a-f]{64})", path)
        if found is not None:
            self._content(self.hub.objects[found[1]], {"ETag": f'"{found[1]}"'}, fault)
            return
        raise _RefusedError(404, "", f"no endpoint {method} {path}")

    def _create(self, body: bytes) -> None:
        self._require_login()
        told = json.loads(body)
        name = f"{told['organization'] or 'somebody'}/{told['name']}"
        url = f"{self.hub.endpoint}/{name}"
        if name in self.hub.repositories:
            self._send(409, json.dumps({"error": "exists already", "url": url}).encode())
            return
        repository = Repository(private=told.get("visibility") == "private" or bool(told.get("private")))
        repository.commit({".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"})
        self.hub.repositories[name] = repository
        self._json({"url": url, "name": name})

    def _repository(self, name: str) -> Repository:
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self._logged_in()):
            raise _RefusedError(401, "RepoNotFound", "Repository not found")
        return repository

    def _revision(self, name: str, revision: str) -> str:
        found = self._repository(name).found(revision)
        if found is None:
            raise _RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found

    def _info(self, name: str, *rest: Any) -> None:
        commit = self._revision(name, rest[0] if len(rest) > 1 else "main")
        repository = self._repository(name)
        siblings = [self._sibling(path, content) for path, content in repository.commits[commit].items()]
        told = {"_id": "0", "id": name, "modelId": name, "sha": commit, "private": repository.private}
        self._json({**told, "tags": [], "downloads": 0, "likes": 0, "siblings": siblings})

    def _sibling(self, path: str, content: bytes) -> dict[str, Any]:
        size = self.hub.sizes.get(path, len(content))
        told: dict[str, Any] = {"rfilename": path, "size": size, "blobId": _blob(content)}
        if len(content) >= LARGE:
            told["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 130}
        return told

    def _preupload(self, name: str, revision: str, body: bytes) -> None:
        self._require_login()
        there = self._repository(name).commits[self._revision(name, revision)]
        files = []
        for file in json.loads(body)["files"]:
            mode, known = "lfs" if file["size"] >= LARGE else "regular", there.get(file["path"])
            oid = None
            if known is not None:
                oid = hashlib.sha256(known).hexdigest() if mode == "lfs" else _blob(known)
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._json({"files": files})

    def _branch(self, name: str, branch: str, body: bytes) -> None:
        self._require_login()
        repository = self._repository(name)
        if branch in repository.branches:
            raise _RefusedError(409, "", "Reference already exists")
        repository.branches[branch] = repository.branches["main"]
        self._json({})

    def _batch(self, name: str, body: bytes) -> None:
        self._require_login()
        self._repository(name)
        told = []
        for one in json.loads(body)["objects"]:
            if one["oid"] not in self.hub.objects:
                upload = {"href": f"{self.hub.endpoint}/upload/{one['oid']}", "header": {}}
                verify = {"href": f"{self.hub.endpoint}/verify", "header": {}}
                one = {**one, "actions": {"upload": upload, "verify": verify}}  # noqa: PLW2901
            told.append(one)
        self._json({"transfer": "basic", "objects": told})

    def _upload(self, oid: str, body: bytes) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            raise _RefusedError(400, "", "other content than announced")
        self.hub.objects[oid] = body
        self._send(200)

    def _verify(self, body: bytes) -> None:
        told = json.loads(body)
        if len(self.hub.objects.get(told["oid"], b"")) != told["size"]:
            raise _RefusedError(404, "", "not uploaded")
        self._json({})

    def _commit(self, name: str, branch: str, body: bytes, lost: bool) -> None:
        self._require_login()
        repository = self._repository(name)
        parent = self._revision(name, branch)
        header, *operations = [json.loads(line) for line in body.splitlines()]
        if header["value"].get("parentCommit", parent) != parent:
            raise _RefusedError(412, "", "A commit has happened since. Please refresh and try again.")
        files = dict(repository.commits[parent])
        for operation in operations:
            told = operation["value"]
            if operation["key"] == "file":
                files[told["path"]] = base64.b64decode(told["content"])
            elif operation["key"] == "lfsFile":
                if told["oid"] not in self.hub.objects:
                    raise _RefusedError(400, "", "LFS object was not uploaded")
                files[told["path"]] = self.hub.objects[told["oid"]]
            elif operation["key"] == "deletedFile":
                files.pop(told["path"])
            else:
                raise _RefusedError(400, "", f"unknown operation {operation['key']}")
        oid = repository.commit(files, branch)
        if lost:
            self._reset()
            return
        self._json({"success": True, "commitUrl": f"{self.hub.endpoint}/{name}/commit/{oid}", "commitOid": oid})

    def _resolve(self, name: str, revision: str, path: str, fault: Fault | None) -> None:
        commit = self._revision(name, revision)
        content = self._repository(name).commits[commit].get(path)
        headers = {"X-Repo-Commit": commit}
        if content is None:
            self._send(404, b"", {**headers, "X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
            return
        told = self.hub.sizes.get(path, len(content))
        if path in self.hub.endless:
            self._endless(headers, content)
        elif len(content) < LARGE:
            self._content(content, {**headers, "ETag": f'"{_blob(content)}"'}, fault)
        else:
            digest = hashlib.sha256(content).hexdigest()
            self.hub.objects[digest] = content
            port = urlsplit(self.hub.endpoint).port
            place = {"Location": f"http://localhost:{port}/cdn/{digest}", "ETag": f'"{_blob(content)}"'}
            self._send(302, b"", {**headers, **place, "X-Linked-Size": str(told), "X-Linked-Etag": f'"{digest}"'})

    def _endless(self, headers: dict[str, str], content: bytes) -> None:
        """Send zeros without end, and without saying how many."""
        self.send_response(200)
        self.send_header("ETag", f'"{_blob(content)}"')
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        if self.command == "HEAD":
            return
        try:
            while True:
                self.wfile.write(bytes(1 << 20))
        except OSError:
            return

    def _content(self, content: bytes, headers: dict[str, str], fault: Fault | None) -> None:
        begin, status = 0, 200
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if span is not None:
            begin, status = int(span[1]), 206
            headers = {**headers, "Content-Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"}
        if fault is None or self.command == "HEAD":
            self._send(status, content[begin:], {**headers, "Accept-Ranges": "bytes"})
            return
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content) - begin), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[begin : begin + (fault.after or 0)])
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)  # what was sent arrives; the rest never comes
        self.close_connection = True


def _blob(content: bytes) -> str:
    """Return the name that git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324 - as git does


@pytest.fixture
def empty_hub() -> Iterator[Hub]:
    """A running server without repositories."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def hub(empty_hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The server as this process' Hub, somebody logged in, and empty caches; nobody waits between retries."""
    use_hub(empty_hub.endpoint, tmp_path / "hub-cache", monkeypatch)
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "llmrec-cache"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return empty_hub


def use_hub(endpoint: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead the genuine client of this process to a server."""
    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _http

    from llmrec_peft.artifact import hub_calls
    from llmrec_peft.hub import upload

    told = {
        "ENDPOINT": endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
    }
    for name, value in told.items():
        monkeypatch.setattr(constants, name, value)
    hurried = SimpleNamespace(sleep=lambda seconds: None)
    for module in (_http, file_download, hub_calls, upload):
        monkeypatch.setattr(module, "time", hurried)


def hub_environment(hub: Hub, folder: Path) -> dict[str, str]:
    """Return the environment in which a process of its own uses the server."""
    return {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_CACHE": str(folder / "hub-cache"),
        "LLMREC_CACHE": str(folder / "llmrec-cache"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": TOKEN,
    }
