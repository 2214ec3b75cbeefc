"""Bad rows: rows of a file whose values are not what the recipe says of their columns, left out as many as may be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from llmrec_peft.custom import wrong_values
from llmrec_peft.custom.columns import DescribingColumns, FrameColumns
from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted
from llmrec_peft.tabular.form import FileForm
from llmrec_peft.tabular.places import lines_of_rows
from llmrec_peft.tabular.table_read import BadRow, TableRead

if TYPE_CHECKING:
    import pyarrow as pa

_ROUNDED = "is a rounded number, as spreadsheets leave of long ids: write the ids as text or whole numbers"


class _Wrong(NamedTuple):
    """Wrong values of one column.

    Attributes:
        column: Its name.
        rows: Their rows, int64 [wrong].
        why: What is wrong with them.
    """

    column: str
    rows: wrong_values.Rows
    why: str


def without_bad_rows(
    file: Path, form: FileForm, read: TableRead, name: str, columns: FrameColumns, skip_bad: int
) -> TableRead:
    """Leave out rows with wrong values.

    Args:
        file: The file.
        form: Its form.
        read: What was read of it, all columns as texts.
        name: Which table it is: ``interactions``, ``items``, ``users``, ``graph`` or ``graph_links``.
        columns: What the columns of all tables are.
        skip_bad: Rows of the file that may be bad, those included that could not be read.

    Returns:
        The other rows, and all bad ones in the order of the file.

    Raises:
        InputError: Naming the first bad row and how many there are, if they are more.
    """
    first: dict[int, _Wrong] = {}
    for wrong in _wrong(read.table, name, columns):
        for row in wrong.rows.tolist():
            first.setdefault(row, wrong)
    if not first:
        return read
    rows, count = sorted(first), len(first) + len(read.bad)
    listed = rows if count <= skip_bad else rows[:1]
    lines = lines_of_rows(file, form, listed, read.bad)
    found = [_bad_row(file, line, read.table, row, first[row]) for line, row in zip(lines, listed, strict=True)]
    bad = sorted([*read.bad, *found], key=lambda one: one.line)
    if count > skip_bad:
        raise InputError(
            f"{bad[0]} ({count} bad row{'s' * (count != 1)} in the file; data.options.skip_bad, --skip-bad of llmrec"
            f" init custom, allows {skip_bad})"
        )
    kept = np.ones(len(read.table), bool)
    kept[rows] = False
    return TableRead(read.table.take(np.flatnonzero(kept)), tuple(bad))


def _bad_row(file: Path, line: int, table: pa.Table, row: int, wrong: _Wrong) -> BadRow:
    value = table.column(wrong.column)[row].as_py()
    return BadRow(
        file, line, wrong.column, f"{quoted(value if isinstance(value, str) else str(value), 60)} {wrong.why}"
    )


def _wrong(table: pa.Table, name: str, columns: FrameColumns) -> Iterator[_Wrong]:
    """Yield the wrong values of each column that the recipe names and the table has."""
    named = getattr(columns, name)
    if named is None:
        return
    if name == "interactions":
        found = _of_interactions(table, columns)
    elif name == "graph":
        found = (_ids(table, one) for one in (named.head, named.tail))
    elif name == "graph_links":
        found = (_ids(table, one) for one in (named.item, named.entity))
    else:
        found = _of_descriptions(table, named.id, named)
    yield from (one for one in found if one is not None)


def _values(table: pa.Table, column: str | None) -> pa.ChunkedArray | None:
    """Return a column; None where the table has none or two of that name, which is refused elsewhere."""
    return table.column(column) if column is not None and table.column_names.count(column) == 1 else None


def _ids(table: pa.Table, column: str) -> _Wrong | None:
    values = _values(table, column)
    return None if values is None else _Wrong(column, wrong_values.rounded_ids(values), _ROUNDED)


def _of_interactions(table: pa.Table, columns: FrameColumns) -> Iterator[_Wrong | None]:
    named = columns.interactions
    yield from (_ids(table, one) for one in (named.user, named.item))
    labels = _values(table, named.label)
    if labels is not None and named.label is not None:
        if columns.feedback == "click":
            yield _Wrong(named.label, wrong_values.no_clicks(labels), "is neither 1 nor 0")
        elif columns.feedback == "rating":
            most = wrong_values.LARGEST_LABEL
            low, high = columns.scale or (-most, most)
            within = "" if columns.scale is None else f" from {low:g} to {high:g}"
            yield _Wrong(named.label, wrong_values.no_numbers(labels, low, high), f"is no number{within}")
    times = _values(table, named.time)
    if times is not None and named.time is not None:
        why = f"is no time written as {named.time_form}; set time_form, or leave the time out"
        yield _Wrong(named.time, wrong_values.no_times(times, named.time_form), why)


def _of_descriptions(table: pa.Table, key: str, named: DescribingColumns) -> Iterator[_Wrong | None]:
    yield _ids(table, key)
    for column in named.numbers.values():
        if (values := _values(table, column)) is not None:
            yield _Wrong(column, wrong_values.no_numbers(values), "is no number")
    for moment in named.years.values():
        if (values := _values(table, moment.column)) is not None:
            yield _Wrong(
                moment.column, wrong_values.no_times(values, moment.form), f"is no time written as {moment.form}"
            )
    for category in named.categories.values():
        if category.mark == "json" and (values := _values(table, category.column)) is not None:
            yield _Wrong(category.column, wrong_values.no_lists(values), 'is no list such as ["a", "b"]')
