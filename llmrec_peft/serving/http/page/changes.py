"""Changes: swap, trial, rollback, pinning and reloads on the page, each only of the versions that the person saw."""

from __future__ import annotations

from typing import TypeVar

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from llmrec_peft.serving.http.endpoints.callers import allow, caller_of
from llmrec_peft.serving.http.host import Host
from llmrec_peft.serving.http.page.forms import (
    ChangeForm,
    PinForm,
    RollbackForm,
    SwapForm,
    WeightForm,
    checked,
    read_form,
    versions_of,
)
from llmrec_peft.serving.http.page.numbers import percent, short
from llmrec_peft.serving.http.page.tenant_part import tenant_part
from llmrec_peft.serving.http.schemas import TenantIn, TenantOut
from llmrec_peft.serving.refusals import ServingError

router = APIRouter(include_in_schema=False)
Change = TypeVar("Change", bound=ChangeForm)


@router.post("/page/tenants/{tenant}/swap")
async def swap(request: Request, tenant: str) -> Response:
    """Let another run answer all users, or some of them on trial."""
    host, given = await _asked(request, tenant, SwapForm)
    wanted = checked(
        TenantIn, run=given.run, digest=given.digest, share=given.percent / 100, keep_items=given.keep_items
    )
    standing, _ = await host.put_tenant(tenant, wanted)
    return tenant_part(caller_of(request), standing, _said(standing))


@router.post("/page/tenants/{tenant}/weight")
async def weight(request: Request, tenant: str) -> Response:
    """Let the version on trial answer another share of the users."""
    host, given = await _asked(request, tenant, WeightForm)
    standing = await host.weight(tenant, given.version, given.percent / 100)
    return tenant_part(caller_of(request), standing, _said(standing))


@router.post("/page/tenants/{tenant}/rollback")
async def rollback(request: Request, tenant: str) -> Response:
    """End a trial, or let the former version answer again."""
    host, given = await _asked(request, tenant, RollbackForm)
    standing = await host.rollback(tenant, given.keep_items)
    return tenant_part(caller_of(request), standing, _said(standing))


@router.post("/page/tenants/{tenant}/pin")
async def pin(request: Request, tenant: str) -> Response:
    """Keep a tenant's versions in memory, or no longer."""
    host, given = await _asked(request, tenant, PinForm)
    standing = await host.pin(tenant, given.pinned)
    kept = "stay in memory" if standing.pinned else "may leave memory"
    return tenant_part(caller_of(request), standing, f"The versions of {tenant} {kept}.")


@router.post("/page/tenants/{tenant}/reload")
async def reload(request: Request, tenant: str) -> Response:
    """Load a tenant's versions, whatever failed before."""
    host, _ = await _asked(request, tenant, ChangeForm)
    standing = await host.reload(tenant)
    return tenant_part(caller_of(request), standing, f"The versions of {tenant} were loaded.")


async def _asked(request: Request, tenant: str, form: type[Change]) -> tuple[Host, Change]:
    """Return the server and what was given, if the caller may change the tenant and saw its present versions."""
    host = allow(request, tenant, "manage")
    given = await read_form(request, form)
    if given.expected != versions_of(await run_in_threadpool(host.tenant, tenant)):
        raise ServingError(tenant, "its versions have changed since this page showed them; open the tenant again")
    return host, given


def _said(standing: TenantOut) -> str:
    """Return in a sentence what answers a tenant's users now."""
    answers = f"Version {short(standing.main.version)} answers the users of {standing.tenant}"
    if standing.trial is None:
        return f"{answers}."
    return f"{answers}, and {short(standing.trial.version)} answers {percent(standing.share)} of them on trial."
