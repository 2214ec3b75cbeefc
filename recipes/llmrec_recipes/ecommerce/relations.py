"""Relations of products as a knowledge graph: brands, paths of categories, and what is bought with what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from llmrec_peft.plugins import KnowledgeGraph, table

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

Relation = Literal["brand", "category", "bought"]
RELATIONS: tuple[Relation, ...] = ("brand", "category", "bought")
_DEEPEST = 6
"""Categories of a path that are told apart; behind them some pages list properties of the product."""
_NAMED = 2
"""Products here that have to name one that nobody here reviewed: it connects them."""


def graph_of(
    items: pa.Array,
    brand: pa.Array,
    categories: pa.ListArray,
    bought: pa.ListArray,
    relations: Sequence[Relation] = RELATIONS,
) -> tuple[KnowledgeGraph | None, int]:
    """Return the graph of products, and how many products outside of the catalogue are entities of it.

    A product is the entity ``product ID``. Its brand is one; of its path of categories, each part from the second
    category on is one, since all products share the first; a product that is bought with it is one, also where nobody
    here reviewed that product, if two products here or more name it.

    Args:
        items: Ids, [products].
        brand: Brand of each, empty for none.
        categories: Path of each.
        bought: Products that each is bought with; a product itself, and repeated ones, count as none.
        relations: Which of these become triples.

    Returns:
        None in place of a graph without a triple.
    """
    import pyarrow as pa
    from pyarrow import compute

    made: list[tuple[str, NDArray[np.int64], pa.Array]] = []
    outside = 0
    if "brand" in relations:
        there = compute.not_equal(brand, "")
        made.append(("brand", _places(there), _named("brand", brand.filter(there))))
    if "category" in relations:
        depth = compute.list_value_length(categories)
        for deep in range(2, _DEEPEST + 1):
            there = compute.greater_equal(depth, deep)
            paths = compute.binary_join(compute.list_slice(categories.filter(there), 0, deep), " > ")
            made.append(("category", _places(there), _named("category", paths)))
    if "bought" in relations:
        row, other, outside = _bought(items, bought)
        made.append(("bought with", row, _named("product", other)))
    made = [one for one in made if len(one[1])]
    if not made:
        return None, 0
    nodes = _named("product", items)
    heads = [nodes.take(pa.array(row)) for _, row, _ in made]
    names = [pa.repeat(pa.scalar(name, pa.string()), len(row)) for name, row, _ in made]
    columns: dict[str, Any] = {"head": heads, "relation": names, "tail": [tail for _, _, tail in made]}
    triples = table({name: pa.chunked_array(chunks, pa.string()) for name, chunks in columns.items()})
    return KnowledgeGraph(triples, table({"item_id": items, "entity_id": nodes})), outside


def _bought(items: pa.Array, bought: pa.ListArray) -> tuple[NDArray[np.int64], pa.Array, int]:
    """Return product and other product of each distinct pair that connects, and how many others are outside."""
    import pyarrow as pa
    from pyarrow import compute

    row = np.asarray(compute.list_parent_indices(bought), np.int64)
    entries = compute.list_flatten(bought).dictionary_encode()
    others, code = entries.dictionary, np.asarray(entries.indices, np.int64)
    pair = np.unique(row * max(1, len(others)) + code)
    row, code = pair // max(1, len(others)), pair % max(1, len(others))
    place = np.asarray(compute.index_in(others, value_set=items).fill_null(-1), np.int64)
    itself = place[code] == row
    row, code = row[~itself], code[~itself]
    named = np.bincount(code, minlength=len(others))
    kept = (place >= 0) | (named >= _NAMED)
    outside = int(((place < 0) & kept).sum())
    row, code = row[kept[code]], code[kept[code]]
    return row, others.take(pa.array(code)), outside


def _places(mask: pa.Array) -> NDArray[np.int64]:
    return np.flatnonzero(np.asarray(mask)).astype(np.int64)


def _named(kind: str, values: pa.Array) -> pa.Array:
    from pyarrow import compute

    return compute.binary_join_element_wise(kind, values, " ")
