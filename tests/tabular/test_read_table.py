"""Delimited files become tables of texts; what is wrong is named by file, line and column."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.progress import Progress
from llmrec_peft.tabular import unpacked
from llmrec_peft.tabular.form import FileForm
from llmrec_peft.tabular.read import read_table


def _file(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_cells_stay_texts_with_their_leading_zeros(tmp_path: Path) -> None:
    path = _file(tmp_path, 'user,item,note\r\n007,00042," a, b"\r\n008,1.50,"two\nlines, ""quoted"""\r\n')
    read = read_table(path, FileForm())
    assert read.bad == ()
    assert read.table.to_pydict() == {
        "user": ["007", "008"],
        "item": ["00042", "1.50"],
        "note": [" a, b", 'two\nlines, "quoted"'],
    }


def test_types_are_those_asked_for(tmp_path: Path) -> None:
    path = _file(tmp_path, "user,rating,time,day\na,3.5,10,2015-01-02\nb, 4 ,,2016-01-02 10:00:00\na,,-3,\n")
    types = {
        "user": pa.dictionary(pa.int32(), pa.string()),
        "rating": pa.float32(),
        "time": pa.int64(),
        "day": pa.timestamp("s"),
    }
    table = read_table(path, FileForm(), types).table
    assert [field.type for field in table.schema] == list(types.values())
    assert table["user"].to_pylist() == ["a", "b", "a"]
    assert table["rating"].to_pylist() == [3.5, 4.0, None]
    assert table["time"].to_pylist() == [10, None, -3]
    assert [None if day is None else str(day) for day in table["day"].to_pylist()] == [
        "2015-01-02 00:00:00",
        "2016-01-02 10:00:00",
        None,
    ]


def test_an_unclosed_quotation_mark_is_named_by_the_line_that_it_opens_in(tmp_path: Path) -> None:
    path = _file(tmp_path, 'item,title\n1,"a\nb"\n2,"never closed\n3,c\n')
    with pytest.raises(
        InputError, match=r"table.csv, line 4: the quotation mark that opens a cell here is never closed"
    ):
        read_table(path, FileForm())
    read = read_table(path, FileForm(), skip_bad=1)
    assert read.table.to_pydict() == {"item": ["1", "3"], "title": ["a\nb", "c"]}
    assert [(row.line, row.field) for row in read.bad] == [(4, None)]


class _Seen(Progress):
    """Takes note of bars and of how far they came."""

    bars: ClassVar[list[tuple[str, int, int]]] = []

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Any]:
        steps: list[int] = []
        yield SimpleNamespace(advance=steps.append)
        self.bars.append((title, total, sum(steps)))


def test_how_far_the_reading_of_a_large_file_is_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _file(tmp_path, "user,item\n" + "a,1\n" * 1_000_000)
    seen = _Seen(shown=True)
    read_table(path, FileForm(), progress=seen)
    assert seen.bars == []
    monkeypatch.setattr(unpacked, "_SHOWN", 1 << 20)
    read_table(path, FileForm(), progress=seen)
    assert seen.bars == [("reading table.csv (MiB)", 3, 3)]


def test_a_link_to_a_file_is_read_and_what_is_no_file_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, "user,item\n1,2\n")
    (tmp_path / "link").symlink_to(path)
    assert len(read_table(tmp_path / "link", FileForm()).table) == 1
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    for name, words in (("fifo", "is a FIFO"), ("nowhere", "is a link to nothing"), (".", "is a folder")):
        with pytest.raises(InputError, match=words):
            read_table(tmp_path / name, FileForm())
