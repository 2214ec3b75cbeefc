"""Folds: each is of the recipe's own kind, no example is asked twice, and nothing of the future is learned from."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.splits import Split
from llmrec_peft.experiment.folds import LEAST_TRAINED, folds_of, number_of_folds

ROWS = 300
COUNT = 4


def numbered(seed: int = 0) -> Interactions:
    rng = np.random.default_rng(seed)
    user, item = rng.integers(1, 31, ROWS), rng.integers(1, 41, ROWS)
    return Interactions(user, item, rng.integers(1, 6, ROWS).astype(np.float32), rng.integers(0, 250, ROWS))


def parts_of(data: Interactions, kind: str) -> Split:
    rows = np.arange(ROWS)
    if kind == "temporal":
        order = np.argsort(data.timestamp, kind="stable")
        return Split(np.sort(order[:220]), np.sort(order[220:250]), np.sort(order[250:]))
    if kind in ("cold-item", "cold-user"):
        ids = data.item if kind == "cold-item" else data.user
        return Split(rows[ids > 6], rows[(ids > 3) & (ids <= 6)], rows[ids <= 3])
    if kind == "leave-last-out":
        order = np.lexsort((rows, data.timestamp, data.user))
        last = np.append(data.user[order][1:] != data.user[order][:-1], True)
        second = np.append(last[1:], False) & ~last
        return Split(np.sort(order[~last & ~second]), np.sort(order[second]), np.sort(order[last]))
    return Split(rows[:240], rows[240:270], rows[270:])


@pytest.mark.parametrize("kind", ["random", "official", "temporal", "leave-last-out", "cold-item", "cold-user"])
def test_folds_never_touch_test_and_ask_each_row_once(kind: str) -> None:
    data = numbered()
    parts = parts_of(data, kind)
    folds = folds_of(data, parts, kind, COUNT, 0)
    assert len(folds) == COUNT
    np.testing.assert_array_equal(folds[0].train, parts.train)
    np.testing.assert_array_equal(folds[0].ask, parts.valid)
    asked = np.concatenate([fold.ask for fold in folds])
    assert len(np.unique(asked)) == len(asked)
    for fold in folds:
        assert len(fold.ask)
        assert not np.isin(fold.ask, fold.train).any()
        assert np.isin(np.concatenate([fold.train, fold.ask]), parts.fit).all()


def test_in_time_a_fold_learns_only_from_what_is_earlier_than_all_that_it_predicts() -> None:
    data = numbered()
    parts = parts_of(data, "temporal")
    folds = folds_of(data, parts, "temporal", 20, 0)
    for fold in folds[1:]:
        assert data.timestamp[fold.train].max() < data.timestamp[fold.ask].min()
    assert 1 < len(folds) < 20
    assert min(len(fold.train) for fold in folds) >= LEAST_TRAINED * len(parts.fit)


@pytest.mark.parametrize("kind", ["cold-item", "cold-user"])
def test_cold_folds_hold_out_whole_items_or_users(kind: str) -> None:
    data = numbered()
    ids = data.item if kind == "cold-item" else data.user
    for fold in folds_of(data, parts_of(data, kind), kind, COUNT, 0):
        assert not np.isin(ids[fold.ask], ids[fold.train]).any()


def test_leave_last_out_folds_ask_for_one_interaction_of_a_user_later_than_what_is_learned() -> None:
    data = numbered()
    for fold in folds_of(data, parts_of(data, "leave-last-out"), "leave-last-out", COUNT, 0)[1:]:
        assert len(np.unique(data.user[fold.ask])) == len(fold.ask)
        for row in fold.ask:
            same = fold.train[data.user[fold.train] == data.user[row]]
            assert data.timestamp[same].max() <= data.timestamp[row]


def test_small_validation_parts_get_more_folds_within_bounds() -> None:
    found = [number_of_folds(size) for size in (1, 40, 200, 300, 700, 100_000)]
    assert found == sorted(found, reverse=True)
    assert (found[0], found[-1]) == (8, 3)
