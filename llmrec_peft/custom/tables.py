"""Tables: a user's own tables become a `RecDataset`, column by column in Arrow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmrec_peft.custom.columns import DescribingColumns, FrameColumns, GraphColumns, InteractionColumns
from llmrec_peft.custom.describing import described
from llmrec_peft.custom.facts import as_texts
from llmrec_peft.custom.times import seconds
from llmrec_peft.data.dataset import KnowledgeGraph, RecDataset
from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted

if TYPE_CHECKING:
    import pyarrow as pa

ORDER_SEED = 0
"""Seed of the order of interactions whose times are not known."""
_TRUE = ("1", "1.0", "true", "t", "yes", "y", "ja", "oui", "si", "like")
_FALSE = ("0", "0.0", "false", "f", "no", "n", "nein", "non", "dislike")


@dataclass(frozen=True)
class Tables:
    """A user's own tables.

    Attributes:
        interactions: One row for each interaction.
        items: One row for each item, or None.
        users: One row for each user, or None.
        graph: One row for each triple, or None.
        called: What messages call each table, by the fields' names.
    """

    interactions: pa.Table
    items: pa.Table | None
    users: pa.Table | None
    graph: pa.Table | None
    called: Mapping[str, str]


def as_dataset(name: str, tables: Tables, columns: FrameColumns, notes: tuple[str, ...] = ()) -> RecDataset:
    """Make a dataset of a user's own tables.

    Ids are trimmed texts. Rows of the interactions without a user, an item or a label are left out. Users and items
    without a row of their own get one with their id alone. All of that is noted.

    Args:
        name: What the data is called in reports.
        tables: The tables.
        columns: What their columns are.
        notes: What was noted before.

    Raises:
        InputError: For a column that a table lacks, a label or a number that is none, or when nothing is left.
    """
    import pyarrow.compute as pc
    from datasets import Dataset

    said = list(notes)
    interactions = _interactions(tables, columns, said)
    sides = {}
    for side, given, described_by in (("items", tables.items, columns.items), ("users", tables.users, columns.users)):
        key = f"{side[:-1]}_id"
        met = pc.unique(interactions.column(key))
        sides[side] = _side(side, met, given, described_by, columns, tables.called.get(side, side), said)
    graph = None
    if tables.graph is not None and columns.graph is not None:
        graph = _graph(tables.graph, columns.graph, sides["items"], tables.called.get("graph", "graph"))
    label = np.asarray(interactions.column("rating"))
    low, high = columns.scale or (
        (0.0, 1.0) if columns.feedback != "rating" else (float(label.min()), float(label.max()))
    )
    return RecDataset(
        name=name,
        interactions=Dataset(interactions),
        items=Dataset(sides["items"]),
        users=Dataset(sides["users"]),
        rating_range=(low, high),
        graph=graph,
        licence="your own data",
        notes=tuple(said),
        feedback=columns.feedback,
        repeats=columns.repeats,
    )


def taken(table: pa.Table, name: str, called: str, field: str) -> pa.ChunkedArray:
    """Return a column that the recipe names.

    Raises:
        InputError: If the table lacks it, naming the recipe's field.
    """
    at = table.schema.get_all_field_indices(name)
    if len(at) != 1:
        problem = "no column" if not at else "two columns"
        there = ", ".join(quoted(one, 40) for one in table.column_names[:12])
        raise InputError(f"{field}: {called} has {problem} {quoted(name, 60)}; it has {there}")
    return table.column(at[0])


def _interactions(tables: Tables, columns: FrameColumns, said: list[str]) -> pa.Table:
    """Return the table of interactions as `RecDataset` wants it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    given, table, called = columns.interactions, tables.interactions, tables.called["interactions"]
    where = "data.options.interactions"
    found = {
        "user_id": as_texts(taken(table, given.user, called, f"{where}.user"), missing=False),
        "item_id": as_texts(taken(table, given.item, called, f"{where}.item"), missing=False),
    }
    found["rating"] = _labels(table, columns, called)
    found["timestamp"] = _times(table, columns, called)
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
        yes, no = (pc.is_in(small, value_set=pa.array(words)) for words in (_TRUE, _FALSE))
        wrong = pc.and_(pc.is_valid(texts), pc.invert(pc.or_(yes, no)))
        if pc.any(wrong).as_py():
            row = pc.index(wrong, True).as_py()
            raise InputError(
                f"{called}: row {row + 1}, column {name!r}: {quoted(texts[row].as_py(), 60)} is neither 1 nor 0"
            )
        return pc.if_else(pc.is_valid(texts), yes.cast(pa.float32()), pa.scalar(None, pa.float32()))
    return numbers(values, called, name).cast(pa.float32())


