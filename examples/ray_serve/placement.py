"""Placement: versions on replicas, by consistent hashing with bounded loads.

Replicas have many points on a ring, a version has one. The replicas whose points follow a version's are its order. A
request goes to the first replica of the order that has room: at most `factor` times the mean load (V. Mirrokni,
M. Thorup, M. Zadimoghaddam: Consistent Hashing with Bounded Loads, SODA 2018). So

- a version stays where it is in memory, as long as its replica is not busier than others;
- a version that is asked for more than a replica's share is answered by the next ones as well;
- when replicas come or go, only the versions of their parts of the ring move.
"""

from __future__ import annotations

import bisect
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping

FACTOR = 1.25
"""Load that a replica takes, as a multiple of the mean."""


class Ring:
    """Points of replicas on a ring; two rings of the same replicas are the same in every process.

    Attributes:
        replicas: Names of the replicas, sorted.
    """

    def __init__(self, replicas: Iterable[str], points: int = 128) -> None:
        """Place the replicas.

        Args:
            replicas: Names of the replicas.
            points: Points of each.
        """
        self.replicas = sorted(set(replicas))
        placed = sorted((_place(f"{name}\0{at}"), name) for name in self.replicas for at in range(points))
        self._places, self._names = [place for place, _ in placed], [name for _, name in placed]

    def order(self, version: str) -> list[str]:
        """Return all replicas in the order in which a version tries them; the first one is its home."""
        at = bisect.bisect_right(self._places, _place(version))
        found: dict[str, None] = {}
        for name in (*self._names[at:], *self._names[:at]):
            found.setdefault(name)
            if len(found) == len(self.replicas):
                break
        return list(found)

    def place(self, version: str, loads: Mapping[str, int], factor: float = FACTOR) -> str:
        """Return the first replica of a version's order that has room for one more.

        Args:
            version: What is asked for.
            loads: What each replica does already; those that are not named do nothing.
            factor: Load that a replica takes, as a multiple of the mean, above 1.
        """
        busy = sum(loads.get(name, 0) for name in self.replicas)
        room = math.ceil(factor * (busy + 1) / len(self.replicas))
        return next(name for name in self.order(version) if loads.get(name, 0) < room)


def placed(versions: Iterable[str], ring: Ring, factor: float = FACTOR) -> dict[str, str]:
    """Return a replica for each version, none with more versions than `factor` times the mean, rounded up."""
    loads = Counter[str]()
    found = {}
    for version in versions:
        found[version] = ring.place(version, loads, factor)
        loads[found[version]] += 1
    return found


def _place(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
