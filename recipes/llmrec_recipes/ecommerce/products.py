"""Products: what the metadata say of those that were reviewed, and what one is called that has no title."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmrec_peft.plugins import InputError
from llmrec_recipes.ecommerce.amazon_files import AmazonFile, Category
from llmrec_recipes.ecommerce.texts import plain, text_lists, whole_title

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_TEXT = 2**31 - 1
"""Bytes of one field of all reviewed products: Arrow's lists of texts hold no more."""
_NAME_WORDS = 8
"""Words of a description that replace a missing title."""


@dataclass(frozen=True)
class Products:
    """The reviewed products, [products] in each column.

    Attributes:
        item_id: Their ids.
        title: What each is called.
        description: Texts, empty where there is none.
        features: Points that the page lists.
        categories: Path of categories, from the widest on.
        brand: Who makes or sells it, empty where nobody is named.
        bought: Ids of products that are bought with it.
        notes: Counts of what is irregular.
    """

    item_id: pa.Array
    title: list[str]
    description: pa.Array
    features: pa.ListArray
    categories: pa.ListArray
    brand: pa.Array
    bought: pa.ListArray
    notes: tuple[str, ...]

    @classmethod
    def read(cls, category: Category, reviewed: pa.Array) -> Products:
        """Read the file of metadata.

        Average ratings, counts of ratings and ranks of sales are not read: they tell of test's reviews.

        Args:
            category: Its files.
            reviewed: Ids of the products, each once, in the order of the table.

        Raises:
            InputError: Naming file, line and field of what is wrong.
        """
        import pyarrow as pa
        from pyarrow import compute

        layout = category.layout
        named = (layout.product, "title", "description", layout.features, layout.categories, layout.brand)
        more = (layout.bought, *([layout.category] if layout.category else []))
        file = AmazonFile(category.metadata, (*named, *more))
        file.require_ids(layout.product)
        ids = file.column(layout.product)
        place = np.asarray(compute.index_in(ids, value_set=reviewed).fill_null(-1), np.int64)
        known, first = np.unique(place, return_index=True)
        known, first = known[known >= 0], first[known >= 0]
        chosen = np.zeros(len(ids), bool)
        chosen[first] = True
        kept = file.table.filter(pa.array(chosen))
        for field in kept.column_names:
            if kept.column(field).nbytes > _MOST_TEXT:
                raise InputError(
                    f"{file.path}: {field} of the {len(kept)} reviewed products takes more than {_MOST_TEXT} bytes:"
                    " read a smaller category, or its 5-core reviews"
                )
        order = np.full(len(reviewed), len(kept))  # one row behind the last stands for products without metadata
        order[known] = np.searchsorted(np.sort(first), first)
        rows = _Rows(kept, pa.array(order))
        categories = rows.lists(layout.categories)
        if layout.category:
            categories = compute.if_else(
                compute.equal(compute.list_value_length(categories), 0), rows.lists(layout.category), categories
            )
        titles = [whole_title(text) for text in rows.titles()]
        description = compute.binary_join(rows.lists("description"), " ")
        brand = rows.texts(layout.brand)
        instead = _called(titles, description, brand, categories)
        distinct = compute.count_distinct(ids).as_py()
        counts = {
            f"products of the metadata without a review here, left out, of {distinct}": distinct - len(known),
            "lines of the metadata that repeat a product, of which the first was kept": len(ids) - distinct,
            "reviewed products without metadata": len(reviewed) - len(known),
            "reviewed products without a usable title, called by their description or by brand and category": sum(
                not title and bool(call) for title, call in zip(titles, instead, strict=True)
            ),
            "reviewed products without any text, called by their id": sum(not call for call in instead),
        }
        return cls(
            reviewed,
            [call or item for call, item in zip(instead, reviewed.to_pylist(), strict=True)],
            description,
            rows.lists(layout.features),
            categories,
            brand,
            rows.lists(layout.bought),
            tuple(f"{what}: {count}" for what, count in counts.items() if count),
        )


@dataclass(frozen=True)
class _Rows:
    """Rows of the metadata in the order of the reviewed products.

    Attributes:
        table: The rows in the order of the file.
        order: Row of each product; the number of rows for none.
    """

    table: pa.Table
    order: pa.Array

    def titles(self) -> list[str]:
        """Return the titles as the file has them, with markup; empty for none."""
        from pyarrow import compute, types

        column = self.table.column("title")
        found = plain(column) if types.is_list(column.type) else compute.fill_null(column, "")
        titles: list[str] = self._ordered(found.chunks, "").to_pylist()
        return titles

    def texts(self, field: str) -> pa.Array:
        """Return a field's plain texts; empty for none."""
        return self._ordered(plain(self.table.column(field)).chunks, "")

    def lists(self, field: str) -> pa.ListArray:
        """Return a field's plain texts as lists; empty for none."""
        return self._ordered([text_lists(self.table.column(field))], [])

    def _ordered(self, chunks: Sequence[pa.Array], nothing: str | list[str]) -> pa.Array:
        import pyarrow as pa

        kind = pa.string() if isinstance(nothing, str) else pa.list_(pa.string())
        return pa.concat_arrays([*chunks, pa.array([nothing], kind)]).take(self.order)


def _called(titles: list[str], description: pa.Array, brand: pa.Array, categories: pa.ListArray) -> list[str]:
    """Return each product's title; for one without, the first words of its description, or brand and category."""
    called = list(titles)
    for at, title in enumerate(titles):
        if title:
            continue
        words = description[at].as_py().split(maxsplit=_NAME_WORDS)
        if words:
            called[at] = " ".join(words[:_NAME_WORDS]) + (" …" if len(words) > _NAME_WORDS else "")
        else:
            named = (brand[at].as_py(), *categories[at].as_py()[-1:])
            called[at] = ", ".join(text for text in named if text)
    return called
