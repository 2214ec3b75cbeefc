"""Tries: a recommendation to one user on the page, and the evidence of one of its scores."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from llmrec_peft.serving.http.page.forms import TryForm, WhyForm, read_form
from llmrec_peft.serving.http.page.permission import require_scope
from llmrec_peft.serving.http.page.rendering import rendered
from llmrec_peft.serving.http.page.rows import evidence_tables
from llmrec_peft.serving.http.page.views import PageHost
from llmrec_peft.serving.http.schemas import ExplainIn, RecommendIn


def add_tries(router: APIRouter, host: PageHost) -> None:
    """Add the routes that recommend and explain; users come in bodies, so that no log of addresses names them."""

    @router.post("/page/tenants/{tenant}/try")
    async def recommend(request: Request, tenant: str) -> Response:
        require_scope(request, tenant, "ask")
        given = await read_form(request, TryForm)
        found = await host.recommend(RecommendIn(tenant=tenant, user_id=given.user_id, k=given.k, seen=given.seen))
        return rendered("list", tenant=tenant, answer=found.answers[0])

    @router.post("/page/tenants/{tenant}/explain")
    async def explain(request: Request, tenant: str) -> Response:
        require_scope(request, tenant, "ask")
        given = await read_form(request, WhyForm)
        found = await host.explain(ExplainIn(tenant=tenant, user_id=given.user_id, item_id=given.item_id))
        return rendered("explanation", found=found, tables=evidence_tables(found.explanation))
