"""A server in this process: the real application on a free port of loopback, in a thread of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from llmrec_peft.serving.http.app import make_app
from llmrec_peft.serving.http.client.client import Client
from llmrec_peft.serving.http.gate.connections import BoundedProtocol
from llmrec_peft.serving.http.host import Host
from llmrec_peft.serving.http.settings import settings_of


@dataclass(frozen=True)
class Running:
    """A server that answers.

    Attributes:
        url: Its address.
        host: What it answers with.
        admin_key: The first admin key.
    """

    url: str
    host: Host
    admin_key: str

    def client(self, key: str | None = None) -> Client:
        """Return a client with a key; the admin's by default."""
        return Client(self.url, self.admin_key if key is None else key, retries=0)

    def new_key(self, tenant: str, *scopes: str) -> str:
        """Return a new key of a tenant."""
        with self.client() as admin:
            return admin.new_key(tenant, scopes or ("ask",)).key  # type: ignore[arg-type]


@contextlib.contextmanager
def running(state: Path, runs: Mapping[str, Path], roots: Sequence[Path] = (), **settings: Any) -> Iterator[Running]:
    """Serve runs by tenant until the block ends.

    Args:
        state: State folder.
        runs: Run folders by tenant; registered over HTTP, each from below the folder that it lies in.
        roots: Further roots.
        settings: Further settings.
    """
    below = tuple(dict.fromkeys([*roots, *(run.parent for run in runs.values())]))
    host = Host(settings_of(state=state, port=0, device="cpu", roots=below, **settings))
    config = uvicorn.Config(
        make_app(host), port=0, log_config=None, access_log=False, lifespan="off", http=BoundedProtocol, ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        found = Running(f"http://127.0.0.1:{port}", host, host.admin_key.read_text(encoding="ascii").strip())
        with found.client() as admin:
            for tenant, run in runs.items():
                if tenant not in host.engine.tenants:
                    admin.put_tenant(tenant, str(run))
        yield found
    finally:
        server.should_exit = True
        thread.join(30)
        host.close()
