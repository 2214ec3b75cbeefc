"""Splits: parts are disjoint, nothing of the test part leaks into training, impossible divisions are refused."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec_peft.data.dataset import RecDataset, column
from llmrec_peft.data.splits import Split, drawn, split
from llmrec_peft.data.tables import interactions_table, table
from llmrec_peft.errors import InputError

KINDS = ["official", "random", "temporal", "leave-last-out", "cold-item", "cold-user"]
SEEDS = range(2)


def ratings(seed: int, users: int = 25, items: int = 30, rows: int = 400, moments: int = 150) -> RecDataset:
    """Random interactions without duplicates, with many equal timestamps and an official part."""
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(users * items)[:rows]
    return dataset(
        [str(pair // items) for pair in pairs],
        [str(pair % items) for pair in pairs],
        rng.integers(0, moments, rows).tolist(),
        rng.choice(["train", "test"], rows, p=[0.8, 0.2]).tolist(),
    )


def dataset(users: list[str], items: list[str], timestamps: list[int], parts: list[str] | None = None) -> RecDataset:
    return RecDataset(
        name="made up",
        interactions=interactions_table(users, items, [3.0] * len(users), timestamps, parts),
        items=table({"item_id": sorted(set(items)), "title": sorted(set(items))}),
        users=table({"user_id": sorted(set(users))}),
        rating_range=(1, 5),
    )


def of(data: RecDataset, name: str, rows: np.ndarray) -> np.ndarray:
    return np.asarray(column(data.interactions, name))[rows]


def same(one: Split, other: Split) -> bool:
    return all(np.array_equal(getattr(one, part), getattr(other, part)) for part in ("train", "valid", "test"))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_disjoint_and_together_every_interaction(kind: str, seed: int) -> None:
    data = ratings(seed)
    parts = split(data, kind, 0.2, 0.1, seed)
    together = np.concatenate([parts.train, parts.valid, parts.test])
    assert sorted(together) == list(range(len(data.interactions)))
    assert min(len(parts.train), len(parts.valid), len(parts.test)) > 0
    assert np.array_equal(parts.fit, np.sort(np.concatenate([parts.train, parts.valid])))


@pytest.mark.parametrize("kind", KINDS)
def test_division_is_a_function_of_its_seed(kind: str) -> None:
    data = ratings(0)
    assert same(split(data, kind, 0.2, 0.1, 4), split(data, kind, 0.2, 0.1, 4))
    if kind in ("official", "random", "cold-item"):
        assert not same(split(data, kind, 0.2, 0.1, 4), split(data, kind, 0.2, 0.1, 5))


@pytest.mark.parametrize("seed", SEEDS)
def test_official_test_part_is_the_owners_and_validation_comes_from_training(seed: int) -> None:
    data = ratings(seed)
    parts = split(data, "official", 0.5, 0.25, seed)
    assert set(of(data, "part", parts.test)) == {"test"}
    assert set(of(data, "part", parts.fit)) == {"train"}
    assert len(parts.valid) == round(0.25 * len(parts.fit))


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_random_test_part_has_the_share_asked_for(fraction: float) -> None:
    parts = split(ratings(1), "random", fraction, 0.1, 1)
    assert len(parts.test) == round(400 * fraction)
    assert len(parts.valid) == round((400 - len(parts.test)) * 0.1)


@pytest.mark.parametrize("moments", [2, 3, 10, 10_000])
@pytest.mark.parametrize("seed", SEEDS)
def test_temporal_training_never_comes_after_validation_nor_validation_after_test(seed: int, moments: int) -> None:
    data = ratings(seed, moments=moments)
    if moments == 2:
        with pytest.raises(InputError, match="temporal leaves no"):
            split(data, "temporal", 0.2, 0.1, seed)
        return
    parts = split(data, "temporal", 0.2, 0.1, seed)
    assert of(data, "timestamp", parts.train).max() < of(data, "timestamp", parts.valid).min()
    assert of(data, "timestamp", parts.valid).max() < of(data, "timestamp", parts.test).min()


def test_temporal_of_distinct_moments_holds_out_about_the_share_asked_for() -> None:
    data = dataset([str(row) for row in range(100)], ["a"] * 100, list(range(100, 0, -1)))
    parts = split(data, "temporal", 0.2, 0.1, 0)
    assert abs(len(parts.test) - 20) <= 1
    assert set(of(data, "timestamp", parts.test)) == set(range(101 - len(parts.test), 101))


@pytest.mark.parametrize("seed", SEEDS)
def test_leave_last_out_holds_each_users_last_and_the_one_before(seed: int) -> None:
    data = ratings(seed)
    parts = split(data, "leave-last-out", 0.2, 0.1, seed)
    users, times = np.asarray(column(data.interactions, "user_id")), column(data.interactions, "timestamp")
    for user in set(users):
        own = sorted(np.flatnonzero(users == user), key=lambda row: (times[row], row))
        assert [row for row in own if row in set(parts.test)] == own[-1:]
        assert [row for row in own if row in set(parts.valid)] == own[-2:-1]


def test_leave_last_out_keeps_a_user_with_one_interaction_in_training() -> None:
    data = dataset(["a", "b", "b", "b"], ["1", "1", "2", "3"], [9, 1, 2, 3])
    parts = split(data, "leave-last-out", 0.2, 0.1, 0)
    assert (parts.train.tolist(), parts.valid.tolist(), parts.test.tolist()) == ([0, 1], [2], [3])


def disjoint(data: RecDataset, parts: Split, name: str) -> tuple[set[object], set[object], set[object]]:
    """Values of a column in each part, no two of which share any."""
    train, valid, test = (set(of(data, name, rows)) for rows in (parts.train, parts.valid, parts.test))
    assert not train & test
    assert not train & valid
    assert not valid & test
    return train, valid, test


@pytest.mark.parametrize("seed", SEEDS)
def test_cold_items_occur_in_one_part_only(seed: int) -> None:
    data = ratings(seed)
    train, valid, test = disjoint(data, split(data, "cold-item", 0.2, 0.1, seed), "item_id")
    assert len(test) == round(0.2 * len(train | valid | test))


@pytest.mark.parametrize("seed", SEEDS)
def test_cold_users_occur_in_one_part_only(seed: int) -> None:
    data = ratings(seed)
    parts = split(data, "cold-user", 0.2, 0.1, seed)
    _, _, test = disjoint(data, parts, "user_id")
    assert len(test) == round(0.2 * 25)
    assert set(of(data, "item_id", parts.test)) & set(of(data, "item_id", parts.train)), "items are shared"
    assert not same(parts, split(data, "cold-user", 0.2, 0.1, seed + 50))


@pytest.mark.trains
def test_no_training_row_is_later_than_any_validation_or_test_row_whatever_the_times() -> None:
    """Five hundred datasets of any size, with any number of ties; what cannot be divided so is refused."""
    rng = np.random.default_rng(0)
    divided = refused = 0
    for case in range(500):
        rows = int(rng.integers(3, 60))
        moments = int(rng.choice([1, 2, 3, 5, 20, 10_000]))
        times = rng.integers(0, moments, rows)
        if case % 5 == 0:
            times[rng.random(rows) < 0.7] = times.max()  # most of it happened at the very end
        users, items = rng.integers(0, 9, rows), np.arange(rows)
        data = dataset([str(u) for u in users], [str(i) for i in items], times.tolist())
        fractions = [float(rng.choice([0.01, 0.1, 0.3, 0.5, 0.9, 0.99])) for _ in range(2)]
        try:
            parts = split(data, "temporal", *fractions, case)
        except InputError as error:
            refused += 1
            assert "temporal leaves no" in str(error)
            assert len(np.unique(times)) < 20 or max(fractions) > 0.5, "it could have been divided"
            continue
        divided += 1
        train, valid, test = (times[rows] for rows in (parts.train, parts.valid, parts.test))
        assert train.max() < valid.min()
        assert train.max() < test.min()
        assert valid.max() < test.min()
    assert divided > 200
    assert refused > 50


@pytest.mark.parametrize("seed", SEEDS)
def test_the_owners_validation_part_is_the_validation_part(seed: int) -> None:
    data = ratings(seed)
    parts = np.random.default_rng(seed).choice(["train", "valid", "test", ""], 400, p=[0.6, 0.2, 0.1, 0.1])
    owned = dataset(*(column(data.interactions, n) for n in ("user_id", "item_id", "timestamp")), parts.tolist())
    for fraction in (0.1, 0.9):
        found = split(owned, "official", 0.2, fraction, seed)
        for name in ("train", "valid", "test"):
            assert getattr(found, name).tolist() == np.flatnonzero(parts == name).tolist()
    used = found.used
    assert used.tolist() == np.flatnonzero(parts != "").tolist(), "what the owner puts into no part is not used"
    numbered = found.renumbered()
    for name in ("train", "valid", "test"):
        assert np.array_equal(used[getattr(numbered, name)], getattr(found, name))


def test_drawn_training_rows_are_the_seeds_and_the_other_parts_stay_whole() -> None:
    parts = split(ratings(0), "official", 0.2, 0.1, 0)
    some = drawn(parts, 64, seed=3)
    assert len(some.train) == 64
    assert set(some.train) <= set(parts.train)
    assert np.all(np.diff(some.train) > 0), "in order, each once"
    assert np.array_equal(some.valid, parts.valid)
    assert np.array_equal(some.test, parts.test)
    assert same(some, drawn(parts, 64, seed=3))
    assert not same(some, drawn(parts, 64, seed=4))
    assert same(drawn(parts, len(parts.train), seed=3), parts)
    assert set(drawn(parts, 16, seed=3).train) <= set(some.train), "fewer are fewer of the same"
    with pytest.raises(InputError, match=rf"data\.train_size: {len(parts.train) + 1} .* there are {len(parts.train)}$"):
        drawn(parts, len(parts.train) + 1, seed=3)


def test_added_rows_are_training_rows() -> None:
    parts = split(ratings(0), "official", 0.2, 0.1, 0)
    grown = parts.growing(400, 403)
    assert grown.train.tolist() == [*parts.train.tolist(), 400, 401, 402]
    assert np.array_equal(grown.valid, parts.valid)
    assert np.array_equal(grown.test, parts.test)


@pytest.mark.parametrize("kind", ["random", "temporal", "leave-last-out", "cold-item", "cold-user"])
def test_data_that_cannot_be_divided_is_refused_with_the_part_that_would_be_empty(kind: str) -> None:
    with pytest.raises(InputError, match=rf"data\.split: {kind} leaves no \w+ interactions of 1"):
        split(dataset(["a"], ["1"], [5]), kind, 0.2, 0.1, 0)


def test_temporal_refuses_data_without_time() -> None:
    data = dataset([str(row) for row in range(50)], ["a"] * 50, [0] * 50)
    with pytest.raises(InputError, match="temporal leaves no training interactions of 50"):
        split(data, "temporal", 0.2, 0.1, 0)


def test_official_refuses_data_without_the_owners_parts_and_names_what_would_work() -> None:
    data = dataset(["a", "b"], ["1", "2"], [1, 2])
    with pytest.raises(InputError, match="without an official split here; choose random, temporal"):
        split(data, "official", 0.2, 0.1, 0)


def test_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"unknown split 'cold'.*cold-item"):
        split(ratings(0), "cold", 0.2, 0.1, 0)


@pytest.mark.parametrize("each", [1, 2])
def test_users_with_too_few_interactions_for_leave_last_out_are_split_in_another_way(each: int) -> None:
    users = [str(row // each) for row in range(30)]
    data = dataset(users, [str(row % 7) for row in range(30)], list(range(30)))
    said = "leave-last-out leaves no validation interactions of 30: no user has three; choose another data.split"
    with pytest.raises(InputError, match=said):
        split(data, "leave-last-out", 0.2, 0.1, 0)
    for kind in ("random", "temporal"):
        assert len(split(data, kind, 0.2, 0.1, 0).test)
