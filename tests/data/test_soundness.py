"""Every dataset, whatever reader made it: ids that are texts and there once, tables that agree, None for missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from datasets import Dataset

from llmrec_peft.data.dataset import KnowledgeGraph, RecDataset, column
from llmrec_peft.data.soundness import sound
from llmrec_peft.data.strays import without_unknown
from llmrec_peft.data.tables import interactions_table, table
from llmrec_peft.errors import InputError


def dataset(**changed: Any) -> RecDataset:
    interactions: dict[str, Any] = {
        "user_id": ["u1", "u2", "u1"],
        "item_id": ["a", "b", "c"],
        "rating": [1.0, 2.0, 3.0],
        "timestamp": [1, 2, 3],
    }
    own = {name: changed.pop(name) for name in list(changed) if name in (*interactions, "part", "person", *HISTORY)}
    made = RecDataset(
        name="made up",
        interactions=interactions_table(**{**interactions, **own}),
        items=table({"item_id": ["a", "b", "c"], "title": ["A", "B", "C"]}),
        users=table({"user_id": ["u1", "u2"]}),
        rating_range=(1, 5),
    )
    return replace(made, **changed)


HISTORY = ("history", "history_rating")


def test_sound_data_is_left_as_it_is() -> None:
    data = dataset()
    assert sound(data) is data


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"items": table({"item_id": ["a", "b", "a", "c"], "title": ["A", "B", "X", "C"]})},
            "item_id 'a' is there twice, in rows 0 and 2 of items",
        ),
        ({"users": table({"user_id": ["u1", "u2", "u2"]})}, "user_id 'u2' is there twice, in rows 1 and 2 of users"),
        ({"items": table({"item_id": ["a", "", "c"], "title": ["A", "B", "C"]})}, "item_id is empty in row 1 of items"),
        ({"users": table({"user_id": ["u1", "u2", None]})}, "user_id is empty in row 2 of users"),
        ({"users": table({"user_id": ["u1", "u2", "u2\0"]})}, "user_id in row 2 of users holds a zero byte"),
        ({"users": table({"user_id": ["u1", "u2", " "]})}, "user_id is empty in row 2 of users"),
        (
            {"items": table({"item_id": [1, 2, 3], "title": ["A", "B", "C"]})},
            "item_id of items has type int64; ids are",
        ),
        ({"users": table({"name": ["u1"]})}, "the table of users has no column 'user_id'"),
        ({"items": table({"item_id": ["a", "b", "c"]})}, "the table of items has no column 'title'"),
        ({"items": {"item_id": ["a"]}}, "items is a dict where a datasets.Dataset belongs"),
        ({"items": table({"item_id": [], "title": []})}, "the table of items is empty"),
        ({"user_id": ["u1", "u0", "u1"]}, "interaction 1 names user 'u0', which the table of users lacks .1 such"),
        ({"item_id": ["a", "b", "z"]}, "interaction 2 names item 'z', which the table of items lacks"),
        ({"item_id": ["a", "", "c"]}, "interaction 1 names item ''"),
        ({"rating": [1.0, float("nan"), 2.0]}, "label nan of interaction 1 lies outside 1 to 5"),
        ({"rating": [1.0, 2.0, float("inf")]}, "label inf of interaction 2 lies outside 1 to 5"),
        ({"timestamp": [1, -(1 << 62), 2]}, "timestamp -4611686018427387904 of interaction 1 is too large"),
        ({"feedback": "stars"}, "feedback is 'stars' where one of rating, click, implicit belongs"),
        ({"rating_range": (5, 1)}, "rating_range"),
        ({"rating_range": (float("nan"), 1)}, "rating_range"),
        ({"rating_range": "15"}, "rating_range is '15' where"),
        ({"part": ["train", "Test", "test"]}, "part 'Test' of interactions is none of train, valid, test or empty"),
        ({"person": ["p", None, "p"]}, "an interaction has no person, where others have one"),
        ({"history": [["a"], [], []], "history_rating": [[], [], []]}, "of interaction 0 differ in length"),
        ({"history": [[], [], ["a"]], "history_rating": [[], [], [9.0]]}, "label 9 in the history of interaction 2"),
        (
            {"items": table({"item_id": ["a", "b", "c"], "title": ["A", "B", "C"], "price": [1.0, float("inf"), 2.0]})},
            "price in row 1 of items is infinite",
        ),
    ],
)
def test_unsound_data_is_refused_with_table_and_row(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        sound(dataset(**changed))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("rating", ["1", "2", "3"], "rating of interactions has type string where numbers belong"),
        ("rating", [1.0, None, 2.0], "interaction 1 has no rating"),
        ("timestamp", [1.0, 2.0, 3.0], "timestamp of interactions has type double where whole numbers belong"),
        ("timestamp", [1, None, 3], "interaction 1 has no timestamp"),
        ("part", [{}, {}, {}], "part of interactions has type struct<> where texts belong"),
        ("review", [1, 2, 3], "review of interactions has type int64 where texts belong"),
        ("user_id", [1, 2, 1], "user_id of interactions has type int64; ids are texts"),
    ],
)
def test_tables_that_a_reader_builds_itself_are_checked_too(column: str, values: list[Any], message: str) -> None:
    plain = {
        "user_id": ["u1", "u2", "u1"],
        "item_id": ["a", "b", "c"],
        "rating": [1.0, 2.0, 3.0],
        "timestamp": [1, 2, 3],
    }
    with pytest.raises(InputError, match=message):
        sound(dataset(interactions=Dataset.from_dict({**plain, column: values})))


def test_missing_values_are_none_also_inside_lists() -> None:
    plain = {"item_id": ["a", "b", "c"], "title": ["A", None, "C"], "price": [1.0, float("nan"), 2.0]}
    items = Dataset.from_dict({**plain, "genres": [["Drama", None], [], None]})
    cleaned = sound(dataset(items=items)).items
    assert column(cleaned, "price") == [1.0, None, 2.0]
    assert column(cleaned, "genres") == [["Drama"], [], None]
    assert column(cleaned, "title") == ["A", None, "C"]


def test_unknown_entries_of_histories_and_links_are_dropped_and_counted() -> None:
    graph = KnowledgeGraph(
        table({"head": ["e"], "relation": ["r"], "tail": ["f"]}),
        table({"item_id": ["a", "z"], "entity_id": ["e", "f"]}),
    )
    told = {"history": [["z", "a"], [], ["b", "z", "c"]], "history_rating": [[1.0, 2.0], [], [3.0, 4.0, 5.0]]}
    data = sound(dataset(graph=graph, **told))
    assert column(data.interactions, "history") == [["a"], [], ["b", "c"]]
    assert column(data.interactions, "history_rating") == [[2.0], [], [3.0, 5.0]]
    assert data.graph is not None
    assert column(data.graph.links, "item_id") == ["a"]
    assert data.notes == (
        "2 of 5 entries of histories name items that the items table lacks: they were left out",
        "1 of 2 links of the graph name items that the items table lacks: they were left out",
    )


def test_a_reader_may_leave_unknown_interactions_out_and_the_number_is_said() -> None:
    data = without_unknown(dataset(user_id=["u1", "u0", "u1"], item_id=["a", "b", "z"]))
    assert column(data.interactions, "item_id") == ["a"]
    assert data.notes == ("2 of 3 interactions name users or items that the tables lack: they were left out",)
    assert sound(data) is data
    assert without_unknown(data) is data


def test_a_table_made_by_hand_without_parts_is_one_that_its_owner_does_not_divide() -> None:
    whole = dataset()
    bare = replace(whole, interactions=whole.interactions.remove_columns("part"))
    assert set(column(sound(bare).interactions, "part")) == {""}


def test_links_between_users_are_checked_and_those_of_strangers_dropped() -> None:
    known = table({"user_id": ["u1", "u2", "u2"], "other_id": ["u2", "u1", "u9"]})
    data = sound(dataset(user_links=known))
    assert data.user_links is not None
    assert column(data.user_links, "other_id") == ["u2", "u1"]
    assert data.notes == ("1 of 3 links between users name users that the users table lacks: they were left out",)
    with pytest.raises(InputError, match="the table of user_links has no column 'other_id'"):
        sound(dataset(user_links=table({"user_id": ["u1"]})))
    with pytest.raises(InputError, match="other_id in user_links has to be a text in every row"):
        sound(dataset(user_links=table({"user_id": ["u1", "u2"], "other_id": ["u2", None]})))


def test_nobody_is_linked_to_himself_where_items_are_people() -> None:
    people = {"items": table({"item_id": ["u1", "u2"], "title": ["", ""]}), "items_are_users": True}
    assert sound(dataset(item_id=["u2", "u1", "u2"], **people)).items_are_users
    with pytest.raises(InputError, match="interaction 2 links 'u1' to himself"):
        sound(dataset(item_id=["u2", "u1", "u1"], **people))
