"""Callers: who asks, what he may, and whom the request is about, as logs and metrics see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from starlette.requests import Request

from llmrec_peft.serving.http.host import Host
from llmrec_peft.serving.http.keyring import Caller
from llmrec_peft.serving.http.keys import Scope
from llmrec_peft.serving.http.problems import EndingError, ForbiddenError
from llmrec_peft.serving.http.views import headers_of
from llmrec_peft.serving.versions import Identity


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
    request.scope["state"]["tenant"] = tenant
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


def answered(request: Request, identities: Iterable[Identity]) -> Mapping[str, Any]:
    """Return the headers of an answer, and let logs know what answered."""
    found = list(identities)
    if found:
        request.scope["state"]["identity"] = found[0]
    return headers_of(found)
