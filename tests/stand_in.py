"""A server that speaks the schemas without an engine, in a thread of its own, and does what a test tells it to."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from llmrec_peft.serving.http import schemas

KEY = "llmrec_00000001_" + "a" * 43
DIGEST = "0" * 63 + "1"
IDENTITY = {"version": DIGEST, "state": 0, "state_digest": "0" * 63 + "2"}


@dataclass
class StandIn:
    """What the server was asked, and what it answers instead of the usual.

    Attributes:
        url: Its address.
        seen: Method, path with query, authorization and body of each request.
        answers: Answers that are given first, one a request: status, headers and body.
        events: Events that were sent.
        before: Called before each answer.
    """

    url: str = ""
    seen: list[tuple[str, str, str | None, bytes]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    before: Callable[[], None] = lambda: None

    def begin(self) -> StandIn:
        """Forget what was before."""
        self.seen.clear(), self.answers.clear(), self.events.clear()
        self.before = lambda: None
        return self

    def refuse(self, status: int, code: str, message: str = "no", retry: str | None = None, times: int = 1) -> None:
        """Refuse the next requests."""
        headers = {} if retry is None else {"Retry-After": retry}
        self.answers += [(status, headers, {"error": {"code": code, "message": message}})] * times


def standing(name: str, **changes: Any) -> dict[str, Any]:
    """A tenant as the server describes it."""
    return {
        "tenant": name,
        "main": IDENTITY,
        "trial": None,
        "share": 0.0,
        "former": None,
        "notes": [],
        "pinned": False,
        "queue_weight": 1.0,
        "conditions": [{"version": DIGEST, "tier": "ready", "pinned": False, "nbytes": 1000, "failure": None}],
        **changes,
    }


def app_of(stand_in: StandIn, names: list[str]) -> FastAPI:
    """The application: `names` are its tenants, which all stand alike."""
    app = FastAPI()
    events = stand_in.events
    key = {"key_id": "00000001", "tenant": "films", "scopes": ["ask"], "created": 1.0, "expires": None, "label": ""}

    @app.middleware("http")
    async def noted(request: Request, following: Any) -> Response:
        where = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        stand_in.seen.append((request.method, where, request.headers.get("authorization"), await request.body()))
        stand_in.before()
        if stand_in.answers:
            status, headers, body = stand_in.answers.pop(0)
            return JSONResponse(body, status, headers)
        answered: Response = await following(request)
        return answered

    @app.post("/v1/recommend")
    async def recommend(body: schemas.RecommendIn) -> schemas.RecommendOut:
        item = {"item_id": "50", "title": "Heat", "score": 4.5}
        lists = [{**IDENTITY, "user_id": user, "basis": "personal", "items": [item] * body.k} for user in body.users]
        return schemas.RecommendOut(tenant=body.tenant, k=body.k, seen=body.seen, answers=lists)

    @app.post("/v1/score")
    async def score(body: schemas.ScoreIn) -> schemas.ScoreOut:
        pairs = [
            {**IDENTITY, "user_id": user, "item_id": item, "score": 3.5, "basis": "personal"}
            for user, item in zip(body.user_ids, body.item_ids, strict=True)
        ]
        return schemas.ScoreOut(tenant=body.tenant, scores=pairs)

    @app.post("/v1/explain")
    async def explain(body: schemas.ExplainIn) -> schemas.ExplainOut:
        told = {"tenant": body.tenant, "user_id": body.user_id, "item_id": body.item_id, "explanation": {"score": 4}}
        return schemas.ExplainOut(**IDENTITY, **told)

    @app.post("/v1/items")
    async def items(body: schemas.ItemsIn) -> dict[str, Any]:
        return standing(body.tenant)

    @app.post("/v1/events")
    async def keep(body: schemas.EventsIn) -> schemas.EventsOut:
        for event in body.events:
            events.append({**event.model_dump(), "sequence": len(events) + 1, "received": time.time()})
        return schemas.EventsOut(tenant=body.tenant, stored=len(body.events), repeated=0, last=len(events))

    @app.get("/v1/events")
    async def kept(tenant: str, after: int = 0, limit: int = 10_000) -> dict[str, Any]:
        return {"tenant": tenant, "events": [one for one in events if one["sequence"] > after][:limit]}

    @app.get("/v1/tenants")
    async def tenants() -> dict[str, Any]:
        return {"tenants": [standing(name) for name in names]}

    @app.api_route("/v1/tenants/{name}", methods=["GET", "PUT"])
    async def tenant(name: str) -> dict[str, Any]:
        return standing(name)

    @app.delete("/v1/tenants/{name}", status_code=204)
    async def remove(name: str) -> None:
        return None

    @app.post("/v1/tenants/{name}/{change}")
    async def change(name: str, change: str) -> Any:
        if change == "keys":
            return {**key, "tenant": name, "key": KEY}
        return standing(name, pinned=change == "pin")

    @app.post("/v1/keys", status_code=201)
    async def admin_key(body: schemas.AdminKeyIn) -> dict[str, Any]:
        return {**key, "tenant": None, "label": body.label, "key": KEY}

    @app.get("/v1/keys")
    @app.get("/v1/tenants/{name}/keys")
    async def keys(name: str | None = None) -> dict[str, Any]:
        return {"keys": [{**key, "tenant": name}]}

    @app.delete("/v1/keys/{key_id}", status_code=204)
    @app.delete("/v1/tenants/{name}/keys/{key_id}", status_code=204)
    async def end_key(key_id: str, name: str | None = None) -> None:
        return None

    @app.get("/v1/overview")
    async def overview() -> dict[str, Any]:
        return {"tenants": len(names)}

    @app.get("/metrics")
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse("llmrec_requests_total 1\n")

    @app.get("/healthz")
    @app.get("/readyz")
    async def well() -> dict[str, Any]:
        return {}

    return app


@functools.cache
def the_server() -> tuple[StandIn, contextlib.ExitStack]:
    """The server of this process, with the tenants films and books; it ends with the process."""
    stand_in, running = StandIn(), contextlib.ExitStack()
    stand_in.url = running.enter_context(served(app_of(stand_in, ["films", "books"])))
    return stand_in, running


def begun() -> StandIn:
    """Return the server of this process as if it had just begun."""
    return the_server()[0].begin()


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an application on a free port of this machine; yield its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True  # requests that never end are not waited for
        thread.join(10)
