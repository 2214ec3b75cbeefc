"""Load plan: what a load test asks, within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted
from llmrec_peft.serving.http.client.connection import checked_url, is_loopback
from llmrec_peft.serving.http.load_test.load_schedule import Schedule

MOST_REQUESTS, MOST_SECONDS, MOST_CONNECTIONS, MOST_TENANTS = 1_000_000, 3_600.0, 2_048, 65_535


@dataclass(frozen=True)
class LoadPlan:
    """What a load test asks.

    Attributes:
        url: Address of the server.
        tenants: Names of tenants, the one that is asked most first.
        users: Ids of users, all equally likely.
        rate: Requests per second, above 0.
        seconds: Seconds in which they are due, at most 3,600; None with `requests`.
        requests: Number of requests, at most 1,000,000; None with `seconds`.
        warm_up_s: Seconds before, in which requests are sent at the same rate and not counted.
        zipf: The tenant of rank r is asked in proportion to 1 / r^zipf; 0 for all alike.
        k: Items of each list.
        even: Whether gaps between requests are equal; by default they are exponential.
        seed: Seed of gaps, tenants and users.
        connections: Connections that are open at the same time, at most.
        timeout_s: Seconds after which a request that was sent gets no answer.
        remote: Whether another machine may be asked.
    """

    url: str
    tenants: Sequence[str]
    users: Sequence[str]
    rate: float
    seconds: float | None = None
    requests: int | None = None
    warm_up_s: float = 0.0
    zipf: float = 1.0
    k: int = 10
    even: bool = False
    seed: int = 0
    connections: int = 256
    timeout_s: float = 30.0
    remote: bool = False

    def __post_init__(self) -> None:
        """Refuse what has no bound, or asks a machine that was not meant.

        Raises:
            InputError: Naming the field.
        """
        require_near(self.url, self.remote)
        if (self.seconds is None) == (self.requests is None):
            raise InputError("give seconds or requests, one of them")
        if not self.tenants or not self.users:
            raise InputError("a load test needs tenants and users")
        bounds = (
            ("rate", self.rate, 1e-3, 1e5),
            ("seconds", self.planned_s, 1e-3, MOST_SECONDS),
            ("warm_up_s", self.warm_up_s, 0, MOST_SECONDS),
            ("requests", self.rate * (self.planned_s + self.warm_up_s), 0, MOST_REQUESTS),
            ("tenants", len(self.tenants), 1, MOST_TENANTS),
            ("zipf", self.zipf, 0, 10),
            ("connections", self.connections, 1, MOST_CONNECTIONS),
            ("timeout_s", self.timeout_s, 1e-3, MOST_SECONDS),
        )
        for name, value, least, most in bounds:
            if not least <= value <= most:
                raise InputError(f"{name} of a load test is a number from {least:g} to {most:,.0f}, not {value:g}")

    @property
    def planned_s(self) -> float:
        """Seconds in which requests are due, the warm-up not counted."""
        return self.seconds if self.seconds is not None else (self.requests or 0) / self.rate

    def schedule(self) -> Schedule:
        """Return when requests are due."""
        return self._schedule(self.seconds, self.requests, self.seed)

    def warm_up(self) -> Schedule:
        """Return when requests of the warm-up are due."""
        return self._schedule(self.warm_up_s, None, self.seed + 1)

    def _schedule(self, seconds: float | None, requests: int | None, seed: int) -> Schedule:
        return Schedule(self.rate, seconds, requests, len(self.tenants), len(self.users), self.zipf, self.even, seed)


def require_near(url: str, remote: bool) -> None:
    """Refuse an address of another machine, unless that is meant.

    Raises:
        InputError: Saying what allows it.
    """
    checked_url(url)
    if not remote and not is_loopback(url):
        raise InputError(f"{quoted(url)} is another machine: --remote allows a load test there")
