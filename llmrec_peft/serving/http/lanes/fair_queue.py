"""FairQueue: requests of many tenants take turns by what they cost, each tenant by its weight."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from typing import Generic

from llmrec_peft.serving.http.lanes.busy import BusyError, DrainingError, FullError
from llmrec_peft.serving.http.lanes.lines import Bounds, E, Line, QueueFigures
from llmrec_peft.serving.http.lanes.pace import Pace
from llmrec_peft.serving.refusals import ServingError

SOONEST_S, LATEST_S = 0.1, 60.0
"""Bounds of what is said about when to come again."""
AHEAD = 8
"""Rounds that a tenant may be ahead of others whose entries, of known cost, are being computed meanwhile."""
HELD_S = 1.0
"""Seconds for which it waits for one of them, at most: what never ends holds up nobody."""
_UNKNOWN_S = 1.0
"""Seconds in which a tenant's place becomes free, as long as nothing was measured."""


class FairQueue(Generic[E]):
    """Deficit round robin by cost, in its surplus form: what an entry costs is charged when it is done.

    In each round a tenant gets its weight times a quantum, and is served while its balance is above 0. What it costs
    is known afterwards, so the balance may fall below 0, and the tenant waits for as many rounds as pay for it. So
    over time each tenant that always has something waiting gets its weight's part of the cost, however many entries,
    users or connections it has and however unlike they are; one that brings an entry now and then waits for no more
    than those entries that are being computed.

    Rounds in which nobody would be served are skipped: a tenant is kept in a heap under the round in which its turn
    comes. So each call takes O(log tenants). What a tenant has used of its quantum, or owes, outlives its last entry
    until the rounds have passed that make up for it, or one entry at a time would evade it; it ends when the queue is
    empty. A balance above a quantum is not saved up.

    Where several are computed at once and their costs are known before, as those of texts in shared passes, a cost is
    charged when its entry is taken, and a tenant that is `AHEAD` of those whose entries are being computed waits for
    them, for `HELD_S` at most. Otherwise each would get the same part, whatever its weight, as long as there is room
    for all at once.

    References:
        Shreedhar and Varghese, Efficient Fair Queuing Using Deficit Round-Robin, SIGCOMM 1995; Adiseshu, Parulkar and
        Varghese, A Reliable and Scalable Striping Protocol, SIGCOMM 1996, section 3 (surplus round robin).
    """

    def __init__(
        self, bounds: Bounds, quantum: float, at_once: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin empty.

        Args:
            bounds: What may be in it.
            quantum: Cost that a tenant of weight 1 gets in a round, in the unit of `done`.
            at_once: Entries of one tenant that may be taken and not done.
            clock: Seconds, for deadlines.
        """
        self._bounds, self._quantum, self._at_once, self._clock = bounds, quantum, at_once, clock
        self._changed = threading.Condition()
        self._lines: dict[str, Line[E]] = {}
        self._weights: dict[str, float] = {}
        self._order: list[tuple[int, int, Line[E]]] = []
        self._owing: list[tuple[int, int, Line[E]]] = []
        self._round = self._count = self._entries = self._tokens = 0
        self._busy: dict[E, tuple[Line[E], float]] = {}
        self._pace, self._ended = Pace(), False

    def weigh(self, tenant: str, weight: float) -> None:
        """Give a tenant another weight; 1 is that of all others."""
        with self._changed:
            self._weights.pop(tenant, None)
            if weight != 1.0:
                self._weights[tenant] = weight
            line = self._lines.get(tenant)
            if line is not None:
                line.weight = weight

    def put(self, entry: E) -> None:
        """Let an entry wait.

        Raises:
            BusyError: If there is no room for it.
            ServingError: If it alone has more tokens than a tenant may have.
        """
        with self._changed:
            if self._ended:
                raise DrainingError(entry.tenant, "the server is ending", _UNKNOWN_S)
            line = self._lines.get(entry.tenant) or self._begun(entry.tenant)
            try:
                self._require_room(line, entry)
            except ServingError:
                self._rest(line)
                raise
            now = entry.put_at = self._clock()
            line.waiting[entry] = None
            self._entries += 1
            line.tokens += entry.tokens
            self._tokens += entry.tokens
            line.pace.begin(now)
            self._pace.begin(now)
            self._place(line)

    def take(self, wait: bool = True) -> E | None:
        """Return the entry whose turn it is; `done` or `park` has to follow.

        Args:
            wait: Whether to wait for one, in which case None says that the queue has ended.
        """
        with self._changed:
            while not self._ended:
                entry = self._next()
                if entry is not None or not wait:
                    return entry
                self._changed.wait(self._held_s())
            return None

    def done(self, entry: E, cost: float) -> None:
        """Charge what an entry cost that was taken, unless that was known before; its tenant's next one may come."""
        with self._changed:
            line = self._lines[entry.tenant]
            line.running.discard(entry)
            now = self._clock()
            line.pace.note(1, now)
            self._pace.note(entry.tokens, now)
            self._charge(line, cost if entry.cost is None else 0.0)
            self._forget(line, entry)
            self._follow(entry)

    def park(self, entry: E, cost: float) -> None:
        """Let an entry that was taken wait for something else, until `back`; it still counts against the bounds."""
        with self._changed:
            line = self._lines[entry.tenant]
            line.running.discard(entry)
            line.parked.add(entry)
            self._charge(line, cost if entry.cost is None else -entry.cost)
            self._place(line)
            self._follow(entry)

    def back(self, entry: E) -> None:
        """Let an entry that was parked be the next of its tenant; one that was dropped stays away."""
        with self._changed:
            line = self._lines.get(entry.tenant)
            if line is not None and entry in line.parked:
                line.parked.discard(entry)
                line.waiting[entry] = None
                line.waiting.move_to_end(entry, last=False)
                self._place(line)

    def drop(self, entry: E) -> bool:
        """Take an entry out that waits or is parked; False for any other."""
        with self._changed:
            line = self._lines.get(entry.tenant)
            if line is None or not (entry in line.waiting or entry in line.parked):
                return False
            line.waiting.pop(entry, None)
            line.parked.discard(entry)
            self._forget(line, entry)
            return True

    def end(self) -> list[E]:
        """Let nothing wait any more, and whoever waits in `take` go; return what waited or was parked."""
        with self._changed:
            self._ended = True
            left = [entry for line in self._lines.values() for entry in (*line.waiting, *line.parked)]
            for entry in left:
                self.drop(entry)
            self._changed.notify_all()
            return left

    def retry_s(self, tenant: str) -> float:
        """Return after how many seconds what a tenant has waiting now will be done, by its pace so far."""
        with self._changed:
            line = self._lines.get(tenant)
            return SOONEST_S if line is None else self._drained(line)

    def per_second(self) -> float | None:
        """Return how many tokens leave the queue in a second; None if nothing is known."""
        with self._changed:
            return self._pace.per_second

    def of(self, tenant: str) -> int:
        """Return how many entries of a tenant are here."""
        with self._changed:
            line = self._lines.get(tenant)
            return 0 if line is None else line.entries

    def figures(self) -> QueueFigures:
        """Return what is in the queue."""
        with self._changed:
            lines, now = self._lines.values(), self._clock()
            oldest = max((now - next(iter(line.waiting)).put_at for line in lines if line.waiting), default=0.0)
            return QueueFigures(
                sum(len(line.waiting) for line in lines),
                sum(len(line.parked) for line in lines),
                sum(len(line.running) for line in lines),
                self._tokens,
                oldest,
            )

    def _begun(self, tenant: str) -> Line[E]:
        weight = self._weights.get(tenant, 1.0)
        line = self._lines[tenant] = Line(tenant, weight, self._quantum, weight * self._quantum, self._round)
        return line

    def _require_room(self, line: Line[E], entry: E) -> None:
        bounds, tokens = self._bounds, line.tokens + entry.tokens
        if line.entries >= bounds.entries:
            raise BusyError(line.tenant, f"{line.entries:,} requests wait already", self._drained(line))
        if bounds.tenant_tokens is not None and entry.tokens > bounds.tenant_tokens:
            reason = f"the texts have about {entry.tokens:,} tokens, and {bounds.tenant_tokens:,} may wait"
            raise ServingError(line.tenant, f"{reason}: send fewer at once")
        if bounds.tenant_tokens is not None and tokens > bounds.tenant_tokens:
            raise BusyError(line.tenant, f"about {line.tokens:,} tokens of text wait already", self._drained(line))
        if bounds.tokens is not None and self._tokens + entry.tokens > bounds.tokens:
            everybody = sum(one.weight for one in self._lines.values() if one.entries or one is line)
            if tokens > bounds.tokens * line.weight / everybody:
                raise FullError(line.tenant, "too much text of all tenants waits", self._all_drained())

    def _drained(self, line: Line[E]) -> float:
        pace = line.pace.per_second
        return _bounded(line.entries * _UNKNOWN_S if pace is None else line.entries / pace)

    def _all_drained(self) -> float:
        pace = self._pace.per_second
        return _bounded(_UNKNOWN_S if pace is None else self._tokens / pace)

    def _place(self, line: Line[E]) -> None:
        """Put a line where its turn is, unless it is there or may have no turn."""
        if line.waiting and not line.ordered and len(line.running) < self._at_once:
            line.ordered = True
            self._count += 1
            heapq.heappush(self._order, (max(line.turn, self._round), self._count, line))
            self._changed.notify()

    def _follow(self, entry: E) -> None:
        """Let those take a look who waited since their tenants were ahead."""
        if self._busy.pop(entry, None) is not None and self._order:
            self._changed.notify()

    def _slower(self) -> list[tuple[int, float]]:
        """Return the next turns of tenants whose entries, of known cost, are being computed, and since when."""
        begun = self._clock() - HELD_S
        return [(line.turn, at - begun) for line, at in self._busy.values() if at > begun]

    def _held_s(self) -> float | None:
        """Return for how long the next tenant waits for slower ones, at most; None if it does not."""
        if not self._order:
            return None
        first = self._order[0][0] - AHEAD
        return max((left for turn, left in self._slower() if turn < first), default=None)

    def _next(self) -> E | None:
        while self._order and self._held_s() is None:
            turn, _, line = heapq.heappop(self._order)
            line.ordered = False
            if not line.waiting or len(line.running) >= self._at_once:
                continue
            line.pay(turn)
            self._round = max(self._round, min([turn, *(other for other, _ in self._slower())]))
            if line.balance <= 0:  # charged, or given another weight, since its turn was set
                self._place(line)
                continue
            entry, _ = line.waiting.popitem(last=False)
            if entry.deadline <= self._clock():
                entry.late()
                self._forget(line, entry)
                continue
            line.running.add(entry)
            if entry.cost is not None:
                line.balance -= entry.cost
                self._busy[entry] = line, self._clock()
            self._place(line)
            return entry
        return None

    def _charge(self, line: Line[E], cost: float) -> None:
        line.pay(self._round)
        line.balance -= cost

    def _forget(self, line: Line[E], entry: E) -> None:
        """Let an entry be here no more."""
        self._entries -= 1
        line.tokens -= entry.tokens
        self._tokens -= entry.tokens
        self._place(line)
        self._rest(line)

    def _rest(self, line: Line[E]) -> None:
        """Forget lines without entries, each once its balance is that of a new one."""
        if not line.entries:
            line.pace.rest()
            self._owe(line)
        while self._owing and self._owing[0][0] <= self._round:
            other = heapq.heappop(self._owing)[2]
            other.owing = False
            if not other.entries and other.whole <= self._round:
                del self._lines[other.tenant]
            elif not other.entries:
                self._owe(other)
        if not self._entries:
            self._lines.clear()
            self._order.clear()
            self._owing.clear()
            self._round = 0
            self._pace.rest()

    def _owe(self, line: Line[E]) -> None:
        if not line.owing:
            line.owing = True
            self._count += 1
            heapq.heappush(self._owing, (line.whole, self._count, line))


def _bounded(seconds: float) -> float:
    return min(max(seconds, SOONEST_S), LATEST_S)
