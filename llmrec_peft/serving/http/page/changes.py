"""Changes: swap, trial, rollback and pinning on the page, each only of the versions that the person saw."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool

from llmrec_peft.serving.http.page.forms import (
    ChangeForm,
    Given,
    PinForm,
    RollbackForm,
    SwapForm,
    WeightForm,
    read_form,
    versions_of,
)
from llmrec_peft.serving.http.page.numbers import percent, short
from llmrec_peft.serving.http.page.permission import require_scope
from llmrec_peft.serving.http.page.tenant_part import tenant_part
from llmrec_peft.serving.http.page.views import PageCaller, PageHost
from llmrec_peft.serving.http.schemas import TenantIn, TenantOut


def add_changes(router: APIRouter, host: PageHost) -> None:
    """Add the routes that change versions; a browser asks the person to confirm before it sends one."""

    async def asked(request: Request, tenant: str, form: type[Given]) -> tuple[PageCaller, Given]:
        """Return who asks for a change, and what he gave, if the versions are still those that he saw."""
        caller = require_scope(request, tenant, "manage")
        given = await read_form(request, form)
        standing = await run_in_threadpool(host.tenant, tenant)
        if isinstance(given, ChangeForm) and given.expected != versions_of(standing):
            raise HTTPException(409, "the versions have changed since this page showed them; open the tenant again")
        return caller, given

    @router.post("/page/tenants/{tenant}/swap")
    async def swap(request: Request, tenant: str) -> Response:
        caller, given = await asked(request, tenant, SwapForm)
        wanted = TenantIn(run=given.run, digest=given.digest, share=given.percent / 100, keep_items=given.keep_items)
        standing, _ = await host.put_tenant(tenant, wanted)
        return tenant_part(caller, standing, _said(standing))

    @router.post("/page/tenants/{tenant}/weight")
    async def weight(request: Request, tenant: str) -> Response:
        caller, given = await asked(request, tenant, WeightForm)
        standing = await host.weight(tenant, given.version, given.percent / 100)
        return tenant_part(caller, standing, _said(standing))

    @router.post("/page/tenants/{tenant}/rollback")
    async def rollback(request: Request, tenant: str) -> Response:
        caller, given = await asked(request, tenant, RollbackForm)
        standing = await host.rollback(tenant, given.keep_items)
        return tenant_part(caller, standing, _said(standing))

    @router.post("/page/tenants/{tenant}/pin")
    async def pin(request: Request, tenant: str) -> Response:
        caller, given = await asked(request, tenant, PinForm)
        standing = await host.pin(tenant, given.pinned)
        kept = "stay in memory" if standing.pinned else "may leave memory"
        return tenant_part(caller, standing, f"The versions of {tenant} {kept}.")


def _said(standing: TenantOut) -> str:
    """Return in a sentence what answers a tenant's users now."""
    answers = f"Version {short(standing.main.version)} answers the users of {standing.tenant}"
    if standing.trial is None:
        return f"{answers}."
    return f"{answers}, and {short(standing.trial.version)} answers {percent(standing.share)} of them on trial."
