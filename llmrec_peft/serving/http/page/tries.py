"""Tries: a recommendation to one user on the page, and the evidence of one of its scores."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from llmrec_peft.serving.http.endpoints.callers import allow
from llmrec_peft.serving.http.gate.bodies import require_within
from llmrec_peft.serving.http.page.forms import TryForm, WhyForm, checked, read_form
from llmrec_peft.serving.http.page.rendering import rendered
from llmrec_peft.serving.http.page.rows import evidence_tables
from llmrec_peft.serving.http.schemas import ExplainIn, IdentityOut, RecommendIn
from llmrec_peft.serving.http.views import headers_of
from llmrec_peft.serving.versions import Identity

router = APIRouter(include_in_schema=False)


@router.post("/page/tenants/{tenant}/try")
async def recommend(request: Request, tenant: str) -> Response:
    """Recommend to a user, who comes in the body, so that no log of addresses names him."""
    host = allow(request, tenant, "ask")
    given = await read_form(request, TryForm)
    asked = checked(RecommendIn, tenant=tenant, user_id=given.user_id, k=given.k, seen=given.seen)
    require_within(asked, host.settings.bodies)
    answer = (await host.recommend(asked)).answers[0]
    return rendered("list", headers_of([_identity(answer)]), tenant=tenant, answer=answer)


@router.post("/page/tenants/{tenant}/explain")
async def explain(request: Request, tenant: str) -> Response:
    """Show the evidence of a score."""
    host = allow(request, tenant, "ask")
    given = await read_form(request, WhyForm)
    asked = checked(ExplainIn, tenant=tenant, user_id=given.user_id, item_id=given.item_id)
    require_within(asked, host.settings.bodies)
    found = await host.explain(asked)
    return rendered(
        "explanation", headers_of([_identity(found)]), found=found, tables=evidence_tables(found.explanation)
    )


def _identity(found: IdentityOut) -> Identity:
    return Identity(found.version, found.state, found.state_digest)
