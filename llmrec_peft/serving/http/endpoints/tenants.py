"""Tenants: what answers them, and how it changes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import JSONResponse, Response

from llmrec_peft.serving.http.endpoints.callers import allow, allow_admin, caller_of, running
from llmrec_peft.serving.http.endpoints.documented import ERRORS
from llmrec_peft.serving.http.gate.bodies import StrictRoute
from llmrec_peft.serving.http.schemas import (
    PinIn,
    RollbackIn,
    TenantIn,
    TenantName,
    TenantOut,
    TenantsOut,
    WeightIn,
)

router = APIRouter(route_class=StrictRoute, tags=["tenants"], responses=ERRORS)
Name = Annotated[TenantName, Path()]


@router.get("/v1/overview", response_model=dict[str, Any])
async def overview(request: Request) -> Any:
    """Return the figures of the page."""
    return asdict(allow_admin(request).overview())


@router.get("/v1/tenants", response_model=TenantsOut)
async def list_tenants(request: Request) -> Any:
    """Return all tenants; a tenant's own key sees that tenant."""
    host, caller = running(request), caller_of(request)
    if caller.admin:
        return TenantsOut(tenants=host.tenants())
    assert caller.tenant is not None  # noqa: S101 - others are admins
    return TenantsOut(tenants=[host.tenant(caller.tenant)])


@router.put(
    "/v1/tenants/{tenant}",
    response_model=TenantOut,
    responses={201: {"model": TenantOut, "description": "The tenant is new."}},
)
async def put_tenant(request: Request, tenant: Name, body: TenantIn) -> Any:
    """Register a tenant with a run, or swap its run; asks that are under way end on the former one."""
    host = allow_admin(request)
    found, new = await host.put_tenant(tenant, body)
    return JSONResponse(found.model_dump(mode="json"), 201 if new else 200)


@router.get("/v1/tenants/{tenant}", response_model=TenantOut)
async def get_tenant(request: Request, tenant: Name) -> Any:
    """Return which versions answer a tenant's users, and where they are."""
    return allow(request, tenant, "ask").tenant(tenant)


@router.delete("/v1/tenants/{tenant}", status_code=204, response_class=Response)
async def remove_tenant(request: Request, tenant: Name) -> Response:
    """Forget a tenant and end its keys."""
    host = allow_admin(request)
    await host.remove(tenant)
    return Response(status_code=204)


@router.post("/v1/tenants/{tenant}/pin", response_model=TenantOut)
async def pin(request: Request, tenant: Name, body: PinIn) -> Any:
    """Keep a tenant's versions in memory, or no longer."""
    return await allow_admin(request).pin(tenant, body.pinned)


@router.post("/v1/tenants/{tenant}/weight", response_model=TenantOut)
async def weight(request: Request, tenant: Name, body: WeightIn) -> Any:
    """Let the version on trial answer another share of the users."""
    return await allow(request, tenant, "manage").weight(tenant, body.version, body.share)


@router.post("/v1/tenants/{tenant}/rollback", response_model=TenantOut)
async def rollback(request: Request, tenant: Name, body: RollbackIn) -> Any:
    """End a trial; without one, go back to the former version."""
    return await allow(request, tenant, "manage").rollback(tenant, body.keep_items)


@router.post("/v1/tenants/{tenant}/reload", response_model=TenantOut)
async def reload(request: Request, tenant: Name) -> Any:
    """Load a tenant's versions, whatever failed before."""
    return await allow(request, tenant, "manage").reload(tenant)
