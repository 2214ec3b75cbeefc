"""Permission: whose key a request of the page has, and what it lets its holder see and do."""

from __future__ import annotations

from typing import cast

from fastapi import HTTPException, Request

from llmrec_peft.serving.http.page.views import PageCaller
from llmrec_peft.serving.http.schemas import ScopeName


def caller_of(request: Request) -> PageCaller:
    """Return whose key a request has; the gate lets no request of a fragment through without one."""
    return cast("PageCaller", request.state.caller)


def require_sight(request: Request, tenant: str) -> PageCaller:
    """Return the caller if he may see a tenant.

    Raises:
        HTTPException: 403, whether or not there is such a tenant.
    """
    caller = caller_of(request)
    if not caller.admin and caller.tenant != tenant:
        raise HTTPException(403)
    return caller


def require_scope(request: Request, tenant: str, scope: ScopeName) -> PageCaller:
    """Return the caller if his key has a scope for a tenant.

    Raises:
        HTTPException: 403, whether or not there is such a tenant.
    """
    caller = caller_of(request)
    if not caller.may(tenant, scope):
        raise HTTPException(403)
    return caller
