"""Server: uvicorn around the application, from its first line to the end of its last request."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType

import uvicorn

from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import shown
from llmrec_peft.serving.http.app import make_app
from llmrec_peft.serving.http.gate.connections import BoundedProtocol
from llmrec_peft.serving.http.host import Host
from llmrec_peft.serving.http.schemas import TenantIn
from llmrec_peft.serving.http.seeing.logs import log_config
from llmrec_peft.serving.http.settings import Settings

_MOST_CONNECTIONS, _BACKLOG = 2_048, 2_048
_KEEP_ALIVE_S = 30
_THREADS_S = 5.0
NOTICE_S = 0.5
"""Seconds after SIGTERM in which load balancers can see that the server ends, even if nothing runs."""


class _Server(uvicorn.Server):
    """uvicorn that drains before it stops, and after SIGTERM ends with exit code 0.

    After the first signal `/readyz` says 503, further requests are refused with 503, and what runs ends, within
    `drain_s` seconds. A second signal stops at once.
    """

    def __init__(self, config: uvicorn.Config, host: Host) -> None:
        super().__init__(config)
        self._host = host
        self._since = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; uvicorn's own way would raise the signal again at the end."""
        if self._host.draining:
            self.force_exit = self.should_exit = True
        self._since = time.monotonic()
        self._host.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Stop once nothing runs any more; called ten times a second."""
        if self._host.draining and not self.should_exit:
            passed = time.monotonic() - self._since
            idle = passed > NOTICE_S and not self.server_state.tasks
            self.should_exit = idle or passed > self._host.settings.drain_s
        return await super().on_tick(counter)


def serve(settings: Settings, runs: Mapping[str, Path], told: Callable[[str], None]) -> None:
    """Answer until SIGTERM or Ctrl-C.

    Args:
        settings: What the operator decided.
        runs: Run folders by tenant, which are registered, or swapped where another run answers, before the server is
            ready.
        told: Is given each line for the operator.

    Raises:
        InputError: If the address is taken, the state folder cannot be had, or a run is refused.
    """
    with (
        contextlib.closing(_listening(settings)) as listening,
        contextlib.closing(Host(settings, _spare_collections)) as host,
        asyncio.Runner(loop_factory=_loop_factory()) as runner,
    ):
        runner.run(_served(host, runs, listening, told))
    _leave(told)


def _spare_collections() -> None:
    """Let collections of cycles, which follow swaps, leave out libraries and the base, of which they took 0.3 s."""
    gc.collect()
    gc.freeze()


def _leave(told: Callable[[str], None]) -> None:
    """End the process even if a thread does not, such as one that loads a run from a disk that does not answer."""
    until = time.monotonic() + _THREADS_S
    mine = threading.current_thread()
    waited = [one for one in threading.enumerate() if not (one.daemon or one is mine)]
    for one in waited:
        one.join(max(0.0, until - time.monotonic()))
    left = [one.name for one in waited if one.is_alive()]
    if left:
        told(f"the process ends although {left[0]} does not")
        os._exit(0)


async def _served(host: Host, runs: Mapping[str, Path], listening: socket.socket, told: Callable[[str], None]) -> None:
    config = uvicorn.Config(
        make_app(host),
        http=BoundedProtocol,
        ws="none",
        log_config=log_config(),
        access_log=False,
        server_header=False,
        lifespan="off",
        limit_concurrency=_MOST_CONNECTIONS,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, int(host.settings.drain_s)),
    )
    server = _Server(config, host)
    host.starting = bool(runs)
    address, port = listening.getsockname()[:2]
    told(f"listening on http://{f'[{address}]' if ':' in address else address}:{port}")
    told(f"the admin key is in {shown(host.admin_key)}")
    for name, reason in host.refused.items():
        told(f"tenant {name} was not restored: {reason}")
    registering = asyncio.create_task(_registered(host, runs, told))
    registering.add_done_callback(lambda done: _stop_if_refused(done, server))
    try:
        await server.serve([listening])
    finally:
        registering.cancel()
        await host.drain()
        with contextlib.suppress(asyncio.CancelledError):
            await registering
    told("the server has ended")


async def _registered(host: Host, runs: Mapping[str, Path], told: Callable[[str], None]) -> None:
    for name, folder in runs.items():
        found, _ = await host.put_run(name, folder, TenantIn(run=str(folder)))
        told(f"tenant {name} is answered by version {found.main.version[:12]}")
    host.starting = False
    await host.warm()


def _stop_if_refused(done: asyncio.Task[None], server: uvicorn.Server) -> None:
    if not done.cancelled() and done.exception() is not None:
        server.should_exit = True


def _listening(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise InputError(f"{settings.host}:{settings.port}: cannot listen here ({reason_of(error)})") from None
    return listening


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    return uvloop.new_event_loop
