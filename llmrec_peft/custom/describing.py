"""Describing columns: texts, categories, numbers and years of items and users, as the views and signals read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from llmrec_peft.custom.cells import numbers, taken
from llmrec_peft.custom.columns import CategoryColumn, DescribingColumns
from llmrec_peft.custom.texts import as_texts
from llmrec_peft.custom.times import seconds
from llmrec_peft.custom.wrong_values import entries
from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted
from llmrec_peft.tabular.markup import without_markup

if TYPE_CHECKING:
    import pyarrow as pa


def described(table: pa.Table, named: DescribingColumns, called: str, field: str) -> dict[str, Any]:
    """Return the describing columns of a table under their names in templates.

    Args:
        table: Items or users.
        named: Which column is what.
        called: What messages call the table.
        field: Where the recipe names them.

    Returns:
        Arrow columns: texts, lists of texts, or numbers, whole where all are.

    Raises:
        InputError: For a column that the table lacks, or a value that is none of its kind.
    """
    made: dict[str, Any] = {}
    for name, column in named.texts.items():
        made[name] = _text(taken(table, column, called, f"{field}.texts.{name}"))
    for name, category in named.categories.items():
        values = taken(table, category.column, called, f"{field}.categories.{name}")
        made[name] = _categories(values, category, called)
    for name, column in named.numbers.items():
        made[name] = _whole(numbers(taken(table, column, called, f"{field}.numbers.{name}"), called, column))
    for name, moment in named.years.items():
        values = taken(table, moment.column, called, f"{field}.years.{name}")
        made[name] = _years(values, moment.form, f"{called}, column {moment.column!r}")
    twice = {"item_id", "user_id", "title"} & made.keys()
    if twice or len(made) < sum(len(getattr(named, kind)) for kind in ("texts", "categories", "numbers", "years")):
        raise InputError(f"{field}: two columns have one name{f', {twice.pop()}' if twice else ''}: each has its own")
    return made


def _text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts; a list becomes one text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        texts = values.cast(pa.list_(pa.string()))
        values = pc.binary_join(texts, " ")
    return without_markup(as_texts(values))


def _categories(values: pa.ChunkedArray, category: CategoryColumn, called: str) -> Any:
    """Return one category or a list of categories of each row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        return values.cast(pa.list_(pa.string()))
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.string())
    texts = without_markup(as_texts(values))
    if category.mark is None:
        return texts
    if category.mark == "json":
        return pa.array(
            [_of_json(text, category.column, called, row) for row, text in enumerate(texts.to_pylist(), 1)],
            pa.list_(pa.string()),
        )
    parts = pc.split_pattern(texts, category.mark)
    chunks = []
    for chunk in parts.chunks:
        found = pc.utf8_trim_whitespace(chunk.flatten())
        kept = pc.not_equal(found, "")
        lengths = np.asarray(pc.fill_null(chunk.value_lengths(), 0))
        ends = np.concatenate([[0], np.cumsum(lengths)])
        filled = np.concatenate([[0], np.cumsum(np.asarray(kept))])
        chunks.append(pa.ListArray.from_arrays(pa.array(filled[ends], pa.int32()), found.filter(kept)))
    return pa.chunked_array(chunks, pa.list_(pa.string()))


def _of_json(text: str | None, column: str, called: str, row: int) -> list[str] | None:
    """Return the entries of a list in JSON, or in Python's spelling with single quotes."""
    if text is None:
        return None
    found = entries(text)
    if found is None:
        raise InputError(f'{called}: row {row}, column {column!r}: {quoted(text, 60)} is no list such as ["a", "b"]')
    return found


def _whole(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return whole numbers as such, so that a text says 1995 and not 1995.0."""
    import pyarrow as pa
    import pyarrow.compute as pc

    there = values.drop_null()
    small = len(there) == 0 or pc.max(pc.abs(there)).as_py() < 2.0**53
    return values.cast(pa.int64()) if small and pc.all(pc.equal(there, pc.floor(there))).as_py() else values


def _years(values: pa.ChunkedArray, form: Any, where: str) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_timestamp(values.type) or pa.types.is_date(values.type)):
        values = as_texts(values)
    moments = seconds(values, form, where)
    try:
        return pc.year(moments.cast(pa.timestamp("s"))).cast(pa.int64())
    except pa.ArrowInvalid:
        raise InputError(f"{where}: a date lies outside of what a calendar has") from None
