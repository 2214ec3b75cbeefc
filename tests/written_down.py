"""A journal in memory that notes what it is told, and refuses when it is told to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from llmrec_peft.serving.refusals import UnavailableError
from llmrec_peft.serving.routes import Route


@dataclass
class Notes:
    """What an engine told its journal.

    Attributes:
        told: Name of each call and its tenant, in order.
        routes: Route of each tenant, as it was told last.
        pinned: Tenants that are pinned.
        refuse: Whether calls are refused.
        meanwhile: Is called with each call, before it returns.
    """

    told: list[tuple[str, str]] = field(default_factory=list)
    routes: dict[str, Route] = field(default_factory=dict)
    pinned: set[str] = field(default_factory=set)
    refuse: bool = False
    meanwhile: Callable[[], None] = lambda: None

    def begin(self, tenant: str, route: Route) -> None:
        """Note a new tenant."""
        self._note("begin", tenant)
        self.routes[tenant] = route

    def replace(self, tenant: str, route: Route) -> None:
        """Note another route."""
        self._note("replace", tenant)
        self.routes[tenant] = route

    def pin(self, tenant: str, pinned: bool) -> None:
        """Note a pin, or its end."""
        self._note("pin" if pinned else "unpin", tenant)
        (self.pinned.add if pinned else self.pinned.discard)(tenant)

    def end(self, tenant: str) -> None:
        """Forget a tenant."""
        self._note("end", tenant)
        del self.routes[tenant]
        self.pinned.discard(tenant)

    def _note(self, call: str, tenant: str) -> None:
        self.meanwhile()
        if self.refuse:
            raise UnavailableError(tenant, "the disk is full", 1.0)
        self.told.append((call, tenant))
