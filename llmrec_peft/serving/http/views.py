"""Views: what an engine knows, in the schemas of the HTTP interface."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from llmrec_peft.serving.answers import Answer, Scores, Standing
from llmrec_peft.serving.http.schemas import ConditionOut, FailureOut, IdentityOut, TenantOut
from llmrec_peft.serving.tiers.memory import Condition
from llmrec_peft.serving.versions import Identity


def identity_of(identity: Identity) -> IdentityOut:
    """Return an identity."""
    return IdentityOut(**identity._asdict())


def tenant_of(standing: Standing, queue_weight: float) -> TenantOut:
    """Return what answers a tenant's users."""
    return TenantOut(
        tenant=standing.tenant,
        main=identity_of(standing.main),
        trial=None if standing.trial is None else identity_of(standing.trial),
        share=float(standing.share),
        former=None if standing.former is None else identity_of(standing.former),
        notes=list(standing.notes),
        pinned=standing.pinned,
        queue_weight=queue_weight,
        conditions=[_condition(one) for one in standing.conditions],
    )


def _condition(one: Condition) -> ConditionOut:
    failure = one.failure
    return ConditionOut(
        version=one.version,
        tier=one.tier,
        pinned=one.pinned,
        nbytes=one.nbytes,
        failure=None
        if failure is None
        else FailureOut(reason=failure.reason, attempts=failure.attempts, next_try=failure.next_try),
    )


def lists_of(tenant: str, k: int, seen: bool, answers: Sequence[Answer]) -> dict[str, Any]:
    """Return lists as plain values, in the form of `schemas.RecommendOut`."""
    return {
        "tenant": tenant,
        "k": k,
        "seen": seen,
        "answers": [
            {
                "user_id": one.user_id,
                "basis": one.basis,
                **one.identity._asdict(),
                "items": [{"item_id": item.item_id, "title": item.title, "score": item.score} for item in one.items],
            }
            for one in answers
        ],
    }


def scores_of(scores: Scores) -> dict[str, Any]:
    """Return scores as plain values, in the form of `schemas.ScoreOut`."""
    rows = zip(scores.users, scores.items, scores.values.tolist(), scores.identities, scores.basis, strict=True)
    return {
        "tenant": scores.tenant,
        "scores": [
            {"user_id": user, "item_id": item, "score": value, "basis": basis, **identity._asdict()}
            for user, item, value, identity, basis in rows
        ],
    }


def headers_of(identities: Iterable[Identity]) -> dict[str, str]:
    """Return the headers that say what answered: distinct values, in the order in which they answered."""
    distinct = list(dict.fromkeys(identities))
    return {
        "LLMRec-Version": ",".join(one.version for one in distinct),
        "LLMRec-State": ",".join(str(one.state) for one in distinct),
        "LLMRec-State-Digest": ",".join(one.state_digest for one in distinct),
    }
