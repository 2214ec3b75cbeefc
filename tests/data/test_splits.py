"""Splits: parts are disjoint, nothing of the test part leaks into training, impossible divisions are refused."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec_peft.data.dataset import RecDataset, column, interactions_table, table
from llmrec_peft.data.splits import Split, split
from llmrec_peft.errors import InputError

KINDS = ["official", "random", "temporal", "leave-last-out", "cold-item"]
SEEDS = range(6)


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


@pytest.mark.parametrize("seed", SEEDS)
def test_cold_items_occur_in_one_part_only(seed: int) -> None:
    data = ratings(seed)
    parts = split(data, "cold-item", 0.2, 0.1, seed)
    train, valid, test = (set(of(data, "item_id", rows)) for rows in (parts.train, parts.valid, parts.test))
    assert not train & test
    assert not train & valid
    assert not valid & test
    assert len(test) == round(0.2 * len(train | valid | test))


@pytest.mark.parametrize("kind", ["random", "temporal", "leave-last-out", "cold-item"])
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
