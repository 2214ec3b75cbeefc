"""Seen: one line, one count and one span a request, none of which has ids of users, texts, paths or queries."""

from __future__ import annotations

import io
import json
import logging
import logging.config
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Request

from llmrec_peft.errors import InputError
from llmrec_peft.serving.http.seeing import logs, tracing, trail
from llmrec_peft.serving.http.seeing.metrics import Metrics
from llmrec_peft.serving.http.seeing.seen import Seen
from llmrec_peft.serving.versions import Identity

SECRET = "user-4711"  # noqa: S105 - an id of a user, which must not be seen
IDENTITY = Identity("a" * 64, 3, "b" * 64)
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Run the tests in asyncio alone."""
    return "asyncio"


@dataclass(frozen=True)
class Key:
    """A caller."""

    key_id: str = "0123abcd"
    tenant: str | None = "shop"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged, as the server's configuration writes it."""
    written = io.StringIO()
    config = logs.log_config()
    config["handlers"]["lines"] = {**config["handlers"]["lines"], "stream": written}
    logging.config.dictConfig(config)
    yield written
    for name in ("llmrec", "uvicorn", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def application() -> FastAPI:
    app = FastAPI()

    @app.post("/v1/tenants/{tenant}/ask")
    async def ask(tenant: str, request: Request) -> dict[str, Any]:
        request.scope["state"] = {"caller": Key()}
        found = trail.current()
        found.tenant = tenant
        found.answered([IDENTITY])
        began = 1_000_000_000
        found.steps += [trail.Step("queue", "known", began, began + 2_000_000)]
        found.steps += [trail.Step("engine", "known", began + 2_000_000, began + 5_000_000)]
        return {}

    @app.get("/refused")
    async def refused(request: Request) -> None:
        request.scope["state"] = {"caller": Key()}
        raise HTTPException(429)

    @app.get("/keyless")
    async def keyless() -> None:
        raise HTTPException(401)

    @app.get("/broken")
    async def broken() -> None:
        raise ValueError(f"{SECRET} has no history")

    return app


def client(seen: Seen) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(seen, raise_app_exceptions=False)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://server")


async def test_line_of_a_request_has_what_answered_and_nothing_of_the_user(lines: io.StringIO) -> None:
    async with client(Seen(application(), Metrics())) as http:
        await http.post(f"/v1/tenants/films/ask?user={SECRET}", json={"user_id": SECRET, "title": "a text"})
        await http.get(f"/nowhere/{SECRET}")
        await http.get("/refused")
    written = [json.loads(line) for line in lines.getvalue().splitlines() if "llmrec.access" in line]
    assert len(written) == 3
    first, nowhere, refused = written
    assert (first["event"], first["route"], first["status"]) == ("request", "/v1/tenants/{tenant}/ask", 200)
    assert (first["tenant"], first["version"], first["state"]) == ("films", "a" * 12, 3)
    assert (first["key_id"], first["queue_ms"]) == ("0123abcd", 2.0)
    assert first["ms"] > 0
    assert first["time"].endswith("Z")
    assert (nowhere["route"], nowhere["status"], nowhere["tenant"]) == ("none", 404, None)
    assert (refused["status"], refused["tenant"]) == (429, "shop"), "that of the key"
    for said in (SECRET, "text", "nowhere", "?"):
        assert said not in lines.getvalue()


async def test_a_flood_without_keys_is_counted_and_writes_no_line(lines: io.StringIO) -> None:
    metrics = Metrics()
    async with client(Seen(application(), metrics)) as http:
        for _ in range(3):
            assert (await http.get("/keyless")).status_code == 401
    assert lines.getvalue() == ""
    assert b'llmrec_requests_total{route="/keyless",status="401",tenant="-"} 3.0' in metrics.render()


async def test_error_is_told_by_type_and_place_and_not_by_its_message(lines: io.StringIO) -> None:
    metrics = Metrics()
    async with client(Seen(application(), metrics)) as http:
        answer = await http.get("/broken")
    assert answer.status_code == 500
    assert b'llmrec_requests_total{route="/broken",status="500",tenant="-"} 1.0' in metrics.render()
    try:
        raise ValueError(f"{SECRET} has no history")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    last = json.loads(lines.getvalue().splitlines()[-1])
    assert (last["event"], last["error"], last["level"]) == ("Exception in ASGI application", "ValueError", "error")
    assert "test_seen.py" in last["at"][-1]
    assert SECRET not in lines.getvalue()


async def test_no_control_character_and_no_second_line_comes_through(lines: io.StringIO) -> None:
    logs.event("swap\n{}", tenant="a\x1b[2J\r\nb\u202e\u2028", version="0" * 12, state=1, share=0.5, kept=None)
    logging.getLogger("uvicorn.error").warning("Invalid \x00 %s", "request\nreceived")
    logging.getLogger("uvicorn.access").info('127.0.0.1 - "GET /?user=%s"', SECRET)
    found = lines.getvalue().splitlines()
    assert len(found) == 2, "uvicorn's own access log is off"
    assert all(line.isascii() and line.isprintable() for line in found)
    first = json.loads(found[0])
    assert (first["event"], first["state"], first["share"], first["kept"]) == ("swap {}", 1, 0.5, None)
    assert first["tenant"].isprintable()


async def test_request_that_nobody_waits_for_is_counted_as_gone() -> None:
    metrics = Metrics()

    async def never(scope: Any, receive: Any, send: Any) -> None:
        """Answer nothing."""

    await Seen(never, metrics)({"type": "http", "method": "GET", "headers": []}, None, None)  # type: ignore[arg-type]
    assert b'status="499"' in metrics.render()


async def test_span_of_a_request_takes_the_callers_trace_over(lines: io.StringIO) -> None:
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    traced = tracing.Tracing(provider)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with client(Seen(application(), Metrics(), traced)) as http:
        await http.post(f"/v1/tenants/films/ask?user={SECRET}", headers={"traceparent": parent})
        await http.get("/broken")
    traced.close()
    queue, engine, request, broken = kept.get_finished_spans()
    assert (queue.name, engine.name, request.name) == ("queue", "engine", "POST /v1/tenants/{tenant}/ask")
    assert request.context is not None
    assert request.parent is not None
    assert f"{request.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{request.parent.span_id:016x}" == "b7ad6b7169203331"
    for part in (queue, engine):
        assert part.parent is not None
        assert part.parent.span_id == request.context.span_id
        assert dict(part.attributes or {}) == {"llmrec.lane": "known"}
    assert queue.end_time == engine.start_time
    attributes = dict(request.attributes or {})
    assert (attributes["llmrec.tenant"], attributes["llmrec.version"]) == ("films", "a" * 64)
    assert (attributes["llmrec.state"], attributes["http.response.status_code"]) == (3, 200)
    assert not broken.status.is_ok
    assert SECRET not in "".join(span.to_json() for span in kept.get_finished_spans())
    assert json.loads(lines.getvalue().splitlines()[0])["trace_id"] == "0af7651916cd43dd8448eb211c80319c"


async def test_traces_without_the_extra_or_without_an_address_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.sdk")
    with pytest.raises(InputError, match="'collector:4318' is no address"):
        tracing.Tracing.to("collector:4318")
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(InputError, match=r"otlp needs OpenTelemetry .*llmrec-peft\[tracing\]"):
        tracing.Tracing.to("http://127.0.0.1:4318/v1/traces")
