"""Eviction: what is used often and lately stays, a scan sweeps nothing away, and bytes count."""

from __future__ import annotations

import random

from llmrec_peft.serving.tiers.eviction import HALF_LIFE, NEVER, used, worth


def test_hits_under_a_skewed_load_with_scans_are_far_above_least_recently_used() -> None:
    draw = random.Random(1)
    tenants, room = 256, 32
    asks = list[int]()
    for turn in range(20):
        asks += draw.choices(range(tenants), [1 / (1 + one) for one in range(tenants)], k=400)
        asks += range(tenants) if turn % 2 else ()
    found = {policy: hits(asks, room, policy) / len(asks) for policy in ("used", "latest")}
    assert found["used"] > found["latest"] + 0.1, found


def hits(asks: list[int], room: int, policy: str) -> int:
    """Count asks that find their tenant among those in memory, of equal bytes."""
    weights, latest, here, count = dict[int, float](), dict[int, int](), set[int](), 0
    for clock, one in enumerate(asks):
        weights[one] = used(weights.get(one, NEVER), clock)
        latest[one] = clock
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
