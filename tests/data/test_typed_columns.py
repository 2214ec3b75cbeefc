"""Columns of interactions from Arrow, numpy and Python: one table, and one message for what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from llmrec_peft.data.dataset import arrow, column
from llmrec_peft.data.rows import BLOCK, Columns, Rows
from llmrec_peft.data.tables import interactions_table, table
from llmrec_peft.errors import InputError

PYTHON: dict[str, Any] = {
    "user_id": ["1", "01", "ü"],
    "item_id": ["x", "y", "x"],
    "rating": [1.0, 2.5, 4.0],
    "timestamp": [3, -2, 1 << 40],
    "history": [["x"], [], ["y", "x"]],
    "history_rating": [[1.0], [], [2.0, 4.0]],
    "person": ["p", "p", "q"],
}
TYPED: dict[str, list[Any]] = {
    "user_id": [
        pa.array(PYTHON["user_id"]),
        pa.array(PYTHON["user_id"], pa.large_string()),
        pa.array(PYTHON["user_id"]).dictionary_encode(),
        pa.chunked_array([["1"], ["01", "ü"]]),
        np.array(PYTHON["user_id"]),
    ],
    "rating": [
        pa.array(PYTHON["rating"]),
        pa.array(PYTHON["rating"], pa.float32()),
        np.array(PYTHON["rating"]),
        np.array(PYTHON["rating"], object),
    ],
    "timestamp": [
        pa.array(PYTHON["timestamp"]),
        pa.array([3.0, -2.0, float(1 << 40)]),
        np.array(PYTHON["timestamp"]),
        np.array([3.0, -2.0, float(1 << 40)]),
    ],
    "history": [pa.array(PYTHON["history"]), pa.chunked_array([pa.array(PYTHON["history"])])],
    "history_rating": [pa.array(PYTHON["history_rating"])],
    "person": [pa.array(PYTHON["person"])],
}


@pytest.mark.parametrize(("name", "at"), [(name, at) for name, some in TYPED.items() for at in range(len(some))])
def test_typed_columns_make_the_table_that_lists_make(name: str, at: int) -> None:
    made, expected = interactions_table(**{**PYTHON, name: TYPED[name][at]}), interactions_table(**PYTHON)
    assert arrow(made).to_pydict() == arrow(expected).to_pydict()
    assert arrow(made).schema.equals(arrow(expected).schema)
    assert made.features == expected.features


def test_a_column_that_is_right_already_is_taken_without_a_copy() -> None:
    ids = pa.array(PYTHON["user_id"])
    made = arrow(interactions_table(**{**PYTHON, "user_id": ids})).column("user_id")
    assert made.chunk(0).buffers()[2].address == ids.buffers()[2].address


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"user_id": pa.array([1, 2, 3])}, "user_id 0 is 1 of type int; ids are texts"),
        ({"item_id": pa.array(["x", None, "y"])}, "item_id 1 is None of type NoneType; ids are texts"),
        ({"rating": pa.array([1.0, None, 2.0])}, "rating 1 is None where a number belongs"),
        ({"rating": pa.array(["1", "2", "3"])}, "rating 0 is '1' where a number belongs"),
        ({"rating": np.array(["1", "2", "3"])}, r"rating 0 is np.str_\('1'\) where a number belongs"),
        ({"timestamp": pa.array([1.0, 2.5, 3.0])}, r"timestamp 1 is np.float64\(2.5\) where a whole number"),
        ({"timestamp": np.array([1.0, np.nan, 3.0])}, r"timestamp 1 is np.float64\(nan\) where a whole number"),
        ({"timestamp": np.array([1.0, 1e300, 3.0])}, r"timestamp 1 is np.float64\(1e\+300\) where a whole number"),
        ({"timestamp": pa.array([1, 2, 1 << 63], pa.uint64())}, "timestamp 2 is .*9223372036854775808.* where a whole"),
        ({"timestamp": pa.array([None, 2, 3], pa.int64())}, "timestamp 0 is None where a whole number"),
        ({"timestamp": np.array([1, 2])}, "columns of a table differ in length"),
        ({"history": pa.array([["x"], ["y"]])}, "columns of a table differ in length"),
    ],
)
def test_typed_columns_of_other_types_are_refused_by_row(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        interactions_table(**{**PYTHON, **changed})


def test_tables_of_arrow_columns_keep_their_types() -> None:
    made = table({"item_id": pa.array(["1", "2"]), "year": pa.array([1, None], pa.int16())})
    assert arrow(made).schema.field("year").type == pa.int16()
    assert column(made, "year") == [1, None]
    assert column(table({"item_id": ["1"], "year": pa.array([3])}), "year") == [3]


def test_rows_are_walked_by_blocks_and_kept_only_where_one_is_asked_for_by_number() -> None:
    count = 2 * BLOCK + 3
    films = table({"item_id": [str(at) for at in range(count)], "genres": [["a"] * (at % 3) for at in range(count)]})
    rows = Rows(films)
    walked = list(rows)
    assert walked == [{}, *films]
    assert list(rows.known()) == walked[1:]
    assert next(iter(rows)) is not next(iter(rows)), "made anew"
    assert len(rows) == count + 1
    assert (rows[0], rows[-1], rows[2:4]) == (walked[0], walked[-1], walked[2:4])
    assert rows[7] is rows[7]
    assert list(rows) == walked


def test_columns_are_lists_that_are_made_when_asked_for() -> None:
    columns = Columns(table({"user_id": ["a", "b"], "age": [1, None]}))
    assert dict(columns) == {"user_id": ["a", "b"], "age": [1, None]}
    assert columns["age"] is columns["age"]
    assert ("age" in columns, "sex" in columns, len(columns), columns.get("sex")) == (True, False, 2, None)
