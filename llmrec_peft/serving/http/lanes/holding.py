"""Holding: what answered the first slice of a request stays in memory until its last one is answered."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence

from llmrec_peft.serving.engine import Engine
from llmrec_peft.serving.http.lanes.busy import LateError
from llmrec_peft.serving.routes import Route


class Holding:
    """The versions of a tenant that answer some users, from a first look-up until `close`.

    Without it, two swaps between two slices would let the version go that the request began with.
    """

    def __init__(self, engine: Engine, tenant: str, users: Sequence[str]) -> None:
        """Hold nothing yet."""
        self._engine, self._tenant, self._users = engine, tenant, users
        self._lock = threading.Lock()
        self._held = contextlib.ExitStack()
        self._route: Route | None = None
        self._closed = False

    def route(self) -> Route:
        """Return what answers, looked up by the first call that finds all its versions in memory.

        Raises:
            UnavailableError: If one of them is not there; the next call looks anew.
            LateError: If nobody waits for the request any more.
        """
        with self._lock:
            if self._closed:
                raise LateError(self._tenant, "its caller has left", 1.0)
            if self._route is None:
                route = self._engine.route(self._tenant)
                self._held.enter_context(self._engine.in_use(self._tenant, self._users, 0.0, route))
                self._route = route
            return self._route

    def close(self) -> None:
        """Let the versions go, now and whatever a slice that is still under way asks for."""
        with self._lock:
            self._closed = True
            self._held.close()
