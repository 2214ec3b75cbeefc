"""Clients of lanes in tests: an engine that computes nothing, and callers in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmrec_peft.serving.http.lanes.lanes import Lanes
from llmrec_peft.serving.http.seeing.metrics import Metrics
from llmrec_peft.serving.http.settings import Quotas, Settings
from llmrec_peft.serving.refusals import UnavailableError, UnknownTenantError
from llmrec_peft.serving.tiered import Readiness
from llmrec_peft.serving.versions import Identity


@dataclass
class Answered:
    """What the made-up engine answers."""

    tenant: str
    identity: Identity


@dataclass
class MadeUpEngine:
    """An engine whose asks take as long as it is told, and whose versions come when they are told to.

    Attributes:
        seconds: What an ask for one user takes, by tenant.
        absent: Tenants whose version is not in memory.
        comes: Set when the version of such a tenant comes.
        broken: Tenants whose version cannot be loaded.
        encoding: Tenants whose version reads a text for each score.
        threads: In which threads each kind of call ran.
        order: Tenants in the order in which they were answered.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    comes: dict[str, threading.Event] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    encoding: set[str] = field(default_factory=set)
    threads: dict[str, set[str]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    at_once: Counter[str] = field(default_factory=Counter)
    most_at_once: Counter[str] = field(default_factory=Counter)

    def kept(self, *_: Any) -> None:
        """Keep no lists."""

    def readiness(self, tenant: str, users: Sequence[str] | None = None) -> Readiness:
        """Say where a version is."""
        if tenant.startswith("unknown"):
            raise UnknownTenantError(tenant)
        return Readiness(frozenset({tenant} & self.absent), tenant in self.encoding and tenant not in self.absent)

    @contextlib.contextmanager
    def in_use(self, tenant: str, users: Sequence[str] | None = None, wait_s: float | None = None) -> Iterator[None]:
        """Wait until a version comes."""
        if tenant in self.broken:
            raise UnavailableError(tenant, "its version could not be loaded", 3.0)
        if tenant in self.absent:
            if not self.comes[tenant].wait(wait_s):
                raise UnavailableError(tenant, "not in memory", 1.0, late=True)
            self.absent.discard(tenant)
        yield

    def route(self, tenant: str) -> None:
        """Look a tenant up."""
        self.readiness(tenant)

    def ask(self, tenant: str, users: Sequence[str], k: int, seen: bool, wait_s: float, route: None) -> list[Answered]:
        """Answer, or say that the version is absent."""
        return [self._work("ask", tenant, len(users)) for _ in users[:1]]

    def explain(self, tenant: str, *_: Any, wait_s: float) -> Answered:
        """Explain."""
        return self._work("explain", tenant, 1)

    def add_items(self, tenant: str, rows: Sequence[Any]) -> Any:
        """Encode."""
        found = self._work("add_items", tenant, len(rows))
        found.main = found.identity  # type: ignore[attr-defined]
        return found

    def _work(self, kind: str, tenant: str, count: int) -> Answered:
        if tenant in self.absent:
            raise UnavailableError(tenant, "not in memory", 1.0, late=True)
        self.threads.setdefault(kind, set()).add(threading.current_thread().name)
        key = f"{kind} {tenant}"
        self.at_once[key] += 1
        self.most_at_once[key] = max(self.most_at_once[key], self.at_once[key])
        time.sleep(self.seconds.get(tenant, 0.001) * count)
        self.at_once[key] -= 1
        self.order.append(tenant)
        return Answered(tenant, Identity(tenant, 0, tenant))


@contextlib.asynccontextmanager
async def lanes_of(engine: Any, metrics: Metrics | None = None, **given: Any) -> AsyncIterator[Lanes]:
    """Lanes of an engine, closed afterwards; quotas by their names, the other settings by theirs."""
    quotas = {name: given.pop(name) for name in list(given) if name in Quotas.model_fields}
    lanes = Lanes(engine, Settings(quotas=Quotas(**quotas), **given), metrics or Metrics())
    try:
        yield lanes
    finally:
        await lanes.close(5.0)


async def repeated(do: Callable[[], Any], count: int, pause_s: float = 0.0) -> list[float]:
    """Do something several times, one after the other; return the seconds that each took."""
    found = []
    for _ in range(count):
        began = time.monotonic()
        await do()
        found.append(time.monotonic() - began)
        await asyncio.sleep(pause_s)
    return found
