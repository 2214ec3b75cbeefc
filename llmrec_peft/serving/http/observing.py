"""Observing: every request measured, written to the log and traced, around all that can refuse it."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmrec_peft.serving.http.host import Host
from llmrec_peft.serving.http.seeing import trail

UNKNOWN = "unknown"
"""Route of a request that no endpoint took, so that strangers' paths make no series of metrics."""


class Observed:
    """ASGI middleware that notes each request's route, tenant, status, what answered, and time."""

    def __init__(self, app: ASGIApp, host: Host) -> None:
        """Wrap an application."""
        self._app, self._host = app, host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note what became of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        found = trail.begin()
        begun, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            seconds = time.perf_counter() - begun
            route = getattr(scope.get("route"), "path", UNKNOWN)
            self._host.metrics.request(route, found.tenant, status, seconds)