def numbers(values: pa.ChunkedArray, called: str, name: str) -> pa.ChunkedArray:
    """Return a column as numbers, float64 [n]; empty cells and marks of missing values are none.

    Raises:
        InputError: Naming the first row whose value is no finite number.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        found = values.cast(pa.float64())
        found = pc.if_else(pc.is_nan(found), pa.scalar(None, pa.float64()), found)
    else:
        texts = as_texts(values)
        try:
            found = texts.cast(pa.float64())
        except pa.ArrowInvalid:
            fits = pc.match_substring_regex(texts, r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$")
            row = pc.index(pc.fill_null(fits, True), False).as_py()
            shown = quoted(texts[row].as_py(), 60) if row >= 0 else "a value"
            raise InputError(f"{called}: row {row + 1}, column {name!r}: {shown} is no number") from None
    infinite = pc.fill_null(pc.invert(pc.is_finite(found)), False)
    if pc.any(infinite).as_py():
        raise InputError(f"{called}: row {pc.index(infinite, True).as_py() + 1}, column {name!r}: no finite number")
    return found


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
    order = np.lexsort((np.asarray(table.column("timestamp")), pair))
    last = np.sort(order[np.append(pair[order][1:] != pair[order][:-1], True)])
    dropped = len(table) - len(last)
    if not dropped:
        return table
    said.append(f"{dropped} of {len(table)} interactions repeat a user-item pair: one of each was kept")
    return table.take(pa.array(last))


def _side(
    side: str,
    met: pa.Array,
    given: pa.Table | None,
    named: DescribingColumns | None,
    columns: FrameColumns,
    called: str,
    said: list[str],
) -> pa.Table:
    """Return the table of items or users: the given rows, then one for each that only interactions name."""
    import pyarrow as pa
    import pyarrow.compute as pc

    key = f"{side[:-1]}_id"
    if given is None or named is None:
        table = pa.table({key: met})
        return _titled(table, columns) if side == "items" else table
    ids = as_texts(taken(given, named.id, called, f"data.options.{side}.id"), missing=False)  # type: ignore[attr-defined]
    table = pa.table({key: ids, **described(given, named, called, f"data.options.{side}")})
    if side == "items":
        title = getattr(named, "title", None)
        texts = (
            pa.nulls(len(table), pa.string())
            if title is None
            else as_texts(taken(given, title, called, "data.options.items.title"), missing=False)
        )
        table = table.add_column(1, "title", pc.fill_null(texts, ""))
    table = _distinct(table, key, side, called, said)
    lacking = met.filter(pc.invert(pc.is_in(met, value_set=pc.unique(table.column(key)))))
    if len(lacking):
        said.append(f"{len(lacking)} {side} of interactions have no row in {called}: they are known by their id alone")
        added = pa.table({key: lacking, **({"title": pa.array([""] * len(lacking))} if side == "items" else {})})
        table = pa.concat_tables([table, added], promote_options="default")
    return _titled(table, columns) if side == "items" else table


def _distinct(table: pa.Table, key: str, side: str, called: str, said: list[str]) -> pa.Table:
    """Leave out rows without an id, and all but the first of each id."""
    import pyarrow as pa
    import pyarrow.compute as pc

    empty = table.column(key).null_count
    if empty:
        said.append(f"{empty} rows of {called} have no id: they were left out")
        table = table.filter(pc.is_valid(table.column(key)))
    codes = np.asarray(table.column(key).combine_chunks().dictionary_encode().indices, np.int64)
    _, first = np.unique(codes, return_index=True)
    if len(first) < len(table):
        said.append(
            f"{len(table) - len(first)} rows of {called} repeat the id of one of the {side}: the first of each was kept"
        )
        table = table.take(pa.array(np.sort(first)))
    if len(table) == 0:
        raise InputError(f"{called}: no row has an id")
    return table


def _titled(table: pa.Table, columns: FrameColumns) -> pa.Table:
    """Give items a title: their id where ids are names, else an empty one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    titles = table.column("title") if "title" in table.column_names else pa.array([""] * len(table))
    if columns.ids_as_titles:
        titles = pc.if_else(pc.equal(titles, ""), table.column("item_id"), titles)
    if "title" in table.column_names:
        return table.set_column(table.column_names.index("title"), "title", titles)
    return table.append_column("title", titles)


def _graph(table: pa.Table, named: GraphColumns, items: pa.Table, called: str) -> KnowledgeGraph:
    """Return the graph; an entity that bears the id of an item stands for it."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from datasets import Dataset

    ends = {
        role: as_texts(taken(table, getattr(named, role), called, f"data.options.graph.{role}"), missing=False)
        for role in ("head", "tail")
    }
    if named.relation is None:
        relation = pa.chunked_array([pa.array(["related"] * len(table))])
    else:
        relation = as_texts(taken(table, named.relation, called, "data.options.graph.relation"), missing=False)
    triples = pa.table({"head": ends["head"], "relation": relation, "tail": ends["tail"]}).drop_null()
    ids = items.column("item_id")
    entity = pc.or_(*(pc.is_in(ids, value_set=pc.unique(triples.column(role))) for role in ("head", "tail")))
    linked = ids.filter(entity)
    return KnowledgeGraph(Dataset(triples), Dataset(pa.table({"item_id": linked, "entity_id": linked})))
