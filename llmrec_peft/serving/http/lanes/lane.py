"""Lane: threads that compute what waits in one fair queue, and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmrec_peft.serving.http.lanes.calls import Call
from llmrec_peft.serving.http.lanes.fair_queue import FairQueue
from llmrec_peft.serving.refusals import UnavailableError


@dataclass(frozen=True)
class Moved:
    """A call that another lane is to compute, with the seconds for which it may wait there."""

    lane: Lane
    seconds: float


class Lane:
    """A queue and its threads.

    A call whose version is not in memory is parked: it leaves its thread and its turn to others, and comes back when
    the version is there. A thread begins whenever all others are busy, and is a daemon: one that never ends holds no
    process.

    Attributes:
        name: What metrics call it.
        queue: What waits.
    """

    def __init__(
        self,
        name: str,
        queue: FairQueue[Call],
        threads: int,
        absent: Callable[[Call], None],
        elsewhere: Callable[[Call], Moved | None] = lambda _: None,
        per_second: Callable[[], float] = lambda: 1.0,
    ) -> None:
        """Begin without threads.

        Args:
            name: What metrics call it.
            queue: What waits.
            threads: Threads that compute.
            absent: Takes over a call that was parked since its version is not in memory.
            elsewhere: Says whether a call whose turn it is belongs to another lane.
            per_second: Cost of a second of computing, for calls whose cost is not known before.
        """
        self.name, self.queue = name, queue
        self._absent, self._elsewhere, self._per_second = absent, elsewhere, per_second
        self._most = threads
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._starting = threading.Lock()
        self._ended = False

    def put(self, call: Call) -> None:
        """Let a call wait here.

        Raises:
            BusyError: If there is no room for it.
        """
        call.lane, call.queue = self.name, self.queue
        self.queue.put(call)
        if not self._threads:
            self._start()

    def end(self) -> None:
        """Let threads end after what they compute; what waits gets an error."""
        with self._starting:
            self._ended = True
        for call in self.queue.end():
            call.drained()
            call.over.set()

    def join(self, seconds: float) -> None:
        """Wait for the threads of a lane that has ended, for some seconds at most."""
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _start(self) -> None:
        """Begin a thread if all are busy, so that there is one for the next call."""
        with self._starting:
            if self._busy == len(self._threads) < self._most and not self._ended:
                thread = threading.Thread(target=self._work, name=f"llmrec-{self.name}", daemon=True)
                thread.start()
                self._threads.append(thread)

    def _work(self) -> None:
        while self._worked():
            pass

    def _worked(self) -> bool:
        """Compute the next call; False once the lane has ended."""
        call = self.queue.take()
        if call is None:
            return False
        with self._starting:
            self._busy += 1
        self._start()
        self._compute(call)
        with self._starting:
            self._busy -= 1
        return True

    def _compute(self, call: Call) -> None:
        """Compute a call whose turn it is, park it, or let another lane have it; charge it, then tell its caller."""
        value: Any = None
        error: BaseException | None = None
        began = time.monotonic()
        try:
            moved = None if call.over.is_set() else self._elsewhere(call)
            if moved is not None:
                self._move(call, moved)
            elif not call.over.is_set():
                call.began_at = began
                value = call.do()
        except BaseException as found:  # noqa: BLE001 - it is the caller's, and the next call has its turn
            error = found
        ended = time.monotonic()
        spent = (ended - began) * self._per_second()  # charged unless the cost was known before
        if isinstance(error, UnavailableError) and error.late:
            call.began_at = None
            self.queue.park(call, spent)
            self._absent(call)
            return
        self.queue.done(call, spent)
        if call.queue is not self.queue:
            return
        call.ended_at = ended
        if error is None:
            call.answer(value)
        else:
            call.fail(error)
        call.over.set()

    def _move(self, call: Call, moved: Moved) -> None:
        call.deadline = call.put_at + moved.seconds
        try:
            moved.lane.put(call)
        except BaseException:
            call.lane, call.queue = self.name, self.queue
            raise
