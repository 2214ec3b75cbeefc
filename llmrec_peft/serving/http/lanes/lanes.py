"""Lanes: asks, texts, explanations and changes of an engine's tenants, each kind on threads of its own."""

from __future__ import annotations

import asyncio
import atexit
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar, cast

from llmrec_peft.explanation.explainer import WordMethod
from llmrec_peft.serving.answers import Answer, Scores, Standing
from llmrec_peft.serving.engine import Engine
from llmrec_peft.serving.explaining import Explained
from llmrec_peft.serving.http.lanes.calls import Call
from llmrec_peft.serving.http.lanes.estimate import estimated_tokens
from llmrec_peft.serving.http.lanes.fair_queue import FairQueue
from llmrec_peft.serving.http.lanes.fetching import Fetching
from llmrec_peft.serving.http.lanes.holding import Holding
from llmrec_peft.serving.http.lanes.lane import Lane, Moved
from llmrec_peft.serving.http.lanes.lines import Bounds, QueueFigures
from llmrec_peft.serving.http.seeing import trail
from llmrec_peft.serving.http.seeing.metrics import Metrics
from llmrec_peft.serving.http.settings import Settings
from llmrec_peft.serving.refusals import UnavailableError
from llmrec_peft.serving.routes import Route

T = TypeVar("T")
SLICE, PAIRS = 8, 1_000
"""Users whose lists are computed in one turn, and pairs that are scored in one."""
KEPT_USERS = 16
"""Users of an ask whose lists are looked for in the event loop: each takes microseconds there."""
KNOWN_S, TEXT_TOKENS, EXPLAINED_S = 0.002, 128, 0.05
"""What a tenant of weight 1 gets in a round: seconds of the known items' lane, tokens, seconds of explaining."""
TEXT_THREADS = 32
"""Tenants whose texts are encoded at the same time, in shared passes."""
TOKENS_PER_S = 2000.0
"""What a second of a version that encodes to score is taken for in tokens, until the lane's own pace is known."""
WAITING_EXPLANATIONS, WAITING_CHANGES = 32, 64
"""Explanations and changes of one tenant that wait, at most."""
CHANGE_THREADS, RECORD_THREADS = 4, 2
RECORDED_S = 0.01
"""Seconds of recording that a tenant of weight 1 gets in a round."""
AT_EXIT_S = 5.0
"""Seconds that the process waits for threads when it ends without `close`."""


