"""FairQueue, whatever happens in whatever order: no entry is lost, served twice or counted wrongly."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from llmrec_peft.serving.http.lanes.busy import BusyError
from llmrec_peft.serving.http.lanes.fair_queue import FairQueue
from llmrec_peft.serving.http.lanes.lines import Bounds, Entry

TENANTS = st.sampled_from([f"shop {at}" for at in range(5)])
COSTS = st.floats(0, 9)
BOUNDS = Bounds(entries=6, tokens=400, tenant_tokens=200)


@dataclass(eq=False)
class Job(Entry):
    """An entry that knows where it should be."""

    where: str = "waiting"

    def late(self) -> None:
        """Take note."""
        assert self.where == "waiting"
        self.where = "gone"


class Queueing(RuleBasedStateMachine):
    """What a queue and those who use it may do."""

    jobs = Bundle("jobs")
    taken = Bundle("taken")

    def __init__(self) -> None:
        """Begin with an empty queue."""
        super().__init__()
        self.now = 0.0
        self.all: list[Job] = []
        self.queue = FairQueue[Job](BOUNDS, 1.0, clock=lambda: self.now)

    @rule(
        target=jobs,
        tenant=TENANTS,
        stays=st.sampled_from([1.0, 100.0]),
        tokens=st.integers(0, 90),
        known=COSTS | st.none(),
    )
    def put(self, tenant: str, stays: float, tokens: int, known: float | None) -> object:
        """Let a job wait."""
        job = Job(tenant, self.now + stays, tokens, known)
        here = [one for one in self.all if one.where != "gone"]
        mine = [one for one in here if one.tenant == tenant]
        try:
            self.queue.put(job)
        except BusyError as error:
            assert error.retry_s > 0
            many = sum(one.tokens for one in here) + tokens > 400
            assert many or len(mine) == 6 or sum(one.tokens for one in mine) + tokens > 200
            return multiple()
        assert len(mine) < 6
        self.all.append(job)
        return job

    @rule(target=taken)
    def take(self) -> object:
        """Take one."""
        job = self.queue.take(wait=False)
        if job is None:
            return multiple()
        assert job.where == "waiting"
        assert job.deadline > self.now
        assert not any(one.where == "running" and one.tenant == job.tenant for one in self.all)
        job.where = "running"
        return job

    @rule(job=consumes(taken), cost=COSTS)
    def done(self, job: Job, cost: float) -> None:
        """End one."""
        self.queue.done(job, cost)
        job.where = "gone"

    @rule(job=consumes(taken), cost=COSTS)
    def park(self, job: Job, cost: float) -> None:
        """Let one wait for something else."""
        self.queue.park(job, cost)
        job.where = "parked"

    @rule(job=jobs)
    def back(self, job: Job) -> None:
        """Bring one back, whether or not it was parked."""
        self.queue.back(job)
        job.where = "waiting" if job.where == "parked" else job.where

    @rule(job=jobs)
    def drop(self, job: Job) -> None:
        """Want one no more."""
        here = job.where in ("waiting", "parked")
        assert self.queue.drop(job) == here
        job.where = "gone" if here else job.where

    @rule(tenant=TENANTS, weight=st.sampled_from([0.01, 0.5, 1.0, 4.0]))
    def weigh(self, tenant: str, weight: float) -> None:
        """Give a tenant another weight."""
        self.queue.weigh(tenant, weight)

    @rule(seconds=st.sampled_from([0.1, 1.0, 30.0]))
    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @invariant()
    def counts_are_right(self) -> None:
        """Hold the queue's counts against the jobs."""
        figures = self.queue.figures()
        here = {where: [one for one in self.all if one.where == where] for where in ("waiting", "running", "parked")}
        assert {name: getattr(figures, name) for name in here} == {name: len(ones) for name, ones in here.items()}
        assert figures.tokens == sum(one.tokens for ones in here.values() for one in ones) <= 800

    def teardown(self) -> None:
        """Serve all that is left: everybody has his turn, and then nothing is remembered."""
        for job in [one for one in self.all if one.where == "parked"]:
            self.back(job)
        for job in [one for one in self.all if one.where == "running"]:
            self.done(job, 1.0)
        while any(one.where == "waiting" for one in self.all):
            self.now += 2.0
            job = self.queue.take(wait=False)
            if job is not None:
                self.queue.done(job, 1.0)
                job.where = "gone"
        self.counts_are_right()
        assert not (self.queue._lines or self.queue._order or self.queue._owing or self.queue._busy)


Queueing.TestCase.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
TestQueueing = Queueing.TestCase
