"""Calls: what one caller in an event loop waits for, while threads compute it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmrec_peft.serving.http.lanes.busy import DrainingError, LateError
from llmrec_peft.serving.http.lanes.fair_queue import FairQueue
from llmrec_peft.serving.http.lanes.lines import Entry

_LOOKED_S = 1.0
"""Seconds between two looks whether something that is late is still being computed."""


@dataclass(eq=False, kw_only=True)
class Call(Entry):
    """Something to compute, and the caller who waits for it; made in the caller's event loop.

    Attributes:
        do: Computes it.
        users: Users of the tenant whom it is about; None for all.
        lasts: Whether it changes something, so that a caller is told what became of it, however late it is.
        lane: Name of the lane in which it is.
        queue: Where it waits there; None before.
        began_at: When `do` began the last time; None before.
        ended_at: When it ended.
        over: Set when it is done, or nobody wants it any more.
    """

    do: Callable[[], Any]
    users: Sequence[str] | None = None
    lasts: bool = False
    lane: str = ""
    queue: FairQueue[Call] | None = None
    began_at: float | None = None
    ended_at: float | None = None
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Find the caller's event loop."""
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Any] = self._loop.create_future()

    async def result(self) -> Any:
        """Wait until it is computed, in the loop.

        Raises:
            LateError: If it was not before its deadline.
        """
        left = self.deadline - time.monotonic()
        timer = self._loop.call_later(max(0.0, left), self._due) if math.isfinite(left) else None
        try:
            return await self._future
        finally:
            if timer is not None:
                timer.cancel()
            self._leave()

    def answer(self, value: Any) -> None:
        """Hand the result to the caller, from any thread."""
        self._tell(value, None)

    def fail(self, error: BaseException) -> None:
        """Hand an error to the caller, from any thread."""
        self._tell(None, error)

    def late(self) -> None:
        """Tell the caller that the deadline has passed."""
        self.fail(self._lateness())

    def drained(self) -> None:
        """Tell the caller that the server ends."""
        self.fail(DrainingError(self.tenant, "the server is ending", 1.0))

    def _due(self) -> None:
        """End what waits at its deadline, in the loop; what is being computed and changes something goes on."""
        if self.queue is None or not self.lasts or self.queue.drop(self):
            self._settle(None, self._lateness())
        else:
            self._loop.call_later(_LOOKED_S, self._due)  # if it is parked again, it has no time left

    def _lateness(self) -> LateError:
        waited = time.monotonic() - self.put_at
        retry_s = 1.0 if self.queue is None else self.queue.retry_s(self.tenant)
        return LateError(self.tenant, f"it was not answered within {waited:.3g} s", retry_s)

    def _leave(self) -> None:
        """Want it no more."""
        self.over.set()
        if self.queue is not None:
            self.queue.drop(self)

    def _tell(self, value: Any, error: BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there any more
            self._loop.call_soon_threadsafe(self._settle, value, error)

    def _settle(self, value: Any, error: BaseException | None) -> None:
        if self._future.done():
            return
        if error is None:
            self._future.set_result(value)
        else:
            self._future.set_exception(error)
