"""Predict hands on what it was given: bytes of CSV, types of Parquet, ids as texts, odd headers, other encodings."""

from __future__ import annotations

import csv
import datetime
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.workflows.pair_files import id_texts
from llmrec_peft.workflows.predict import Predicted, predict

Run = Callable[..., Predicted]


@pytest.fixture
def scored(tiny_run: Path, tmp_path: Path) -> Run:
    """Predict a file of this content and return what was said of it; the output is ``out`` with an ending."""

    def run(content: bytes | pa.Table, target: str = "out.csv", **options: Any) -> Predicted:
        source = tmp_path / ("in.csv" if isinstance(content, bytes) else "in.parquet")
        source.write_bytes(content) if isinstance(content, bytes) else pq.write_table(content, source)
        return predict(tiny_run, source, tmp_path / target, overwrite=True, **options)

    return run


ODD = (
    b"user_id,item_id,order_no,coupon,flag,amount,price,when,big,text",
    b'1,6,00501,007,true,1e3,1.10,2020-01-05T10:00:00+02:00,12345678901234567890,"a ""quoted"", text"',
    b'2,7,00077,010,false,1E-3,1.,2020-01-06,12345678901234567891,"two\nlines"',
    b'"3","8",0x1F,NA,NULL,nan,-0.0,2020-02-30,1_000,"plain, and quoted without need"',
    b"4,9,,,, 1 ,+5,24:00,-,\xe6\x97\xa5\xe6\x9c\xac",
)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("last", [True, False])
def test_every_byte_of_a_csv_row_is_handed_on(end: bytes, mark: bytes, last: bool, scored: Run, tmp_path: Path) -> None:
    content = mark + end.join(ODD) + (end if last else b"")
    assert scored(content).scored == 4
    written = (tmp_path / "out.csv").read_bytes()
    assert written.endswith(end)
    lines = written.removesuffix(end).split(end)
    expected = (mark + end.join(ODD)).split(end)
    assert lines[0] == expected[0] + b",score,basis"
    for line, given in zip(lines[1:], expected[1:], strict=True):
        if given == b'2,7,00077,010,false,1E-3,1.,2020-01-06,12345678901234567891,"two':
            assert line == given  # the row goes on in the next line
            continue
        assert line.startswith(given + b",")
        score, basis = line.removeprefix(given + b",").split(b",")
        assert 1.0 <= float(score) <= 5.0
        assert basis == b"personal"


