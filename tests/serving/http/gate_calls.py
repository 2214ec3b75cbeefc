"""Calls of the gate without a server, and an application behind it that says what reached it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmrec_peft.serving.http.gate.gate import Gate
from llmrec_peft.serving.http.gate.keyring import KeyRing
from llmrec_peft.serving.http.gate.keys import new_key
from llmrec_peft.serving.http.gate.rates import Rates
from llmrec_peft.serving.http.settings import BodyLimits, Quotas


@dataclass
class Reached:
    """An application that notes the requests which reach it, reads their bodies and answers 200."""

    scopes: list[Scope] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        message = await receive()
        self.bodies.append(message["body"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@dataclass
class Guarded:
    """A gate before an application, with a key of tenant a, one of tenant b, and one of an admin."""

    app: ASGIApp
    quotas: Quotas = field(default_factory=Quotas)
    limits: BodyLimits = field(default_factory=BodyLimits)

    def __post_init__(self) -> None:
        self.ring = KeyRing()
        self.keys = {name: self.key(name) for name in ("a", "b")} | {"admin": self.key(None)}
        self.refused: list[str] = []
        self.gate = Gate(self.app, self.ring, Rates(self.quotas), self.limits, self.refused.append)

    def key(self, tenant: str | None, expires: float | None = None) -> str:
        """Make a key for all scopes."""
        text, key = new_key(tenant, ["ask", "write", "manage"], expires)
        self.ring.put(key)
        return text


@dataclass
class Answered:
    """What an application answered to one request."""

    status: int
    headers: dict[str, str]
    body: bytes
    receives: int

    @property
    def code(self) -> str:
        """Code of a refusal."""
        return str(json.loads(self.body)["error"]["code"])


async def parts(pieces: Iterable[bytes], pause_s: float = 0.0) -> AsyncIterator[Message]:
    """A body that arrives in pieces."""
    for piece in pieces:
        await asyncio.sleep(pause_s)
        yield {"type": "http.request", "body": piece, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}


def call(
    app: Callable[[Scope, Receive, Send], Awaitable[None]],
    path: str = "/v1/recommend",
    key: str | None = None,
    method: str = "POST",
    body: AsyncIterator[Message] | None = None,
    headers: Iterable[tuple[str, str]] = (),
    query: str = "",
) -> Answered | None:
    """Send one request; None if it was left without an answer."""
    given = [*headers, *([] if key is None else [("authorization", f"Bearer {key}")])]
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given],
    }
    arriving = body or parts([])
    sent: list[Message] = []
    receives = 0

    async def receive() -> Message:
        nonlocal receives
        receives += 1
        return await anext(arriving, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    if not sent:
        return None
    named = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answered(sent[0]["status"], named, b"".join(one.get("body", b"") for one in sent[1:]), receives)
