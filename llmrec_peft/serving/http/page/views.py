"""Views: the figures that the page shows, and the server that it shows them of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from llmrec_peft.serving.http.schemas import (
    ExplainIn,
    ExplainOut,
    RecommendIn,
    RecommendOut,
    ScopeName,
    TenantIn,
    TenantOut,
)
from llmrec_peft.serving.tiers.memory import Memory


@dataclass(frozen=True)
class Traffic:
    """Requests of the last minutes, of one tenant or of all.

    Attributes:
        per_s: Requests per second.
        failed_per_s: Those of them that got a status of 500 or above.
        p50_s: Median seconds from a request to its answer; None without requests.
        p95_s: Their 95th centile.
        p99_s: Their 99th centile.
    """

    per_s: float = 0.0
    failed_per_s: float = 0.0
    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None


@dataclass(frozen=True)
class Queue:
    """What waits at the moment.

    Attributes:
        requests: Requests that wait, by tenant; a tenant without any may be absent.
        tokens: Tokens of text that wait, of all tenants, by an estimate.
        most_tokens: Tokens that may wait.
    """

    requests: Mapping[str, int] = field(default_factory=dict)
    tokens: int = 0
    most_tokens: int = 0

    @property
    def waiting(self) -> int:
        """Requests that wait, of all tenants."""
        return sum(self.requests.values())


@dataclass(frozen=True)
class ListCache:
    """Lists that are kept.

    Attributes:
        hits: Lists that were asked for and found since the server began.
        misses: Lists that had to be computed.
        nbytes: Bytes that the lists take.
        most_bytes: Bytes that they may take.
    """

    hits: int = 0
    misses: int = 0
    nbytes: int = 0
    most_bytes: int = 0


@dataclass(frozen=True)
class Overview:
    """Figures of the whole server.

    Attributes:
        ready: Whether requests are taken.
        trouble: What is wrong, such as a registry that cannot be written; None if nothing is.
        window_s: Seconds over which `total` and `tenants` are counted.
        total: Requests of all tenants.
        tenants: Requests by tenant; one without requests may be absent.
        queue: What waits.
        memory: Bytes by tier.
        cache: Lists that are kept.
    """

    ready: bool
    trouble: str | None
    window_s: float
    total: Traffic
    tenants: Mapping[str, Traffic]
    queue: Queue
    memory: Memory
    cache: ListCache


class PageCaller(Protocol):
    """Whose key a request has."""

    @property
    def admin(self) -> bool:
        """Whether the key may do everything."""

    @property
    def tenant(self) -> str | None:
        """Whose key it is; None for an admin's."""

    def may(self, tenant: str, scope: ScopeName) -> bool:
        """Say whether the key lets its holder do something for a tenant."""


class PageHost(Protocol):
    """What the page asks of a server; each call raises what the HTTP interface turns into a refusal."""

    def tenants(self) -> list[TenantOut]:
        """Return all tenants."""

    def tenant(self, name: str) -> TenantOut:
        """Return one tenant."""

    def overview(self) -> Overview:
        """Return the figures of the moment."""

    async def recommend(self, asked: RecommendIn) -> RecommendOut:
        """Answer as POST /v1/recommend does."""

    async def explain(self, asked: ExplainIn) -> ExplainOut:
        """Answer as POST /v1/explain does."""

    async def put_tenant(self, name: str, given: TenantIn) -> tuple[TenantOut, bool]:
        """Give a tenant another run."""

    async def pin(self, name: str, pinned: bool) -> TenantOut:
        """Keep a tenant's versions in memory, or no longer."""

    async def weight(self, name: str, version: str, share: float) -> TenantOut:
        """Let the version on trial answer another share of the users."""

    async def rollback(self, name: str, keep_items: bool) -> TenantOut:
        """End a trial, or go back to the former version."""
