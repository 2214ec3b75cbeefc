"""Tables: a user's own tables become a `RecDataset`, column by column in Arrow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmrec_peft.custom.cells import ids, taken
from llmrec_peft.custom.columns import TABLES, DescribingColumns, FrameColumns, GraphColumns, LinkColumns
from llmrec_peft.custom.describing import described
from llmrec_peft.custom.interaction_rows import interaction_rows
from llmrec_peft.custom.texts import as_texts
from llmrec_peft.data.dataset import KnowledgeGraph, RecDataset
from llmrec_peft.errors import InputError
from llmrec_peft.tabular.markup import without_markup

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Tables:
    """A user's own tables.

    Attributes:
        interactions: One row for each interaction.
        items: One row for each item, or None.
        users: One row for each user, or None.
        graph: One row for each triple, or None.
        graph_links: One row for each item that an entity stands for, or None.
        called: What messages call each table, by the fields' names.
    """

    interactions: pa.Table
    items: pa.Table | None
    users: pa.Table | None
    graph: pa.Table | None
    graph_links: pa.Table | None
    called: Mapping[str, str]

    @classmethod
    def of(cls, tables: Mapping[str, pa.Table], called: Mapping[str, str]) -> Tables:
        """Return tables by their fields' names, and what messages call them."""
        return cls(**{name: tables.get(name) for name in TABLES}, called=called)


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
    interactions = interaction_rows(tables.interactions, columns, tables.called["interactions"], said)
    sides = {}
    for side, given, described_by in (("items", tables.items, columns.items), ("users", tables.users, columns.users)):
        key = f"{side[:-1]}_id"
        met = pc.unique(interactions.column(key))
        sides[side] = _side(side, met, given, described_by, columns, tables.called.get(side, side), said)
    graph = None
    if tables.graph is not None and columns.graph is not None:
        graph = _graph(tables, columns, columns.graph, sides["items"])
    label = np.asarray(interactions.column("rating"))
    low, high = columns.scale or (
        (0.0, 1.0) if columns.feedback != "rating" else (float(label.min()), float(label.max()))
    )
    return RecDataset(
        name=name,
        interactions=Dataset(interactions),
        items=Dataset(sides["items"]),
        users=Dataset(sides["users"]),
        rating_range=(float(np.float32(low)), float(np.float32(high))),  # labels have 32 bits: 0.7 is 0.699999988
        graph=graph,
        licence="your own data",
        notes=tuple(said),
        feedback=columns.feedback,
        repeats=columns.repeats,
    )


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
    own = ids(given, named.id, called, f"data.options.{side}.id")  # type: ignore[attr-defined]
    table = pa.table({key: own, **described(given, named, called, f"data.options.{side}")})
    if side == "items":
        title = getattr(named, "title", None)
        if title is None:
            texts = pa.chunked_array([pa.array([""] * len(table), pa.string())])
        else:
            texts = as_texts(taken(given, title, called, "data.options.items.title"), missing=False)
        table = table.add_column(1, "title", pc.fill_null(without_markup(texts), ""))
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


def _graph(tables: Tables, columns: FrameColumns, named: GraphColumns, items: pa.Table) -> KnowledgeGraph:
    """Return the graph, and which of its entities stand for items: as the links say, else those that bear their ids."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from datasets import Dataset

    table, called = tables.graph, tables.called["graph"]
    assert table is not None  # noqa: S101 - whoever calls asks
    ends = {role: ids(table, getattr(named, role), called, f"data.options.graph.{role}") for role in ("head", "tail")}
    if named.relation is None:
        relation = pa.chunked_array([pa.array(["related"] * len(table))])
    else:
        relation = as_texts(taken(table, named.relation, called, "data.options.graph.relation"), missing=False)
    triples = pa.table({"head": ends["head"], "relation": relation, "tail": ends["tail"]}).drop_null()
    known = items.column("item_id")
    if tables.graph_links is not None and columns.graph_links is not None:
        links = _links(tables.graph_links, columns.graph_links, tables.called["graph_links"], known)
        return KnowledgeGraph(Dataset(triples), Dataset(links))
    entity = pc.or_(*(pc.is_in(known, value_set=pc.unique(triples.column(role))) for role in ("head", "tail")))
    linked = known.filter(entity)
    return KnowledgeGraph(Dataset(triples), Dataset(pa.table({"item_id": linked, "entity_id": linked})))


def _links(table: pa.Table, named: LinkColumns, called: str, known: pa.ChunkedArray) -> pa.Table:
    """Return the links of known items, each once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    where = "data.options.graph_links"
    item, entity = (ids(table, getattr(named, role), called, f"{where}.{role}") for role in ("item", "entity"))
    links = pa.table({"item_id": item, "entity_id": entity}).drop_null()
    links = links.filter(pc.is_in(links.column("item_id"), value_set=known.combine_chunks()))
    if len(links) == 0:
        raise InputError(f"{where}: {called} links none of the items")
    return links.group_by(["item_id", "entity_id"], use_threads=False).aggregate([])
