"""RecDataset: duplicates, Arrow columns, numbering."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset

from llmrec_peft.data.dataset import RecDataset, column, interactions_table, table, without_duplicates
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.vocabulary import UNKNOWN, Vocabulary
from llmrec_peft.errors import InputError


def dataset(rows: list[tuple[str, str, float]], notes: tuple[str, ...] = ()) -> RecDataset:
    users, items, ratings = ([row[at] for row in rows] for at in range(3))
    return RecDataset(
        name="made up",
        interactions=interactions_table(users, items, ratings, list(range(len(rows)))),
        items=table({"item_id": sorted(set(items))}),
        users=table({"user_id": sorted(set(users))}),
        rating_range=(1, 5),
        notes=notes,
    )


def test_interactions_are_arrow_backed_with_the_promised_types() -> None:
    interactions = dataset([("1", "2", 4.0)]).interactions
    assert isinstance(interactions, Dataset)
    types = {name: feature.dtype for name, feature in interactions.features.items()}
    assert types == {
        "user_id": "string",
        "item_id": "string",
        "rating": "float32",
        "timestamp": "int64",
        "part": "string",
    }


def test_last_of_duplicate_ratings_is_kept_counted_and_said() -> None:
    rows = [("a", "x", 1.0), ("a", "y", 2.0), ("a", "x", 3.0), ("b", "x", 4.0), ("a", "x", 5.0)]
    cleaned = without_duplicates(dataset(rows, notes=("earlier",)))
    assert column(cleaned.interactions, "rating") == [2.0, 4.0, 5.0]
    assert column(cleaned.interactions, "item_id") == ["y", "x", "x"]
    assert cleaned.notes == ("earlier", "2 duplicate user-item pairs: the last rating of each was kept")


def test_one_duplicate_is_said_in_the_singular() -> None:
    cleaned = without_duplicates(dataset([("a", "x", 1.0), ("a", "x", 2.0)]))
    assert cleaned.notes == ("1 duplicate user-item pair: the last rating of each was kept",)


def test_data_without_duplicates_is_left_as_it_is() -> None:
    data = dataset([("a", "x", 1.0), ("x", "a", 1.0)])
    assert without_duplicates(data) is data


def test_no_interactions_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="made up: there are no interactions"):
        without_duplicates(dataset([]))


def test_vocabulary_numbers_ids_from_one_in_the_order_they_come() -> None:
    vocabulary = Vocabulary.of(["u2", "u1", "u2"], ["i3", "i1"])
    assert vocabulary.users == ("u2", "u1")
    assert (vocabulary.num_users, vocabulary.num_items) == (3, 3)
    assert vocabulary.user_indices(["u1", "u2"]).tolist() == [2, 1]
    assert vocabulary.item_indices(["i1", "i3", "i1"]).tolist() == [2, 1, 2]


def test_unknown_ids_share_index_zero() -> None:
    vocabulary = Vocabulary.of(["a"], ["b"])
    assert vocabulary.user_indices(["b", "", "a"]).tolist() == [UNKNOWN, UNKNOWN, 1]
    assert vocabulary.item_indices([]).shape == (0,)


def test_interactions_are_numbered_and_counted() -> None:
    data = dataset([("a", "x", 1.0), ("b", "y", 2.5), ("b", "x", 5.0)])
    vocabulary = Vocabulary.of(["b", "a", "never"], ["y", "x", "unrated"])
    numbered = Interactions.of(data, vocabulary)
    assert numbered.user.tolist() == [2, 1, 1]
    assert numbered.item.tolist() == [2, 1, 2]
    assert numbered.label.dtype == np.float32
    assert numbered.counts_by_item(vocabulary.num_items).tolist() == [0, 1, 2, 0]
    assert numbered.counts_by_user(vocabulary.num_users).tolist() == [0, 2, 1, 0]
    assert numbered.take(np.array([2, 0])).label.tolist() == [5.0, 1.0]
