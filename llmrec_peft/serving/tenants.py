"""Tenants: which route each name has at this moment; looked up once an ask, replaced as a whole."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from llmrec_peft.serving.answers import Standing
from llmrec_peft.serving.journal import Journal
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
    place of the one that it began with; what both name is counted in the same step. A journal is told of a change
    before it answers, and without the lock, so that no ask waits for a disk.
    """

    def __init__(self, tier: HostTier, journal: Journal | None = None) -> None:
        """Begin without tenants.

        Args:
            tier: Counts what routes name.
            journal: Is told of changes; what it raises ends the change, and what answered before answers on.
        """
        self._tier, self._journal = tier, journal
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
            self._require_free(tenant)
        if self._journal is not None:
            self._journal.begin(tenant, route)
        self._enter(tenant, _Entry(route))

    def restore(self, tenant: str, route: Route, pinned: bool) -> None:
        """Give a tenant the route that a journal has; the journal is not told again.

        Args:
            tenant: The tenant's name.
            route: Its route.
            pinned: Whether the versions that answer stay in memory, once they are there.

        Raises:
            ServingError: If the name is taken.
        """
        self._enter(tenant, _Entry(route, pinned))

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
            former, pinned = entry.route, entry.pinned
            if pinned:
                self._tier.require_pinnable(route.answering, tenant)
                self._tier.unpin(former.answering, tenant)
            self._count(tenant, route, pinned)  # its room is taken, so that nothing can fail after the journal
        try:
            if self._journal is not None:
                self._journal.replace(tenant, route)
        except BaseException:
            with self._tier.lock:
                self._count(tenant, former, pinned)
                self._discount(tenant, former, False)
                self._discount(tenant, route, pinned)
            self._tier.settle()
            raise
        with self._tier.lock:
            entry.route = route
            self._tier.keep(snapshots)
            self._discount(tenant, former, False)
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
        if self._journal is not None:
            self._journal.end(tenant)
        with self._tier.lock:
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
            if entry.pinned:
                return
            self._tier.pin(entry.route.answering, tenant)
        try:
            if self._journal is not None:
                self._journal.pin(tenant, True)
        except BaseException:
            with self._tier.lock:
                self._tier.unpin(entry.route.answering, tenant)
            self._tier.settle()
            raise
        with self._tier.lock:
            entry.pinned = True

    def unpin(self, tenant: str) -> None:
        """End what `pin` did.

        Raises:
            UnknownTenantError: If no tenant has the name.
        """
        with self._tier.lock:
            entry = self._entry(tenant)
        if not entry.pinned:
            return
        if self._journal is not None:
            self._journal.pin(tenant, False)
        with self._tier.lock:
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

    def _require_free(self, tenant: str) -> None:
        """Refuse a name that is taken; whoever calls holds the lock."""
        if tenant in self._entries:
            raise ServingError(tenant, "is registered already; swap gives it another run")

    def _enter(self, tenant: str, entry: _Entry) -> None:
        """Give a name what it has, and count what its route names."""
        with self._tier.lock:
            self._require_free(tenant)
            self._entries[tenant] = entry
            self._count(tenant, entry.route, entry.pinned)
            entry.note()

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
