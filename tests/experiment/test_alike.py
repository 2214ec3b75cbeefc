"""The items most alike each one: against all cosines, in bounded pieces, in groups where there are many."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec_peft.experiment import alike
from llmrec_peft.experiment.alike import most_alike


def vectors_of(seed: int, items: int, width: int = 12) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(items + 1, width))).float()


def cosines_of(vectors: torch.Tensor) -> np.ndarray:
    unit = vectors.double() / vectors.double().norm(dim=1, keepdim=True)
    cosines = (unit @ unit.T).numpy()
    np.fill_diagonal(cosines, -np.inf)
    cosines[:, 0] = -np.inf
    return cosines


@pytest.mark.parametrize("rows", [1, 7, 1024])
@pytest.mark.parametrize("seed", range(2))
def test_they_are_those_with_the_largest_cosines(seed: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = vectors_of(seed, 60)
    monkeypatch.setattr(alike, "ROWS", rows)
    found = most_alike(vectors, 9)
    assert found.shape == (61, 9)
    assert found[0].tolist() == [0] * 9
    np.testing.assert_array_equal(found[1:], np.argsort(-cosines_of(vectors), axis=1)[1:, :9])


@pytest.mark.parametrize("items", [1, 2, 3, 10])
def test_small_catalogues_give_what_they_have(items: int) -> None:
    found = most_alike(vectors_of(0, items))
    assert found.shape == (items + 1, max(1, items - 1))
    if items > 1:
        for item in range(1, items + 1):
            assert set(found[item].tolist()) == set(range(1, items + 1)) - {item}


def test_large_catalogues_are_compared_in_random_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each item has its most alike within its group, and is found by others about as often as they are."""
    vectors, items, width = vectors_of(0, 900), 900, 5
    monkeypatch.setattr(alike, "GROUP", 100)
    found = most_alike(vectors, width)
    groups = alike._groups(items)
    assert [len(group) for group in groups] == [100] * 9
    assert sorted(np.concatenate(groups).tolist()) == list(range(1, items + 1))
    cosines = cosines_of(vectors)
    for group in groups:
        own = cosines[np.ix_(group, group)]
        np.testing.assert_array_equal(found[group], group[np.argsort(-own, axis=1)[:, :width]])
    order = np.argsort(np.argsort(-cosines, axis=1), axis=1)
    places = np.take_along_axis(order, found, axis=1)[1:]
    assert np.median(places) < 40, "of 900: those of a ninth are still among the most alike"
    np.testing.assert_array_equal(most_alike(vectors, width), found)


def test_similarities_of_a_few_items_are_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    topk = torch.Tensor.topk

    def watched(table: torch.Tensor, *given: object, **named: object) -> object:
        sizes.append(table.numel() * 4)
        return topk(table, *given, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(torch.Tensor, "topk", watched)
    monkeypatch.setattr(alike, "SIMILAR", 4 * 301 * 10)
    most_alike(vectors_of(0, 300), 3)
    assert max(sizes) == 4 * 301 * 10
    assert len(sizes) == 30
