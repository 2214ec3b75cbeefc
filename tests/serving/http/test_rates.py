"""Rates: a tenant gets its quota, is told when to come again, and takes nothing from others."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
from limits.storage import memory

from llmrec_peft.errors import InputError
from llmrec_peft.serving.http.gate import rates as rates_module
from llmrec_peft.serving.http.gate.rates import Rates
from llmrec_peft.serving.http.settings import Quotas


class Clock:
    """A clock for the counters, in the middle of a window of ten seconds."""

    def __init__(self) -> None:
        self.now = 1_000_005.0

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still."""
    clock = Clock()
    stand_in = SimpleNamespace(time=lambda: clock.now, monotonic=lambda: clock.now)
    monkeypatch.setattr(memory, "time", stand_in)
    monkeypatch.setattr(rates_module, "time", stand_in)
    return clock


def taken(rates: Rates, tenant: str, most: int) -> int:
    """How many requests of a tenant are let through at once."""
    return sum(rates.take(tenant, "requests") is None for _ in range(most))


def test_a_tenant_gets_its_quota_and_no_more(clock: Clock) -> None:
    rates = Rates(Quotas(requests="20/10 seconds"))
    assert taken(rates, "a", 50) == 20


def test_one_tenants_flood_takes_nothing_from_another(clock: Clock) -> None:
    rates = Rates(Quotas(requests="20/10 seconds"))
    taken(rates, "a", 1000)
    assert taken(rates, "b", 50) == 20


def test_kinds_are_counted_apart(clock: Clock) -> None:
    rates = Rates(Quotas(requests="1/10 seconds", texts="5/10 seconds", explanations="1/10 seconds"))
    assert rates.take("a", "requests") is None
    assert rates.take("a", "explanations") is None
    assert rates.take("a", "texts", 5) is None
    assert rates.take("a", "texts") is not None


@pytest.mark.parametrize("later", [0.0, 3.0, 4.9, 7.0, 12.0])
@pytest.mark.parametrize("amount", [1, 3, 20])
def test_after_the_seconds_that_are_told_there_is_room_and_before_there_is_none(
    clock: Clock, later: float, amount: int
) -> None:
    rates = Rates(Quotas(texts="20/10 seconds"))
    assert rates.take("a", "texts", 12) is None
    clock.passes(later)
    rates.take("a", "texts", 8)
    wait_s = rates.take("a", "texts", amount)
    if wait_s is None:
        return
    assert 0 < wait_s <= 20
    clock.passes(wait_s - 0.01)
    assert rates.take("a", "texts", amount) is not None
    clock.passes(0.02)
    assert rates.take("a", "texts", amount) is None


def test_no_tenant_gets_twice_its_quota_at_the_border_of_two_windows(clock: Clock) -> None:
    rates = Rates(Quotas(requests="20/10 seconds"))
    clock.passes(4.9)
    assert taken(rates, "a", 50) == 20
    clock.passes(0.2)
    assert taken(rates, "a", 50) <= 1


def test_more_than_a_windows_quota_takes_several_windows(clock: Clock) -> None:
    rates = Rates(Quotas(texts="200/10 seconds"))
    assert rates.take("a", "texts", 500) is None
    assert rates.take("a", "texts") == pytest.approx(15.0)
    clock.passes(15.1)
    assert rates.take("a", "texts") is None
    assert rates._held == {}


def test_a_clock_that_jumps_locks_nobody_out(clock: Clock) -> None:
    rates = Rates(Quotas(requests="20/10 seconds"))
    assert taken(rates, "a", 50) == 20
    clock.passes(-3600)
    assert taken(rates, "a", 50) == 20


def test_a_tenant_takes_the_same_memory_at_any_rate() -> None:
    rates = Rates(Quotas(requests="1000000/day"))
    taken(rates, "a", 2000)
    assert len(rates._storage.storage) == 1
    assert rates._storage.events == {}


def test_threads_together_get_the_quota_and_no_more() -> None:
    rates = Rates(Quotas(requests="500/hour"))
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(taken(rates, "a", 400))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 500


@pytest.mark.parametrize("text", ["", "many", "0/second", "-1/second", "1/second;2/minute", "5/fortnight", "1e9"])
def test_what_is_no_rate_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(InputError, match=r"quotas\.texts: .* is not one rate"):
        Rates(Quotas(texts=text))


def test_a_real_clock_lets_the_tenant_in_again() -> None:
    rates = Rates(Quotas(requests="5/second"))
    assert taken(rates, "a", 5) == 5
    wait_s = rates.take("a", "requests")
    assert wait_s is not None
    assert 0 <= wait_s <= 2
    time.sleep(wait_s + 0.05)
    assert rates.take("a", "requests") is None
