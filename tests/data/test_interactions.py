"""Interactions: each user's newest, and examples made of what histories tell."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions


def records() -> Interactions:
    """Three records with histories of 2, 0 and 3 judged entries."""
    lengths = np.array([2, 0, 3])
    end = np.cumsum(lengths)
    told = Histories(
        np.array([11, 12, 13, 14, 15]),
        np.array([1.0, 0.0, 1.0, 1.0, 0.0], np.float32),
        end - lengths,
        end,
        np.arange(5),
    )
    return Interactions(
        user=np.array([1, 2, 3]),
        item=np.array([21, 22, 23]),
        label=np.array([0.0, 1.0, 1.0], np.float32),
        timestamp=np.array([100, 200, 300]),
        history=told,
    )


def told(part: Interactions, row: int) -> list[tuple[int, float]]:
    assert part.history is not None
    item, label = part.history.of(row)
    return list(zip(item.tolist(), label.tolist(), strict=True))


def test_each_judged_entry_becomes_an_example_without_itself_and_with_the_records_item_last() -> None:
    whole = records()
    made = whole.expanded(np.array([0, 2]))
    assert len(made) == 3 + 2 + 3
    for row in range(3):
        assert told(made, row) == told(whole, row), "the records stay as they were"
    expected = [
        (1, 11, 1.0, 100, [(12, 0.0), (21, 0.0)]),
        (1, 12, 0.0, 100, [(11, 1.0), (21, 0.0)]),
        (3, 13, 1.0, 300, [(14, 1.0), (15, 0.0), (23, 1.0)]),
        (3, 14, 1.0, 300, [(13, 1.0), (15, 0.0), (23, 1.0)]),
        (3, 15, 0.0, 300, [(13, 1.0), (14, 1.0), (23, 1.0)]),
    ]
    for place, (user, item, label, time, history) in enumerate(expected, start=3):
        assert (made.user[place], made.item[place], made.label[place]) == (user, item, label)
        assert made.timestamp[place] == time
        assert told(made, place) == history
    assert made.rows.tolist() == list(range(8)), "each example has a key of its own"
    assert (made.user.dtype, made.label.dtype, made.history.item.dtype) == (np.int64, np.float32, np.int64)  # type: ignore[union-attr]


def test_records_of_other_parts_make_no_examples() -> None:
    made = records().expanded(np.array([2]))
    assert made.user[3:].tolist() == [3, 3, 3]
    assert not set(made.item[3:].tolist()) & {11, 12}
    none = records().expanded(np.array([1]))
    assert len(none) == 3, "a record that tells nothing makes nothing"
    bare = Interactions(np.array([1]), np.array([2]), np.ones(1, np.float32), np.zeros(1, np.int64))
    assert bare.expanded(np.array([0])) is bare


def test_an_entry_that_no_item_stands_for_makes_no_example() -> None:
    whole = records()
    assert whole.history is not None
    whole.history.item[1] = 0
    made = whole.expanded(np.array([0]))
    assert made.item[3:].tolist() == [11]


@pytest.mark.parametrize("count", [1, 2, 3, 50])
@pytest.mark.parametrize("seed", range(2))
def test_newest_are_each_users_last_in_time(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    part = Interactions(
        rng.integers(1, 9, 120), rng.integers(1, 20, 120), np.ones(120, np.float32), rng.integers(0, 15, 120)
    )
    expected: list[int] = []
    for user in np.unique(part.user):
        own = np.flatnonzero(part.user == user).tolist()
        expected += sorted(own, key=lambda row: (part.timestamp[row], row))[-count:]
    found = part.newest(count)
    assert found.tolist() == sorted(expected)
    assert found.dtype == np.int64