def test_columns_of_csv_are_text_in_parquet(scored: Run, tmp_path: Path) -> None:
    scored(b"\n".join(ODD), "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert {str(field.type) for field in table.schema} == {"string", "float"}
    assert table["order_no"].to_pylist() == ["00501", "00077", "0x1F", ""]
    assert table["big"].to_pylist()[:2] == ["12345678901234567890", "12345678901234567891"]
    assert table["text"].to_pylist()[:2] == ['a "quoted", text', "two\nlines"]


def test_text_that_follows_four_mebibytes_of_digits_is_read(scored: Run, tmp_path: Path) -> None:
    rows = [f"{at % 30 + 1},{at % 40 + 1},{'0' * 240}{at:07d}" for at in range(18_000)]
    content = "\n".join(["user_id,item_id,note", *rows, "1,6,see below", ""]).encode()
    assert len(content) > 4 << 20
    assert scored(content).scored == 18_001
    assert (tmp_path / "out.csv").read_bytes().splitlines()[-1].startswith(b"1,6,see below,")


def test_one_field_of_four_mebibytes_is_read(scored: Run, tmp_path: Path) -> None:
    field = b"7" * (4 << 20)
    scored(b"user_id,item_id,note\n1,6," + field + b"\n")
    assert field in (tmp_path / "out.csv").read_bytes()


def _typed() -> pa.Table:
    utc = datetime.UTC
    return pa.table(
        {
            "user_id": pa.array([1, 2], pa.int64()),
            "item_id": pa.array(["6", "7"]).dictionary_encode(),
            "small": pa.array([1.5, None], pa.float32()),
            "when": pa.array(
                [datetime.datetime(2020, 1, 5, 10, tzinfo=utc), None], pa.timestamp("us", "Europe/Berlin")
            ),
            "price": pa.array([None, 110], pa.int32()).cast(pa.decimal128(12, 2)),
            "flag": pa.array([True, None]),
            "big": pa.array([2**64 - 1, 0], pa.uint64()),
            "day": pa.array([datetime.date(1999, 12, 31), None]),
        }
    )


def test_parquet_keeps_its_types_and_values(scored: Run, tmp_path: Path) -> None:
    nested = _typed().append_column("list", pa.array([["a"], None])).append_column("raw", pa.array([b"\xff", None]))
    scored(nested, "out.parquet")
    written = pq.read_table(tmp_path / "out.parquet")
    assert written.drop_columns(["score", "basis"]).equals(nested)
    assert written.schema.field("score").type == pa.float32()


def test_parquet_is_written_as_csv_in_plain_values(scored: Run, tmp_path: Path) -> None:
    scored(_typed())
    header, first, second = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()
    assert header == "user_id,item_id,small,when,price,flag,big,day,score,basis"
    assert first.startswith("1,6,1.5,2020-01-05 11:00:00.000000+0100,,true,18446744073709551615,1999-12-31,")
    assert second.startswith("2,7,,,110.00,,0,,")


def test_line_ends_inside_a_field_of_parquet_are_quoted_in_csv(scored: Run, tmp_path: Path) -> None:
    notes = ["a\rb", "a\nb", "a\r\nb", 'a"b', "", None]
    scored(pa.table({"user_id": ["1"] * 6, "item_id": ["6"] * 6, "note": notes}))
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        assert [row["note"] for row in csv.DictReader(file)] == [note or "" for note in notes]


@pytest.mark.parametrize(
    ("values", "named"),
    [([["a"]], "list<"), ([{"a": 1}], "struct<"), ([b"\xff"], "binary")],
)
def test_column_that_csv_has_no_form_for_is_refused_by_name(values: list[Any], named: str, scored: Run) -> None:
    table = pa.table({"user_id": ["1"], "item_id": ["6"], "extra": values})
    with pytest.raises(InputError, match=f"column 'extra' holds values of type {named}.*: write .parquet"):
        scored(table)


def test_ids_are_texts_and_are_compared_as_they_are_written(scored: Run) -> None:
    told = scored(b"user_id,item_id\n1.0,6\n2.0,7\n")
    assert told.notes("skip") == [
        "2 of 2 rows are of users that the run does not know, such as '1.0': they have no score; users that it knows"
        " are '1', '2', '3'"
    ]
    assert scored(b"user_id,item_id\n 1 ,6\n01,6\n1,6\n").unknown_users == 2


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.float16()])
def test_float_ids_of_parquet_are_what_they_are_in_csv(kind: pa.DataType, scored: Run) -> None:
    told = scored(pa.table({"user_id": pa.array([1.0, 2.0], kind), "item_id": ["6", "7"]}))
    assert (told.unknown_users, told.unknown_user) == (2, "1.0")


def test_float_ids_of_many_digits_have_no_exponent() -> None:
    values = [1e10, 12345678901.0, 1e22, 0.1, None]
    texts = id_texts(pa.chunked_array([pa.array(values, pa.float64())]))
    assert texts == ["10000000000.0", "12345678901.0", "10000000000000000000000.0", "0.1", None]
    assert id_texts(pa.chunked_array([pa.array([2**63 - 1], pa.int64())])) == ["9223372036854775807"]