class Lanes:
    """Computes for callers in an event loop what an engine answers, without one kind or tenant holding up another.

    Known items have one thread, which drives the model and waits for nothing: a version that is not in memory is
    waited for elsewhere (`Fetching`), and one that reads a text for each score belongs to the texts' lane. Texts of
    several tenants are given to the engine at once, which encodes them in shared passes, and those of one tenant one
    call after the other. Explanations, changes and records have threads of their own. In each lane tenants take turns
    by cost, see `FairQueue`.

    What is asked for raises what the engine raises, and `BusyError`, `LateError` and `DrainingError`.
    """

    def __init__(self, engine: Engine, settings: Settings, metrics: Metrics) -> None:
        """Begin without threads; each starts with the first call of its lane.

        Args:
            engine: What answers.
            settings: Quotas, and how many explain.
            metrics: Where waits are noted.
        """
        self._engine, self._metrics, self._quotas = engine, metrics, settings.quotas
        self._calls: set[Call] = set()
        self._fetching = Fetching(engine, settings.wait_s)
        quotas, absent = self._quotas, self._fetching.want
        texts = Bounds(quotas.waiting_requests, quotas.waiting_tokens, quotas.waiting_tenant_tokens)
        text_queue = FairQueue[Call](texts, TEXT_TOKENS)

        def tokens_per_s() -> float:
            return text_queue.per_second() or TOKENS_PER_S

        self._texts = Lane("texts", text_queue, TEXT_THREADS, absent, per_second=tokens_per_s)
        self._known = Lane("known", FairQueue(Bounds(quotas.waiting_requests), KNOWN_S), 1, absent, self._if_encodes)
        few = Bounds(min(WAITING_EXPLANATIONS, quotas.waiting_requests))
        self._explanations = Lane("explanations", FairQueue(few, EXPLAINED_S), settings.explainers, absent)
        changes = FairQueue[Call](Bounds(WAITING_CHANGES), 1.0)
        self._changes = Lane("changes", changes, CHANGE_THREADS, absent)
        records = FairQueue[Call](Bounds(quotas.waiting_requests), RECORDED_S)
        self._records = Lane("records", records, RECORD_THREADS, absent)
        _open.add(self)

    @property
    def _lanes(self) -> tuple[Lane, ...]:
        return self._known, self._texts, self._explanations, self._changes, self._records

    async def ask(self, tenant: str, users: Sequence[str], k: int = 10, seen: bool = False) -> list[Answer]:
        """Return the best items of each user, see `Engine.ask`; lists that are kept wait for nothing."""
        return await self.shaped_ask(tenant, users, k, seen, lambda answers: answers)

    async def shaped_ask(
        self, tenant: str, users: Sequence[str], k: int, seen: bool, shape: Callable[[list[Answer]], T]
    ) -> T:
        """Return the best items of each user in another form, such as bytes.

        Lists of many users are computed `SLICE` at a time, each slice in a turn of its own, so that one request does
        not hold the lane; what the name meant in the turn of the first one answers all of them. The form is made in the
        lane, too, so that its time is the tenant's.
        """
        if len(users) <= KEPT_USERS:
            kept = self._engine.kept(tenant, users, k, seen)
            if kept is not None:
                trail.current().tenant = tenant
                trail.current().answered(answer.identity for answer in kept)
                return shape(kept)

        found = list[Answer]()

        def ask(part: slice, route: Route | None) -> None:
            found.extend(self._engine.ask(tenant, users[part], k, seen, 0.0, route))

        shaped = await self._in_slices(tenant, users, SLICE, ask, lambda: shape(found))
        trail.current().answered(answer.identity for answer in found)
        return shaped

    async def score(self, tenant: str, users: Sequence[str], items: Sequence[str]) -> Scores:
        """Predict labels of pairs, see `Engine.score`."""
        return await self.shaped_score(tenant, users, items, lambda scores: scores)

    async def shaped_score(
        self, tenant: str, users: Sequence[str], items: Sequence[str], shape: Callable[[Scores], T]
    ) -> T:
        """Predict labels of pairs in another form, `PAIRS` in a turn, see `shaped_ask`."""
        found = list[Scores]()

        def score(part: slice, route: Route | None) -> None:
            found.append(self._engine.score(tenant, users[part], items[part], wait_s=0.0, route=route))

        shaped = await self._in_slices(tenant, users, PAIRS, score, lambda: shape(Scores.joined(found)))
        trail.current().answered(found[0].identities)
        return shaped

    async def _in_slices(
        self,
        tenant: str,
        users: Sequence[str],
        size: int,
        compute: Callable[[slice, Route | None], None],
        end: Callable[[], T],
    ) -> T:
        """Compute what is asked for some users at a time, each slice in a turn of its own, and return what ends it.

        Args:
            tenant: Whom to ask.
            users: All users.
            size: Users of a slice.
            compute: Computes a slice, on the route that answers all of them; None for what answers in its turn.
            end: Makes the result, in the turn of the last slice.
        """
        since = time.monotonic()
        *parts, last = [slice(at, at + size) for at in range(0, len(users), size)]
        held = Holding(self._engine, tenant, users) if parts else None

        def do(part: slice) -> None:
            compute(part, None if held is None else held.route())

        def do_last() -> T:
            do(last)
            return end()

        try:
            for part in parts:
                await self._scored(tenant, users[part], partial(do, part), since)
            return await self._scored(tenant, users[last], do_last, since)
        finally:
            if held is not None:
                held.close()

    async def explain(
        self, tenant: str, user: str, item: str, top: int = 5, words: WordMethod = "leave-one-out"
    ) -> Explained:
        """Return the evidence of one score, see `Engine.explain`."""

        def do() -> Explained:
            return self._engine.explain(tenant, user, item, top, words, wait_s=0.0)

        call = Call(tenant=tenant, deadline=self._until(self._quotas.text_deadline_s), do=do, users=[user])
        found = cast(Explained, await self._answered(call, self._explanations))
        trail.current().answered([found.identity])
        return found

    async def add_items(self, tenant: str, rows: Iterable[Mapping[str, Any]]) -> Standing:
        """Make new items scorable by their texts, see `Engine.add_items`.

        A caller who leaves takes them back only while they wait.
        """
        rows = list(rows)

        def do() -> Standing:
            if self._engine.readiness(tenant).absent:
                raise UnavailableError(tenant, "its version is not in memory", None, late=True)
            return self._engine.add_items(tenant, rows)

        tokens = estimated_tokens(rows)
        call = Call(
            tenant=tenant,
            deadline=self._until(self._quotas.text_deadline_s),
            tokens=tokens,
            cost=tokens,
            do=do,
            lasts=True,
        )
        found = cast(Standing, await self._answered(call, self._texts))
        trail.current().answered([found.main])
        return found

    async def change(self, do: Callable[[], T], tenant: str = "") -> T:
        """Do something that takes its time, such as a swap, on threads for that; it has no deadline.

        Args:
            do: What to do.
            tenant: Whose change it is; those of one tenant follow each other.
        """
        call = Call(tenant=tenant, deadline=float("inf"), do=do, lasts=True)
        return cast(T, await self._waited(call, self._changes))

    async def record(self, do: Callable[[], T], tenant: str = "") -> T:
        """Read or write something short on the disk, such as events, on threads that wait for no swap.

        Args:
            do: What to do.
            tenant: Whose it is; tenants take turns.
        """
        call = Call(tenant=tenant, deadline=self._until(self._quotas.deadline_s), do=do, lasts=True)
        return cast(T, await self._waited(call, self._records))

    def set_weight(self, tenant: str, weight: float) -> None:
        """Give a tenant another part of each lane beside others' 1."""
        for lane in self._lanes:
            lane.queue.weigh(tenant, weight)

    def waiting(self) -> dict[str, QueueFigures]:
        """Return what is in each lane, by its name."""
        return {lane.name: lane.queue.figures() for lane in self._lanes}

    def waiting_of(self, tenant: str) -> dict[str, int]:
        """Return how many calls of a tenant are in each lane, by its name."""
        return {lane.name: lane.queue.of(tenant) for lane in self._lanes}

    async def close(self, drain_s: float) -> None:
        """End: what waits gets a `DrainingError`, and so does what is still being computed after some seconds.

        Args:
            drain_s: Seconds for what is being computed.
        """
        self._end()
        until = time.monotonic() + drain_s
        while self._calls and time.monotonic() < until:
            await asyncio.sleep(0.01)
        for call in list(self._calls):
            call.drained()
        await asyncio.sleep(0)

    def _end(self) -> None:
        for lane in self._lanes:
            lane.end()
        self._fetching.end()

    def _join(self, seconds: float) -> None:
        """Wait for all threads, but no longer."""
        until = time.monotonic() + seconds
        for lane in self._lanes:
            lane.join(max(0.0, until - time.monotonic()))
        self._fetching.join(max(0.0, until - time.monotonic()))

    async def _scored(self, tenant: str, users: Sequence[str], do: Callable[[], T], since: float | None = None) -> T:
        """Compute scores in the lane to which they belong, as far as that is known before the version is in memory.

        Args:
            tenant: Whose scores they are.
            users: Users whom they are about.
            do: Computes them.
            since: From when their deadline counts, in seconds of `time.monotonic`; by default from now.
        """
        encodes = self._engine.readiness(tenant, users).encodes
        lane = self._texts if encodes else self._known
        seconds = self._quotas.text_deadline_s if encodes else self._quotas.deadline_s
        deadline = (time.monotonic() if since is None else since) + seconds
        return cast(T, await self._answered(Call(tenant=tenant, deadline=deadline, do=do, users=users), lane))

    def _if_encodes(self, call: Call) -> Moved | None:
        """Return the texts' lane for a call whose version turns out to read a text for each score."""
        if not self._engine.readiness(call.tenant, call.users).encodes:
            return None
        return Moved(self._texts, self._quotas.text_deadline_s)

    async def _answered(self, call: Call, lane: Lane) -> Any:
        """Let a call of a tenant who is registered wait in a lane, and return its result."""
        self._engine.readiness(call.tenant, ())
        trail.current().tenant = call.tenant
        return await self._waited(call, lane)

    async def _waited(self, call: Call, lane: Lane) -> Any:
        lane.put(call)
        self._calls.add(call)
        try:
            return await call.result()
        finally:
            self._calls.discard(call)
            self._note(call)

    def _note(self, call: Call) -> None:
        """Note where the time of a call went."""
        now, moment = time.monotonic(), time.time_ns()
        began = call.began_at if call.began_at is not None else now
        ended = call.ended_at if call.ended_at is not None else now
        parts = {"queue": (call.put_at, began), "engine": (began, max(began, ended))}
        for name, (since, until) in parts.items():
            times = (moment - round((now - at) * 1e9) for at in (since, until))
            trail.current().steps.append(trail.Step(name, call.lane, *times))
        self._metrics.waited(call.lane, began - call.put_at, max(0.0, ended - began))

    def _until(self, seconds: float) -> float:
        return time.monotonic() + seconds


_open: weakref.WeakSet[Lanes] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """End the threads of lanes that nobody closed: a process aborts if one of them is in torch when it ends."""
    for lanes in list(_open):
        lanes._end()
    for lanes in list(_open):
        lanes._join(AT_EXIT_S)
