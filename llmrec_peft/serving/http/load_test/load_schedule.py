"""Load schedule: when each request of a load test is due, and whom it asks about; the same seed gives the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_CHUNK = 4_096
"""Requests that are drawn at once, so that memory does not grow with their number."""


class Due(NamedTuple):
    """A request of a load test.

    Attributes:
        at: Seconds after the beginning.
        tenant: Number of the tenant, 0 for the one that is asked most.
        user: Number of the user.
    """

    at: float
    tenant: int
    user: int


@dataclass(frozen=True)
class Schedule:
    """Requests that come whether or not earlier ones were answered (open loop).

    Attributes:
        rate: Requests per second, above 0.
        seconds: Seconds in which requests are due; None for no bound.
        requests: Number of requests; None for no bound.
        tenants: Number of tenants.
        users: Number of users, all equally likely.
        zipf: The tenant of rank r is asked in proportion to 1 / r^zipf; 0 for all alike.
        even: Whether the gaps between requests are equal; by default they are exponential (a Poisson process).
        seed: Seed of gaps, tenants and users.
    """

    rate: float
    seconds: float | None
    requests: int | None
    tenants: int = 1
    users: int = 1
    zipf: float = 1.0
    even: bool = False
    seed: int = 0

    def __iter__(self) -> Iterator[Due]:
        """Yield the requests in the order of their times."""
        draw = np.random.default_rng(self.seed)
        bounds = np.cumsum(self.shares())
        begun, left = 0.0, self.requests
        while left is None or left > 0:
            count = _CHUNK if left is None else min(_CHUNK, left)
            gaps = np.ones(count) if self.even else draw.exponential(size=count)
            at = begun + np.cumsum(gaps) / self.rate
            tenants = np.minimum(np.searchsorted(bounds, draw.random(count), "right"), self.tenants - 1)
            users = draw.integers(self.users, size=count)
            for one in zip(at.tolist(), tenants.tolist(), users.tolist(), strict=True):
                if self.seconds is not None and one[0] > self.seconds:
                    return
                yield Due(*one)
            begun = float(at[-1])
            left = None if left is None else left - count

    def shares(self) -> NDArray[np.float64]:
        """Return the share of each tenant in the requests, float64 [tenants]."""
        weights = np.arange(1, self.tenants + 1, dtype=np.float64) ** -self.zipf
        return np.asarray(weights / weights.sum())