@pytest.mark.parametrize("values", [[True], [datetime.date(2020, 1, 1)], [["1"]], [b"1"]])
def test_ids_of_another_type_are_refused(values: list[Any], scored: Run) -> None:
    with pytest.raises(InputError, match=r"column user_id holds values of type .*: ids are text or whole numbers"):
        scored(pa.table({"user_id": values, "item_id": ["6"]}))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"user_id,item_id,item_id\n1,6,7\n", "2 columns are called 'item_id'"),
        (b"user_id,item_id,a,a\n1,6,7,8\n", "2 columns are called 'a'"),
        (b"user_id,item_id,\n1,6,7\n", "column 3 has no name in the header"),
        (b",user_id,item_id\n0,1,6\n", "column 1 has no name in the header"),
        (b"user_id,item_id,score\n1,6,9.9\n", "it has a column 'score', which the output adds"),
        (b"user_id,item_id,basis\n1,6,mine\n", "it has a column 'basis', which the output adds"),
        (b"user_id;item_id\n1;6\n", r"no column user_id \(it has user_id;item_id\)"),
        (b"user_id,item_id\n1,6,7\n", "row 1: 3 fields where the header has 2"),
        (b"user_id,item_id\n1,6\n2\n", "row 2: 1 fields where the header has 2"),
        (b'user_id,item_id,n\n1,6,"a\n2,7,b\n', "row 1: a quotation mark is never closed"),
        (b'user_id,item_id,n\n1,6,"a"b\n', "row 1: unreadable"),
        (b"user_id,item_id\r1,6\r", "the header: a line ends in a carriage return alone"),
        (b"user_id,item_id\n1,6\n\xff,6\n", r"in.csv, row 2: not utf-8 text \(byte 0xff\)"),
        (b"user_id,item_id,caf\xe9\n1,6,7\n", r"in.csv, the header: not utf-8 text"),
        ("user_id,item_id\n1,6\n".encode("utf-16"), "the header: not utf-8 text"),
    ],
)
@pytest.mark.parametrize("target", ["out.csv", "out.parquet"])
def test_odd_csv_is_refused_in_one_line_and_nothing_is_written(
    content: bytes, said: str, target: str, scored: Run, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        scored(content, target)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@pytest.mark.parametrize("names", [["user_id", "user_id", "item_id"], ["user_id", "item_id", ""]])
def test_odd_columns_of_parquet_are_refused_in_one_line(names: list[str], scored: Run) -> None:
    table = pa.Table.from_arrays([pa.array(["1"])] * 3, names=names)
    with pytest.raises(InputError, match=r"2 columns are called 'user_id'|column 3 has no name"):
        scored(table)


@pytest.mark.parametrize("target", ["out.csv", "out.parquet"])
def test_text_of_parquet_that_is_no_utf8_is_refused_by_row(target: str, scored: Run) -> None:
    offsets, text = (pa.py_buffer(data) for data in (b"\0\0\0\0\1\0\0\0\2\0\0\0", b"a\xe9"))
    note = pa.Array.from_buffers(pa.string(), 2, [None, offsets, text])
    table = pa.Table.from_arrays([pa.array(["1", "2"]), pa.array(["6", "7"]), note], ["user_id", "item_id", "note"])
    with pytest.raises(InputError, match=r"in.parquet, row 2, column 'note': not utf-8 text"):
        scored(table, target)


NEW = b"user_id,item_id,title,year,genres\n"


def test_new_item_with_another_text_is_refused_naming_both_rows(scored: Run) -> None:
    with pytest.raises(InputError, match="row 3: the new item 'n' has another text in row 1: one item has one text"):
        scored(NEW + b"1,n,Heat,1995,Crime\n1,6,,,\n2,n,Something else,1950,Drama\n")
    told = scored(NEW + b'1,n,Heat,1995,Crime|Drama\n2,n,Heat,1995.0,"Crime, Drama"\n')
    assert (told.scored, told.new_items) == (2, 1)


def test_value_of_a_new_item_that_cannot_be_brought_is_refused_by_row_and_column(scored: Run) -> None:
    said = r"row 2: item 'm', column year: 'soon' is no whole number; the items table has whole numbers there"
    with pytest.raises(InputError, match=said):
        scored(NEW + b"1,n,Heat,1995,Crime\n1,m,Heat,soon,Crime\n")


def test_new_item_whose_columns_are_empty_has_no_text_and_no_score(scored: Run) -> None:
    told = scored(NEW + b"1,n,,,\n1,6,,,\n")
    assert (told.scored, told.unknown_items, told.new_items) == (1, 1, 0)


def test_random_fields_come_out_as_they_went_in(scored: Run, tmp_path: Path) -> None:
    rng = random.Random(7)
    signs = ["a", "0", ",", '""', "\n", "\r", " ", ";", "\t", "é", "\u2028", "'", "\0"]
    cells = [f'"{"".join(rng.choices(signs, k=rng.randrange(9)))}"' for _ in range(300)]
    rows = [f"{at % 30 + 1},{at % 40 + 1},{cell}" for at, cell in enumerate(cells)]
    content = "user_id,item_id,x\n" + "".join(f"{row}\n" for row in rows)
    scored(content.encode())
    written = (tmp_path / "out.csv").read_bytes().decode()
    at = 0
    for row in rows:
        at = written.index(f"\n{row},", at) + 1
