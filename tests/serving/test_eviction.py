"""Eviction: what is used often and lately stays, a scan sweeps nothing away, and bytes count."""

from __future__ import annotations

import random

import pytest

from llmrec_peft.serving.tiers import eviction
from llmrec_peft.serving.tiers.eviction import HALF_LIFE, NEVER, ticks, used, worth


def test_hits_under_a_skewed_load_with_scans_are_far_above_least_recently_used() -> None:
    draw = random.Random(1)
    tenants, room = 256, 32
    asks = list[int]()
    for turn in range(20):
        asks += draw.choices(range(tenants), [1 / (1 + one) for one in range(tenants)], k=400)
        asks += range(tenants) if turn % 2 else ()
    found = {policy: hits(asks, room, policy) / len(asks) for policy in ("used", "latest")}
    assert found["used"] > found["latest"] + 0.1, found


@pytest.mark.parametrize(("tenants", "room"), [(64, 8), (256, 64)])
def test_what_is_found_under_a_steady_skewed_load_is_near_the_best_choice(tenants: int, room: int) -> None:
    chances = [1 / (1 + one) for one in range(tenants)]
    asks = random.Random(1).choices(range(tenants), chances, k=10_000)
    learnt = len(asks) // 4
    found = (hits(asks, room, "used") - hits(asks[:learnt], room, "used")) / (len(asks) - learnt)
    best = sum(chances[:room]) / sum(chances)
    assert best - 0.02 < found < best + 0.02
    assert found > (hits(asks, room, "latest") - hits(asks[:learnt], room, "latest")) / (len(asks) - learnt) + 0.07


def test_when_others_become_the_frequent_ones_they_are_kept_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    draw, tenants, room = random.Random(2), list(range(256)), 16
    asks = list[int]()
    for _ in range(4):
        draw.shuffle(tenants)
        asks += draw.choices(tenants, [1 / (1 + one) for one in range(256)], k=100 * room)
    found = hits(asks, room, "used")
    monkeypatch.setattr(eviction, "USES", HALF_LIFE // room)
    assert found > hits(asks, room, "used") * 1.15, "a half-life of 8,192 uses, however many are kept"


def hits(asks: list[int], room: int, policy: str) -> int:
    """Count asks that find their tenant among those in memory, of equal bytes."""
    weights, latest, here, count, clock = dict[int, float](), dict[int, int](), set[int](), 0, 0.0
    for number, one in enumerate(asks):
        clock += ticks(len(here))
        weights[one] = used(weights.get(one, NEVER), clock)
        latest[one] = number
        count += one in here
        if one not in here and len(here) == room:
            key = (lambda each: worth(weights[each], 1)) if policy == "used" else latest.__getitem__
            here.remove(min(here, key=key))
        here.add(one)
    return count


def test_use_of_long_ago_counts_less_than_one_of_now() -> None:
    once, often = used(NEVER, 10 * HALF_LIFE), NEVER
    for clock in range(100):
        often = used(often, clock)
    assert often < once, "a hundred uses ten half-lives ago are a tenth of a use"
    assert used(used(NEVER, 0), 1) > used(NEVER, 1)


def test_of_two_that_are_used_alike_the_larger_one_goes_first() -> None:
    weight = used(NEVER, 5)
    assert worth(weight, 2000) < worth(weight, 1000)
    assert worth(NEVER, 1) < worth(weight, 10**12)
