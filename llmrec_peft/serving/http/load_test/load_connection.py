"""Load connection: one connection of HTTP/1.1 on which a load test sends one request after the other.

Generator and server often share the processor: a request costs 26 to 36 µs of its time here, and 1.7 to 2.0 ms through
httpx (measured on two busy cores, against an application that answers at once).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httptools

from llmrec_peft.serving.http.load_test.load_report import LOST
from llmrec_peft.serving.http.load_test.load_schedule import Due


class LoadConnection(asyncio.Protocol):
    """Sends a request, and says what status came back.

    Attributes:
        due: The request that is under way; None if there is none.
        sent_at: When it was sent, by the loop's clock.
        used: Whether a request was answered on this connection before.
        answering: Whether a part of the answer to the last request has come.
        lost: Whether the connection has ended.
    """

    def __init__(self, ended: Callable[[LoadConnection, Due, int], None], closed: Callable[[LoadConnection], None]):
        """Prepare a connection.

        Args:
            ended: Called with each request and its status.
            closed: Called when no further request can be sent.
        """
        self.due: Due | None = None
        self.sent_at = 0.0
        self.used = self.answering = self.lost = False
        self._ended, self._closed = ended, closed
        self._transport: Any = None
        self._parser: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport
        self._parser = httptools.HttpResponseParser(self)

    def send(self, due: Due, request: bytes, now: float) -> None:
        """Send a request; none may be under way."""
        self.due, self.sent_at, self.answering = due, now, False
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Read a part of an answer."""
        self.answering = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_message_complete(self) -> None:
        """Take note of a whole answer; called by the parser."""
        due, self.due, self.used = self.due, None, True
        if due is None or not self._parser.should_keep_alive():
            self._transport.close()
            self._closed(self)
        if due is not None:
            self._ended(self, due, self._parser.get_status_code())

    def connection_lost(self, error: Exception | None) -> None:
        """Take note that the connection ended."""
        self.lost = True
        self._closed(self)
        due, self.due = self.due, None
        if due is not None:
            self._ended(self, due, LOST)

    def abort(self) -> Due | None:
        """End the connection, and return the request that was under way."""
        due, self.due = self.due, None
        self._transport.abort()
        return due
