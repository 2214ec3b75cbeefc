"""RecDataset: duplicates, Arrow columns, numbering."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from llmrec_peft.data.dataset import RecDataset, column, titles, without_duplicates
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.data.tables import interactions_table, table
from llmrec_peft.data.vocabulary import UNKNOWN, Vocabulary
from llmrec_peft.errors import InputError


def dataset(
    rows: list[tuple[str, str, float]], notes: tuple[str, ...] = (), times: list[int] | None = None
) -> RecDataset:
    users, items, ratings = ([row[at] for row in rows] for at in range(3))
    return RecDataset(
        name="made up",
        interactions=interactions_table(users, items, ratings, list(range(len(rows))) if times is None else times),
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


def test_newest_of_duplicate_ratings_is_kept_counted_and_said() -> None:
    rows = [("a", "x", 1.0), ("a", "y", 2.0), ("a", "x", 3.0), ("b", "x", 4.0), ("a", "x", 5.0)]
    cleaned = without_duplicates(dataset(rows, notes=("earlier",)))
    assert column(cleaned.interactions, "rating") == [2.0, 4.0, 5.0]
    assert column(cleaned.interactions, "item_id") == ["y", "x", "x"]
    assert cleaned.notes == ("earlier", "2 duplicate user-item pairs: the newest rating of each was kept")


def test_one_duplicate_is_said_in_the_singular() -> None:
    cleaned = without_duplicates(dataset([("a", "x", 1.0), ("a", "x", 2.0)]))
    assert cleaned.notes == ("1 duplicate user-item pair: the newest rating of each was kept",)


def test_newest_rating_stands_wherever_it_is_in_the_file() -> None:
    rows = [("a", "x", 5.0), ("a", "x", 1.0), ("b", "x", 3.0), ("b", "x", 4.0)]
    cleaned = without_duplicates(dataset(rows, times=[200, 100, 50, 50]))
    assert column(cleaned.interactions, "rating") == [5.0, 4.0], "the newest; at one time the last of the file"
    assert column(cleaned.interactions, "timestamp") == [200, 50]


def test_note_says_where_no_times_are_known() -> None:
    cleaned = without_duplicates(dataset([("a", "x", 5.0), ("a", "x", 1.0)], times=[0, 0]))
    assert column(cleaned.interactions, "rating") == [1.0]
    assert cleaned.notes == (
        "1 duplicate user-item pair: the last rating of the file (no times are known) of each was kept",
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"user_id": ["a", 1]}, "user_id 1 is 1 of type int; ids are texts"),
        ({"item_id": [float("nan"), "x"]}, "item_id 0 is nan of type float; ids are texts"),
        ({"item_id": [None, "x"]}, "item_id 0 is None of type NoneType; ids are texts"),
        ({"rating": ["4", 2.0]}, "rating 0 is '4' where a number belongs"),
        ({"rating": [None, 2.0]}, "rating 0 is None where a number belongs"),
        ({"timestamp": [1, 2.5]}, "timestamp 1 is 2.5 where a whole number of 64 bits belongs"),
        ({"timestamp": [float("nan"), 2]}, "timestamp 0 is nan where a whole number"),
        ({"timestamp": [1, 1 << 64]}, "timestamp 1 is 18446744073709551616 where a whole number"),
        ({"timestamp": [1, None]}, "timestamp 1 is None where a whole number"),
        ({"timestamp": [1]}, "columns of a table differ in length"),
        ({"history": [["x"], [3]], "history_rating": [[1.0], [1.0]]}, "history 0 is 3 of type int"),
    ],
)
def test_interactions_of_other_types_are_refused_by_row(changed: dict[str, Any], message: str) -> None:
    columns: dict[str, Any] = {"user_id": ["a", "b"], "item_id": ["x", "x"], "rating": [1.0, 2], "timestamp": [1, 2]}
    with pytest.raises(InputError, match=message):
        interactions_table(**{**columns, **changed})


def test_whole_times_as_floats_are_taken() -> None:
    made = interactions_table(["a"], ["x"], [1], np.array([8.8e8]))
    assert column(made, "timestamp") == [880_000_000]


def test_tables_hold_none_for_what_is_missing() -> None:
    made = table({"item_id": ["1", "2"], "title": [float("nan"), "Heat"], "price": [float("nan"), 2.0]})
    assert column(made, "title") == [None, "Heat"]
    assert column(made, "price") == [None, 2.0]
    assert titles(made) == ["", "Heat"]


def test_column_of_several_types_is_refused_by_name() -> None:
    for wrong in (["Heat", 7], ["Heat", "\ud800"], [1, 1 << 70], [["a"], 3]):
        with pytest.raises(InputError, match="column 'title': its values are of several types, or too large"):
            table({"item_id": ["1", "2"], "title": wrong})
    with pytest.raises(InputError, match="differ in length"):
        table({"item_id": ["1", "2"], "title": ["Heat"]})


@pytest.mark.parametrize("ids", [[1], ["a", 1.0], [None], [["a"]]])
def test_ids_that_are_no_texts_are_refused_rather_than_unknown(ids: list[Any]) -> None:
    vocabulary = Vocabulary.of(["1"], ["1"])
    with pytest.raises(InputError, match="user ids are texts"):
        vocabulary.user_indices(ids)
    with pytest.raises(InputError, match="item ids are texts"):
        vocabulary.item_indices(ids)


def test_what_is_unknown_has_no_id() -> None:
    vocabulary = Vocabulary.of(["u1", "u2"], ["i1"])
    assert vocabulary.user_ids(np.array([2, 1])) == ["u2", "u1"]
    with pytest.raises(ValueError, match="no id"):
        vocabulary.user_ids(np.array([1, UNKNOWN]))
    with pytest.raises(ValueError, match="no id"):
        vocabulary.item_ids(np.array([UNKNOWN]))


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


def test_readers_of_others_find_the_makers_of_tables_where_they_were() -> None:
    from llmrec_peft.data import dataset, tables

    assert dataset.table is tables.table
    assert dataset.interactions_table is tables.interactions_table
