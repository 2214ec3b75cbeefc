"""A server on this machine for the length of a test, and what a client reads from a bare socket."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from llmrec_peft.serving.http.gate.connections import BoundedProtocol


@contextlib.contextmanager
def served(app: ASGIApp, protocol: type[BoundedProtocol] = BoundedProtocol, idle_s: int = 5) -> Iterator[int]:
    """Serve an application on a free port of 127.0.0.1; gives the port."""
    config = uvicorn.Config(
        app,
        "127.0.0.1",
        0,
        http=protocol,
        ws="none",
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_keep_alive=idle_s,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.005)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def connected(port: int) -> socket.socket:
    """A connection to the server; a read waits ten seconds."""
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def head(path: str = "/v1/recommend", key: str | None = None, method: str = "POST", **headers: str) -> bytes:
    """The head of a request; underscores in names of headers stand for hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [] if key is None else [f"Authorization: Bearer {key}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def read_to_end(connection: socket.socket) -> bytes:
    """What comes until the server ends the connection."""
    parts = []
    with contextlib.suppress(ConnectionResetError):  # bytes of ours were under way
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def read_answer(connection: socket.socket) -> bytes:
    """One answer with a declared length, or with none."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65_536)
        if not part:
            return data
        data += part
    before, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in before.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0]):
        part = connection.recv(65_536)
        if not part:
            break
        body += part
    return before + b"\r\n\r\n" + body
