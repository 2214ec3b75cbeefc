"""Films: the items table of benchmarks whose items are known by MovieLens's titles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrec_peft.plugins import table
from llmrec_recipes.movies.titles import title_and_year

if TYPE_CHECKING:
    from datasets import Dataset


def films_table(titles: list[str], ids: list[str] | None = None) -> Dataset:
    """Return the items table of films: ``item_id``, ``title`` with its article in front, ``year`` (or null).

    Args:
        titles: Titles as MovieLens writes them, such as ``Postino, Il (1994)``.
        ids: Ids, by default the titles themselves.
    """
    parted = [title_and_year(title) for title in titles]
    return table(
        {
            "item_id": titles if ids is None else ids,
            "title": [title for title, _ in parted],
            "year": [year for _, year in parted],
        }
    )
