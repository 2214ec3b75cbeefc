"""Load test: requests at times that do not depend on answers; each waits from when it was due.

A closed loop asks again when an answer has come, so a server that stalls is asked less and its stall is measured once.
Here a request counts from when it was due, also if every connection was busy then (G. Tene, coordinated omission).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.progress import Bar, bar
from llmrec_peft.serving.http.load_test.load_connection import LoadConnection
from llmrec_peft.serving.http.load_test.load_plan import LoadPlan
from llmrec_peft.serving.http.load_test.load_report import LOST, OPEN, TIMEOUT, UNSENT, LoadReport, Outcomes
from llmrec_peft.serving.http.load_test.load_requests import LoadRequests
from llmrec_peft.serving.http.load_test.load_schedule import Due, Schedule

_LOOK_S = 0.1
"""Seconds between two looks at requests that wait for an answer."""
_EARLY_S = 5e-4
"""Seconds that a request may be sent before it is due, since timers count milliseconds; it waits from then."""
_OPENING = 8
"""Connections that are opened at the same time."""


def load_test(plan: LoadPlan, key: str | None = None, show: bool = False) -> LoadReport:
    """Ask a server for recommendations as a plan says, and report what became of the requests.

    Ctrl-C ends the test with what came out so far.

    Args:
        plan: What is asked.
        key: Key of the server that may ask for all tenants of the plan.
        show: Whether a progress bar is shown.

    Raises:
        InputError: If the server cannot be reached at all.
    """
    loops: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with contextlib.suppress(ImportError):  # uvloop is not made for every system
        from uvloop import new_event_loop

        loops = new_event_loop
    seconds = plan.warm_up_s + plan.planned_s
    with asyncio.Runner(loop_factory=loops) as runner, bar("load test", round(seconds), show=show) as progress:
        return runner.run(_Run(plan, key, progress).report())


class _Run:
    """A load test under way: which request is due next, and which connections wait for one or for an answer."""

    def __init__(self, plan: LoadPlan, key: str | None, progress: Bar) -> None:
        self._plan, self._requests, self._progress = plan, LoadRequests(plan, key), progress
        self._outcomes = Outcomes()
        self._rest = iter(list[Due]())
        self._next: Due | None = None
        self._again = deque[Due]()
        self._open, self._busy, self._idle = set[LoadConnection](), set[LoadConnection](), list[LoadConnection]()
        self._opening = set[asyncio.Task[None]]()
        self._timer: asyncio.TimerHandle | None = None
        self._began = self._last = self._stop = 0.0
        self._shown = 0

    async def report(self) -> LoadReport:
        """Send all requests, and report."""
        self._loop = asyncio.get_running_loop()
        self._first_began = self._loop.time()
        plan, interrupted = self._plan, False
        try:
            try:
                await self._connect()
            except (OSError, TimeoutError) as error:
                raise InputError(f"{plan.url}: no answer ({reason_of(error)})") from None
            if plan.warm_up_s:
                await self._through(plan.warm_up(), plan.warm_up_s)
            await self._through(plan.schedule(), plan.planned_s)
        except asyncio.CancelledError:  # Ctrl-C
            interrupted = True
            self._give_up(OPEN)
            for connection in tuple(self._busy):
                self._end_unanswered(connection, OPEN)
        finally:
            for task in self._opening:
                task.cancel()
            for connection in tuple(self._open):
                connection.abort()
        planned = min(plan.planned_s, self._now()) if interrupted else plan.planned_s
        return self._outcomes.report(plan.rate, planned, self._last, plan.tenants, interrupted)

    async def _through(self, schedule: Schedule, planned_s: float) -> None:
        """Send the requests of a schedule, and wait until each has an answer or has waited too long."""
        self._outcomes, self._rest, self._last = Outcomes(), iter(schedule), 0.0
        self._next = next(self._rest, None)
        self._began, self._stop = self._loop.time(), planned_s + self._plan.timeout_s
        self._done = self._loop.create_future()
        look = self._loop.create_task(self._look())
        try:
            self._pump()
            await self._done
        finally:
            look.cancel()

    def _now(self) -> float:
        return self._loop.time() - self._began

    def _pump(self) -> None:
        """Send what is due, as far as connections are free, and set the timer for what is due next."""
        while (due := self._first()) is not None and due.at <= (now := self._now()) + _EARLY_S:
            if not self._idle:
                self._open_one()
                return
            connection = self._idle.pop()  # the one that was used last, so that no more are kept open than are needed
            self._take()
            self._busy.add(connection)
            connection.send(due, self._requests.of(due), now)
        if due is None:
            if not self._busy and not self._done.done():
                self._done.set_result(None)
        elif self._timer is None:
            self._timer = self._loop.call_at(self._began + due.at, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._pump()

    def _first(self) -> Due | None:
        return self._again[0] if self._again else self._next

    def _take(self) -> None:
        if self._again:
            self._again.popleft()
        else:
            self._next = next(self._rest, None)

    def _note(self, due: Due, status: int, sent_at: float) -> None:
        """Note what became of a request that was sent, or given up, at some time."""
        now = self._now()
        self._last = max(self._last, now)
        self._outcomes.add(due.tenant, status, now - min(due.at, sent_at), max(0.0, sent_at - due.at))

    def _ended(self, connection: LoadConnection, due: Due, status: int) -> None:
        """Take note of an answer, or of a connection that ended without one."""
        self._busy.discard(connection)
        if status == LOST and connection.used and not connection.answering:
            self._again.append(due)  # the server closed a connection on which nothing had been sent for long
        else:
            self._note(due, status, connection.sent_at)
        if connection in self._open:
            self._idle.append(connection)
        self._pump()

    def _closed(self, connection: LoadConnection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _open_one(self) -> None:
        """Open a further connection, unless there are as many as there may be."""
        if len(self._opening) < _OPENING and len(self._open) + len(self._opening) < self._plan.connections:
            task = self._loop.create_task(self._opened())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _opened(self) -> None:
        """Open a connection; if there is none to be had, the first request that is due is lost."""
        try:
            await self._connect()
        except (OSError, TimeoutError):
            if (due := self._first()) is not None:
                self._take()
                self._note(due, LOST, self._now())
        self._pump()

    async def _connect(self) -> None:
        connection = LoadConnection(self._ended, self._closed)
        async with asyncio.timeout(self._plan.timeout_s):
            await self._loop.create_connection(lambda: connection, **self._requests.place)
        if connection.lost:
            raise ConnectionResetError("the server ended the connection at once")
        self._open.add(connection)
        self._idle.append(connection)

    async def _look(self) -> None:
        """Look for requests that wait too long, and show how far the test is."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for connection in tuple(self._busy):
                if self._now() - connection.sent_at > self._plan.timeout_s:
                    self._end_unanswered(connection, TIMEOUT)
            if self._now() > self._stop:
                self._give_up(UNSENT)
            passed = int(self._loop.time() - self._first_began)
            self._progress.advance(passed - self._shown, f"{len(self._outcomes):,} requests")
            self._shown = passed
            self._pump()

    def _give_up(self, status: int) -> None:
        """Note requests that are due and were not sent."""
        while (due := self._first()) is not None and due.at <= self._now():
            self._take()
            self._note(due, status, self._now())

    def _end_unanswered(self, connection: LoadConnection, status: int) -> None:
        """End a connection, and note the request to which no answer came."""
        self._busy.discard(connection)
        if (due := connection.abort()) is not None:
            self._note(due, status, connection.sent_at)
