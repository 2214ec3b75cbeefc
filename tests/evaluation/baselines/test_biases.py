"""Biases of all strengths at once are those of each alone, spelled out, and as many rounds as make a difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines.biases import fitted_biases


def ratings(seed: int, rows: int, users: int, items: int) -> Interactions:
    """Ratings with repeated pairs, by users who rate high or low."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(1, users - 1, rows), np.minimum(rng.zipf(1.5, rows), items - 2)
    label = np.clip(3 + rng.normal(size=users)[user] + rng.normal(size=items)[item] + rng.normal(size=rows), 1, 5)
    return Interactions(user, item, label.astype(np.float32), np.arange(rows))


def spelled_out(train: Interactions, users: int, items: int, shrink: float, rounds: int) -> tuple[np.ndarray, ...]:
    """All rounds, over all ratings."""
    centred = train.label.astype(np.float64) - float(train.label.mean())
    of_user, of_item = np.zeros(users), np.zeros(items)
    by_user, by_item = (np.bincount(i, minlength=n) + shrink for i, n in ((train.user, users), (train.item, items)))
    for _ in range(rounds):
        of_item = np.bincount(train.item, centred - of_user[train.user], items) / by_item
        of_user = np.bincount(train.user, centred - of_item[train.item], users) / by_user
    return of_user, of_item


@pytest.mark.parametrize("rounds", [1, 2, 5, 100])
@pytest.mark.parametrize("shape", [(300, 31, 26), (4000, 90, 200), (40, 60, 50)])
@pytest.mark.parametrize("seed", range(2))
def test_biases_are_those_of_all_rounds_spelled_out(seed: int, shape: tuple[int, int, int], rounds: int) -> None:
    rows, users, items = shape
    train, shrinks = ratings(seed, rows, users, items), (0.5, 2.0, 20.0)
    for shrink, biases in zip(shrinks, fitted_biases(train, users, items, shrinks, rounds), strict=True):
        of_user, of_item = spelled_out(train, users, items, shrink, rounds)
        np.testing.assert_allclose(biases.user, of_user, atol=1e-10)
        np.testing.assert_allclose(biases.item, of_item, atol=1e-10)
        asked = np.array([0, 3, users - 1]), np.array([2, 0, items - 1])
        expected = train.label.mean() + of_user[asked[0]] + of_item[asked[1]]
        np.testing.assert_allclose(biases.predict(*asked), expected, atol=1e-10)
        assert biases.user[[0, users - 1]].tolist() == [0.0, 0.0]


def rounds_of(train: Interactions, users: int, items: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Products of the matrix with users' biases, one a round, whatever the number of strengths."""
    count = 0
    product: Callable[..., Any] = sparse.csc_matrix.__matmul__

    def counted(matrix: sparse.csc_matrix, other: np.ndarray) -> Any:
        nonlocal count
        count += 1
        return product(matrix, other)

    with monkeypatch.context() as patch:
        patch.setattr(sparse.csc_matrix, "__matmul__", counted)
        fitted_biases(train, users, items, (1.0, 2.0, 5.0, 10.0, 20.0), 100)
    return count


def test_rounds_end_where_nothing_moves_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = ratings(0, 300, 600, 500), ratings(0, 20_000, 60, 50)
    assert 2 <= rounds_of(few, 600, 500, monkeypatch) < 70
    assert rounds_of(many, 60, 50, monkeypatch) == 100, "the mean of users against that of items moves slowly"


def test_ratings_that_are_all_equal_have_no_biases() -> None:
    train = Interactions(np.array([1, 2]), np.array([1, 1]), np.full(2, 4.0, np.float32), np.arange(2))
    (biases,) = fitted_biases(train, 3, 2, [1.0], 100)
    assert biases.predict(np.array([1]), np.array([1])).tolist() == [4.0]
