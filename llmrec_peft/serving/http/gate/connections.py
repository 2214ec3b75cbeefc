"""Connections: what a client may send, and how slowly, before there is a request that the gate could look at."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_FRAME = 16
"""Bytes around one piece of a body that is sent in pieces."""
_LOG = logging.getLogger("uvicorn.error.connections")
# uvicorn warns of each request that is none, and a flood of them would fill the log. A level would not stay: dictConfig
# takes it from loggers below those that it configures.
_LOG.addFilter(lambda record: record.levelno >= logging.ERROR)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds on the head of a request: its address and headers.

    uvicorn's own takes headers without end, and waits for them without end: whoever has no key could fill the memory,
    or hold all connections. A head that is too large gets 400; one that is too slow ends the connection.

    Attributes:
        head_bytes: Bytes that may arrive before a head is complete; one that comes in a single read (256 KiB) may have
            more. The same holds for headers after a body in pieces.
        head_s: Seconds from the opening of a connection until the first head is there. After an answer the next one has
            as many more as a connection may be idle.
    """

    head_bytes: ClassVar[int] = 32_768
    head_s: ClassVar[float] = 10.0
    _unread = 0
    _late: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take uvicorn's own arguments."""
        super().__init__(*args, **kwargs)
        self.logger = _LOG

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._wait(self.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what was read from the socket."""
        self._unread += len(data)
        super().data_received(data)
        if self._unread > self.head_bytes and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_headers_complete(self) -> None:
        """Hand the request on."""
        self._unread = 0
        self._wait_no_more()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body, whose length is for the gate to bound."""
        self._unread = max(0, self._unread - len(body) - _FRAME)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Count anew."""
        self._unread = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next head, unless it came before the answer."""
        if not self.pipeline:
            self._wait(self.timeout_keep_alive + self.head_s)
        super().on_response_complete()

    def _wait(self, seconds: float) -> None:
        self._wait_no_more()
        self._late = self.loop.call_later(seconds, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
