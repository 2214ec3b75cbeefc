"""Recent: requests per second and their latencies in the last minutes, from bounded memory."""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

SLOT_S, SLOTS = 15.0, 8
"""Seconds whose requests are counted together, and how many such slots are kept: two minutes."""
LEAST_S, GROWTH, LAST = 1e-4, 1.1, 150
"""Buckets of latencies: up to `LEAST_S`, and each `GROWTH` times as long as the one before, 160 s the last."""
FAILED = -1
"""Stands among the buckets for requests that the server failed."""
TENANTS = 2048
"""Tenants that are kept, those that were asked last."""


@dataclass(frozen=True)
class Figures:
    """Requests of the last two minutes.

    Attributes:
        requests: How many there were.
        per_second: How many in a second.
        failed_per_second: How many of them got a status of 500 or above.
        p50_s: Seconds within which half of them were answered, at most a tenth too long.
        p95_s: Seconds for 95 of 100.
        p99_s: Seconds for 99 of 100.
    """

    requests: int
    per_second: float
    failed_per_second: float
    p50_s: float
    p95_s: float
    p99_s: float


@dataclass(frozen=True)
class Recent:
    """Requests of the last two minutes, of all tenants and of each.

    Attributes:
        window_s: Seconds that are counted.
        all: Those of all tenants, and those that are about none.
        tenants: Those of each tenant that had some, by its name.
    """

    window_s: float
    all: Figures
    tenants: dict[str, Figures]


@dataclass
class _Window:
    slots: deque[tuple[int, Counter[int]]] = field(default_factory=lambda: deque(maxlen=SLOTS))

    def add(self, slot: int, bucket: int, failed: bool) -> None:
        if not self.slots or self.slots[-1][0] != slot:
            self.slots.append((slot, Counter()))
        counts = self.slots[-1][1]
        counts[bucket] += 1
        counts[FAILED] += failed

    def counts(self, slot: int) -> Counter[int]:
        """Return the requests of the slots that are not too old, by bucket."""
        found = Counter[int]()
        for at, counts in self.slots:
            if at > slot - SLOTS:
                found.update(counts)
        return found


class RecentRequests:
    """Latencies by tenant in slots of time; whoever uses it holds a lock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without requests.

        Args:
            clock: Seconds.
        """
        self._clock = clock
        self._began = clock()
        self._all = _Window()
        self._tenants: OrderedDict[str, _Window] = OrderedDict()

    def add(self, tenant: str | None, seconds: float, failed: bool = False) -> None:
        """Note a request that was answered, and whether the server failed it."""
        slot, bucket = int(self._clock() / SLOT_S), _bucket(seconds)
        self._all.add(slot, bucket, failed)
        if tenant is None:
            return
        window = self._tenants.pop(tenant, None) or _Window()
        window.add(slot, bucket, failed)
        self._tenants[tenant] = window
        while len(self._tenants) > TENANTS:
            self._tenants.popitem(last=False)

    def figures(self) -> Recent:
        """Return what happened in the last two minutes."""
        now = self._clock()
        slot = int(now / SLOT_S)
        since = max(self._began, (slot - SLOTS + 1) * SLOT_S)
        seconds = max(1.0, now - since)
        tenants = {name: window.counts(slot) for name, window in self._tenants.items()}
        return Recent(
            seconds,
            _figures(self._all.counts(slot), seconds),
            {name: _figures(counts, seconds) for name, counts in tenants.items() if counts},
        )


def _bucket(seconds: float) -> int:
    return min(LAST, max(0, math.ceil(math.log(max(seconds, LEAST_S) / LEAST_S, GROWTH))))


def _figures(counts: Counter[int], seconds: float) -> Figures:
    failed = counts.pop(FAILED, 0)
    total, ordered = counts.total(), sorted(counts.items())
    return Figures(
        total, total / seconds, failed / seconds, *(_within(ordered, share * total) for share in (0.5, 0.95, 0.99))
    )


def _within(ordered: Sequence[tuple[int, int]], need: float) -> float:
    """Return the seconds within which at least so many requests were answered; 0 without requests."""
    passed = 0
    for bucket, count in ordered:
        passed += count
        if passed >= need:
            return LEAST_S * GROWTH**bucket
    return 0.0
