"""Column types: what the items table has there, and values from files and from Python brought to it or refused."""

from __future__ import annotations

import datetime
import json
import math
import random
from decimal import Decimal
from typing import Any, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from llmrec_peft.data.column_types import ColumnType, Kind, column_types
from llmrec_peft.data.tables import table

WORDS = ColumnType("text", many=True)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array(["a", "b"]), ColumnType("text")),
        (pa.array(["a", None]), ColumnType("text", gaps=True)),
        (pa.array(["a"]).dictionary_encode(), ColumnType("text")),
        (pa.array([None, None]), ColumnType("text", gaps=True)),
        (pa.array([1, 2], pa.int16()), ColumnType("whole")),
        (pa.array([1.0], pa.float64()), ColumnType("number")),
        (pa.array([1.0], pa.float32()), ColumnType("single")),
        (pa.array([True]), ColumnType("flag")),
        (pa.array([["a|b"], ["c, d"]]), ColumnType("text", many=True, inside=("|", ","))),
        (pa.array([[1], None]), ColumnType("whole", many=True, gaps=True)),
        (pa.array([[]]), ColumnType("text", many=True)),
        (pa.array([[["a"]]]), ColumnType("other", many=True)),
        (pa.array([{"a": 1}]), ColumnType("other")),
        (pa.array([datetime.date(2020, 1, 1)]), ColumnType("other")),
    ],
)
def test_type_of_an_arrow_column_survives_json(values: pa.Array, expected: ColumnType) -> None:
    kind = ColumnType.of(pa.chunked_array([values]))
    assert kind == expected
    assert ColumnType.from_plain(json.loads(json.dumps(kind.plain()))) == kind


@pytest.mark.parametrize(
    "plain", [None, [], {"kind": "text"}, {**WORDS.plain(), "kind": "code"}, {**WORDS.plain(), "inside": ["x"]}]
)
def test_description_that_is_no_type_is_refused(plain: Any) -> None:
    with pytest.raises(ValueError, match="no type of a column"):
        ColumnType.from_plain(plain)


def test_types_of_a_table_are_those_of_its_columns_but_the_ids() -> None:
    items = table({"item_id": ["1"], "title": ["a"], "year": [1995], "genres": [["x"]]})
    assert column_types(items) == {"title": ColumnType("text"), "year": ColumnType("whole"), "genres": WORDS}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("text", "007", "007"),
        ("text", " a ", " a "),
        ("text", np.str_("a"), "a"),
        ("whole", "1995.0", 1995),
        ("whole", " 1995 ", 1995),
        ("whole", 1995.0, 1995),
        ("whole", np.float64(1995), 1995),
        ("whole", np.int32(7), 7),
        ("whole", "-0007", -7),
        ("whole", pa.scalar(5), 5),
        ("whole", "9223372036854775807", 2**63 - 1),
        ("number", "19", 19.0),
        ("number", 19, 19.0),
        ("number", "1e3", 1000.0),
        ("single", "0.1", float(np.float32(0.1))),
        ("flag", "True", True),
        ("flag", "0", False),
        ("flag", np.bool_(True), True),
        ("flag", 1.0, True),
    ],
)
def test_value_is_brought_to_the_type_of_its_column(kind: Any, value: Any, expected: Any) -> None:
    brought = ColumnType(kind).bring(value)
    assert brought == expected
    assert type(brought) is type(expected)


@pytest.mark.parametrize(
    "value",
    [
        "Crime|Drama",
        "Crime, Drama",
        "Crime,Drama",
        ' ["Crime", "Drama"] ',
        " Crime | Drama |",
        ["Crime", "Drama"],
        ("Crime", "Drama"),
        np.array(["Crime", "Drama"]),
        np.array(["Crime", "Drama"], object),
        pd.Series(["Crime", "Drama"]),
        pa.array(["Crime", "Drama"]),
    ],
)
def test_list_is_brought_from_every_form_and_never_letter_by_letter(value: Any) -> None:
    assert WORDS.bring(value) == ["Crime", "Drama"]


def test_one_word_is_a_list_of_one_and_numbers_are_numbers_in_lists() -> None:
    assert WORDS.bring("Crime") == ["Crime"]
    assert ColumnType("whole", many=True).bring("1|2.0") == [1, 2]


def test_missing_entries_of_a_list_are_left_out_as_soundness_leaves_them_out_of_the_items_table() -> None:
    for entries in (["Crime", None, "", "Drama"], ["Crime", float("nan"), "", pd.NA, "Drama"]):
        assert WORDS.bring(entries) == ["Crime", "", "Drama"]
    assert WORDS.bring(pa.array(["Crime", None])) == ["Crime"]
    assert ColumnType("whole", many=True).bring(np.array([1.0, np.nan])) == [1]


