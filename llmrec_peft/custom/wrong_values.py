"""Wrong values: the rows of a column whose value is there, but is no number, time, click, id or list."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.custom.cells import ROUNDED
from llmrec_peft.custom.texts import as_texts
from llmrec_peft.custom.times import DATES, LARGEST_TIME, PATTERNS, TimeForm, moments, plain_pattern
from llmrec_peft.tabular.typed import wrong_rows

if TYPE_CHECKING:
    import pyarrow as pa

TRUE = ("1", "1.0", "true", "t", "yes", "y", "ja", "oui", "si", "like", "是")
FALSE = ("0", "0.0", "false", "f", "no", "n", "nein", "non", "dislike", "否")
LARGEST_LABEL = 1e30
"""Largest rating; beyond it 32 bits have no sums of squares."""
_RARE = 20
"""How many values of a column there are at least for each that is wrong, if it is to be one of numbers or dates."""
Rows = NDArray[np.int64]
"""Rows of a column, from 0, in ascending order."""


def no_numbers(values: pa.ChunkedArray, low: float = -np.inf, high: float = np.inf) -> Rows:
    """Return the rows whose value is no finite number, or is one outside of a range, int64 [wrong]."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if pa.types.is_boolean(kind):
        return np.zeros(0, np.int64)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        number = np.asarray(values.cast(pa.float64(), safe=False).fill_null(np.nan))
        return np.flatnonzero(np.isinf(number) | (number < low) | (number > high))
    texts = as_texts(values)
    wrong = np.zeros(len(texts), bool)
    try:
        found = texts.cast(pa.float64())
    except pa.ArrowInvalid:
        wrong[wrong_rows(texts.combine_chunks(), pa.float64())] = True
        found = pc.if_else(pa.array(wrong), pa.scalar(None, pa.string()), texts).cast(pa.float64())
    number = np.asarray(found.fill_null(0.0 if low <= 0.0 <= high else low))
    return np.flatnonzero(wrong | ~((number >= low) & (number <= high) & np.isfinite(number)))


def no_clicks(values: pa.ChunkedArray) -> Rows:
    """Return the rows whose value is neither yes nor no, int64 [wrong]."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(values.type):
        return np.zeros(0, np.int64)
    texts = as_texts(values)
    known = pc.is_in(pc.utf8_lower(texts), value_set=pa.array((*TRUE, *FALSE)))
    return _places(pc.and_(pc.is_valid(texts), pc.invert(known)))


def no_times(values: pa.ChunkedArray, form: TimeForm) -> Rows:
    """Return the rows whose value is no moment as a form writes them, int64 [wrong]."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        return np.zeros(0, np.int64)
    if form not in PATTERNS:
        return no_numbers(values, -LARGEST_TIME, LARGEST_TIME)
    texts = as_texts(values)
    distinct = pc.unique(texts).drop_null()
    fits = pc.match_substring_regex(distinct, plain_pattern(form))
    likely = distinct.filter(fits)
    wrong, parts = [distinct.filter(pc.invert(fits))], [likely]
    while parts:  # a date such as 30 February is found by halving
        part = parts.pop()
        if len(part) == 0 or moments(part, form) is not None:
            continue
        if len(part) == 1:
            wrong.append(part)
        else:
            parts += [part[: len(part) // 2], part[len(part) // 2 :]]
    return _places(pc.is_in(texts, value_set=pa.concat_arrays(wrong)))


def rounded_ids(values: pa.ChunkedArray) -> Rows:
    """Return the rows whose text is a long number that was rounded, as spreadsheets leave them, int64 [wrong]."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return np.zeros(0, np.int64)
    texts = as_texts(values, missing=False)
    if not pc.any(pc.match_substring(texts, "+")).as_py():  # several times as fast as the pattern
        return np.zeros(0, np.int64)
    return _places(pc.match_substring_regex(texts, ROUNDED))


def no_lists(values: pa.ChunkedArray) -> Rows:
    """Return the rows whose text is no list in JSON or in Python's spelling, int64 [wrong]."""
    import pyarrow as pa

    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return np.zeros(0, np.int64)
    texts = as_texts(values).to_pylist()
    return np.asarray([row for row, text in enumerate(texts) if text is not None and entries(text) is None], np.int64)


def entries(text: str) -> list[str] | None:
    """Return the entries of a list in JSON, or in Python's spelling with single quotes; None if it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        listed = text.startswith("[") and text.endswith("]")
        found = [part.strip(" '\"") for part in text[1:-1].split(",")] if listed else None
    if not isinstance(found, list):
        return None
    return [str(entry) for entry in found if isinstance(entry, str | int | float) and str(entry)]


def odd_rows(texts: pa.ChunkedArray) -> Rows:
    """Return the rows that are no numbers, dates, or yes and no, where nearly all others are; else none, int64 [odd].

    Args:
        texts: Trimmed texts [n].
    """
    there = len(texts) - texts.null_count
    dates: list[Callable[[pa.ChunkedArray], Rows]] = [functools.partial(no_times, form=form) for form in DATES]
    for kind in (no_numbers, *dates, no_clicks):
        rows = kind(texts)
        if len(rows) * _RARE <= there:
            return rows
    return np.zeros(0, np.int64)


def without_few(texts: pa.ChunkedArray, few: int) -> pa.ChunkedArray:
    """Return texts without `odd_rows`, where these are few."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = odd_rows(texts)
    if not 0 < len(rows) <= few:
        return texts
    odd = np.zeros(len(texts), bool)
    odd[rows] = True
    return pa.chunked_array([pc.if_else(pa.array(odd), pa.scalar(None, pa.string()), texts.combine_chunks())])


def _places(mask: pa.ChunkedArray) -> Rows:
    return np.flatnonzero(np.asarray(mask.fill_null(False)))
