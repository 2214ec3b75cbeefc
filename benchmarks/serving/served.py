"""Served: `llmrec serve` in a process of its own, with the tenants of a crowd, and its memory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from serving.gauges import private_mb_of

READY_S = 600.0
_PORT = re.compile(r"listening on (http://\S+)")


class Served:
    """A server on a free port of loopback.

    Attributes:
        url: Its address.
        key_file: File of its admin key.
        key: That key.
        started_s: Seconds from its start until `/readyz` said 200.
        process: The process.
    """

    def __init__(self, state: Path, options: Sequence[str] = (), **settings: object) -> None:
        """Start a server and wait until it is ready.

        Args:
            state: Its state folder.
            options: Further options of `llmrec serve`.
            settings: Settings, dots written as two underscores, which go into its environment.
        """
        told = {f"LLMREC_SERVE_{name.upper()}": str(value) for name, value in settings.items()}
        command = [
            sys.executable,
            "-m",
            "llmrec_peft.cli.main",
            "serve",
            "--state",
            str(state),
            "--port",
            "0",
            *options,
        ]
        began = time.monotonic()
        self.process = subprocess.Popen(
            command, env={**os.environ, **told}, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        self.lines: list[str] = []
        self.url = ""
        self._told: Iterator[str] = iter(self.process.stderr or ())
        for line in self._told:
            self.lines.append(line.rstrip())
            if found := _PORT.search(line):
                self.url = found[1]
                break
        if not self.url:
            raise SystemExit("the server did not start: " + " | ".join(self.lines))
        threading.Thread(target=self._read, daemon=True).start()
        self.key_file = state / "admin.key"
        self.key = self.key_file.read_text(encoding="ascii").strip()
        self.client = self._client()
        while not self.client.ready():
            if self.process.poll() is not None or time.monotonic() - began > READY_S:
                raise SystemExit("the server is not ready: " + " | ".join(self.lines[-5:]))
            time.sleep(0.01)
        self.started_s = time.monotonic() - began

    def _read(self) -> None:
        for line in self._told:
            if not line.startswith("{"):
                self.lines.append(line.rstrip())

    def _client(self) -> Any:
        from llmrec_peft.serving.http.client.client import Client

        return Client(self.url, key_file=self.key_file, timeout=600.0)

    def private_mb(self) -> float:
        """Return the private memory of the server, in MB."""
        return private_mb_of(self.process.pid)

    def end(self) -> int:
        """Let the server drain and end; return its exit code."""
        self.client.close()
        self.process.terminate()
        return self.process.wait(120)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.end()


def state_of(folder: Path, store: Path) -> Path:
    """Return a new state folder whose sealed store is one that exists, so that nothing is copied."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    (folder / "store").symlink_to(store.resolve())
    return folder


def registered(served: Served, runs: Sequence[Path], first: int = 1) -> list[str]:
    """Register runs as tenants over HTTP, and return the names."""
    names = [f"tenant-{number}" for number in range(first, first + len(runs))]
    for name, run in zip(names, runs, strict=True):
        served.client.put_tenant(name, str(run))
    return names
