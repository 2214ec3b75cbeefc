"""A server of made-up tenants for the page: three versions to swap, keys of each kind, and hostile texts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import Mock

from llmrec_peft.errors import InputError
from llmrec_peft.serving.http.gate.keyring import KeyRing
from llmrec_peft.serving.http.gate.keys import Scope, new_key
from llmrec_peft.serving.http.gate.rates import Rates
from llmrec_peft.serving.http.page.views import ListCache, Overview, Queue, Traffic
from llmrec_peft.serving.http.schemas import (
    ConditionOut,
    ExplainIn,
    ExplainOut,
    FailureOut,
    IdentityOut,
    ItemOut,
    ListOut,
    RecommendIn,
    RecommendOut,
    TenantIn,
    TenantOut,
)
from llmrec_peft.serving.http.settings import Settings
from llmrec_peft.serving.refusals import UnknownTenantError
from llmrec_peft.serving.tiers.memory import Memory

EVIL = "<img src=x onerror=alert(1)>"
"""A title that runs a script where it is not escaped."""
BIDI = "Heat \u202e(1995)"
LINK = "javascript:alert(2)"
FIRST, SECOND, THIRD = (digit * 64 for digit in "1ab")
RUNS = {"runs/first": FIRST, "runs/second": SECOND, "runs/third": THIRD}


KEYS: dict[str, tuple[str | None, tuple[Scope, ...]]] = {
    "admin-key": (None, ()),
    "films-key": ("films", ("ask",)),
    "films-manager": ("films", ("ask", "manage")),
    "films-writer": ("films", ("write",)),
    "books-key": ("books", ("ask",)),
}
"""Whose keys there are, and what for."""


def identity(digest: str, state: int = 0) -> IdentityOut:
    """Return a version in a state."""
    return IdentityOut(version=digest, state=state, state_digest=digest)


def with_conditions(tenant: TenantOut) -> TenantOut:
    """Say of each version that it is in memory."""
    versions = [one.version for one in (tenant.main, tenant.trial, tenant.former) if one is not None]
    told = [
        ConditionOut(version=one, tier="ready", pinned=tenant.pinned, nbytes=3 << 20, failure=None) for one in versions
    ]
    return tenant.model_copy(update={"conditions": told})


def made_up_tenant(name: str, **changes: Any) -> TenantOut:
    """Return a tenant with one version."""
    told = TenantOut(
        tenant=name,
        main=identity(FIRST, 3),
        trial=None,
        share=0.0,
        former=None,
        notes=[f"histories did not come with the run {EVIL}"],
        pinned=False,
        queue_weight=1.0,
        conditions=[],
    )
    return with_conditions(told).model_copy(update=changes)


BROKEN = [
    ConditionOut(
        version=FIRST,
        tier="failed",
        pinned=False,
        nbytes=0,
        failure=FailureOut(reason=f"head.safetensors: {EVIL} \u202ecut", attempts=5, next_try=None),
    )
]


@dataclass
class MadeUpHost:
    """Answers as a server does.

    Attributes:
        known: Tenants by name.
        figures: What `overview` returns.
        asked: Calls that changed something or asked, in their order.
        refusal: Raised by the next calls that ask or change; None to answer.
        keys: Texts of the keys of `KEYS`.
    """

    known: dict[str, TenantOut] = field(
        default_factory=lambda: {
            "films": made_up_tenant("films"),
            "books": made_up_tenant("books", conditions=BROKEN),
        }
    )
    figures: Overview = field(
        default_factory=lambda: Overview(
            True,
            None,
            60.0,
            Traffic(12.5, 0.0, 0.0031, 0.012, 0.0203),
            {"films": Traffic(10.0, 0.0, 0.003, 0.011, 0.02), "books": Traffic(2.5, 0.25, 0.004, 0.013, 2.5)},
            Queue({"films": 7}, 1200, 400_000),
            Memory(8 << 30, 3 << 20, 1 << 20, 0, 0, 9000, 256 << 20, 64 << 20, 0, 0, 5 << 40, 0, 0, 2, 0, *range(6)),
            ListCache(3, 1, 1 << 20, 64 << 20),
        )
    )
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    refusal: Exception | None = None
    keys: dict[str, str] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    ring: KeyRing = field(default_factory=KeyRing)
    metrics: Mock = field(default_factory=Mock)
    tracing: None = None
    draining: bool = False

    def __post_init__(self) -> None:
        """Make `KEYS`."""
        self.rates = Rates(self.settings.quotas)
        for name, (tenant, scopes) in KEYS.items():
            self.keys[name], stored = new_key(tenant, scopes)
            self.ring.put(stored)

    def _note(self, *call: Any) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(call)

    def _changed(self, name: str, **changes: Any) -> TenantOut:
        self.known[name] = with_conditions(self.tenant(name).model_copy(update=changes))
        return self.known[name]

    def tenants(self) -> list[TenantOut]:
        """Return all tenants."""
        return list(self.known.values())

    def tenant(self, name: str) -> TenantOut:
        """Return one tenant."""
        if name not in self.known:
            raise UnknownTenantError(name)
        return self.known[name]

    def known_reason(self, error: InputError) -> InputError:
        """Return the error: every tenant was restored."""
        return error

    def overview(self) -> Overview:
        """Return the figures, with another number at each call."""
        self.figures = replace(self.figures, total=replace(self.figures.total, per_s=self.figures.total.per_s + 1))
        return self.figures

    async def recommend(self, asked: RecommendIn) -> RecommendOut:
        """Return hostile titles."""
        self._note("recommend", asked.tenant, asked.users, asked.k, asked.seen)
        titles = [EVIL, BIDI, LINK, '"><script>alert(3)</script>', "Кино"]
        items = [ItemOut(item_id=f"{at}&{title}", title=title, score=5.0 - at) for at, title in enumerate(titles)]
        found = ListOut(
            **identity(FIRST, 3).model_dump(), user_id=asked.users[0], basis="personal", items=items[: asked.k]
        )
        return RecommendOut(tenant=asked.tenant, k=asked.k, seen=asked.seen, answers=[found])

    async def explain(self, asked: ExplainIn) -> ExplainOut:
        """Return evidence with hostile texts."""
        self._note("explain", asked.tenant, asked.user_id, asked.item_id)
        evidence = [
            {"kind": "signal", "what": "taste", "contribution": 0.5, "method": "exact"},
            {"kind": "history", "what": EVIL, "contribution": -0.25, "method": "leave-one-out", "label": 5.0},
            {"kind": "word", "what": BIDI, "contribution": 0.125, "method": "leave-one-out"},
        ]
        explanation = {
            "user": asked.user_id,
            "item": asked.item_id,
            "title": EVIL,
            "score": 4.5,
            "raw": 4.51,
            "unit": "stars",
            "base": {"mean": 3.5},
            "evidence": evidence,
            "notes": [f"a note {EVIL}"],
        }
        return ExplainOut(
            **identity(FIRST, 3).model_dump(),
            tenant=asked.tenant,
            user_id=asked.user_id,
            item_id=asked.item_id,
            explanation=explanation,
        )

    async def put_tenant(self, name: str, given: TenantIn) -> tuple[TenantOut, bool]:
        """Swap to one of `RUNS`."""
        self._note("swap", name, given.run, given.share, given.digest, given.keep_items)
        if given.run not in RUNS:
            raise InputError(f"{given.run}: is no run folder")
        other, former = identity(RUNS[given.run]), self.tenant(name).main
        if given.share < 1:
            return self._changed(name, trial=other, share=given.share), False
        return self._changed(name, main=other, trial=None, share=0.0, former=former), False

    async def pin(self, name: str, pinned: bool) -> TenantOut:
        """Pin or unpin."""
        self._note("pin", name, pinned)
        return self._changed(name, pinned=pinned)

    async def weight(self, name: str, version: str, share: float) -> TenantOut:
        """Change the share."""
        self._note("weight", name, version, share)
        if share < 1:
            return self._changed(name, share=share)
        one = self.tenant(name)
        return self._changed(name, main=one.trial, trial=None, share=0.0, former=one.main)

    async def rollback(self, name: str, keep_items: bool) -> TenantOut:
        """End the trial, or go back."""
        self._note("rollback", name, keep_items)
        one = self.tenant(name)
        if one.trial is not None:
            return self._changed(name, trial=None, share=0.0)
        return self._changed(name, main=one.former, former=one.main)

    async def reload(self, name: str) -> TenantOut:
        """Load again what failed."""
        self._note("reload", name)
        return self._changed(name)
