"""Tenant part: what the page shows of one tenant, with what may be tried and changed."""

from __future__ import annotations

from fastapi import Response

from llmrec_peft.serving.http.gate.keyring import Caller
from llmrec_peft.serving.http.page.forms import MOST_SHOWN, versions_of
from llmrec_peft.serving.http.page.rendering import rendered
from llmrec_peft.serving.http.page.rows import version_rows
from llmrec_peft.serving.http.schemas import TenantOut


def tenant_part(caller: Caller, standing: TenantOut, said: str = "") -> Response:
    """Return the part of one tenant.

    Args:
        caller: Whose key it is; forms are left out which he may not send.
        standing: The tenant.
        said: What was changed, for those who do not see it; empty if nothing was.
    """
    return rendered(
        "tenant",
        {"HX-Trigger": "refresh"} if said else {},
        standing=standing,
        versions=version_rows(standing),
        expected=versions_of(standing),
        may_ask=caller.may(standing.tenant, "ask"),
        may_manage=caller.may(standing.tenant, "manage"),
        is_admin=caller.admin,
        most=MOST_SHOWN,
        said=said,
    )
