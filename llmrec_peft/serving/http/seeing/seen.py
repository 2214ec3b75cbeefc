"""Seen: an ASGI application around another one, which counts, logs and traces each of its requests."""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from llmrec_peft.serving.http.seeing import trail as trails
from llmrec_peft.serving.http.seeing.logs import ACCESS, DIGEST, Value
from llmrec_peft.serving.http.seeing.metrics import Metrics

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from llmrec_peft.serving.http.seeing.tracing import Tracing
    from llmrec_peft.serving.http.seeing.trail import Trail

NO_ROUTE, MOUNTED = "none", "mounted"
"""Routes of requests that reached none, and of those that an application below a path answered."""
GONE, FAILED = 499, 500
"""Statuses of requests whose caller left before the answer, and of those that raised an error."""


class _Caller(Protocol):
    key_id: str
    tenant: str | None


class Seen:
    """Counts, logs and traces requests; it stands outside everything else. Requests without a key are counted alone.

    It reads the template of the route, never the path or the query, and what the trail and the caller's key tell.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing | None = None) -> None:
        """Stand around an application.

        Args:
            app: The application.
            metrics: Where requests are counted.
            tracing: Makes their spans; None for none.
        """
        self._app, self._metrics, self._tracing = app, metrics, tracing
        self._log = logging.getLogger(ACCESS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trail = trails.begin()
        began, since = time.time_ns(), time.monotonic()
        status = GONE

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except BaseException as error:
            if isinstance(error, Exception) and status == GONE:
                status = FAILED
            raise
        finally:
            self._note(scope, trail, status, began, time.monotonic() - since)

    def _note(self, scope: Scope, trail: Trail, status: int, began: int, seconds: float) -> None:
        caller: _Caller | None = scope.get("state", {}).get("caller")
        if caller is not None:
            trail.key_id = caller.key_id
            trail.tenant = trail.tenant or caller.tenant
        route, method = _route(scope), str(scope["method"])
        self._metrics.request(route, trail.tenant, status, seconds)
        if caller is None and status == HTTPStatus.UNAUTHORIZED:  # a flood without keys is counted and fills no log
            return
        trace_id = None
        if self._tracing is not None:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            ended = began + round(seconds * 1e9)
            trace_id = self._tracing.request(method, route, status, trail, headers, began, ended)
        if self._log.isEnabledFor(logging.INFO):
            self._log.info("request", extra={"fields": _fields(method, route, status, trail, seconds, trace_id)})


def _route(scope: Scope) -> str:
    """Return the template of the route that answered."""
    route: Any = scope.get("route")
    path = getattr(route, "path", None)
    if isinstance(path, str):
        return path
    return NO_ROUTE if scope.get("endpoint") is None else MOUNTED


def _fields(
    method: str, route: str, status: int, trail: Trail, seconds: float, trace_id: str | None
) -> dict[str, Value]:
    identity = trail.identity
    fields: dict[str, Value] = {
        "method": method,
        "route": route,
        "status": status,
        "tenant": trail.tenant,
        "version": None if identity is None else identity.version[:DIGEST],
        "state": None if identity is None else identity.state,
        "ms": round(seconds * 1000, 3),
        "queue_ms": round(trail.seconds("queue") * 1000, 3),
        "key_id": trail.key_id,
    }
    return fields if trace_id is None else fields | {"trace_id": trace_id}
