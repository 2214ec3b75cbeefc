"""JSON and Parquet files become texts and lists of texts; what is wrong is named by line or row."""

from __future__ import annotations

import json
import random
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.tabular import json_files, parquet_files, unpacked
from llmrec_peft.tabular.form import FileForm
from llmrec_peft.tabular.json_files import read_json_exactly
from llmrec_peft.tabular.read import read_table
from llmrec_peft.tabular.sniff import sniffed

has_uuids = pytest.mark.skipif(not hasattr(pa, "json_"), reason="types of pyarrow 19")
LINES = FileForm(format="json-lines")
ARRAY = FileForm(format="json")
PARQUET = FileForm(format="parquet")


def _file(folder: Path, content: str | bytes) -> Path:
    path = folder / "table.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_numbers_are_texts_as_the_file_writes_them_and_lists_stay_lists(tmp_path: Path) -> None:
    rows = '{"id": 12345678901234567890, "x": 1}\n'
    rows += '\n{"id": "b", "stars": 4.0, "sure": true, "tags": ["a", 2, null], "more": {"k": [1]}}\n'
    rows += '{"id": null, "tags": "alone"}\n{"tags": ""}'
    assert read_table(_file(tmp_path, rows), LINES).table.to_pydict() == {
        "id": ["12345678901234567890", "b", None, None],
        "x": ["1", None, None, None],
        "stars": [None, "4.0", None, None],
        "sure": [None, "true", None, None],
        "tags": [None, ["a", "2", None], ["alone"], []],
        "more": [None, '{"k": [1]}', None, None],
    }


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"user": 1', "no JSON (column 11: Expecting ',' delimiter) (the line is cut off)"),
        ("{'user': 1}", "names in single quotation marks, as Python writes them"),
        ('{"user": NaN}', "no JSON (NaN is no number of JSON)"),
        ("[1, 2]", "no JSON object"),
        ('{"user": 1} {"user": 2}', "'{\"user\": 2}' stands behind the object: one object a line"),
        ('{"user": "\\ud800"}', "half a character"),
        ('{"user": ' + "[" * 100_000, "nested too deeply"),
        ('{"user": ' + "[" * 300 + "]" * 300 + "}", "nested too deeply: more than 64"),
        ('{"user": 1, "user": 2}', "the name 'user' stands twice in one object"),
        ("user,item", "no JSON"),
    ],
)
def test_a_line_that_is_no_object_is_named_and_left_out_on_request(line: str, words: str, tmp_path: Path) -> None:
    path = _file(tmp_path, f'{{"user": "a"}}\n\n{line}\n{{"user": "b"}}\n')
    with pytest.raises(InputError) as caught:
        read_table(path, LINES)
    assert "table.json, line 3: " in str(caught.value) and words in str(caught.value)
    read = read_table(path, LINES, skip_bad=1)
    assert read.table["user"].to_pylist() == ["a", "b"] and [row.line for row in read.bad] == [3]


def test_a_field_of_another_type_is_named(tmp_path: Path) -> None:
    path = _file(tmp_path, '{"stars": 4}\n{"stars": "3.5"}\n{"stars": null}\n{"stars": "good"}\n{"stars": [1]}\n')
    types = {"stars": pa.float32()}
    with pytest.raises(InputError, match="line 4, column 'stars': 'good' is no number"):
        read_table(path, LINES, types)
    with pytest.raises(InputError, match="line 5, column 'stars': a list, where float is expected"):
        read_table(path, LINES, types, skip_bad=1)
    assert read_table(path, LINES, types, skip_bad=2).table["stars"].to_pylist() == [4.0, 3.5, None]


