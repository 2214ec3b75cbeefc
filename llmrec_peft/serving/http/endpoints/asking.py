"""Asking: lists, scores and explanations."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from llmrec_peft.serving.answers import Answer, Scores
from llmrec_peft.serving.http.endpoints.callers import allow
from llmrec_peft.serving.http.endpoints.documented import ERRORS
from llmrec_peft.serving.http.gate.bodies import StrictRoute, require_within
from llmrec_peft.serving.http.lanes.leaving import unless_left
from llmrec_peft.serving.http.schemas import ExplainIn, ExplainOut, RecommendIn, RecommendOut, ScoreIn, ScoreOut
from llmrec_peft.serving.http.views import headers_of, lists_of, scores_of
from llmrec_peft.serving.versions import Identity

router = APIRouter(route_class=StrictRoute, tags=["asking"], responses=ERRORS)


@router.post("/v1/recommend", response_model=RecommendOut)
async def recommend(request: Request, body: RecommendIn) -> Any:
    """Return the best items of one user or of several."""
    host = allow(request, body.tenant, "ask")
    require_within(body, host.settings.bodies)

    def shape(answers: list[Answer]) -> Response:
        headers = headers_of(one.identity for one in answers)
        return JSONResponse(lists_of(body.tenant, body.k, body.seen, answers), headers=headers)

    return await unless_left(request.receive, host.lanes.shaped_ask(body.tenant, body.users, body.k, body.seen, shape))


@router.post("/v1/score", response_model=ScoreOut)
async def score(request: Request, body: ScoreIn) -> Any:
    """Predict labels of pairs of users and items."""
    host = allow(request, body.tenant, "ask")
    require_within(body, host.settings.bodies)

    def shape(scores: Scores) -> Response:
        return JSONResponse(scores_of(scores), headers=headers_of(scores.identities))

    return await unless_left(request.receive, host.lanes.shaped_score(body.tenant, body.user_ids, body.item_ids, shape))


@router.post("/v1/explain", response_model=ExplainOut)
async def explain(request: Request, body: ExplainIn) -> Any:
    """Return the evidence of one score."""
    host = allow(request, body.tenant, "ask")
    require_within(body, host.settings.bodies)
    found = await unless_left(request.receive, host.explain(body))
    identity = Identity(found.version, found.state, found.state_digest)
    return JSONResponse(found.model_dump(mode="json"), headers=headers_of([identity]))
