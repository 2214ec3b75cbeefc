"""Latency: how many calls are made and what is said of them, on a clock that the test moves."""

from __future__ import annotations

import pytest

from llmrec_peft.benchmark.answers import throughput
from llmrec_peft.benchmark.latency import LEAST, WARM_UP, percentiles, repeated


class Clock:
    """A clock that each call of `work` moves by the next of some times; afterwards by the last one."""

    def __init__(self, *seconds: float) -> None:
        self.now, self.calls, self._seconds = 1000.0, 0, seconds

    def __call__(self) -> float:
        return self.now

    def work(self) -> None:
        self.now += self._seconds[min(self.calls, len(self._seconds) - 1)]
        self.calls += 1


def test_the_first_calls_are_not_counted() -> None:
    clock = Clock(*[0.5] * WARM_UP, 0.002, 0.004, 0.006)
    assert repeated(clock.work, 3, 10.0, clock) == pytest.approx([2.0, 4.0, 6.0])
    assert clock.calls == WARM_UP + 3


def test_no_call_begins_after_the_time_is_over() -> None:
    clock = Clock(0.25)
    assert repeated(clock.work, 100, 2.0, clock) == [250.0] * 9, "the ninth begins at 2.0 s"


def test_a_few_calls_are_made_although_they_take_long() -> None:
    clock = Clock(0.75)
    assert repeated(clock.work, 100, 1.0, clock) == [750.0] * LEAST


def test_one_call_that_takes_all_the_time_is_the_only_one() -> None:
    clock = Clock(3.0)
    assert repeated(clock.work, 100, 1.0, clock) == [3000.0]
    assert clock.calls == 1


def test_percentiles_are_those_of_all_calls() -> None:
    found = percentiles([float(number) for number in range(1, 201)])
    assert found == {"p50": 100.5, "p95": 190.05, "p99": 198.01, "n": 200}
    assert percentiles([7.0]) == {"p50": 7.0, "p95": 7.0, "p99": 7.0, "n": 1}


def test_throughput_is_that_of_the_larger_batch() -> None:
    timed = {"recommend_1": {"p50": 1.0}, "recommend_32": {"p50": 16.0}, "new_item_32": {"p50": 320.0}}
    assert throughput(timed) == {"users_per_s": 2000.0, "items_per_s": 100.0}
