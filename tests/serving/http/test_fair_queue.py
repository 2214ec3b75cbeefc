"""FairQueue: parts by cost and weight, whatever tenants do to get more; bounds, deadlines, and what is forgotten."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from llmrec_peft.serving.http.lanes.busy import BusyError, DrainingError, FullError
from llmrec_peft.serving.http.lanes.fair_queue import FairQueue
from llmrec_peft.serving.http.lanes.lines import Bounds, Entry
from llmrec_peft.serving.refusals import ServingError


@dataclass
class Clock:
    """Seconds that pass only when somebody says so."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class Job(Entry):
    """An entry whose cost the queue learns when it is done."""

    costs: float = 1.0
    was_late: bool = False

    def late(self) -> None:
        """Take note."""
        self.was_late = True


@dataclass
class Served:
    """One server that takes one entry after the other.

    Attributes:
        queue: The queue.
        clock: Its clock, which passes by the cost of what is served.
        cost: What each tenant was served.
        order: Tenants in the order in which they were served.
        waits: Seconds that each tenant's entries waited.
    """

    queue: FairQueue[Job]
    clock: Clock
    cost: Counter[str] = field(default_factory=Counter)
    order: list[str] = field(default_factory=list)
    waits: dict[str, list[float]] = field(default_factory=dict)

    def one(self) -> Job:
        """Serve one entry."""
        job = self.queue.take()
        assert job is not None
        self.waits.setdefault(job.tenant, []).append(self.clock.now - job.put_at)
        self.clock.now += job.costs
        self.cost[job.tenant] += job.costs  # type: ignore[assignment]
        self.order.append(job.tenant)
        self.queue.done(job, job.costs)
        return job


def served(entries: int = 100_000, quantum: float = 1.0, **bounds: int) -> Served:
    clock = Clock()
    return Served(FairQueue(Bounds(entries, **bounds), quantum, clock=clock), clock)


def job(tenant: str, cost: float = 1.0, deadline: float = 1e9, tokens: int = 0) -> Job:
    return Job(tenant, deadline, tokens, costs=cost)


def test_each_tenant_gets_its_weights_part_of_the_cost_however_unlike_the_entries_are() -> None:
    server, drawn = served(), random.Random(1)
    weights = {"light": 1.0, "heavy": 1.0, "double": 2.0, "half": 0.5}
    for tenant, weight in weights.items():
        server.queue.weigh(tenant, weight)
        for _ in range(4000):
            dear = drawn.random() * 20 if tenant == "heavy" else drawn.random()
            server.queue.put(job(tenant, dear))
    while sum(server.cost.values()) < 2000:
        server.one()
    whole = sum(weights.values())
    for tenant, weight in weights.items():
        assert server.cost[tenant] == pytest.approx(2000 * weight / whole, abs=25)


def test_entry_now_and_then_waits_for_the_one_that_is_served_and_no_longer() -> None:
    server = served(quantum=0.1)
    for _ in range(5000):
        server.queue.put(job("flood", 1.0))
    for _ in range(200):
        for _ in range(19):
            server.one()
        server.queue.put(job("quiet", 0.2))
        server.one()
        server.one()
    assert len(server.waits["quiet"]) == 200
    assert max(server.waits["quiet"]) <= 1.0


@pytest.mark.parametrize("cheap", [0.05, 0.95, 3.0])
def test_one_entry_at_a_time_does_not_evade_what_was_used(cheap: float) -> None:
    """A tenant whose line is empty whenever an entry of its is done gets no more than its part."""
    server = served(quantum=1.0)
    for _ in range(3000):
        server.queue.put(job("steady", 1.5))
    server.queue.put(job("one at a time", cheap))
    while server.clock.now < 1500:
        if server.one().tenant == "one at a time":
            server.queue.put(job("one at a time", cheap))
    part = server.cost["one at a time"] / sum(server.cost.values())
    assert 0.4 * min(1.0, cheap) < part < 0.55


