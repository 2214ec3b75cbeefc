"""Room: which versions are known, named and pinned, and the bytes of those in memory; what leaves to make room."""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import get_args

from llmrec_peft.errors import InputError
from llmrec_peft.serving.sealed_store import SealedRun
from llmrec_peft.serving.tiers.memory import Memory, Tier
from llmrec_peft.serving.tiers.residents import Count, Resident
from llmrec_peft.serving.versions import Placed, Snapshot, Version

COUNTED = ("hits", "waits", "loads", "evictions", "failures", "refusals")
"""What `Memory` counts."""


LOOKED_AT = 512
"""Versions of which the least worth one is found exactly; of more in memory, as many are drawn at random, so that the
lock is held for less than a millisecond."""


class Room:
    """Versions by sealed run, within a number of bytes.

    Whoever calls a method holds `lock`, and frees what is in `left` without it afterwards.

    Attributes:
        lock: Held while numbers and routes change, never while anything is loaded, computed or dropped.
        budget: Bytes of all versions; None for no bound.
        held: Bytes of those in memory, and of those that are being loaded.
        left: Versions that left memory and are to be freed.
        counts: How often what happened: ``hits``, ``waits``, ``loads``, ``evictions``, ``failures``, ``refusals``.
    """

    def __init__(self, budget: int | None) -> None:
        """Begin without versions.

        Args:
            budget: Bytes of all versions; None for no bound.
        """
        self.lock = threading.Lock()
        self.budget = budget
        self.held = 0
        self.left: deque[tuple[Version, list[Snapshot]]] = deque()
        self.counts: Counter[str] = Counter()
        self._residents: dict[SealedRun, Resident] = {}
        self._here: dict[Resident, None] = {}

    def name(self, places: Iterable[Placed], pinned_by: str | None = None) -> None:
        """Count a route's versions; those that a tenant pins do not leave memory."""
        for placed in places:
            self.known(placed.sealed).name(placed, pinned_by)

    def unname(self, places: Iterable[Placed], pinned_by: str | None = None) -> None:
        """End what `name` counted; a version that nobody names or uses leaves memory."""
        for placed in places:
            resident = self._residents[placed.sealed]
            resident.unname(placed, pinned_by)
            self.forget(resident)

    def pin(self, places: Sequence[Placed], tenant: str) -> None:
        """Keep versions that are in use in memory for a tenant.

        Raises:
            InputError: If the budget has no room for all that is pinned.
        """
        self.require_pinnable(places, tenant)
        for placed in places:
            self._residents[placed.sealed].pins[tenant] += 1

    def require_pinnable(self, places: Sequence[Placed], tenant: str) -> None:
        """Refuse versions for which there is no room beside what others have pinned.

        Raises:
            InputError: With the bytes.
        """
        ones = {self.known(placed.sealed) for placed in places}
        others = {one for one in self._here if set(one.pins) - {tenant}}
        pinned = sum(one.held for one in ones | others)
        if self.budget is not None and pinned > self.budget:
            raise InputError(
                f"no room in memory: what is pinned would take {pinned:,} of the {self.budget:,} bytes for all versions"
            )

    def unpin(self, places: Iterable[Placed], tenant: str) -> None:
        """End what `pin` did."""
        for placed in places:
            self._residents[placed.sealed].unpin(tenant)

    def keep(self, snapshots: Iterable[Snapshot]) -> None:
        """Keep versions in states that routes name, if they are still those in memory."""
        for one in snapshots:
            resident = self._residents.get(one.placed.sealed)
            digest = one.placed.state.digest
            if resident is not None and resident.version is one.version and digest in resident.names:
                resident.snapshots[digest] = one

    def residents(self) -> list[Resident]:
        """Return all that is known of versions."""
        return list(self._residents.values())

    def find(self, sealed: SealedRun) -> Resident | None:
        """Return what is known of a run; None if nobody knows of it."""
        return self._residents.get(sealed)

    def in_memory(self, sealed: SealedRun) -> Version | None:
        """Return a version; None if it is not in memory."""
        found = self.find(sealed)
        return None if found is None else found.version

    def uses(self) -> dict[str, int]:
        """Return how many routes and uses each version in memory has, by its digest."""
        found: Counter[str] = Counter()
        with self.lock:
            for one in self._residents.values():
                if one.version is not None:
                    found[one.sealed.digest] += one.names.total() + one.leases
        return dict(found)

    def memory(self) -> Memory:
        """Return bytes and counts; what lies elsewhere is 0."""
        ones = list(self._residents.values())
        tiers = Counter(one.tier for one in ones)
        additions = {id(added): added for one in ones for placed in one.places.values() for added in placed.additions()}
        vectors = [one.vectors for one in additions.values() if one.vectors is not None]
        return Memory(
            host_budget=self.budget,
            host_bytes=self.held,
            mapped_bytes=sum(one.mapped for one in ones if one.version is not None),
            pinned_bytes=sum(one.held for one in ones if one.pins),
            added_bytes=sum(vector.nbytes for vector in vectors),
            skeleton_bytes=0,
            adapter_budget=0,
            adapter_bytes=0,
            adapter_host_budget=0,
            adapter_host_bytes=0,
            disk_bytes=0,
            **{tier: tiers[tier] for tier in get_args(Tier)},
            **{name: self.counts[name] for name in COUNTED},
        )

    def hold(self, resident: Resident, nbytes: int) -> None:
        """Let a version take another part of the budget."""
        self.held += nbytes - resident.held
        resident.held = nbytes

    def put(self, resident: Resident, version: Version, snapshots: Iterable[Snapshot]) -> None:
        """Let a version that was loaded be in memory, in the states that routes name."""
        resident.version, resident.tier = version, "ready"
        named = ((one.placed.state.digest, one) for one in snapshots)
        resident.snapshots = {digest: one for digest, one in named if digest in resident.names}
        self._here[resident] = None

    def note(self, resident: Resident, count: Count) -> None:
        """Note what a version in memory takes.

        What is held is the most that it ever took, so that what it will make again after another load has its room.
        """
        resident.counted.add(count.made)
        if count.found is not None:
            resident.nbytes, resident.mapped = max(resident.nbytes, count.found.private), count.found.mapped
        self.hold(resident, resident.nbytes)

    def make_room(self, nbytes: int) -> bool:
        """Let versions leave memory until there is room, the one that is worth least first.

        Returns:
            Whether there is room; if not, none has left.
        """
        over = 0 if self.budget is None else self.held + nbytes - self.budget
        if over <= 0:
            return True
        chosen, freed = self._worth_least(over)
        if freed < over:
            return False
        self.evict(chosen)
        return True

    def shrink(self) -> None:
        """Let versions leave memory while more than the budget is held, as far as they can."""
        over = 0 if self.budget is None else self.held - self.budget
        if over > 0:
            self.evict(self._worth_least(over)[0])

    def lacks(self, resident: Resident, beside: str | None) -> str | None:
        """Return why there can be no room for a version, whatever leaves; None if there can be.

        Args:
            resident: The version, of which the bytes are known.
            beside: Tenant whose pins do not count.
        """
        if self.budget is None:
            return None
        need = resident.nbytes
        if need > self.budget:
            return f"it takes {need:,} bytes in memory, and there are {self.budget:,} for all versions (host_bytes)"
        others = (one for one in self._residents.values() if one is not resident and one.version is not None)
        if need > self.budget - sum(one.held for one in others if set(one.pins) - {beside}):
            return self.said(resident)
        return None

    def said(self, resident: Resident) -> str:
        """Return what there is no room for, and what has it."""
        others = [one for one in self._residents.values() if one is not resident]
        pinned = sum(one.held for one in others if one.pins and one.version is not None)
        busy = sum(one.held for one in others if not one.pins and not one.evictable)
        return (
            f"no room in memory: it takes {resident.nbytes:,} bytes, and of the {self.budget or 0:,} for all versions"
            f" {pinned:,} are pinned and {busy:,} are in use"
        )

    def forget(self, resident: Resident) -> None:
        """Let a version leave memory that nobody knows of any more."""
        if resident.wanted or resident.tier == "loading":
            return
        self._take_out(resident)
        self._residents.pop(resident.sealed, None)

    def known(self, sealed: SealedRun) -> Resident:
        """Return what is known of a run; it is known from now on."""
        return self._residents.setdefault(sealed, Resident(sealed))

    def _worth_least(self, over: int) -> tuple[list[Resident], int]:
        """Return versions that may leave and take at least as many bytes, if there are such, and their bytes."""
        here = list(self._here)
        if len(here) > LOOKED_AT:
            few = _least(random.sample(here, LOOKED_AT), over)
            if few[1] >= over:
                return few
        return _least(here, over)

    def evict(self, ones: Iterable[Resident]) -> None:
        """Let versions leave memory."""
        for one in ones:
            self._take_out(one)
            self.counts["evictions"] += 1

    def _take_out(self, resident: Resident) -> None:
        if resident.version is not None:
            self.left.append((resident.version, list(resident.snapshots.values())))
            resident.version, resident.tier, resident.snapshots = None, "sealed", {}
            self._here.pop(resident, None)
        self.hold(resident, 0)


def _least(ones: Iterable[Resident], over: int) -> tuple[list[Resident], int]:
    chosen, freed = list[Resident](), 0
    for one in sorted((one for one in ones if one.evictable), key=_worth):
        if freed >= over:
            break
        chosen.append(one)
        freed += one.held
    return chosen, freed


def _worth(resident: Resident) -> float:
    return resident.worth
