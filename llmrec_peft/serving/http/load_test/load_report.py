"""Load report: what became of the requests of a load test, in bounded memory; waiting counts from when one was due."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

TIMEOUT, LOST, UNSENT, OPEN = 1, 2, 3, 4
"""What stands in the place of a status where no answer came."""
_NAMES = {TIMEOUT: "timeout", LOST: "lost", UNSENT: "unsent", OPEN: "open"}
_REFUSED = (429, 503)
_OK, _NOT_OK = 200, 300
RANKS = 100
"""Tenants that a report tells apart; the others are counted together."""

_SHARES = [*(each / 100 for each in range(100)), *(each / 1000 for each in range(991, 1000)), 0.9995, 0.9999, 1.0]


@dataclass(frozen=True)
class Waits:
    """Waiting in milliseconds.

    Attributes:
        p50: Median.
        p90: 90th centile.
        p99: 99th centile.
        max: The longest.
    """

    p50: float
    p90: float
    p99: float
    max: float

    @classmethod
    def of(cls, seconds: NDArray[np.float32]) -> Waits | None:
        """Return what some requests waited; None for no requests."""
        if not len(seconds):
            return None
        centiles = np.quantile(seconds, [0.5, 0.9, 0.99, 1.0])
        return cls(*(round(float(one) * 1e3, 3) for one in centiles))


@dataclass(frozen=True)
class OneTenant:
    """What became of the requests to one tenant, or to all that are not told apart.

    Attributes:
        rank: 1 for the tenant that was asked most; None for the others together.
        tenant: Its name.
        requests: Requests that were due.
        answered: Requests that were answered (2xx).
        refused: Requests that the server was too busy for (429, 503).
        errors: All others.
        waited: Waiting of those that were answered or got no answer; None if there were none.
    """

    rank: int | None
    tenant: str
    requests: int
    answered: int
    refused: int
    errors: int
    waited: Waits | None


@dataclass(frozen=True)
class LoadReport:
    """What became of the requests of a load test.

    Attributes:
        rate: Requests per second that were asked for.
        offered: Requests per second that were due.
        achieved: Requests per second that were answered (2xx).
        seconds: Seconds from the end of the warm-up to the last answer.
        requests: Requests that were due after the warm-up.
        answered: Requests that were answered (2xx).
        refused: Requests that the server was too busy for (429, 503).
        errors: All others: other statuses, and requests that got no answer.
        statuses: Number of requests by status; ``timeout``, ``lost`` (the connection ended) and ``unsent`` (all
            connections were busy to the end) got none, nor did those that were ``open`` when the test was interrupted.
        waited: From when a request was due to its answer. A request that got none counts as long as it waited, so that
            a server that stalls does not hide it; those that were refused do not count.
        sent_late: From when a request was due to when it was sent: what the generator and its connections add.
        tenants: The same by tenant.
        curve: Shares of requests, 0 to 1, each with the milliseconds that this share waited at most.
        interrupted: Whether the test was ended before its time.
    """

    rate: float
    offered: float
    achieved: float
    seconds: float
    requests: int
    answered: int
    refused: int
    errors: int
    statuses: Mapping[str, int]
    waited: Waits | None
    sent_late: Waits | None
    tenants: Sequence[OneTenant] = field(repr=False)
    curve: Sequence[tuple[float, float]] = field(repr=False)
    interrupted: bool = False

    def plain(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


class Outcomes:
    """Twelve bytes for each request that was due."""

    def __init__(self) -> None:
        """Begin without requests."""
        self._waited, self._late = array("f"), array("f")
        self._tenant, self._status = array("H"), array("H")

    def __len__(self) -> int:
        return len(self._waited)

    def add(self, tenant: int, status: int, waited_s: float, late_s: float) -> None:
        """Note a request.

        Args:
            tenant: Number of the tenant, below 65,536.
            status: Status of HTTP, or `TIMEOUT`, `LOST`, `UNSENT`.
            waited_s: Seconds from when it was due to its answer, or to the end of waiting for one.
            late_s: Seconds from when it was due to when it was sent.
        """
        self._waited.append(waited_s)
        self._late.append(late_s)
        self._tenant.append(tenant)
        self._status.append(status)

    @property
    def waited(self) -> NDArray[np.float32]:
        """Seconds that requests waited that were answered or got no answer, float32 [n]."""
        status = np.asarray(self._status, np.uint16)
        return np.asarray(self._waited, np.float32)[~np.isin(status, _REFUSED)]

    def report(
        self, rate: float, planned_s: float, seconds: float, tenants: Sequence[str], interrupted: bool
    ) -> LoadReport:
        """Return what became of the requests.

        Args:
            rate: Requests per second that were asked for.
            planned_s: Seconds in which they were due.
            seconds: Seconds to the last answer.
            tenants: Names of the tenants, by number.
            interrupted: Whether the test was ended before its time.
        """
        status, late = np.asarray(self._status, np.uint16), np.asarray(self._late, np.float32)
        answered, refused = (status >= _OK) & (status < _NOT_OK), np.isin(status, _REFUSED)
        errors = ~answered & ~refused & (status != OPEN)
        counted = Counter(status.tolist())
        return LoadReport(
            rate=rate,
            offered=round(len(self) / max(planned_s, 1e-9), 3),
            achieved=round(int(answered.sum()) / max(seconds, planned_s, 1e-9), 3),
            seconds=round(seconds, 3),
            requests=len(self),
            answered=int(answered.sum()),
            refused=int(refused.sum()),
            errors=int(errors.sum()),
            statuses={_NAMES.get(one, str(one)): counted[one] for one in sorted(counted)},
            waited=Waits.of(self.waited),
            sent_late=Waits.of(late[status != UNSENT]),
            tenants=self._by_tenant(tenants, answered, refused, errors),
            curve=self._curve(),
            interrupted=interrupted,
        )

    def _curve(self) -> list[tuple[float, float]]:
        waited = self.waited * 1e3
        return [(share, round(float(np.quantile(waited, share)), 3)) for share in _SHARES] if len(waited) else []

    def _by_tenant(
        self, names: Sequence[str], answered: NDArray[np.bool_], refused: NDArray[np.bool_], errors: NDArray[np.bool_]
    ) -> list[OneTenant]:
        tenant, waited = np.asarray(self._tenant, np.uint16), np.asarray(self._waited, np.float32)
        groups = list[tuple[int | None, str, NDArray[np.bool_]]]()
        groups += [(at + 1, name, tenant == at) for at, name in enumerate(names[:RANKS])]
        groups += [(None, "others", tenant >= RANKS)] if len(names) > RANKS else []
        return [
            OneTenant(
                rank,
                name,
                int(own.sum()),
                int((own & answered).sum()),
                int((own & refused).sum()),
                int((own & errors).sum()),
                Waits.of(waited[own & ~refused]),
            )
            for rank, name, own in groups
        ]
