"""Strict reading of lines, CSV and JSON: every error names the file and the place, and nothing runs away."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path

import pytest
from llmrec_recipes import byte_lines, text_files
from llmrec_recipes.byte_lines import encoding_of
from llmrec_recipes.text_files import (
    csv_rows,
    json_array,
    json_lines,
    no_graph,
    required_file,
    required_match,
    rows,
    text_lines,
    whole_number,
)

from llmrec_peft.errors import InputError


def written(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") and data[:2] != b"\x1f\x8b" else data)
    return path


def message(call: Iterable[object]) -> str:
    """The one line of the error that using up an iterator raises."""
    with pytest.raises(InputError) as caught:
        list(call)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_lines_are_numbered_from_one_packed_or_not(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, "café\r\n\nlast")
    assert list(text_lines(path)) == [(1, "café"), (2, ""), (3, "last")]


def test_line_without_an_end_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_lines, "LONGEST_LINE", 1 << 16)
    path = written(tmp_path, "bomb.json.gz", b"{}\n" + b" " * (1 << 24))
    assert path.stat().st_size < 1 << 16, "a small file stands for a large one"
    assert message(json_lines(path)) == f"{path}, line 2: longer than 65536 bytes"
    assert message(rows(path, "\t", 1)) == f"{path}, line 2: longer than 65536 bytes"


def test_packed_file_that_unpacks_to_far_more_than_text_does_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(byte_lines, "ALWAYS_UNPACKED", 1 << 16)
    path = written(tmp_path, "bomb.json.gz", b"{}\n" * (1 << 20))
    assert path.stat().st_size < 1 << 14
    assert message(json_lines(path)).startswith(f"{path}: unpacks to more than 100 times its size (after line ")
    plain = written(tmp_path, "plain.json", b"{}\n" * (1 << 16))
    assert len(list(json_lines(plain))) == 1 << 16, "a file that is not packed is as large as it is"


def test_byte_order_mark_is_dropped_and_utf_16_is_refused(tmp_path: Path) -> None:
    marked = written(tmp_path, "a.txt", b"\xef\xbb\xbf1\t2\n3\t4\n")
    assert [fields for _, fields in rows(marked, "\t", 2)] == [["1", "2"], ["3", "4"]]
    array = written(tmp_path, "a.json", b'\xef\xbb\xbf[{"a": 1}]')
    assert [record.fields for record in json_array(array)] == [{"a": 1}]
    wide = written(tmp_path, "b.txt", "1\t2\n".encode("utf-16"))
    assert message(rows(wide, "\t", 2)).startswith(f"{wide}, line 1: a NUL byte, as UTF-16 has them")
    assert "NUL byte" in message(text_lines(wide, "latin-1"))


def test_older_encoding_is_told_from_utf_8_by_its_bytes(tmp_path: Path) -> None:
    assert encoding_of(written(tmp_path, "plain", "Amelie\n"), "latin-1") == "latin-1"
    assert encoding_of(written(tmp_path, "old", "Am\u00e9lie\n".encode("latin-1")), "latin-1") == "latin-1"
    assert encoding_of(written(tmp_path, "new", "Amelie\nAm\u00e9lie\n"), "latin-1") == "utf-8"
    mixed = written(tmp_path, "mixed", "Am\u00e9lie\n".encode() + "Caf\u00e9\n".encode("latin-1"))
    with pytest.raises(InputError, match="mixed: line 1 is UTF-8 and line 2 is not: convert the file to UTF-8"):
        encoding_of(mixed, "latin-1")


def test_windows_encoding_is_not_read_as_latin_1(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", "One\nDon\u2019t\n".encode("cp1252"))
    assert message(text_lines(path, "latin-1")).startswith(
        f"{path}, line 2: not latin-1 text (it holds control characters"
    )


@pytest.mark.parametrize("text", ["1_000", " 1", "\uff11", "1.0", "", "nan", "9" * 5000])
def test_whole_numbers_are_digits_alone(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"a, line 3: age .* is no whole number"):
        whole_number(text, tmp_path / "a", 3, "age")
    assert whole_number("-12", tmp_path / "a", 3, "age") == -12
    with pytest.raises(InputError, match="age -12 is outside 0 to 150"):
        whole_number("-12", tmp_path / "a", 3, "age", 0, 150)


def test_names_of_a_folder_are_shown_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a\nb").touch()
    (tmp_path / ("x" * 200)).touch()
    with pytest.raises(InputError) as caught:
        required_file(tmp_path, "u.item")
    assert "\n" not in str(caught.value)
    assert "x" * 100 not in str(caught.value)


def test_damaged_gzip_says_after_which_line(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b'{"a": %d}\n' % number for number in range(20_000)))
    path = written(tmp_path, "cut.json.gz", whole[: len(whole) // 2])
    assert message(json_lines(path)).startswith(f"{path}: damaged or no gzip file (after line ")
    (tmp_path / "plain.json.gz").write_bytes(b'{"a": 1}\n')
    plain = tmp_path / "plain.json.gz"
    assert message(json_lines(plain)) == f"{plain}: damaged or no gzip file (after line 0)"
    flipped = bytearray(whole)
    flipped[len(whole) // 2 : len(whole) // 2 + 64] = bytes(64)
    broken = written(tmp_path, "flipped.json.gz", bytes(flipped))
    assert str(broken) in message(json_lines(broken))


def test_folder_given_as_a_file_is_named(tmp_path: Path) -> None:
    assert message(text_lines(tmp_path)) == f"{tmp_path}: Is a directory"


def test_match_wants_exactly_one_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file \*_5\.json\.gz \(the folder holds nothing\)"):
        required_match(tmp_path, "*_5.json.gz")
    first = written(tmp_path, "A_5.json.gz", "{}")
    assert required_match(tmp_path, "*_5.json.gz") == first
    written(tmp_path, "B_5.json.gz", "{}")
    with pytest.raises(InputError, match=r"2 files match \*_5\.json\.gz where one belongs: A_5.json.gz, B_5"):
        required_match(tmp_path, "*_5.json.gz")
    with pytest.raises(InputError, match=r"no data folder .*absent"):
        required_match(tmp_path / "absent", "*")


def test_graph_is_refused_where_nothing_links_to_one(tmp_path: Path) -> None:
    no_graph(None, "shoes")
    with pytest.raises(InputError, match=r"data\.graph: nothing links the items of shoes to a knowledge graph"):
        no_graph(tmp_path, "shoes")


def test_csv_fields_may_be_quoted_and_span_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", 'iid,title\r\n0,\r\n1,"Sting, The ""1973"""\n\n2,"A\nB"\n')
    assert list(csv_rows(path, ("iid", "title"))) == [
        (2, ["0", ""]),
        (3, ["1", 'Sting, The "1973"']),
        (6, ["2", "A\nB"]),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,title\n1,A\n", ", line 1: 'id,title' where 'iid,title' belongs"),
        ("iid,title\n1,A\n2\n", ", line 3: 1 fields where 2 belong"),
        ("iid,title\n1,A,B\n", ", line 2: 3 fields where 2 belong"),
        ('iid,title\n1,"A\n', ", line 2: no CSV (unexpected end of data)"),
        ('iid,title\n1,"A"B\n', ", line 2: no CSV (',' expected after '\"')"),
        (b"iid,title\n1,caf\xe9\n", ", line 2: not utf-8 text (invalid continuation byte)"),
    ],
)
def test_broken_csv_is_named(tmp_path: Path, content: bytes | str, words: str) -> None:
    path = written(tmp_path, "t.csv", content)
    assert message(csv_rows(path, ("iid", "title"))) == f"{path}{words}"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"a": 1', "no JSON (column 8: Expecting ',' delimiter)"),
        ("{'a': 1}", "no JSON (column 2: Expecting property name enclosed in double quotes)"),
        ("__import__('os').system('true')", "no JSON (column 1: Expecting value)"),
        ('{"a": NaN}', "no JSON (NaN is no JSON number)"),
        ('{"a": -Infinity}', "no JSON (-Infinity is no JSON number)"),
        ('{"a": ' + "9" * 5000 + "}", "no JSON (Exceeds the limit (4300 digits) for integer string conversion"),
        ("[" * 200_000, "no record (too deeply nested)"),
        ("[1, 2]", "a list of 2 where an object with named fields belongs"),
        ("null", "null where an object with named fields belongs"),
        ('"' + "x" * 99 + '"', "…"),
    ],
)
def test_line_that_is_no_json_object_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = written(tmp_path, "a.jsonl", '{"a": 1}\n' + line + "\n")
    text = message(json_lines(path))
    assert text.startswith(f"{path}, line 2: ")
    assert words in text
    assert len(text) < len(str(path)) + 250


