"""Journal: who is told of a change of tenants before it answers, so that it can be kept on disk."""

from __future__ import annotations

from typing import Protocol

from llmrec_peft.serving.routes import Route


class Journal(Protocol):
    """Writes changes down: a call returns when the change is on disk, and what it raises ends the change.

    Calls for one tenant follow each other; those for several tenants may come from several threads at once.
    """

    def begin(self, tenant: str, route: Route) -> None:
        """Note a new tenant."""

    def replace(self, tenant: str, route: Route) -> None:
        """Note another route of a tenant."""

    def pin(self, tenant: str, pinned: bool) -> None:
        """Note whether a tenant's versions stay in memory."""

    def end(self, tenant: str) -> None:
        """Forget a tenant."""
