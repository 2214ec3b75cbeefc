"""Views: figures of a whole server, as its page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from llmrec_peft.serving.http.seeing.recent import Figures
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

    @classmethod
    def of(cls, figures: Figures) -> Self:
        """Return what was counted; without requests there are no quantiles."""
        times = (figures.p50_s, figures.p95_s, figures.p99_s) if figures.requests else (None, None, None)
        return cls(figures.per_second, figures.failed_per_second, *times)


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
