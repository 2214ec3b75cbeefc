"""Tenants: which route each name has at this moment; looked up once an ask, replaced as a whole."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from llmrec_peft.serving.answers import Standing
from llmrec_peft.serving.refusals import ServingError, UnknownTenantError
from llmrec_peft.serving.routes import Route
from llmrec_peft.serving.sealed_store import SealedRun
from llmrec_peft.serving.tiers.host_tier import HostTier
from llmrec_peft.serving.versions import Snapshot, State


@dataclass(frozen=True)
class Past:
    """A state in which one of a tenant's versions was, for `Engine.audit`; it keeps no version in memory.

    Attributes:
        sealed: The version in the store.
        state: The state.
    """

    sealed: SealedRun
    state: State


PAST = 1024
"""States of a tenant that are remembered beside those that the ones of its route went through."""


@dataclass
class _Entry:
    route: Route
    pinned: bool = False
    past: OrderedDict[str, Past] = field(default_factory=OrderedDict)

    def note(self) -> None:
        """Remember the states of the route by their digests, and forget the oldest beyond `PAST`."""
        for placed in self.route.places:
            digest = placed.state.digest
            self.past.setdefault(digest, Past(placed.sealed, placed.state))
            self.past.move_to_end(digest)
        while len(self.past) > PAST:
            self.past.popitem(last=False)

    def find(self, digest: str) -> Past | None:
        """Return a state in which a version was."""
        if digest in self.past:
            return self.past[digest]
        for placed in self.route.places:
            state: State | None = placed.state
            while state is not None:
                if state.digest == digest:
                    return Past(placed.sealed, state)
                state = state.before
        return None


class Tenants:
    """Routes by name.

    An ask takes a route under a short lock, and carries it to its end. A change makes another route and puts it in the
    place of the one that it began with; what both name is counted in the same step.
    """

    def __init__(self, tier: HostTier) -> None:
        """Begin without tenants.

        Args:
            tier: Counts what routes name.
        """
        self._tier = tier
        self._entries: dict[str, _Entry] = {}
        self._turns: dict[str, _Turn] = {}
        self._turning = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all tenants, in the order in which they were registered."""
        with self._tier.lock:
            return tuple(self._entries)

    def route(self, tenant: str) -> Route:
        """Look a name up.

        Raises:
            UnknownTenantError: If no tenant has the name.
        """
        with self._tier.lock:
            return self._entry(tenant).route

    def standing(self, tenant: str) -> Standing:
        """Return which versions answer a tenant's users, and where they are.

        Raises:
            UnknownTenantError: If no tenant has the name.
        """
        with self._tier.lock:
            entry = self._entry(tenant)
            route = entry.route
            ones = [self._tier.known(placed.sealed) for placed in route.places]
            return Standing(
                tenant,
                route.main.identity,
                None if route.trial is None else route.trial.identity,
                route.share,
                None if route.former is None else route.former.identity,
                ones[0].notes,
                entry.pinned,
                tuple(one.condition for one in ones),
            )

    @contextlib.contextmanager
    def changed(self, tenant: str) -> Iterator[None]:
        """Wait for other changes of the same tenant; asks never wait for one, nor changes of other tenants."""
        with self._turning:
            turn = self._turns.setdefault(tenant, _Turn())
            turn.waiting += 1
        try:
            with turn.lock:
                yield
        finally:
            with self._turning:
                turn.waiting -= 1
                if not turn.waiting:
                    del self._turns[tenant]

    def begin(self, tenant: str, route: Route) -> None:
        """Give a new tenant its route.

        Raises:
            ServingError: If the name is taken.
        """
        with self._tier.lock:
            if tenant in self._entries:
                raise ServingError(tenant, "is registered already; swap gives it another run")
            entry = self._entries[tenant] = _Entry(route)
            self._tier.name(route.places)
            entry.note()

    def replace(self, tenant: str, route: Route, snapshots: Sequence[Snapshot] = ()) -> None:
        """Put another route in the place of a tenant's own: the next ask takes it, those under way end on the old one.

        Args:
            tenant: Whose route it is.
            route: The other route.
            snapshots: Versions in memory in states that only the other route names.

        Raises:
            UnknownTenantError: If the tenant was unregistered meanwhile.
            InputError: If the tenant is pinned, and the budget has no room for what would be pinned.
        """
        with self._tier.lock:
            entry = self._entry(tenant)
            if entry.pinned:
                self._tier.require_pinnable(route.answering, tenant)
            former, entry.route = entry.route, route
            self._count(tenant, route, entry.pinned)
            self._tier.keep(snapshots)
            self._discount(tenant, former, entry.pinned)
            entry.note()
        self._tier.settle()
        self._tier.count(snapshots)

    def end(self, tenant: str) -> None:
        """Forget a tenant; asks that are under way end on the versions that they found.

        Raises:
            UnknownTenantError: If no tenant has the name.
        """
        with self._tier.lock:
            entry = self._entry(tenant)
            del self._entries[tenant]
            self._discount(tenant, entry.route, entry.pinned)
        self._tier.settle()

    def pin(self, tenant: str) -> None:
        """Keep the versions that answer a tenant in memory; they are in use now.

        Raises:
            UnknownTenantError: If no tenant has the name.
            InputError: If the budget has no room for all that is pinned.
        """
        with self._tier.lock:
            entry = self._entry(tenant)
            if not entry.pinned:
                self._tier.pin(entry.route.answering, tenant)
                entry.pinned = True

    def unpin(self, tenant: str) -> None:
        """End what `pin` did.

        Raises:
            UnknownTenantError: If no tenant has the name.
        """
        with self._tier.lock:
            entry = self._entry(tenant)
            if entry.pinned:
                self._tier.unpin(entry.route.answering, tenant)
                entry.pinned = False
        self._tier.settle()

    def past(self, tenant: str, state_digest: str) -> Past | None:
        """Return a state in which one of the tenant's versions was; None if none of them was, or too long ago.

        Known are all states that the present ones of its route went through, and `PAST` states of other versions.

        Raises:
            UnknownTenantError: If no tenant has the name.
        """
        with self._tier.lock:
            return self._entry(tenant).find(state_digest)

    def _entry(self, tenant: str) -> _Entry:
        """Return what a name has; whoever calls holds the lock."""
        entry = self._entries.get(tenant)
        if entry is None:
            raise UnknownTenantError(tenant)
        return entry

    def _count(self, tenant: str, route: Route, pinned: bool) -> None:
        """Count what a route names."""
        self._tier.name(route.answering, tenant if pinned else None)
        if route.former is not None:
            self._tier.name([route.former])

    def _discount(self, tenant: str, route: Route, pinned: bool) -> None:
        """End what `_count` did."""
        self._tier.unname(route.answering, tenant if pinned else None)
        if route.former is not None:
            self._tier.unname([route.former])


@dataclass
class _Turn:
    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: int = 0