def test_blank_lines_are_no_records(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"a": 1}\n \n\n{"a": 2}')
    assert [(record.where, record.fields) for record in json_lines(path)] == [
        (f"{path}, line 1", {"a": 1}),
        (f"{path}, line 4", {"a": 2}),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[{"a": 1},\n {"a": }]', ": no JSON (line 2, column 8: Expecting value)"),
        ('{"a": 1}', ": an object where an array of records belongs"),
        ("[]", ": the array holds no record"),
        ('[{"a": 1}, 7]', ", record 1: 7 where an object with named fields belongs"),
        (b'[{"b": 1},\n{"a": "\xff"}]', ", line 2: not utf-8 text (invalid start byte)"),
    ],
)
def test_broken_array_is_named(tmp_path: Path, content: bytes | str, words: str) -> None:
    path = written(tmp_path, "a.json", content)
    assert message(json_array(path)) == f"{path}{words}"


def test_array_beyond_the_bound_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "a.json", "[" + " " * 64 + "]")
    monkeypatch.setattr(text_files, "_LARGEST_ARRAY", 64)
    assert message(json_array(path)) == f"{path}: 66 bytes, more than the 64 of a JSON array that is read whole"


def record(folder: Path, text: str) -> text_files.Record:
    return next(json_lines(written(folder, "one.jsonl", text)))


