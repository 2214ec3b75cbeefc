"""Baselines of links between people against loops that spell them out; held-out pairs stay unknown."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines.people import (
    ALIKE,
    BOTH,
    COMMON,
    LOGARITHMIC,
    People,
    people_rules,
    preferences_of,
)
from llmrec_peft.evaluation.baselines.ranking import ranking_baselines
from llmrec_peft.evaluation.baselines.ranking_data import RankingData

PEOPLE = 25
"""Rows of an item table: 24 people, of whom the last has no link; user u is item u."""


def links(seed: int = 0) -> Interactions:
    """Circles of eight in which most people are linked, some of them one way only."""
    rng = np.random.default_rng(seed)
    pairs = [(a, b) for a in range(1, PEOPLE - 1) for b in range(1, PEOPLE - 1) if a != b and a // 8 == b // 8]
    drawn = np.array([pair for pair in pairs if rng.random() < 0.5], np.int64)
    user, item = rng.permutation(drawn).T
    return Interactions(user, item, np.ones(len(user), np.float32), np.arange(len(user)), oneself=user)


def linked(known: Interactions) -> dict[int, set[int]]:
    beside: dict[int, set[int]] = {one: set() for one in range(PEOPLE)}
    for one, other in zip(known.user.tolist(), known.item.tolist(), strict=True):
        beside[one].add(other)
        beside[other].add(one)
    return beside


def met_of(seed: int) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [[str(film) for film in np.flatnonzero(rng.random(12) < 0.4)] for _ in range(PEOPLE - 1)]


@pytest.mark.parametrize("damping", [0.0, 0.5, 1.0, LOGARITHMIC])
def test_common_neighbours_are_counted_and_divided_by_their_links(damping: float) -> None:
    known, asking = links(), np.array([1, 9, 24, 3, 0])
    found = People(known, PEOPLE, None).scores(COMMON, {"damping": damping}, asking).numpy()
    beside = linked(known)
    for row, one in enumerate(asking.tolist()):
        for other in range(1, PEOPLE):
            degrees = [len(beside[both]) for both in beside[one] & beside[other]] if one else []
            divided = [np.log(1 + d) if damping == LOGARITHMIC else d**damping for d in degrees]
            assert found[row, other - 1] == pytest.approx(sum(1 / d for d in divided), rel=1e-5)
    assert not found[2:5:2].any(), "nobody is linked to the last person, and 0 is nobody"


def test_preferences_are_cosines_of_rare_items_and_are_added_to_counts() -> None:
    met, asking = met_of(1), np.array([2, 17])
    users = {"user_id": [str(at) for at in range(PEOPLE - 1)], "met": met, "age": [7] * (PEOPLE - 1)}
    weights = preferences_of(users, np.arange(1, PEOPLE), PEOPLE)
    count = {film: sum(film in one for one in met) for one in met for film in one}
    films = sorted(count)
    table = np.array([[np.log(PEOPLE / count[film]) * (film in one) for film in films] for one in met])
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    known = People(links(), PEOPLE, weights)
    alike = known.scores(ALIKE, {}, asking).numpy()
    np.testing.assert_allclose(alike, unit[asking - 1] @ unit.T, atol=1e-6)
    counted = known.scores(COMMON, {"damping": 1.0}, asking).numpy()
    both = known.scores(BOTH, {"damping": 1.0, "counts": 0.3}, asking).numpy()
    np.testing.assert_allclose(both, alike + 0.3 * counted, atol=1e-6)
    assert preferences_of({"age": [7] * (PEOPLE - 1)}, np.arange(1, PEOPLE), PEOPLE) is None


def test_they_are_chosen_on_validation_and_know_circles() -> None:
    every = links(3)
    train, valid, test = (every.take(rows) for rows in np.split(np.arange(len(every)), [50, 60]))
    fit = every.take(np.arange(60))
    data = RankingData(train, valid, fit, test, PEOPLE, None, True, "ndcg@10")
    found = {one.name: one for one in ranking_baselines(data)}
    assert set(found) == {"popularity", "neighbour_counts", "transitions", COMMON}
    assert np.mean(found[COMMON].test.rank) < np.mean(found["popularity"].test.rank) - 2  # type: ignore[union-attr]
    for name, grid in people_rules(preferences=False).items():
        assert found[name].settings in grid
    top = found[COMMON].test.top  # type: ignore[union-attr]
    assert not (top == test.user[:, None]).any(), "nobody is recommended to himself"
