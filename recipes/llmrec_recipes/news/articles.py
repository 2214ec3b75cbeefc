"""Articles: texts and categories of news, and the WikiData entities that their titles and abstracts name as a graph."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.plugins import KnowledgeGraph, table, without_markup
from llmrec_recipes.news.mind_files import NEWS, MindFile

if TYPE_CHECKING:
    import pyarrow as pa

_RELATIONS = {"title_entities": "named in the title", "abstract_entities": "named in the abstract"}
_HALF = re.compile("[\ud800-\udfff]")
_TEXTS = ("category", "subcategory", "title", "abstract")


class Articles:
    """Articles of one or several files, each id once.

    Attributes:
        columns: ``item_id`` and texts, as Arrow, [articles].
        differing: Articles that a later file describes in another way than the first; the first is kept.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        """Read the files.

        Raises:
            InputError: Naming file, line and column of what is wrong.
        """
        import pyarrow as pa
        from pyarrow import compute

        self._heads: list[str] = []
        self._relations: list[str] = []
        self._entities: list[str] = []
        self._named: dict[str, str] = {}
        self.differing = 0
        whole: pa.Table | None = None
        for folder in folders:
            file = MindFile(folder, NEWS)
            file.require_ids("news_id", distinct=True)
            rows = pa.table(
                {"item_id": file.column("news_id"), **{name: without_markup(file.column(name)) for name in _TEXTS}}
            )
            new = pa.array([True] * len(rows))
            if whole is not None:
                new = compute.invert(compute.is_in(rows.column("item_id"), whole.column("item_id").combine_chunks()))
                self.differing += _differing(rows.filter(compute.invert(new)), whole)
            self._read_entities(file, new.to_pylist())
            whole = rows.filter(new) if whole is None else pa.concat_tables([whole, rows.filter(new)])
        assert whole is not None  # noqa: S101 - there is at least one folder
        self.columns: dict[str, pa.ChunkedArray] = {name: whole.column(name) for name in whole.column_names}

    @property
    def ids(self) -> pa.Array:
        """Ids in the order of the files, [articles]."""
        return self.columns["item_id"].combine_chunks()

    def graph(self) -> KnowledgeGraph | None:
        """Return which entity is named where; None if no article names one."""
        if not self._heads:
            return None
        heads = list(dict.fromkeys(self._heads))
        links = table({"item_id": heads, "entity_id": [_node(item) for item in heads]})
        triples = {"head": [_node(item) for item in self._heads], "relation": self._relations, "tail": self._entities}
        return KnowledgeGraph(table(triples), links)

    def _read_entities(self, file: MindFile, new: list[bool]) -> None:
        ids = file.column("news_id").to_pylist()
        for column, relation in _RELATIONS.items():
            for row, text in enumerate(file.column(column).to_pylist()):
                if not new[row] or text in ("[]", ""):
                    continue
                for name in dict.fromkeys(self._entities_of(text, file, row, column)):
                    self._heads.append(ids[row])
                    self._relations.append(relation)
                    self._entities.append(name)

    def _entities_of(self, text: str, file: MindFile, row: int, column: str) -> Iterator[str]:
        """Yield the names of a cell's entities: the label that an entity has where it occurs first, and its id."""
        try:
            listed: Any = json.loads(text)
        except (ValueError, RecursionError):
            listed = None
        if not isinstance(listed, list):
            file.refuse(row, column, 'a JSON list of entities such as [{"Label": …, "WikidataId": …}] belongs here')
        for entity in listed:
            number, label = (_text(entity, key) for key in ("WikidataId", "Label"))
            if not number or label is None:
                file.refuse(row, column, "an entity lacks its WikidataId or its Label, which are texts")
            yield self._named.setdefault(number, f"{' '.join(label.split())} ({number})")


def _node(item: str) -> str:
    return f"article {item}"


def _text(entity: Any, key: str) -> str | None:
    """Return a field of an object; None if it is no text that can be written: JSON can escape half a character."""
    value = entity.get(key) if isinstance(entity, dict) else None
    if not isinstance(value, str) or _HALF.search(value):
        return None
    return value


def _differing(rows: pa.Table, whole: pa.Table) -> int:
    """Return how many rows differ from those of the same ids."""
    import numpy as np
    from pyarrow import compute

    same = whole.take(compute.index_in(rows.column("item_id"), whole.column("item_id").combine_chunks()))
    differs = np.zeros(len(rows), bool)
    for name in _TEXTS:
        differs |= np.asarray(compute.not_equal(rows.column(name), same.column(name)))
    return int(differs.sum())
