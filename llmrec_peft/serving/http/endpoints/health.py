"""Health: whether the server lives, whether it answers, and what it measured; without a key."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from llmrec_peft.serving.http.endpoints.callers import host_of
from llmrec_peft.serving.http.gate.refusal_answers import problem
from llmrec_peft.serving.http.schemas import ErrorOut, HealthOut

router = APIRouter(tags=["health"])


@router.get("/healthz", response_model=HealthOut)
async def healthy() -> Any:
    """Say that the process answers."""
    return HealthOut(status="ok")


@router.get("/readyz", response_model=HealthOut, responses={503: {"model": ErrorOut, "description": "Not ready."}})
async def ready(request: Request) -> Any:
    """Say whether requests are answered and kept; 503 with the reason if not."""
    trouble = host_of(request).trouble
    return HealthOut(status="ok") if trouble is None else problem(503, "unavailable", trouble, 1.0)


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(request: Request) -> Response:
    """Return figures as Prometheus reads them; on a thread, since the store's bytes are counted now and then."""
    found = host_of(request).metrics
    return Response(found.render(), media_type=found.content_type)