def test_dear_entry_is_paid_for_by_the_rounds_that_follow() -> None:
    server = served(quantum=1.0)
    for _ in range(3):
        server.queue.put(job("dear", 50.0))
    for _ in range(500):
        server.queue.put(job("cheap", 1.0))
    for _ in range(120):
        server.one()
    first, second, *_ = (at for at, name in enumerate(server.order) if name == "dear")
    assert 45 <= second - first <= 55


def test_many_entries_of_others_shut_nobody_out_and_nobody_starves() -> None:
    server, drawn = served(quantum=0.5), random.Random(3)
    names = [f"shop {at}" for at in range(50)]
    for name in names:
        for _ in range(100):
            server.queue.put(job(name, drawn.choice([0.1, 1.0, 7.0])))
    for _ in range(1500):
        server.one()
    assert len(server.cost) == 50
    assert max(server.cost.values()) - min(server.cost.values()) < 2 * 7.0 + 1


def test_weight_changes_while_entries_wait() -> None:
    server = served()
    for tenant in ("a", "b"):
        for _ in range(2000):
            server.queue.put(job(tenant))
    for _ in range(200):
        server.one()
    server.queue.weigh("a", 3.0)
    before = Counter(server.cost)
    for _ in range(400):
        server.one()
    assert server.cost["a"] - before["a"] == pytest.approx(300, abs=5)
    server.queue.weigh("a", 0.01)
    before = Counter(server.cost)
    for _ in range(500):
        server.one()
    assert server.cost["a"] - before["a"] <= 10


def test_entries_that_are_computed_together_share_by_weight_where_their_cost_is_known() -> None:
    """A server that gives all that it computes the same part, as shared passes do, and has room for every tenant."""
    clock = Clock()
    queue = FairQueue[Job](Bounds(100_000), 10.0, clock=clock)
    weights = {"large": 4.0, "middle": 1.0, "small": 0.5}
    for tenant, weight in weights.items():
        queue.weigh(tenant, weight)
        for at in range(3000):
            queue.put(Job(tenant, 1e9, cost=5.0 + at % 7))
    left, served = dict[Job, float](), Counter[str]()
    while sum(served.values()) < 8000:
        while (taken := queue.take(wait=False)) is not None:
            assert taken.cost is not None
            left[taken] = taken.cost
        assert left, "the server is never without work"
        clock.now += 0.01
        for one in list(left):
            left[one] -= 1.0
            served[one.tenant] += 1
            if left[one] <= 0:
                del left[one]
                queue.done(one, 0.0)
    whole = sum(weights.values())
    for tenant, weight in weights.items():
        assert served[tenant] / 8000 == pytest.approx(weight / whole, rel=0.15)


def test_entry_of_known_cost_that_never_ends_holds_up_the_others_for_a_moment_only() -> None:
    clock = Clock()
    queue = FairQueue[Job](Bounds(1000), 1.0, clock=clock)
    queue.put(Job("hangs", 1e9, cost=0.1))
    assert queue.take(wait=False) is not None
    for _ in range(200):
        queue.put(Job("shop", 1e9, cost=1.0))
    taken = 0
    for _ in range(200):
        entry = queue.take(wait=False)
        if entry is None:
            clock.now += 1.0
            entry = queue.take(wait=False)
        assert entry is not None
        queue.done(entry, 0.0)
        taken += 1
    assert clock.now == 1.0
    assert taken == 200


def test_parked_entry_of_known_cost_is_charged_when_it_is_done() -> None:
    server = served(quantum=1.0)
    server.queue.put(parked := Job("a", 1e9, cost=500.0))
    assert server.queue.take() is parked
    server.queue.park(parked, 3.0)
    assert server.queue._lines["a"].balance == 1.0
    server.queue.back(parked)
    assert server.queue.take() is parked
    assert server.queue._lines["a"].balance == -499.0


def test_bound_of_a_tenant_says_when_to_come_again_by_its_pace() -> None:
    server = served(entries=8)
    for _ in range(8):
        server.queue.put(job("shop", 0.5))
    with pytest.raises(BusyError, match=r"tenant 'shop': 8 requests wait already") as said:
        server.queue.put(job("shop"))
    assert 0 < said.value.retry_s <= 60
    server.queue.put(job("other", 0.5))
    for _ in range(9):
        server.one()
        if server.queue.of("shop") < 8:
            server.queue.put(job("shop", 0.5))
    while server.queue.of("shop") < 8:
        server.queue.put(job("shop", 0.5))
    with pytest.raises(BusyError) as later:
        server.queue.put(job("shop"))
    assert later.value.retry_s == pytest.approx(8 * 0.5, rel=0.3)


