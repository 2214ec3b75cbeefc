"""Router of the page: the shell that needs no key, its static files, and the fragments that show figures."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from llmrec_peft.serving.http.page.changes import add_changes
from llmrec_peft.serving.http.page.permission import caller_of, require_sight
from llmrec_peft.serving.http.page.rendering import HEADERS, rendered
from llmrec_peft.serving.http.page.rows import memory_rows, tenant_rows, version_rows
from llmrec_peft.serving.http.page.static_files import static_files
from llmrec_peft.serving.http.page.tenant_part import tenant_part
from llmrec_peft.serving.http.page.tries import add_tries
from llmrec_peft.serving.http.page.views import PageCaller, PageHost, Traffic

_FOR_GOOD = "public, max-age=31536000, immutable"


def page_router(host: PageHost) -> APIRouter:
    """Return the routes of the page.

    ``/`` and ``/static/`` hold nothing of any tenant and need no key. Everything below ``/page/`` expects the caller
    whom the gate found in ``request.state.caller``.

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
            raise HTTPException(404, "there is no such file")
        kept = _FOR_GOOD if v == found.digest else "no-cache"
        return Response(found.content, headers=HEADERS | {"Cache-Control": kept}, media_type=found.media_type)

    @router.get("/page/board")
    def board(request: Request) -> Response:
        return rendered("board", **_figures(host, caller_of(request)))

    @router.get("/page/figures")
    def figures(request: Request) -> Response:
        return rendered("figures", **_figures(host, caller_of(request)))

    @router.get("/page/tenants")
    def tenants(request: Request) -> Response:
        return rendered("tenants", **_figures(host, caller_of(request)))

    @router.get("/page/tenant")
    def found(request: Request, tenant: str) -> Response:
        return tenant_part(require_sight(request, tenant), host.tenant(tenant))

    @router.get("/page/tenants/{tenant}")
    def tenant(request: Request, tenant: str) -> Response:
        return tenant_part(require_sight(request, tenant), host.tenant(tenant))

    @router.get("/page/tenants/{tenant}/versions")
    def versions(request: Request, tenant: str) -> Response:
        require_sight(request, tenant)
        standing = host.tenant(tenant)
        return rendered("versions", standing=standing, versions=version_rows(standing))

    add_tries(router, host)
    add_changes(router, host)
    return router


def _figures(host: PageHost, caller: PageCaller) -> dict[str, Any]:
    """Return the figures that a caller may see: an admin those of all, another one those of his tenant."""
    overview = host.overview()
    own = None if caller.admin else caller.tenant
    standings = host.tenants() if own is None else [host.tenant(own)]
    rows = tenant_rows(standings, overview)
    return {
        "overview": overview,
        "traffic": overview.total if own is None else overview.tenants.get(own, Traffic()),
        "waiting": overview.queue.waiting if own is None else overview.queue.requests.get(own, 0),
        "memory": memory_rows(overview) if caller.admin else [],
        "rows": rows,
        "hidden": len(standings) - len(rows),
        "find": caller.admin,
        "now": f"{datetime.now(UTC):%H:%M:%S}",
    }
