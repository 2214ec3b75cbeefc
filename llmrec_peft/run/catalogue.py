"""Catalogue: items that can be recommended, and recommendations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.text_column import rows_by_text, rows_of
from llmrec_peft.data.vocabulary import UNKNOWN
from llmrec_peft.errors import InputError
from llmrec_peft.run.growing import Growth, Prefix, RowsBefore

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.heads.contract import Joined


@dataclass(frozen=True)
class ScoredItem:
    """One recommended item.

    Attributes:
        item_id: Its id.
        title: Its title.
        score: Score as `Recommender.score` returns it: stars, a probability, or a score of which only the order
            matters.
    """

    item_id: str
    title: str
    score: float


@dataclass(frozen=True)
class Recommendations:
    """Recommendations for one user.

    Attributes:
        user_id: The user.
        basis: How they were chosen: ``personal``, or ``popularity`` for a user unknown in training: the items with
            most interactions, in that order, each with its score for the average user.
        items: Best first.
    """

    user_id: str
    basis: Literal["personal", "popularity"]
    items: tuple[ScoredItem, ...]

    def plain(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Items that can be scored: those of the run, followed by those added since. It never changes; `with_items` makes
    another one, which shares its memory.

    Attributes:
        ids: Item ids.
        titles: Titles.
        table_index: Row of each item in the signals' tables; 0 for items added since, which are described by their
            text only.
        popularity: Training interactions of each item.
        vectors: Text vectors, float32 or bfloat16 [n, width]; None if no signal reads text.
        added: Columns of each item added since, of which its texts are made.
        cut: Items added since whose text was longer than the tokens that are read, and was cut.
        side: The items' side of all scores, if it is stored: that of these very items and vectors.
    """

    ids: Sequence[str]
    titles: Sequence[str]
    table_index: NDArray[np.int64]
    popularity: NDArray[np.int64]
    vectors: Tensor | None
    added: Sequence[Mapping[str, Any]] = ()
    cut: int = 0
    side: Joined | None = None
    _growth: Growth | None = field(default=None, repr=False)

    @cached_property
    def row_of(self) -> Mapping[str, int]:
        """Row of each item by its id."""
        return rows_by_text(self.ids)

    def rows_of(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the row of each of some items, -1 for unknown ones, int64 [len(ids)]."""
        return rows_of(self.row_of, ids)

    def require_new(self, ids: Sequence[str]) -> None:
        """Refuse ids that are not new.

        Raises:
            InputError: Naming one that is empty, known, or given twice.
        """
        given: set[str] = set()
        for item in ids:
            if not item:
                raise InputError("a new item has no item_id")
            if item in self.row_of or item in given:
                raise InputError(f"item {item!r} is known already")
            given.add(item)

    def with_items(
        self,
        ids: Sequence[str],
        titles: Sequence[str],
        vectors: Tensor | None,
        columns: Sequence[Mapping[str, Any]],
        cut: int = 0,
    ) -> Catalogue:
        """Return a catalogue with further items at its end.

        Args:
            ids: Their ids.
            titles: Their titles.
            vectors: Vectors of their texts, float32 [n, width]; None if none are stored.
            columns: Their columns.
            cut: How many of their texts were cut.

        Raises:
            InputError: As `require_new`.
        """
        self.require_new(ids)
        growth = self._growth
        if growth is None or not growth.extended(len(self.ids), ids, titles, columns):
            growth = Growth(self.ids, self.titles, self.added)
            growth.extended(len(self.ids), ids, titles, columns)
        count = len(self.ids) + len(ids)
        joined = self.vectors
        if self.vectors is not None and vectors is not None:
            joined = growth.joined(self.vectors, vectors)
        larger = Catalogue(
            ids=Prefix(growth.ids, count),
            titles=Prefix(growth.titles, count),
            table_index=np.append(self.table_index, np.full(len(ids), UNKNOWN, np.int64)),
            popularity=np.append(self.popularity, np.zeros(len(ids), np.int64)),
            vectors=joined,
            added=Prefix(growth.added, len(self.added) + len(columns)),
            cut=self.cut + cut,
            _growth=growth,
        )
        larger.__dict__["row_of"] = RowsBefore(growth.row_of, count)  # in place of one that would be made anew
        return larger
