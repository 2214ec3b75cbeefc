"""Histories: a user's strictly earlier interactions among known ones; ragged rows are cut, padded and joined."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec_peft.data.histories import DAY, Histories, earlier, given

SEEDS = range(2)
Entry = tuple[int, float, int]


def world(seed: int, rows: int = 300) -> dict[str, np.ndarray]:
    """Interactions of a few users at few moments, so that many share one; user 9 is never known."""
    rng = np.random.default_rng(seed)
    return {
        "user": rng.integers(1, 10, rows),
        "item": rng.integers(1, 40, rows),
        "label": rng.integers(1, 6, rows).astype(np.float32),
        "timestamp": rng.integers(0, 25, rows) * 3600,
    }


def naive(data: dict[str, np.ndarray], row: int, known: set[int]) -> list[Entry]:
    """The history by its definition: known rows of the user at an earlier time, by time, then by row."""
    before = [
        other
        for other in known
        if data["user"][other] == data["user"][row] and data["timestamp"][other] < data["timestamp"][row]
    ]
    before.sort(key=lambda other: (data["timestamp"][other], other))
    return [(int(data["item"][at]), float(data["label"][at]), int(data["timestamp"][at])) for at in before]


def entries(histories: Histories, row: int) -> list[Entry]:
    item, label = histories.of(row)
    assert histories.time is not None
    time = histories.time[histories.begin[row] : histories.end[row]]
    return list(zip(item.tolist(), label.tolist(), time.tolist(), strict=True))


def ragged(rows: list[list[int]], times: bool = True) -> Histories:
    """Histories from lists of items; labels are a tenth of the item, times count the places."""
    lengths = np.array([len(row) for row in rows], np.int64)
    end = np.cumsum(lengths)
    flat = np.array([item for row in rows for item in row], np.int64)
    time = np.array([place for row in rows for place in range(len(row))], np.int64) if times else None
    return Histories(flat, (flat / 10).astype(np.float32), end - lengths, end, time)


ROWS = [[5, 6, 7], [], [8], [9, 10, 11, 12, 13]]


@pytest.mark.parametrize("seed", SEEDS)
def test_earlier_tells_known_rows_of_strictly_earlier_times_and_nothing_else(seed: int) -> None:
    data, rng = world(seed), np.random.default_rng(seed + 100)
    known = np.flatnonzero((rng.random(300) < 0.7) & (data["user"] != 9))
    asking = rng.permutation(300)[:150]
    found = earlier(*data.values(), asking, rng.permutation(known))
    assert len(found) == 150
    for place, row in enumerate(asking.tolist()):
        assert entries(found, place) == naive(data, row, set(known.tolist()))
    assert found.lengths[data["user"][asking] == 9].sum() == 0
    assert found.lengths.max() > 3


@pytest.mark.parametrize("seed", SEEDS)
def test_an_example_never_stands_in_its_own_history_nor_does_what_happened_at_its_moment(seed: int) -> None:
    data = world(seed)
    data["item"] = np.arange(1, 301)  # every interaction has an item of its own
    rows = np.arange(300)
    found = earlier(*data.values(), rows, rows)
    for row in rows.tolist():
        told = found.of(row)[0] - 1
        assert row not in told
        assert (data["timestamp"][told] < data["timestamp"][row]).all()


def test_nothing_known_and_nobody_asking_are_empty() -> None:
    data, nothing = world(0), np.empty(0, np.int64)
    assert earlier(*data.values(), np.arange(300), nothing).lengths.sum() == 0
    assert len(earlier(*data.values(), nothing, np.arange(300))) == 0
    assert Histories.empty(3).padded()[0].shape == (3, 0)
    assert Histories.empty(3).padded(4)[0].tolist() == [[0] * 4] * 3


@pytest.mark.parametrize("length", [None, 1, 3, 5, 8])
def test_padded_puts_the_newest_last_and_zeros_before_it(length: int | None) -> None:
    item, label = ragged(ROWS).padded(length)
    width = 5 if length is None else length
    for row, told in enumerate(ROWS):
        kept = told[-width:]
        assert item[row].tolist() == [0] * (width - len(kept)) + kept
        assert label[row].tolist() == pytest.approx([0.0] * (width - len(kept)) + [i / 10 for i in kept])
    assert (item.dtype, label.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("length", [1, 2, 4, 9])
def test_newest_cuts_each_history_to_its_last_entries(length: int) -> None:
    histories = ragged(ROWS)
    cut = histories.newest(length)
    assert [cut.of(row)[0].tolist() for row in range(4)] == [row[-length:] for row in ROWS]
    assert cut.item is histories.item, "the storage is shared"
    assert histories.lengths.tolist() == [3, 0, 1, 5]


def test_taken_rows_come_in_the_order_asked_for_from_one_storage() -> None:
    histories = ragged(ROWS)
    taken = histories.take(np.array([3, 0, 3]))
    assert [taken.of(row)[0].tolist() for row in range(3)] == [ROWS[3], ROWS[0], ROWS[3]]
    assert taken.item is histories.item


def test_without_takes_the_own_item_out_of_the_named_rows_alone() -> None:
    rows = [[5, 6, 5], [5, 6], [7], [5]]
    found, count = ragged(rows).without(np.array([5, 5, 5, 5]), np.array([0, 2, 3]))
    assert [found.of(row)[0].tolist() for row in range(4)] == [[6], [5, 6], [7], []]
    assert count == 2, "rows 0 and 3 held their item; row 2 did not, row 1 was not asked for"
    assert found.of(0)[1].tolist() == pytest.approx([0.6])
    assert found.time is not None
    assert found.time[found.begin[0] : found.end[0]].tolist() == [1], "its time goes with it"


def test_without_in_a_shared_stretch_leaves_the_others_looking_at_it_as_they_were() -> None:
    shared = ragged([[5, 6, 7]]).take(np.array([0, 0]))
    found, count = shared.without(np.array([6, 6]), np.array([1]))
    assert [found.of(row)[0].tolist() for row in range(2)] == [[5, 6, 7], [5, 7]]
    assert count == 1


def test_ages_are_days_to_the_examples_own_time_and_zero_where_nothing_is() -> None:
    histories = Histories(
        np.array([1, 2, 3]),
        np.ones(3, np.float32),
        np.array([0, 2, 2]),
        np.array([2, 3, 2]),
        (np.array([1.0, 3.0, 2.5]) * DAY).astype(np.int64),
    )
    ages = histories.ages((np.array([4.0, 3.0, 9.0]) * DAY).astype(np.int64), 3)
    assert ages is not None
    assert ages.tolist() == [[0.0, 3.0, 1.0], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]]
    assert ages.dtype == np.float32
    assert ragged(ROWS, times=False).ages(np.zeros(4, np.int64)) is None
    whole = histories.ages(np.zeros(3, np.int64))
    assert whole is not None
    assert whole.shape == histories.padded()[0].shape


def test_joined_holds_both_and_knows_times_only_where_both_do() -> None:
    one, other = ragged(ROWS), ragged([[20], [21, 22]])
    joined = one.joined(other)
    assert [joined.of(row)[0].tolist() for row in range(6)] == [*ROWS, [20], [21, 22]]
    assert joined.time is not None
    assert entries(joined, 5) == [(21, pytest.approx(2.1), 0), (22, pytest.approx(2.2), 1)]
    assert one.joined(ragged([[1]], times=False)).time is None


def test_given_histories_are_numbered_as_they_stand() -> None:
    index = {"a": 1, "b": 2, "c": 3}
    found = given(
        [["a", "c"], [], ["b", "x", "a"]],
        [[1.0, 0.0], [], [0.5, 1.0, 0.0]],
        lambda ids: np.array([index.get(name, 0) for name in ids], np.int64),
    )
    assert [found.of(row)[0].tolist() for row in range(3)] == [[1, 3], [], [2, 0, 1]]
    assert [found.of(row)[1].tolist() for row in range(3)] == [[1.0, 0.0], [], [0.5, 1.0, 0.0]]
    assert found.time is None
    assert given([[], []], [[], []], lambda ids: np.empty(0, np.int64)).lengths.tolist() == [0, 0]
