"""Busiest: which tenants metrics name, so that their series stay few however many tenants there are."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable

OTHER, NOBODY = "other", "-"
"""Labels of tenants that are not named, of which a tenant called so is one, and of requests that are about none."""
LOOKED_S, HALF_S = 10.0, 60.0
"""Seconds between two looks at who is busiest, and after which a request counts half."""
STAYING = 1.5
"""How many times as many requests a tenant needs to take the place of one that is named, so that series do not come
and go with every look."""
FORGOTTEN = 0.01
"""Requests below which a tenant is not counted any more."""
MOST = 4096
"""Tenants whose requests are counted to find the busiest; others count as others until these rest."""


class Busiest:
    """Names of the tenants with most requests lately; whoever uses it holds a lock.

    A tenant is named while it is one of the busiest. When it is no longer, `left` is told, which removes its series,
    and its further requests count as those of `other`. So a request counts in one series, and each series grows as
    long as it is there: one that is removed and comes back begins at 0, which `rate` and `increase` of Prometheus take
    for a restart. Sums over tenants of counters themselves are not those of all requests; sums of rates are.
    """

    def __init__(self, most: int, left: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without names.

        Args:
            most: Tenants that are named at the same time.
            left: Is told of a tenant that is named no more.
            clock: Seconds.
        """
        self._most, self._left, self._clock = most, left, clock
        self._counts: dict[str, float] = {}
        self._named: set[str] = set()
        self._looked_at = clock()

    def label(self, tenant: str | None) -> str:
        """Count a request of a tenant, and return under which label."""
        if tenant is None:
            return NOBODY
        self._look()
        if tenant in self._counts or len(self._counts) < MOST:
            self._counts[tenant] = self._counts.get(tenant, 0.0) + 1.0
        if tenant not in self._named and len(self._named) < self._most and tenant != OTHER:
            self._named.add(tenant)
        return tenant if tenant in self._named else OTHER

    def _look(self) -> None:
        """Name those that have been busiest, once some seconds have passed."""
        now = self._clock()
        passed = now - self._looked_at
        if passed < LOOKED_S:
            return
        self._looked_at = now
        kept = 0.5 ** (passed / HALF_S)
        self._counts = {name: fewer for name, count in self._counts.items() if (fewer := count * kept) > FORGOTTEN}
        ranked = {name: count * (STAYING if name in self._named else 1.0) for name, count in self._counts.items()}
        ranked.pop(OTHER, None)
        named = set(heapq.nlargest(self._most, ranked, key=ranked.__getitem__))
        for name in self._named - named:
            self._left(name)
        self._named = named
