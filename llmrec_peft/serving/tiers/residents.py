"""Residents: what the tier of loaded versions knows of one sealed run, in memory or not."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from llmrec_peft.serving.sealed_store import SealedRun
from llmrec_peft.serving.tiers.eviction import NEVER, worth
from llmrec_peft.serving.tiers.failures import Failure
from llmrec_peft.serving.tiers.memory import Condition, Tier
from llmrec_peft.serving.tiers.version_bytes import Bytes, bytes_of, made_since
from llmrec_peft.serving.versions import Placed, Snapshot, Version


@dataclass(eq=False)
class Waiter:
    """Somebody who waits for a version.

    Attributes:
        beside: Tenant whose change needs it, if it is one's: errors come as they are then, and what the tenant has
            pinned is about to be replaced. None for asks.
        leases: Whether he uses the version once it is there; not so if it is only to be loaded.
        done: Set when one of the next two is.
        granted: Whether a use was counted for him.
        error: Why there will be none.
    """

    beside: str | None = None
    leases: bool = True
    done: threading.Event = field(default_factory=threading.Event)
    granted: bool = False
    error: BaseException | None = None

    def refuse(self, error: BaseException) -> None:
        """Say why there will be no version."""
        self.error = error
        self.done.set()


@dataclass(eq=False)
class Resident:
    """A sealed run that routes name, or that somebody uses or waits for; whoever changes it holds the tier's lock.

    Attributes:
        sealed: The run.
        tier: Where it is.
        version: It in memory; None elsewhere.
        snapshots: The version in states that routes name, by the states' digests; some may be missing.
        places: States that routes name, by their digests.
        names: How many routes name each of them.
        pins: How often each tenant's pins are on it.
        leases: How many asks and changes use it.
        waiters: Who waits for it.
        weight: How recently and how often it was used, see `eviction.used`.
        held: Bytes of the budget that it has now.
        nbytes: Private bytes that it takes in memory; 0 until it was loaded.
        mapped: Bytes that it maps.
        counted: What it had made each time that its bytes were counted; it makes the same again after another load.
        notes: See `Tenant.notes`.
        failure: Why it could not be loaded; kept until a load succeeds.
        checked: Whether it has been in memory once, so that its adapter fits.
        encodes: Whether the language model reads a text for each of its scores; False until it was in memory once.
    """

    sealed: SealedRun
    tier: Tier = "sealed"
    version: Version | None = None
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    places: dict[str, Placed] = field(default_factory=dict)
    names: Counter[str] = field(default_factory=Counter)
    pins: Counter[str] = field(default_factory=Counter)
    leases: int = 0
    waiters: list[Waiter] = field(default_factory=list)
    weight: float = NEVER
    held: int = 0
    nbytes: int = 0
    mapped: int = 0
    counted: set[frozenset[object]] = field(default_factory=set)
    notes: tuple[str, ...] = ()
    failure: Failure | None = None
    checked: bool = False
    encodes: bool = False

    @property
    def evictable(self) -> bool:
        """Whether it is in memory and nobody minds its leaving."""
        return self.version is not None and not self.leases and not self.pins

    @property
    def wanted(self) -> bool:
        """Whether anybody knows of it."""
        return bool(self.names or self.leases or self.waiters)

    @property
    def worth(self) -> float:
        """What it is worth in memory, see `eviction.worth`."""
        return worth(self.weight, self.held)

    @property
    def condition(self) -> Condition:
        """Where it is."""
        failure = self.failure if self.tier == "failed" else None
        return Condition(self.sealed.digest, self.tier, bool(self.pins), self.nbytes, failure)

    def name(self, placed: Placed, pinned_by: str | None) -> None:
        """Count a route that names the version in a state."""
        self.places[placed.state.digest] = placed
        self.names[placed.state.digest] += 1
        if pinned_by is not None:
            self.pins[pinned_by] += 1

    def unname(self, placed: Placed, pinned_by: str | None) -> None:
        """End what `name` counted."""
        digest = placed.state.digest
        self.names[digest] -= 1
        if not self.names[digest]:
            del self.names[digest], self.places[digest]
            self.snapshots.pop(digest, None)
            self.counted.clear()
        if pinned_by is not None:
            self.unpin(pinned_by)

    def unpin(self, tenant: str) -> None:
        """End one of a tenant's pins."""
        self.pins[tenant] -= 1
        if not self.pins[tenant]:
            del self.pins[tenant]


@dataclass(frozen=True)
class Count:
    """What a version in memory takes, counted where it has made something that was not there before.

    Attributes:
        made: What it has made since it was loaded, in each of its states.
        found: Its bytes; None if they have been counted before.
    """

    made: frozenset[object]
    found: Bytes | None

    @classmethod
    def of(cls, resident: Resident, version: Version, snapshots: Iterable[Snapshot]) -> Self:
        """Count a version; nobody has to hold the lock."""
        ones = list(snapshots)
        made = frozenset((one.placed.state.digest, made_since(one.tenant)) for one in ones)
        if made in resident.counted:
            return cls(made, None)
        return cls(made, bytes_of([version.tenant, *(one.tenant for one in ones)]))
