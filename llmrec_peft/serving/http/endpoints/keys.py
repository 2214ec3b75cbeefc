"""Keys: made, listed and ended by an admin."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from llmrec_peft.serving.http.endpoints.callers import allow_admin
from llmrec_peft.serving.http.endpoints.documented import ERRORS
from llmrec_peft.serving.http.endpoints.tenants import Name
from llmrec_peft.serving.http.gate.bodies import StrictRoute
from llmrec_peft.serving.http.gate.keys import StoredKey
from llmrec_peft.serving.http.host import Host
from llmrec_peft.serving.http.problems import NotFoundError
from llmrec_peft.serving.http.schemas import AdminKeyIn, KeyIn, KeyOut, KeysOut, NewKeyOut

router = APIRouter(route_class=StrictRoute, tags=["keys"], responses=ERRORS)
KeyId = Annotated[str, Path(pattern=r"^[0-9a-f]{8}$")]
After = Annotated[float, Query(ge=0, le=3.2e9, description="Seconds until the key ends.")]


@router.get("/v1/keys", response_model=KeysOut)
async def list_admin_keys(request: Request) -> Any:
    """Return the admin keys."""
    return _listed(allow_admin(request), None)


@router.post("/v1/keys", response_model=NewKeyOut, status_code=201)
async def new_admin_key(request: Request, body: AdminKeyIn) -> Any:
    """Make a further admin key; it is told this once."""
    return await _made(allow_admin(request), None, KeyIn(scopes=["ask"], **body.model_dump()))


@router.delete("/v1/keys/{key_id}", status_code=204, response_class=Response)
async def end_admin_key(request: Request, key_id: KeyId, after_s: After = 0.0) -> Response:
    """End an admin key, as long as another one stays that has no end: nobody else could make one."""
    host = allow_admin(request)
    if not any(one.expires is None for one in host.ring.of(None) if one.key_id != key_id):
        raise NotFoundError("the last admin key without an end stays: make another one first")
    return await _ended(host, None, key_id, after_s)


@router.get("/v1/tenants/{tenant}/keys", response_model=KeysOut)
async def list_keys(request: Request, tenant: Name) -> Any:
    """Return a tenant's keys."""
    host = allow_admin(request)
    host.engine.standing(tenant)
    return _listed(host, tenant)


@router.post("/v1/tenants/{tenant}/keys", response_model=NewKeyOut, status_code=201)
async def new_key(request: Request, tenant: Name, body: KeyIn) -> Any:
    """Make a key of a tenant; it is told this once. The tenant's other keys stay valid."""
    return await _made(allow_admin(request), tenant, body)


@router.delete("/v1/tenants/{tenant}/keys/{key_id}", status_code=204, response_class=Response)
async def end_key(request: Request, tenant: Name, key_id: KeyId, after_s: After = 0.0) -> Response:
    """End a tenant's key, now or after some time in which the next one is handed out."""
    return await _ended(allow_admin(request), tenant, key_id, after_s)


def _listed(host: Host, tenant: str | None) -> KeysOut:
    return KeysOut(keys=[KeyOut(**_plain(one)) for one in host.ring.of(tenant)])


async def _made(host: Host, tenant: str | None, body: KeyIn) -> NewKeyOut:
    expires = None if body.expires_s is None else time.time() + body.expires_s
    text, key = await host.new_key(tenant, body.scopes if tenant is not None else (), expires, body.label)
    return NewKeyOut(key=text, **_plain(key))


async def _ended(host: Host, tenant: str | None, key_id: str, after_s: float) -> Response:
    found = next((one for one in host.ring.of(tenant) if one.key_id == key_id), None)
    if found is None:
        raise NotFoundError(f"there is no key {key_id} of this tenant")
    when = time.time() + after_s
    await host.end_key(found, when if found.expires is None else min(when, found.expires))
    return Response(status_code=204)


def _plain(key: StoredKey) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "tenant": key.tenant,
        "scopes": sorted(key.scopes),
        "created": key.created,
        "expires": key.expires,
        "label": key.label,
    }
