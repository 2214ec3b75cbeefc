"""Gate: a request has a valid key, keeps to its tenant's rate and has a bounded body before any other code sees it."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmrec_peft.serving.http.gate.keyring import Caller, KeyRing
from llmrec_peft.serving.http.gate.rates import Rates
from llmrec_peft.serving.http.gate.refusal_answers import problem
from llmrec_peft.serving.http.settings import BodyLimits

OPEN = frozenset(("/", "/healthz", "/readyz", "/metrics", "/openapi.json"))
"""Paths that are read without a key, beside those below `STATIC`."""
STATIC = "/static/"
ARRIVING = 16
"""Bodies of the largest size that may be arriving of one tenant at once, counted in bytes."""
_KEPT_BYTES = 1 << 16
"""A refused body up to this length is skipped; a longer one ends the connection."""
_CLOSE = {"Connection": "close"}
_NO_KEY = problem(401, "no_key", "no valid key came with this request", None, {"WWW-Authenticate": "Bearer", **_CLOSE})
"""The same object each time, since this answer has to be cheap."""


class Gate:
    """ASGI middleware in front of everything else.

    It looks at the key first, then at the tenant's rate, the declared length of the body, and the body itself within
    its bytes and seconds. What is refused costs nothing of what comes later; of a wrong key nothing is read, kept or
    logged. A key is taken from the header ``Authorization`` alone, because addresses are written into logs and
    histories. Open paths get no body.

    Whether a key is for the tenant that a request is about is decided by the endpoint (`keyring.Caller.may`).
    """

    def __init__(
        self,
        app: ASGIApp,
        ring: KeyRing,
        rates: Rates,
        limits: BodyLimits,
        refused: Callable[[str], None] = lambda code: None,
    ) -> None:
        """Stand in front of an application.

        Args:
            app: It finds the `Caller` in ``scope["state"]["caller"]``, and `limits` in ``scope["state"]["limits"]``.
            ring: Valid keys.
            rates: What tenants may ask for.
            limits: What a body may have.
            refused: Is told the code of each refusal, such as ``no_key``.
        """
        self._app = app
        self._ring = ring
        self._rates = rates
        self._limits = limits
        self._refused = refused
        self._arriving: Counter[str | None] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or hand it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._pass(scope, receive, send)
        else:  # nothing here speaks over a WebSocket
            await send({"type": "websocket.close", "code": 1008})

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_open = _is_open(scope)
        answering = _with_headers(send, is_open)
        state = scope.setdefault("state", {})
        state["limits"] = self._limits
        body: bytes | None = b""
        try:
            if not is_open:
                headers = Headers(scope=scope)
                state["caller"] = caller = self._admitted(headers)
                body = await self._body(headers, receive, caller.tenant)
        except _RefusedError as refusal:
            self._refused(refusal.code)
            await refusal.answer(scope, receive, answering)
            return
        if body is not None:
            await self._app(scope, _received(body, receive), answering)

    def _admitted(self, headers: Headers) -> Caller:
        """Return who sent a request, if his key is valid and there is room in his tenant's rate."""
        caller = self._caller(headers.getlist("authorization"))
        if caller is None:
            raise _RefusedError("no_key", _NO_KEY)
        if caller.tenant is not None:
            wait_s = self._rates.take(caller.tenant, "requests")
            if wait_s is not None:
                closing = {} if _is_skipped(headers) else _CLOSE
                raise _refused(429, "too_many", "more requests than this tenant's rate", wait_s, closing)
        return caller

    def _caller(self, given: list[str]) -> Caller | None:
        if len(given) != 1:
            return None
        scheme, _, text = given[0].partition(" ")
        return self._ring.find(text.strip(" ")) if scheme.lower() == "bearer" else None

    async def _body(self, headers: Headers, receive: Receive, tenant: str | None) -> bytes | None:
        """Read a body; None if the client went away before its end."""
        most = self._limits.body_bytes
        if _declared(headers) > most:
            raise _too_large(most)
        body = bytearray()  # one for all parts: a list of a million parts of a byte would take fifty times as much
        try:
            async with asyncio.timeout(self._limits.body_s):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        return None
                    part = message.get("body", b"")
                    body += part
                    self._arriving[tenant] += len(part)
                    if len(body) > most:
                        raise _too_large(most)
                    if self._arriving[tenant] > ARRIVING * most:
                        raise _refused(429, "too_many", "too much of this tenant arrives at once", 1.0, _CLOSE)
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise _refused(408, "too_slow", f"a body has {self._limits.body_s:g} s to arrive", None, _CLOSE) from None
        finally:
            self._arriving[tenant] -= len(body)
            if not self._arriving[tenant]:
                del self._arriving[tenant]


class _RefusedError(Exception):
    """A request is refused with an answer."""

    def __init__(self, code: str, answer: Response) -> None:
        super().__init__(code)
        self.code = code
        self.answer = answer


def _refused(status: int, code: str, message: str, retry_s: float | None, headers: dict[str, str]) -> _RefusedError:
    return _RefusedError(code, problem(status, code, message, retry_s, headers))


def _too_large(most: int) -> _RefusedError:
    return _refused(413, "too_large", f"a body has at most {most} bytes", None, _CLOSE)


def _is_open(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["method"] in ("GET", "HEAD") and (path in OPEN or path.startswith(STATIC))


def _declared(headers: Headers) -> int:
    """Return the length that a body is said to have; the bytes are counted all the same."""
    text = headers.get("content-length", "")
    if not (text.isascii() and text.isdigit()):
        return 0
    return int(text) if len(text) < 19 else sys.maxsize  # noqa: PLR2004 - 18 digits are always fewer


def _is_skipped(headers: Headers) -> bool:
    """Return whether the server can skip a body, so that the connection goes on with the next request.

    A body of unknown length may never end, and a client that asked whether to send it (``Expect``) may do either.
    """
    return "transfer-encoding" not in headers and "expect" not in headers and _declared(headers) <= _KEPT_BYTES


def _received(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read, and then what else comes."""
    given = False

    async def receiving() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiving


def _with_headers(send: Send, is_open: bool) -> Send:
    """Return what sends an answer with the headers of all answers, unless it has them already."""
    added = [(b"x-content-type-options", b"nosniff")]
    if not is_open:
        added.append((b"cache-control", b"no-store"))

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            names = {name.lower() for name, _ in headers}
            message["headers"] = [*headers, *(pair for pair in added if pair[0] not in names)]
        await send(message)

    return sending
