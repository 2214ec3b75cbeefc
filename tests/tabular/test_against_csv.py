"""Thousands of random small files: the same cells as Python's csv module reads, or both refuse."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

import pyarrow as pa
import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.tabular import unpacked
from llmrec_peft.tabular.delimited import columns_of
from llmrec_peft.tabular.exact import read_exactly
from llmrec_peft.tabular.form import FileForm
from llmrec_peft.tabular.read import read_table

PIECES = [
    "a",
    "b7",
    "007",
    " ",
    "  ",
    '"',
    '""',
    ",",
    ";",
    "\t",
    "|",
    "\n",
    "\r\n",
    "\r",
    "é",
    "语",
    "'",
    "::",
    ":",
    ".",
]
ENCODINGS = ("utf-8", "utf-16", "gb18030", "utf-8-sig")


def _cell(rng: random.Random) -> str:
    return "".join(rng.choice(PIECES) for _ in range(rng.choice([0, 1, 1, 2, 3])))


def _text(rng: random.Random, delimiter: str) -> str:
    """A table as a program would write it, or a text of such pieces that nobody wrote."""
    if rng.random() < 0.4:
        return "".join(rng.choice([*PIECES, delimiter, delimiter, "\n"]) for _ in range(rng.randrange(30)))
    width = rng.randint(1, 4)
    rows = [[_cell(rng) for _ in range(width)] for _ in range(rng.randrange(5))]
    text = io.StringIO()
    end = rng.choice(["\n", "\r\n"])
    csv.writer(
        text, delimiter=delimiter, lineterminator=end, quoting=rng.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
    ).writerows([[f"c{at}" for at in range(width)], *rows])
    content = text.getvalue()
    if rng.random() < 0.3:
        at = rng.randrange(len(content) + 1)
        content = content[:at] + rng.choice(PIECES) + content[at + rng.randrange(2) :]
    return content.removesuffix(end) if rng.random() < 0.3 else content


def _reference(text: str, delimiter: str) -> list[list[str]] | None:
    """The rows as Python's csv module reads them; None where they are no table."""
    consumed = io.StringIO(text, newline="")
    held = 0

    def lines() -> object:
        nonlocal held
        for line in consumed:
            held += 1
            yield line
        if held:
            raise ValueError("the file ends inside of a cell")

    rows = []
    try:
        for row in csv.reader(lines(), delimiter=delimiter):  # type: ignore[arg-type]
            held = 0
            if row:
                rows.append(row)
    except ValueError:
        return None
    if not rows:
        return None
    names = [name.strip() for name in rows[0]]
    if not all(names) or len(set(names)) < len(names):
        return None
    below = [row for row in rows[1:] if not (len(row) == 1 < len(names) and not row[0].strip())]
    if any(len(row) != len(names) or row == rows[0] for row in below):
        return None
    return [names, *below]


@pytest.mark.parametrize("seed", range(8))
def test_a_file_has_the_cells_that_the_csv_module_reads(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    path = tmp_path / "table.csv"
    read = refused = 0
    for number in range(350):
        delimiter = rng.choice(",;\t|")
        text = _text(rng, delimiter)
        encoding = rng.choice(ENCODINGS)
        path.write_bytes(text.encode(encoding))
        expected = _reference(text, delimiter)
        form = FileForm(delimiter=delimiter, encoding=encoding)
        try:
            table = read_table(path, form).table
        except InputError:
            assert expected is None, f"{seed}/{number}: refused {text!r}"
            refused += 1
            continue
        assert expected is not None, f"{seed}/{number}: read {text!r}"
        columns = [list(column) for column in zip(*expected[1:], strict=True)] or [[] for _ in expected[0]]
        assert table.column_names == expected[0], f"{seed}/{number}: {text!r}"
        assert [column.to_pylist() for column in table.columns] == columns, f"{seed}/{number}: {text!r}"
        exact = read_exactly(path, form, columns_of(path, form), {}, 0, quick_pieces=False).table
        assert exact.equals(table), f"{seed}/{number}: the exact way reads {text!r} in another way"
        read += 1
    assert read > 50 and refused > 50


@pytest.mark.parametrize("delimiter", ["::", "spaces", "|", "；"])
def test_a_file_without_quotation_has_the_cells_between_its_delimiters(delimiter: str, tmp_path: Path) -> None:
    rng = random.Random(delimiter)
    path = tmp_path / "table.dat"
    pieces = [piece for piece in PIECES if delimiter != "|" or piece != "|"]
    for number in range(300):
        width = rng.randint(2, 4)
        rest = rng.random() < 0.4
        separator = "  \t" if delimiter == "spaces" else delimiter
        rows = []
        for _ in range(rng.randrange(1, 5)):
            cells = [rng.choice(["a", "007", "é", "b'\""]) for _ in range(width)]
            if rest:
                cells[-1] = "x" + "".join(p for p in (rng.choice(pieces) for _ in range(3)) if p.strip("\r\n")) + "x"
            rows.append(cells)
        end = rng.choice(["\n", "\r\n", "\r"])
        path.write_bytes((end.join(separator.join(row) for row in rows) + rng.choice(["", end])).encode())
        names = tuple(f"c{at}" for at in range(width))
        form = FileForm(delimiter=delimiter, quote="none", header=False, columns=names, rest=rest)
        table = read_table(path, form).table
        found = [list(row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]
        assert found == rows, number
        assert read_exactly(path, form, columns_of(path, form), {}, 0, quick_pieces=False).table.equals(table)


@pytest.mark.parametrize("seed", range(4))
def test_pieces_that_are_left_to_the_quick_way_change_nothing(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    path = tmp_path / "table.csv"
    pieces = [*PIECES, "5", "x,1", "\0", "nan"]
    read = bad = 0
    for number in range(150):
        delimiter, quote = rng.choice([",", "::"]), rng.choice(['"', "none"])
        rows = [["user", "n"], *([rng.choice(["a", "b", '"c\nd"']), "7"] for _ in range(rng.randrange(12)))]
        text = "".join(delimiter.join(row) + "\n" for row in rows)
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice(pieces) + text[at + rng.randrange(2) :]
        path.write_bytes(text.encode())
        form, types = FileForm(delimiter=delimiter, quote=quote), {"n": pa.int64()}
        try:
            columns = columns_of(path, form)
            types = {name: kind for name, kind in types.items() if name in columns.names}
        except InputError:
            continue
        whole = read_exactly(path, form, columns, types, 100, quick_pieces=False)
        monkeypatch.setattr(unpacked, "BLOCK", rng.randint(1, 40))
        in_pieces = read_exactly(path, form, columns, types, 100)
        monkeypatch.setattr(unpacked, "BLOCK", 1 << 20)
        assert in_pieces.bad == whole.bad, f"{seed}/{number}: {text!r}"
        assert in_pieces.table.equals(whole.table), f"{seed}/{number}: {text!r}"
        read += len(whole.table)
        bad += len(whole.bad)
    assert read > 100 and bad > 50