def test_separator_inside_the_tables_own_entries_divides_nothing() -> None:
    commas = ColumnType("text", many=True, inside=(",",))
    assert commas.bring("Patio, Lawn & Garden|Tools") == ["Patio, Lawn & Garden", "Tools"]
    assert commas.bring('["Patio, Lawn & Garden"]') == ["Patio, Lawn & Garden"]
    with pytest.raises(ValueError, match=r"can be divided in more than one way: write a JSON list"):
        commas.bring("Patio, Lawn & Garden")
    with pytest.raises(ValueError, match="can be divided in more than one way"):
        ColumnType("text", many=True, inside=("|",)).bring("a|b")
    with pytest.raises(ValueError, match="can be divided in more than one way"):
        WORDS.bring("a;b")


@pytest.mark.parametrize(
    "nothing", [None, "", float("nan"), np.nan, pd.NA, pd.NaT, np.datetime64("NaT"), pa.scalar(None)]
)
def test_missing_value_stays_missing(nothing: Any) -> None:
    assert [ColumnType(kind).bring(nothing) for kind in ("text", "whole", "number", "flag")] == ["", None, None, None]
    assert WORDS.bring(nothing) == []
    for kind in (ColumnType("text", gaps=True), ColumnType("text", many=True, gaps=True), ColumnType("other")):
        assert kind.bring(nothing) is None
    assert ColumnType("whole").bring("  ") is None


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (ColumnType("text"), 7, "7 is no text"),
        (ColumnType("text"), 1995.0, "1995.0 is no text"),
        (ColumnType("text"), ["a"], "is no text"),
        (ColumnType("text"), b"Caf\xe9", "is no text"),
        (ColumnType("text"), "\ud800", "is no UTF-8 text"),
        (ColumnType("whole"), "1995.5", "'1995.5' is no whole number"),
        (ColumnType("whole"), 1995.5, "1995.5 is no whole number"),
        (ColumnType("whole"), "1_995", "is no whole number"),
        (ColumnType("whole"), "nan", "is no whole number"),
        (ColumnType("single"), "1e39", "'1e39' is no finite number"),
        (ColumnType("whole"), "1e3", "is no whole number"),
        (ColumnType("whole"), True, "is no whole number"),
        pytest.param(ColumnType("whole"), 10**5000, "a value of type int is no whole number", id="huge whole"),
        (ColumnType("whole"), 1e300, "is no whole number"),
        (ColumnType("whole"), "١٩٩٥", "is no whole number"),
        (ColumnType("number"), "inf", "is no finite number"),
        (ColumnType("number"), "1e999", "is no finite number"),
        pytest.param(ColumnType("number"), 10**400, "is no finite number", id="huge"),
        (ColumnType("flag"), "yes", "is neither true nor false"),
        (ColumnType("flag"), 2, "is neither true nor false"),
        (WORDS, 7, "7 is no list"),
        (WORDS, "None", "'None' is no list: leave it empty"),
        (WORDS, "['Crime', 'Drama']", "is no JSON list"),
        pytest.param(WORDS, "[" * 100_000, "is no JSON list", id="deep"),
        (WORDS, '["a", null]', "None is no text"),
        (WORDS, [["a"]], "is no text"),
        (WORDS, {"a"}, "is no list"),
        (ColumnType("whole", many=True), "1|x", "'x' is no whole number"),
        (ColumnType("other"), "2020-01-01", "'2020-01-01' is none of them"),
    ],
)
def test_value_that_cannot_be_brought_is_refused_with_its_reason(kind: ColumnType, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        kind.bring(value)


def test_whatever_is_brought_stays_what_it_is_and_nothing_else_than_a_reason_is_raised() -> None:
    rng = random.Random(3)
    words = [
        "a",
        "1",
        "1995.0",
        "|",
        ",",
        ";",
        "[",
        "]",
        '"',
        " ",
        "nan",
        "true",
        "-",
        "e",
        "\0",
        "é",
        "\ud800",
        "9" * 30,
    ]

    def value(depth: int = 0) -> Any:
        made = rng.randrange(12 if depth < 2 else 9)
        if made < 4:
            return "".join(rng.choices(words, k=rng.randrange(6)))
        if made < 9:
            plain = [None, True, 7, 2**80, -1.0, 0.5, math.nan, math.inf, b"x", np.float32(2), np.int8(1), pd.NA, 1j]
            return rng.choice(plain)
        entries = [value(depth + 1) for _ in range(rng.randrange(4))]
        return rng.choice([lambda: entries, lambda: tuple(entries), lambda: {"a": entries}, lambda: json.dumps("x")])()

    brought = 0
    for _ in range(5_000):
        inside = tuple(rng.sample(["|", ";", ","], rng.randrange(3)))
        kind = ColumnType(rng.choice(get_args(Kind)), rng.random() < 0.5, rng.random() < 0.5, inside)
        try:
            once = kind.bring(value())
        except ValueError as error:
            assert "\n" not in str(error)
            continue
        brought += 1
        assert repr(kind.bring(once)) == repr(once)
        assert "None" not in str(once) or once is None or kind.kind == "other"
    assert brought > 1_000


def test_other_values_pass_as_they_are() -> None:
    day = datetime.date(2020, 1, 1)
    assert ColumnType("other").bring(day) is day
    assert ColumnType("other").bring(Decimal("1.10")) == Decimal("1.10")
    assert ColumnType("other").bring({"a": 1}) == {"a": 1}
