"""Rates: how much one tenant may ask for in a time."""

from __future__ import annotations

import threading
import time
from typing import Literal

import limits
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted
from llmrec_peft.serving.http.settings import Quotas

Kind = Literal["requests", "texts", "explanations"]


class Rates:
    """Counts what each tenant asks for.

    A sliding window is computed from two counters, those of the present window and of the one before, so that a tenant
    takes the same few bytes at any rate; a moving window would keep an entry for each request. At the border of two
    windows no tenant gets twice its quota, as with fixed windows. The counters bear the number of their window: a clock
    that jumps begins new ones, and locks nobody out.

    Only tenants whose key was valid are counted, so that a flood of wrong keys takes no memory.
    """

    def __init__(self, quotas: Quotas) -> None:
        """Begin to count.

        Args:
            quotas: Rates, as ``limits`` writes them.

        Raises:
            InputError: If one of them is no rate.
        """
        self._storage = MemoryStorage()
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)
        self._quotas: dict[Kind, limits.RateLimitItem] = {
            "requests": _quota("requests", quotas.requests),
            "texts": _quota("texts", quotas.texts),
            "explanations": _quota("explanations", quotas.explanations),
        }
        self._held: dict[tuple[str, Kind], float] = {}
        self._lock = threading.Lock()

    def take(self, tenant: str, kind: Kind, amount: int = 1) -> float | None:
        """Count what a tenant asks for, if there is room.

        More than the quota of one window, such as 512 texts at 200 a second, is let through when the tenant has taken
        nothing for a window, and the next has to wait for as many windows as were taken.

        Args:
            tenant: Who asks, by a valid key.
            kind: What for.
            amount: How much, at least 1.

        Returns:
            None if there is room; else the seconds after which there will be, if the tenant takes nothing else.
        """
        quota = self._quotas[kind]
        window, cost = quota.get_expiry(), min(amount, quota.amount)
        with self._lock:
            held = self._held.get((tenant, kind), 0.0) - time.monotonic()
            if held > 0:
                return held
            self._held.pop((tenant, kind), None)
            if not self._limiter.hit(quota, kind, tenant, cost=cost):
                return self._wait_s(quota, kind, tenant, cost)
            if amount > cost:
                self._held[tenant, kind] = time.monotonic() + window * (amount / quota.amount - 1)
        return None

    def _wait_s(self, quota: limits.RateLimitItem, kind: Kind, tenant: str, cost: int) -> float:
        """Return when a sliding window has room again: its count falls as the window before leaves it."""
        window, key = quota.get_expiry(), quota.key_for(kind, tenant)
        before, before_s, present, present_s = self._storage.get_sliding_window(key, window)
        room = quota.amount - cost + 1  # the count, which is rounded down, has to be below
        if present < room:
            return max(0.0, before_s - (room - present) * window / before) if before else 0.0
        left_s = present_s - window
        return left_s + max(0.0, window - room * window / present)


def _quota(name: str, text: str) -> limits.RateLimitItem:
    try:
        found = limits.parse_many(text)
    except ValueError:
        found = []
    if len(found) != 1 or found[0].amount < 1:
        raise InputError(f"quotas.{name}: {quoted(text)} is not one rate; write such as 200/second")
    return found[0]
