"""Interactions: a user's own rows as the table of interactions that the package reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmrec_peft.custom.cells import ids, numbers, taken
from llmrec_peft.custom.columns import FrameColumns, InteractionColumns
from llmrec_peft.custom.texts import as_texts
from llmrec_peft.custom.times import seconds
from llmrec_peft.custom.wrong_values import FALSE, LARGEST_LABEL, TRUE
from llmrec_peft.data.order import in_time
from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted

if TYPE_CHECKING:
    import pyarrow as pa

ORDER_SEED = 0
"""Seed of the order of interactions whose times are not known."""
DRAWN_ORDER = "no times are known: the order of interactions was drawn at random"
"""What is noted of such interactions."""


def interaction_rows(table: pa.Table, columns: FrameColumns, called: str, said: list[str]) -> pa.Table:
    """Return the table of interactions as `RecDataset` wants it.

    Args:
        table: A user's own rows.
        columns: What their columns are.
        called: What messages call the table.
        said: What was left out is noted here.

    Raises:
        InputError: For a column that the table lacks, a label or a time that is none, or when nothing is left.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    given = columns.interactions
    where = "data.options.interactions"
    found = {
        "user_id": ids(table, given.user, called, f"{where}.user"),
        "item_id": ids(table, given.item, called, f"{where}.item"),
    }
    found["rating"] = _labels(table, columns, called)
    found["timestamp"] = _times(table, columns, called)
    if given.time is None and columns.feedback != "rating":
        said.append(DRAWN_ORDER)
    if given.review is not None:
        found["review"] = pc.fill_null(
            as_texts(taken(table, given.review, called, f"{where}.review"), missing=False), ""
        )
    if given.event is not None:
        found["kind_of_row"] = as_texts(taken(table, given.event, called, f"{where}.event"), missing=False)
    whole = pa.table(found)
    whole = _kept(whole, given, called, said)
    if columns.feedback == "implicit" and not columns.repeats:
        whole = _once(whole, said)
    return whole


def _labels(table: pa.Table, columns: FrameColumns, called: str) -> pa.ChunkedArray:
    """Return labels as numbers, float32 [n]; 1 for every row where there are none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    name = columns.interactions.label
    if columns.feedback == "implicit" or name is None:
        if columns.feedback != "implicit":
            raise InputError(f"data.options.interactions.label: {columns.feedback} needs a column of labels")
        return pa.chunked_array([pa.array(np.ones(len(table), np.float32))])
    values = taken(table, name, called, "data.options.interactions.label")
    if pa.types.is_boolean(values.type):
        return values.cast(pa.float32())
    texts = as_texts(values)
    if columns.feedback == "click":
        small = pc.utf8_lower(texts)
        yes, no = (pc.is_in(small, value_set=pa.array(words)) for words in (TRUE, FALSE))
        wrong = pc.and_(pc.is_valid(texts), pc.invert(pc.or_(yes, no)))
        if pc.any(wrong).as_py():
            row = pc.index(wrong, True).as_py()
            raise InputError(
                f"{called}: row {row + 1}, column {name!r}: {quoted(texts[row].as_py(), 60)} is neither 1 nor 0"
            )
        return pc.if_else(pc.is_valid(texts), yes.cast(pa.float32()), pa.scalar(None, pa.float32()))
    found = numbers(values, called, name)
    if (pc.max(pc.abs(found)).as_py() or 0.0) > LARGEST_LABEL:
        raise InputError(f"{called}, column {name!r}: a rating is larger than {LARGEST_LABEL:g}")
    return found.cast(pa.float32())


def _times(table: pa.Table, columns: FrameColumns, called: str) -> pa.ChunkedArray:
    """Return times, int64 [n]; without any, one time for ratings, and for all else an order drawn at random.

    Clicks and rankings are judged by what a user met before, which needs an order; the file's own order is often that
    of ids, which would put certain items into the test part.
    """
    import pyarrow as pa

    name = columns.interactions.time
    if name is not None:
        where = f"{called}, column {name!r}"
        return seconds(
            taken(table, name, called, "data.options.interactions.time"), columns.interactions.time_form, where
        )
    if columns.feedback == "rating":
        return pa.chunked_array([pa.array(np.zeros(len(table), np.int64))])
    return pa.chunked_array([pa.array(np.random.default_rng(ORDER_SEED).permutation(len(table)).astype(np.int64))])


def _kept(table: pa.Table, given: InteractionColumns, called: str, said: list[str]) -> pa.Table:
    """Leave out rows without an id, a label or a time, and kinds of events that are not wanted, and note how many.

    Raises:
        InputError: If more than half of the rows lack one, or nothing is left.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = len(table)
    for name, what in (("user_id", "user"), ("item_id", "item"), ("rating", "label"), ("timestamp", "time")):
        lacking = table.column(name).null_count
        if not lacking:
            continue
        if lacking * 2 > rows:
            raise InputError(
                f"{called}: {lacking} of {rows} rows have no {what}: is data.options.interactions.{what} the right"
                " column?"
            )
        said.append(f"{lacking} of {rows} interactions have no {what}: they were left out")
        table = table.filter(pc.is_valid(table.column(name)))
    if given.event is not None:
        if given.events:
            wanted = pc.is_in(table.column("kind_of_row"), value_set=pa.array(given.events, pa.string()))
            table = table.filter(wanted)
            said.append(
                f"{rows - len(table)} of {rows} interactions are of other kinds than {', '.join(given.events)}: they"
                " were left out"
            )
        table = table.drop_columns(["kind_of_row"])
    if len(table) == 0:
        raise InputError(f"{called}: no interactions are left")
    return table


def _once(table: pa.Table, said: list[str]) -> pa.Table:
    """Keep one row of each pair, the newest, and note how many were left out."""
    import pyarrow as pa

    codes = [table.column(name).combine_chunks().dictionary_encode() for name in ("user_id", "item_id")]
    pair = np.asarray(codes[0].indices, np.int64) * max(1, len(codes[1].dictionary)) + np.asarray(
        codes[1].indices, np.int64
    )
    order = in_time(pair, np.asarray(table.column("timestamp")))
    last = np.sort(order[np.append(pair[order][1:] != pair[order][:-1], True)])
    dropped = len(table) - len(last)
    if not dropped:
        return table
    said.append(f"{dropped} of {len(table)} interactions repeat a user-item pair: one of each was kept")
    return table.take(pa.array(last))
