"""Growing: new items, and what users did."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse

from llmrec_peft.serving.http.endpoints.callers import allow
from llmrec_peft.serving.http.endpoints.documented import ERRORS
from llmrec_peft.serving.http.gate.bodies import StrictRoute, require_within
from llmrec_peft.serving.http.schemas import (
    EventsIn,
    EventsOut,
    ItemsIn,
    StoredEventOut,
    StoredEventsOut,
    TenantName,
    TenantOut,
)
from llmrec_peft.serving.http.views import headers_of
from llmrec_peft.serving.versions import Identity

router = APIRouter(route_class=StrictRoute, tags=["growing"], responses=ERRORS)


@router.post("/v1/items", response_model=TenantOut)
async def add_items(request: Request, body: ItemsIn) -> Any:
    """Add items by their texts; they can be recommended when the answer comes, and are on disk then."""
    host = allow(request, body.tenant, "write")
    require_within(body, host.settings.bodies)
    found = await host.add_items(body)
    headers = headers_of([Identity(**found.main.model_dump())])
    return JSONResponse(found.model_dump(mode="json"), headers=headers)


@router.post("/v1/events", response_model=EventsOut)
async def send_events(request: Request, body: EventsIn) -> Any:
    """Keep feedback and interactions for `llmrec update`; the answer comes when they are on disk."""
    host = allow(request, body.tenant, "write")
    require_within(body, host.settings.bodies)
    host.engine.standing(body.tenant)
    found = await host.lanes.record(lambda: host.registry.add_events(body.tenant, body.events), body.tenant)
    return EventsOut(tenant=body.tenant, stored=found.stored, repeated=found.repeated, last=found.last)


@router.get("/v1/events", response_model=StoredEventsOut)
async def read_events(
    request: Request,
    tenant: TenantName,
    after: Annotated[int, Query(ge=0, le=2**62, description="Sequence number after which to begin.")] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
) -> Any:
    """Return events in their order."""
    host = allow(request, tenant, "write")
    host.engine.standing(tenant)
    found = await host.lanes.record(lambda: host.registry.events(tenant, after, limit), tenant)
    return StoredEventsOut(tenant=tenant, events=[StoredEventOut(**asdict(one)) for one in found])