def test_bounds_of_tokens_leave_every_tenant_its_part() -> None:
    server = served(tokens=1000, tenant_tokens=400)
    with pytest.raises(ServingError, match="send fewer at once") as large:
        server.queue.put(job("large", tokens=401))
    assert not isinstance(large.value, BusyError)
    for name in ("a", "b", "c"):
        while True:
            try:
                server.queue.put(job(name, tokens=50))
            except BusyError:
                break
    assert server.queue.figures().tokens >= 1000
    server.queue.put(job("late comer", tokens=50))
    with pytest.raises(FullError, match="too much text of all tenants"):
        server.queue.put(job("c", tokens=50))
    with pytest.raises(BusyError):
        while True:
            server.queue.put(job("late comer", tokens=50))
    assert server.queue.figures().tokens <= 2000
    while server.queue.figures().waiting:
        server.one()
    assert server.queue.figures().tokens == 0


def test_entry_leaves_when_its_deadline_has_passed_or_nobody_wants_it() -> None:
    server = served()
    soon, kept, dropped = job("shop", deadline=5.0), job("shop", deadline=50.0), job("shop")
    for one in (soon, kept, dropped):
        server.queue.put(one)
    assert server.queue.drop(dropped)
    assert not server.queue.drop(dropped)
    server.clock.now = 5.0
    assert server.one() is kept
    assert soon.was_late
    assert not kept.was_late
    assert server.queue.of("shop") == 0


def test_parked_entry_counts_and_is_the_next_of_its_tenant_when_it_is_back() -> None:
    server = served(entries=3)
    first, second = job("shop"), job("shop")
    server.queue.put(first)
    server.queue.put(second)
    assert server.queue.take() is first
    server.queue.park(first, 0.0)
    server.queue.put(third := job("shop"))
    with pytest.raises(BusyError):
        server.queue.put(job("shop"))
    server.queue.back(first)
    server.queue.back(first)
    assert [server.one() for _ in range(3)] == [first, second, third]


def test_only_one_entry_of_a_tenant_is_taken_at_a_time() -> None:
    server = served()
    for tenant in ("a", "a", "b"):
        server.queue.put(job(tenant))
    one, two = server.queue.take(), server.queue.take()
    assert one is not None
    assert two is not None
    assert [one.tenant, two.tenant] == ["a", "b"]
    assert server.queue.take(wait=False) is None
    server.queue.done(one, 1.0)
    three = server.queue.take()
    assert three is not None
    assert three.tenant == "a"


def test_what_left_is_forgotten_and_debts_with_the_last_entry() -> None:
    server = served(quantum=1.0)
    for at in range(2000):
        server.queue.put(job(f"shop {at}", 3.0))
        server.one()
    assert not server.queue._lines
    server.queue.put(job("steady"))
    for at in range(2000):
        server.queue.put(job(f"shop {at}", 0.5))
        server.queue.put(job("steady"))
        server.one()
        gone = job(f"shop {at}", 3.0)
        server.queue.put(gone)
        server.queue.drop(gone)
        server.one()
    assert len(server.queue._lines) < 50, "names of tenants that come once are not kept"
    assert len(server.queue._order) + len(server.queue._owing) < 200


def test_ended_queue_gives_back_what_waits_and_takes_no_more() -> None:
    server = served()
    ones = [job("a"), job("a"), job("b")]
    for one in ones:
        server.queue.put(one)
    running = server.queue.take()
    assert running is ones[0]
    assert set(server.queue.end()) == set(ones[1:])
    assert server.queue.take() is None
    with pytest.raises(DrainingError):
        server.queue.put(job("a"))
    server.queue.done(running, 1.0)
    figures = server.queue.figures()
    assert (figures.waiting, figures.running, figures.parked) == (0, 0, 0)