def test_an_array_and_an_object_of_objects_are_read_element_by_element(tmp_path: Path) -> None:
    rows = [{"user": f"u{row}", "text": "é\n" * (row % 50), "n": row} for row in range(5000)]
    path = _file(tmp_path, json.dumps(rows, indent=1, ensure_ascii=False))
    assert path.stat().st_size > 1 << 18
    read = read_table(path, ARRAY, {"n": pa.int64()}).table
    assert read.to_pylist() == rows
    path = _file(tmp_path, '{"a": {"x": 1, "key": "own"}, "b": {"x": 2}}')
    assert read_table(path, ARRAY).table.to_pylist() == [
        {"key": "a", "x": "1", "key_": "own"},
        {"key": "b", "x": "2", "key_": None},
    ]
    path = _file(tmp_path, '{"a": ["x", "y"], "b": []}')
    assert read_table(path, ARRAY).table.to_pydict() == {"key": ["a", "b"], "value": [["x", "y"], []]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[{"a": 1},\n{"a": 2}', "line 2: a comma or ] belongs where 'the end' stands"),
        ('[{"a": 1},\n{"a": }]', "line 2: Expecting value"),
        ('[{"a": 1},\n]', "line 2: a comma stands before the end"),
        ('[{"a": 1}]\nx', "line 2: 'x' stands behind the end"),
        ('[{"a": 1}, 5]', "line 1: no JSON object: every element of the array is one"),
        ("hello", "line 1: a JSON array or object begins with"),
        ("[]", "the file holds no record"),
        (b'[{"a": 1},\n{"a": "\xff"}]', "line 2: not utf-8"),
        ('[\n{"a": ' + "[" * 100_000, "line 2: no JSON (nested too deeply: more than 64"),
    ],
)
def test_an_array_that_is_broken_names_its_line(content: str | bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_table(_file(tmp_path, content), ARRAY)
    assert words in str(caught.value) and "table.json" in str(caught.value)


def _record(rng: random.Random) -> dict[str, Any]:
    record: dict[str, Any] = {
        "user": f"u{rng.randrange(9)}é\n",
        "n": rng.randrange(9),
        "stars": rng.choice([1.5, 2.0]),
        "sure": rng.random() < 0.5,
        "tags": rng.choice([["a"], [], ["b", None]]),
        "ranks": [1, 2],
        "nothing": None,
    }
    return {name: value for name, value in record.items() if rng.random() < 0.9}


@pytest.mark.parametrize("seed", range(30))
def test_the_quick_way_reads_what_the_exact_way_does(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    rows = [json.dumps(_record(rng), ensure_ascii=rng.random() < 0.5) for _ in range(rng.randint(1, 40))]
    path = _file(tmp_path, rng.choice(["\n", "\r\n", "\n\n"]).join(rows) + rng.choice(["", "\n"]))
    types = {"n": rng.choice([pa.int64(), pa.float32()]), "stars": rng.choice([pa.float32(), pa.float64()])}
    types["user"] = rng.choice([pa.string(), pa.dictionary(pa.int32(), pa.string())])
    names = ["user", "n", "stars", "sure", "tags", "ranks", "nothing"]
    form = FileForm(format="json-lines", columns=names)
    exact = read_json_exactly(path, form, names, types, 0).table
    monkeypatch.setattr(json_files, "read_json_exactly", None)  # the quick way has to do it
    quick = read_table(path, form, types).table
    assert quick.schema == exact.schema and quick.to_pydict() == exact.to_pydict()


@pytest.mark.parametrize("seed", range(20))
def test_pieces_that_are_left_to_the_quick_way_change_nothing(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    rows = [json.dumps(_record(rng)) for _ in range(40)]
    for at in rng.sample(range(40), 3):
        rows[at] = rng.choice(
            ["{", "[1]", '{"n": "x"}', '{"user": 1, "n": 2.5}', '{"tags": "a"}', "", '{"n": 1} {"n": 2}']
        )
    path = _file(tmp_path, "\n".join(rows))
    names, types = ["user", "n", "sure", "tags", "nothing"], {"n": pa.int64()}
    form = FileForm(format="json-lines", columns=names)
    whole = read_json_exactly(path, form, names, types, 10)
    monkeypatch.setattr(unpacked, "BLOCK", rng.randint(30, 300))
    in_pieces = read_table(path, form, types, skip_bad=10)
    assert in_pieces.bad == whole.bad
    assert in_pieces.table.to_pydict() == whole.table.to_pydict()


def test_columns_of_parquet_become_texts_or_what_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    table = pa.table(
        {
            "user": pa.array([7, 8, None], pa.int32()),
            "item": pa.array(["a", "b", "a"]).dictionary_encode(),
            "stars": [1.5, 2.0, None],
            "when": pa.array([0, 1000, None], pa.timestamp("ms")),
            "tags": pa.array([["x", "y"], None, []], pa.list_(pa.large_string())),
            "sure": [True, False, None],
            "raw": [b"a", b"b", None],
        }
    )
    pq.write_table(table, path, row_group_size=2)
    assert read_table(path, PARQUET).table.to_pydict() == {
        "user": ["7", "8", None],
        "item": ["a", "b", "a"],
        "stars": ["1.5", "2", None],
        "when": ["1970-01-01 00:00:00.000", "1970-01-01 00:00:01.000", None],
        "tags": [["x", "y"], None, []],
        "sure": ["true", "false", None],
        "raw": ["a", "b", None],
    }
    types = {"user": pa.int64(), "stars": pa.float32(), "when": pa.timestamp("ms"), "item": pa.int64()}
    with pytest.raises(InputError, match="line 1, column 'item': 'a' is no whole number"):
        read_table(path, PARQUET, types)
    del types["item"]
    chosen = FileForm(format="parquet", columns=("user", "stars", "when"))
    assert read_table(path, chosen, types).table.equals(
        pa.table({name: table[name].cast(types[name]) for name in types})
    )


def test_nan_is_missing_and_no_text(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    pq.write_table(pa.table({"user": pa.array([7.0, float("nan"), None])}), path)
    assert read_table(path, PARQUET).table.to_pydict() == {"user": ["7", None, None]}


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([b"\xff"], pa.binary()), "column 'other': not read"),
        (pa.array([{"a": 1}]), "columns of structures are not read: name the others (option columns)"),
        (pa.array([[[1]]]), "lists of lists"),
    ],
)
def test_a_column_that_is_no_text_is_refused(column: pa.Array, words: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    pq.write_table(pa.table({"user": ["a"], "other": column}), path)
    with pytest.raises(InputError) as caught:
        read_table(path, PARQUET)
    assert words in str(caught.value)
    assert len(read_table(path, FileForm(format="parquet", columns=("user",))).table) == 1


def test_few_bytes_of_parquet_do_not_become_gigabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.json"
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 50_000, pa.int32()), pa.array(["x" * 1000]))
    pq.write_table(pa.table({"user": text}), path, compression="zstd")
    assert path.stat().st_size < 10_000
    assert len(read_table(path, PARQUET).table) == 50_000
    monkeypatch.setattr(parquet_files, "_ALWAYS", 1 << 24)
    before = pa.total_allocated_bytes()
    with pytest.raises(InputError, match=r"unpacks to more than 16,777,216 bytes .* no table"):
        read_table(path, PARQUET)
    assert pa.total_allocated_bytes() - before < 1 << 24
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="no Parquet file that is read here"):
        read_table(path, PARQUET)


