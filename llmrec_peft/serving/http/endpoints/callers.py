"""Callers: who asks, and what he may."""

from __future__ import annotations

from typing import cast

from starlette.requests import Request

from llmrec_peft.serving.http.gate.keyring import Caller
from llmrec_peft.serving.http.gate.keys import Scope
from llmrec_peft.serving.http.host import Host
from llmrec_peft.serving.http.problems import EndingError, ForbiddenError


def host_of(request: Request) -> Host:
    """Return what the server answers with."""
    return cast(Host, request.app.state.host)


def caller_of(request: Request) -> Caller:
    """Return whose key came with a request; the gate let nobody else through."""
    return cast(Caller, request.scope["state"]["caller"])


def allow(request: Request, tenant: str, scope: Scope) -> Host:
    """Let a caller ask about a tenant; nothing is looked up before, so that nobody learns which names there are.

    Raises:
        ForbiddenError: If his key is another tenant's, or not for this.
        EndingError: If the server ends.
    """
    if not caller_of(request).may(tenant, scope):
        raise ForbiddenError
    return running(request)


def allow_admin(request: Request) -> Host:
    """Let an admin through, and nobody else.

    Raises:
        ForbiddenError: If it is a tenant's key.
        EndingError: If the server ends.
    """
    if not caller_of(request).admin:
        raise ForbiddenError
    return running(request)


def running(request: Request) -> Host:
    """Return what the server answers with, unless it ends.

    Raises:
        EndingError: If it does.
    """
    host = host_of(request)
    if host.draining:
        raise EndingError("the server ends; another one answers, or this one after its restart")
    return host