def test_fields_are_read_by_type(tmp_path: Path) -> None:
    one = record(tmp_path, '{"t": "x", "n": null, "l": ["a", "b"], "w": 3, "ws": [0, 2], "f": 4.5}')
    assert (one.text("t"), one.text("n", "-"), one.text("absent", "-"), one.name("t")) == ("x", "-", "-", "x")
    assert (one.texts("l"), one.texts("t"), one.texts("n"), one.texts("absent")) == (["a", "b"], ["x"], [], [])
    assert (one.whole("w"), one.wholes("ws"), one.number("f", 1, 5), one.number("w", 1, 5)) == (3, [0, 2], 4.5, 3.0)


@pytest.mark.parametrize(
    ("text", "call", "words"),
    [
        ("{}", ("text", "a"), "no field 'a'"),
        ('{"a": null}', ("text", "a"), "a null where a text belongs"),
        ('{"a": {"b": 1}}', ("text", "a", ""), "a an object where a text belongs"),
        ('{"a": "\\ud83d"}', ("text", "a"), "a '\\ud83d' where valid Unicode belongs"),
        ('{"a": ["x", 1]}', ("texts", "a"), "a a list of 2 where a text belongs"),
        ('{"a": ""}', ("name", "a"), "a '' where a name belongs"),
        ('{"a": " x"}', ("name", "a"), "a ' x' where a name belongs"),
        ('{"a": true}', ("whole", "a"), "a true where a whole number belongs"),
        ('{"a": 1.0}', ("whole", "a"), "a 1.0 where a whole number belongs"),
        ('{"a": "1"}', ("whole", "a"), "a '1' where a whole number belongs"),
        ('{"a": 2}', ("whole", "a", 0, 1), "a 2 where a whole number from 0 to 1 belongs"),
        ('{"a": -1}', ("whole", "a", 0), "a -1 where a whole number not below 0 belongs"),
        ('{"a": 9223372036854775808}', ("whole", "a"), "a 9223372036854775808 where a whole number belongs"),
        ('{"a": 3}', ("wholes", "a"), "a 3 where a list of whole numbers belongs"),
        ('{"a": [1, null]}', ("wholes", "a"), "a a list of 2 where a whole number belongs"),
        ('{"a": 1e999}', ("number", "a", 1, 5), "a Infinity where a number from 1 to 5 belongs"),
        ('{"a": false}', ("number", "a", 0, 1), "a false where a number from 0 to 1 belongs"),
    ],
)
def test_field_of_another_type_or_size_is_refused(tmp_path: Path, text: str, call: tuple[str, ...], words: str) -> None:
    one = record(tmp_path, text)
    with pytest.raises(InputError) as caught:
        getattr(one, call[0])(*call[1:])
    assert str(caught.value) == f"{one.where}: {words}"
