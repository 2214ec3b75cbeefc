"""Fetching: threads that wait for versions which are not in memory, so that the threads of the lanes never do."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from llmrec_peft.errors import InputError
from llmrec_peft.serving.refusals import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrec_peft.serving.http.lanes.calls import Call
    from llmrec_peft.serving.tiered import Readiness

THREADS = 8
"""Versions that are waited for at the same time, at most; an engine loads no more than its `loaders`."""


class Holds(Protocol):
    """What fetching asks of an engine."""

    def readiness(self, tenant: str, users: Sequence[str] | None = None) -> Readiness:
        """Say which versions are not in memory."""

    def in_use(
        self, tenant: str, users: Sequence[str] | None = None, wait_s: float | None = None
    ) -> AbstractContextManager[None]:
        """Keep versions in memory for the block."""


@dataclass(eq=False)
class _Wanted:
    """Calls of one tenant that wait for the same versions."""

    key: tuple[str, frozenset[str]]
    calls: list[Call] = field(default_factory=list)

    def waiting(self) -> list[Call]:
        """Return the calls that somebody still waits for."""
        now = time.monotonic()
        self.calls = [call for call in self.calls if not call.over.is_set() and call.deadline > now]
        return self.calls


class Fetching:
    """Waits for versions on behalf of parked calls, and keeps them in memory until these calls are done.

    All calls of a tenant that need the same versions are one wait in one thread. It ends at the deadline of the last
    of them. So a load that hangs takes a thread for a few seconds, and no other tenant's calls wait for it as long as
    there is another thread.
    """

    def __init__(self, engine: Holds, wait_s: float, threads: int = THREADS) -> None:
        """Begin without threads.

        Args:
            engine: Whose versions they are.
            wait_s: Seconds to wait for a version, at most.
            threads: Waits at the same time, at most.
        """
        self._engine, self._wait_s, self._most = engine, wait_s, threads
        self._changed = threading.Condition()
        self._wanted: dict[tuple[str, frozenset[str]], _Wanted] = {}
        self._turns: deque[_Wanted] = deque()
        self._threads: list[threading.Thread] = []
        self._idle, self._ended = 0, False

    def want(self, call: Call) -> None:
        """Bring a parked call back when its versions are in memory, or tell its caller why they are not."""
        try:
            key = call.tenant, self._engine.readiness(call.tenant, call.users).absent
        except InputError as error:
            self._refuse([call], error)
            return
        with self._changed:
            if self._ended:
                self._refuse([call], None)
                return
            wanted = self._wanted.get(key)
            if wanted is None:
                wanted = self._wanted[key] = _Wanted(key)
                self._turns.append(wanted)
                if len(self._turns) > self._idle and len(self._threads) < self._most:
                    thread = threading.Thread(target=self._work, name="llmrec-fetching", daemon=True)
                    self._threads.append(thread)
                    thread.start()
                self._changed.notify()
            wanted.calls.append(call)

    def end(self) -> None:
        """Let threads end when what they wait for is there or late; calls that wait have been told by their lane."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def join(self, seconds: float) -> None:
        """Wait for the threads after `end`, for some seconds at most."""
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        while self._worked():
            pass

    def _worked(self) -> bool:
        """Wait for the next versions; False once there is nothing more to do."""
        wanted = self._next()
        while wanted is not None and self._fetched(wanted):
            pass
        return wanted is not None

    def _next(self) -> _Wanted | None:
        with self._changed:
            self._idle += 1
            while not (self._turns or self._ended):
                self._changed.wait()
            self._idle -= 1
            return None if self._ended else self._turns.popleft()

    def _fetched(self, wanted: _Wanted) -> bool:
        """Wait for versions once; return whether somebody waits on."""
        with self._changed:
            calls = list(wanted.waiting())
            if not calls or self._ended:
                self._close(wanted)
                return False
        left = max(call.deadline for call in calls) - time.monotonic()
        try:
            with self._engine.in_use(wanted.key[0], calls[0].users, min(self._wait_s, max(0.0, left))):
                with self._changed:
                    calls = self._close(wanted)
                for call in calls:
                    if call.queue is not None:
                        call.queue.back(call)
                for call in calls:
                    call.over.wait(max(0.0, call.deadline - time.monotonic()))
        except UnavailableError as error:
            with self._changed:
                if error.late and left < self._wait_s and wanted.waiting():
                    return True  # they came later, and have time left
                calls = self._close(wanted)
            self._refuse(calls, error)
        except BaseException as error:  # noqa: BLE001 - it is the callers', and the next version has its turn
            with self._changed:
                calls = self._close(wanted)
            self._refuse(calls, error)
        return False

    def _close(self, wanted: _Wanted) -> list[Call]:
        """Let later calls begin another wait; return those of this one."""
        if self._wanted.get(wanted.key) is wanted:
            del self._wanted[wanted.key]
        return wanted.calls

    def _refuse(self, calls: Sequence[Call], error: BaseException | None) -> None:
        for call in calls:
            if error is None:
                call.drained()
            else:
                call.fail(error)
            call.over.set()
            if call.queue is not None:
                call.queue.drop(call)
