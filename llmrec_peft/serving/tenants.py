"""Tenants: which route each name has at this moment; looked up once an ask, replaced as a whole."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from llmrec_peft.serving.leases import Leases
from llmrec_peft.serving.refusals import ServingError, UnknownTenantError
from llmrec_peft.serving.routes import Route
from llmrec_peft.serving.sealed_store import SealedRun
from llmrec_peft.serving.versions import State, Version


@dataclass(frozen=True)
class Past:
    """A state in which one of a tenant's versions was, for `Engine.audit`; it keeps no version in memory.

    Attributes:
        sealed: The version in the store.
        state: The state.
    """

    sealed: SealedRun
    state: State


@dataclass
class _Entry:
    route: Route
    past: dict[str, Past] = field(default_factory=dict)

    def note(self) -> None:
        """Remember the states of the route by their digests, and those that led to them."""
        for snapshot in self.route.snapshots:
            state: State | None = snapshot.state
            while state is not None and state.digest not in self.past:
                self.past[state.digest] = Past(snapshot.version.sealed, state)
                state = state.before


class Tenants:
    """Routes by name.

    An ask takes a route and leases its versions in one step under a short lock, and computes without it. A change makes
    another route and puts it in the place of the one that it began with.
    """

    def __init__(self, drop: Callable[[Version], None]) -> None:
        """Begin without tenants.

        Args:
            drop: Frees a version that nothing uses any more.
        """
        self.leases = Leases(drop)
        self._entries: dict[str, _Entry] = {}
        self._turns: dict[str, _Turn] = {}
        self._turning = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all tenants, in the order in which they were registered."""
        with self.leases.lock:
            return tuple(self._entries)

    @contextlib.contextmanager
    def leased(self, tenant: str) -> Iterator[Route]:
        """Look a name up once; what it names stays in memory until the end of the block.

        Raises:
            UnknownTenantError: If no tenant has the name.
        """
        with self.leases.lock:
            entry = self._entries.get(tenant)
            route = None if entry is None else entry.route
            if route is not None:
                self.leases.take(route.versions)
        if route is None:
            raise UnknownTenantError(tenant)
        try:
            yield route
        finally:
            self.leases.give_back(route.versions)

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
        with self.leases.lock:
            free = tenant not in self._entries
            if free:
                entry = self._entries[tenant] = _Entry(route)
                self.leases.take(route.versions)
                entry.note()
        if not free:
            raise ServingError(tenant, "is registered already; swap gives it another run")

    def replace(self, tenant: str, route: Route) -> None:
        """Put another route in the place of a tenant's own: the next ask takes it, those under way end on the old one.

        Raises:
            UnknownTenantError: If the tenant was unregistered meanwhile.
        """
        with self.leases.lock:
            entry = self._entries.get(tenant)
            if entry is not None:
                former, entry.route = entry.route, route
                self.leases.take(route.versions)
                entry.note()
        if entry is None:
            raise UnknownTenantError(tenant)
        self.leases.give_back(former.versions)

    def end(self, tenant: str) -> None:
        """Forget a tenant; asks that are under way end on the versions that they have.

        Raises:
            UnknownTenantError: If no tenant has the name.
        """
        with self.leases.lock:
            entry = self._entries.pop(tenant, None)
        if entry is None:
            raise UnknownTenantError(tenant)
        self.leases.give_back(entry.route.versions)

    def past(self, tenant: str, state_digest: str) -> Past | None:
        """Return a state in which one of the tenant's versions was; None if none of them was.

        Raises:
            UnknownTenantError: If no tenant has the name.
        """
        with self.leases.lock:
            entry = self._entries.get(tenant)
            if entry is not None:
                return entry.past.get(state_digest)
        raise UnknownTenantError(tenant)


@dataclass
class _Turn:
    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: int = 0