@has_uuids
def test_uuids_of_parquet_are_read_as_their_usual_text(tmp_path: Path) -> None:
    ids = [uuid.UUID(int=(at + 1) << 100 | at) for at in range(70_000)]  # more rows than one batch has
    stored = [None if at == 3 else one.bytes for at, one in enumerate(ids)]
    said = [None if at == 3 else str(one) for at, one in enumerate(ids)]
    for at, (kind, metadata) in enumerate([(pa.uuid(), True), (pa.uuid(), False)]):
        path = tmp_path / f"ids-{at}.parquet"
        pq.write_table(pa.table({"user": pa.array(stored, kind), "n": range(70_000)}), path, store_schema=metadata)
        form = sniffed(path).form
        read = read_table(path, form)
        assert read.table["user"].to_pylist() == said
        assert read.table["user"].type == pa.string() and read.table["n"][1].as_py() == "1"


@has_uuids
def test_uuids_in_lists_and_other_extension_types_are_read_by_what_they_are_stored_as(tmp_path: Path) -> None:
    ids = [uuid.UUID(int=at) for at in range(3)]
    within = pa.ListArray.from_arrays(pa.array([0, 2, 2, 3]), pa.array([one.bytes for one in ids], pa.uuid()))
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"ids": within, "facts": pa.array(["{}", None, "[1]"], pa.json_())}), path)
    read = read_table(path, PARQUET)
    assert read.table["ids"].to_pylist() == [[str(ids[0]), str(ids[1])], [], [str(ids[2])]]
    assert read.table["facts"].to_pylist() == ["{}", None, "[1]"]


def test_a_column_of_parquet_that_is_not_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"user": ["a"], "code": pa.array([b"\xff" * 16], pa.binary(16))}), path)
    with pytest.raises(InputError, match=r"table\.parquet, column 'code': not read"):
        read_table(path, PARQUET)
    assert read_table(path, FileForm(format="parquet", columns=("user",))).table["user"].to_pylist() == ["a"]
