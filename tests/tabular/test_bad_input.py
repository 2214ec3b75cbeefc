"""Bad files: each mistake is named by file, line and column, with what would be right, and bad rows can be left out."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.tabular import unpacked
from llmrec_peft.tabular.form import FileForm
from llmrec_peft.tabular.lines import LONGEST_LINE
from llmrec_peft.tabular.read import read_table
from llmrec_peft.tabular.sniff import sniffed

HEAD = "user,item,rating\n"


def _file(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _refusal(path: Path, types: dict[str, pa.DataType] | None = None, **form: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_table(path, FileForm(**form), types)
    message = str(caught.value)
    assert message.isprintable() and "table.csv" in message
    return message


@pytest.mark.parametrize(
    ("rows", "line", "words"),
    [
        ("a,1,2\nb,2\nc,3,4\n", 3, "2 columns where 3 are expected, separated by ','"),
        ("a,1,2\nb,2,3,4\n", 3, "a cell that contains ',' belongs in quotation marks"),
        ('a,"x\ny",2\nb,2\n', 4, "2 columns where 3 are expected"),
        ("a,1,2\nuser,item,rating\nb,2,3\n", 3, "it repeats the header, as files that were joined do"),
        ("a,1,2\nb,\0,3\n", 3, "a NUL byte"),
        ("a,1,2\nb,\x1f,3\n", 3, "a control character"),
        ('a,1,2\nb,"2,3\nc,4,5\n', 3, "the quotation mark that opens a cell here is never closed"),
        ('a,1,2\nb,2,"3\n', 3, "never closed"),
    ],
)
def test_a_bad_row_is_named_by_its_line_and_left_out_on_request(
    rows: str, line: int, words: str, tmp_path: Path
) -> None:
    path = _file(tmp_path, HEAD + rows)
    message = _refusal(path)
    assert f"table.csv, line {line}: " in message and words in message
    read = read_table(path, FileForm(), skip_bad=1)
    assert [row.line for row in read.bad] == [line]
    assert read.bad[0].file == path and words in read.bad[0].reason
    others = [
        text for text in ("a", "b", "c") if f"\n{text}," in f"\n{rows}" and text in read.table["user"].to_pylist()
    ]
    assert read.table["user"].to_pylist() == others and "a" in others


@pytest.mark.parametrize(
    ("cell", "kind", "words"),
    [
        ("good", pa.float64(), "'good' is no number"),
        ("good", pa.int64(), "'good' is no whole number"),
        ("4.5", pa.int64(), "'4.5' is no whole number"),
        ("0x1F", pa.int64(), "'0x1F' is no whole number"),
        ("99999999999999999999", pa.int64(), "is no whole number"),
        ("nan", pa.float64(), "'nan' is no finite number"),
        ("-Infinity", pa.float32(), "'-Infinity' is no finite number"),
        ("1e999", pa.float64(), "'1e999' is no number"),
        ('"3,5"', pa.float64(), "decimals follow a point and thousands stand together (option decimal)"),
        ('"1,234"', pa.int64(), "thousands stand together"),
        ("9 March", pa.timestamp("s"), "'9 March' is no time as ISO 8601 writes it"),
        ("2015-13-45", pa.timestamp("s"), "is no time"),
        ("\x1b[2Jx", pa.float64(), "is no number"),
    ],
)
def test_a_cell_of_another_type_is_named_by_its_line_and_column(
    cell: str, kind: pa.DataType, words: str, tmp_path: Path
) -> None:
    good = "2015-01-02" if pa.types.is_timestamp(kind) else "3"
    path = _file(tmp_path, f'{HEAD}"a\nb",1,{good}\nb,1,{cell}\nc,1,{good}\n')
    message = _refusal(path, {"rating": kind})
    assert "table.csv, line 4, column 'rating': " in message and words in message
    read = read_table(path, FileForm(), {"rating": kind}, skip_bad=1)
    assert read.table["user"].to_pylist() == ["a\nb", "c"]
    assert [(row.line, row.field) for row in read.bad] == [(4, "rating")]


def test_one_bad_row_too_many_says_how_many_were_left_out(tmp_path: Path) -> None:
    path = _file(tmp_path, HEAD + "a,1\nb,1,x\nc,1,2,3\nd,1,1\n")
    types = {"rating": pa.float64()}
    read = read_table(path, FileForm(), types, skip_bad=3)
    assert [row.line for row in read.bad] == [2, 3, 4]
    assert read.table["user"].to_pylist() == ["d"]
    with pytest.raises(InputError, match=r"line 4: 4 columns .* \(after 2 bad rows, all that skip_bad allows\)"):
        read_table(path, FileForm(), types, skip_bad=2)


def test_many_bad_rows_are_found_without_a_conversion_each(tmp_path: Path) -> None:
    rows = 60_000
    path = _file(tmp_path, HEAD + "a,1,bad\n" * rows + "b,1,2\n")
    read = read_table(path, FileForm(), {"rating": pa.float64()}, skip_bad=rows)
    assert len(read.bad) == rows and read.table["rating"].to_pylist() == [2.0]


@pytest.mark.parametrize(
    ("content", "encoding", "words"),
    [
        ("é,1,2\n".encode("latin-1"), "utf-8", "not utf-8 (byte 0xe9): the file is in another encoding"),
        ("“a”,1,2\n".encode("cp1252"), "latin-1", "byte 0x93 is no letter of latin-1; try cp1252"),
        (b"\xff\xff,1,2\n", "gb18030", "not gb18030"),
    ],
)
def test_a_line_in_another_encoding_is_named_with_the_option(
    content: bytes, encoding: str, words: str, tmp_path: Path
) -> None:
    path = _file(tmp_path, HEAD.encode() + b"a,1,2\n" + content + b"b,1,2\n")
    message = _refusal(path, encoding=encoding)
    assert "table.csv, line 3: " in message and words in message and "option encoding" in message
    assert len(read_table(path, FileForm(encoding=encoding), skip_bad=1).table) == 2


@pytest.mark.trains
def test_a_line_of_100_megabytes_is_refused_or_left_out_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with path.open("wb") as file:
        file.write(HEAD.encode() + b"a,1,2\nb,1,")
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b"\nc,1,2\n")
    assert _refusal(path).endswith(f"table.csv, line 3: longer than {LONGEST_LINE >> 20} MiB")
    read = read_table(path, FileForm(), skip_bad=1)
    assert read.table["user"].to_pylist() == ["a", "c"] and [row.line for row in read.bad] == [3]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"\n\r\n", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"user,,rating\n1,2,3\n", "column 2 has no name in the header: name all (option columns)"),
        (b"user,item,user\n1,2,3\n", "2 columns are called 'user': name all (option columns)"),
        (b'user,"item\n', "line 1: the quotation mark"),
        (b"us\xffer,item\n", "line 1: not utf-8"),
        (b",".join(b"c%d" % at for at in range(10_001)), "10,001 columns, more than the 10,000 of a table"),
    ],
)
def test_a_header_that_is_none_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    assert words in _refusal(_file(tmp_path, content))


def test_a_header_alone_is_a_table_without_rows(tmp_path: Path) -> None:
    path = _file(tmp_path, "user,item")
    assert read_table(path, FileForm(), {"item": pa.int64()}).table.to_pydict() == {"user": [], "item": []}


def test_names_that_are_missing_or_twice_are_replaced_by_columns(tmp_path: Path) -> None:
    path = _file(tmp_path, ",user,user\n0,a,b\n")
    found = sniffed(path, {"header": True})
    assert found.form.columns == ("column_1", "user", "column_3") and "columns" in found.unsure
    assert read_table(path, found.form).table.to_pylist() == [{"column_1": "0", "user": "a", "column_3": "b"}]
    assert "the header has 3 columns, and 2 are named (option columns)" in _refusal(path, columns=("a", "b"))


def test_decimal_commas_are_an_option(tmp_path: Path) -> None:
    path = _file(tmp_path, "user;rating\na;3,5\nb;4\nc;1.5\n")
    form = {"delimiter": ";", "decimal": ","}
    assert "line 4, column 'rating': '1.5' is no number: decimals follow a comma here" in _refusal(
        path, {"rating": pa.float64()}, **form
    )
    read = read_table(path, FileForm(**form), {"rating": pa.float64()}, skip_bad=1)
    assert read.table["rating"].to_pylist() == [3.5, 4.0]


@pytest.mark.parametrize(
    ("compression", "pack"),
    [
        ("gzip", gzip.compress),
        ("bz2", bz2.compress),
        ("xz", lzma.compress),
        ("zstd", lambda content: pa.compress(content, "zstd", asbytes=True)),
    ],
)
def test_a_truncated_file_names_the_line_after_which_it_ends(compression: Any, pack: Any, tmp_path: Path) -> None:
    rows = "".join(f"user{row * 7919 % 10007},item{row * 104729 % 9973},{row % 5}\n" for row in range(60_000))
    packed = pack((HEAD + rows).encode())
    path = _file(tmp_path, packed)
    assert len(read_table(path, FileForm(compression=compression)).table) == 60_000
    path.write_bytes(packed[: len(packed) * 9 // 10])
    message = _refusal(path, compression=compression)
    assert "the packed file is damaged or cut off" in message
    assert 1_000 < int(message.rsplit("after line ", 1)[1]) < 60_001


@pytest.mark.parametrize(
    ("compression", "pack"),
    [("gzip", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)],
)
def test_a_file_that_unpacks_to_far_more_than_a_table_is_refused(
    compression: Any, pack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacked, "ALWAYS_UNPACKED", 1 << 18)
    path = _file(tmp_path, pack(HEAD.encode() + b"a,1,2\n" * 250_000))
    assert "unpacks to more than 200 times its size" in _refusal(path, compression=compression)


def test_an_archive_has_one_member(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", HEAD + "a,1,2\n")
    assert sniffed(path).form.compression == "zip"
    assert len(read_table(path, sniffed(path).form).table) == 1
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b.csv", HEAD)
    with pytest.raises(InputError, match="an archive with one file is read, and this one has 2: unpack it"):
        sniffed(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x80\x04\x95" + b"\0" * 40, "a Python pickle, which could run code"),
        (b"SQLite format 3\0" + b"\0" * 90, "an SQLite database"),
        (gzip.compress(b"a.csv" + b"\0" * 252 + b"ustar\0" + b"\0" * 250, mtime=0), "a tar archive"),
        (b"PK\x03\x04" + b"\0" * 26 + b"[Content_Types].xml", "an Excel workbook: save the sheet as CSV"),
        ("a,b\n".encode("utf-16-le"), "is UTF-16 without a byte order mark"),
    ],
)
def test_files_of_other_kinds_are_refused_with_what_to_do(content: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words.replace("[", r"\[")):
        sniffed(_file(tmp_path, content))


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, HEAD)
    with pytest.raises(InputError, match="unknown option 'delimeter': did you mean 'delimiter'"):
        sniffed(path, {"delimeter": ";"})
    with pytest.raises(InputError, match="'ab' is no delimiter"):
        sniffed(path, {"delimiter": "ab"})
    with pytest.raises(InputError, match="'klingon' is no encoding that is read here"):
        sniffed(path, {"encoding": "klingon"})
    with pytest.raises(InputError, match="no column 'ratng': did you mean 'rating'"):
        read_table(path, FileForm(), {"ratng": pa.float64()})
    with pytest.raises(InputError, match="not as list<item: string>"):
        read_table(path, FileForm(), {"rating": pa.list_(pa.string())})
