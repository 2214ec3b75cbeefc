"""Router of the page: the shell that needs no key, its static files, and the fragments that show figures."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from llmrec_peft.serving.http.endpoints.callers import caller_of
from llmrec_peft.serving.http.gate.keyring import Caller
from llmrec_peft.serving.http.host import Host
from llmrec_peft.serving.http.page import changes, tries
from llmrec_peft.serving.http.page.rendering import HEADERS, rendered
from llmrec_peft.serving.http.page.rows import memory_rows, tenant_rows, version_rows
from llmrec_peft.serving.http.page.static_files import static_files
from llmrec_peft.serving.http.page.tenant_part import tenant_part
from llmrec_peft.serving.http.page.views import Overview, Traffic
from llmrec_peft.serving.http.problems import ForbiddenError, NotFoundError
from llmrec_peft.serving.http.schemas import TenantOut

_FOR_GOOD = "public, max-age=31536000, immutable"


def page_router(host: Host) -> APIRouter:
    """Return the routes of the page.

    ``/`` and ``/static/`` hold nothing of any tenant and need no key. What lies below ``/page/`` needs one: an admin's
    shows all tenants, another one its own.

    Args:
        host: The server that it shows.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    def shell() -> Response:
        return rendered("shell")

    @router.get("/static/{name}")
    def static(name: str, v: str = "") -> Response:
        found = static_files().get(name)
        if found is None:
            raise NotFoundError("there is no such file")
        kept = _FOR_GOOD if v == found.digest else "no-cache"
        return Response(found.content, headers=HEADERS | {"Cache-Control": kept}, media_type=found.media_type)

    @router.get("/page/board")
    def board(request: Request) -> Response:
        caller, overview = caller_of(request), host.overview()
        parts = _figures(overview, caller) | _tenants(host, overview, caller)
        return rendered("board", find=caller.admin, **parts)

    @router.get("/page/figures")
    def figures(request: Request) -> Response:
        return rendered("figures", **_figures(host.overview(), caller_of(request)))

    @router.get("/page/tenants")
    def tenants(request: Request) -> Response:
        return rendered("tenants", **_tenants(host, host.overview(), caller_of(request)))

    @router.get("/page/tenant")
    def found(request: Request, tenant: str = "") -> Response:
        return tenant_part(caller_of(request), _seen(host, request, tenant))

    @router.get("/page/tenants/{tenant}")
    def tenant(request: Request, tenant: str) -> Response:
        return tenant_part(caller_of(request), _seen(host, request, tenant))

    @router.get("/page/tenants/{tenant}/versions")
    def versions(request: Request, tenant: str) -> Response:
        standing = _seen(host, request, tenant)
        return rendered("versions", standing=standing, versions=version_rows(standing))

    router.include_router(tries.router)
    router.include_router(changes.router)
    return router


def _seen(host: Host, request: Request, tenant: str) -> TenantOut:
    """Return a tenant, if the caller may see it; a name that is not his is not looked up."""
    caller = caller_of(request)
    if caller.tenant not in (None, tenant):
        raise ForbiddenError
    return host.tenant(tenant)


def _figures(overview: Overview, caller: Caller) -> dict[str, Any]:
    """Return the figures that a caller may see: an admin those of the server, another one those of his tenant."""
    own = caller.tenant
    return {
        "overview": overview,
        "traffic": overview.total if own is None else overview.tenants.get(own, Traffic()),
        "waiting": overview.queue.waiting if own is None else overview.queue.requests.get(own, 0),
        "memory": memory_rows(overview) if caller.admin else [],
        "now": f"{datetime.now(UTC):%H:%M:%S}",
    }


def _tenants(host: Host, overview: Overview, caller: Caller) -> dict[str, Any]:
    """Return the rows of the tenants that a caller may see, and how many there is no room for."""
    standings = host.tenants() if caller.tenant is None else [host.tenant(caller.tenant)]
    rows = tenant_rows(standings, overview)
    return {"rows": rows, "hidden": len(standings) - len(rows)}
