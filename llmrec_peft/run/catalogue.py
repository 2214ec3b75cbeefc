"""Catalogue: items that can be recommended, and recommendations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


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


@dataclass
class Catalogue:
    """Items that can be scored: those of the run, followed by those added since.

    Attributes:
        ids: Item ids.
        titles: Titles.
        table_index: Row of each item in the signals' tables; 0 for items added since, which are described by their
            text only.
        popularity: Training interactions of each item.
        vectors: Text vectors, float32 [n, width]; None if no signal reads text.
        added: Columns of each item added since, if prompts name them.
    """

    ids: list[str]
    titles: list[str]
    table_index: NDArray[np.int64]
    popularity: NDArray[np.int64]
    vectors: Tensor | None
    added: tuple[Mapping[str, Any], ...] = ()
    row_of: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.row_of = {item: row for row, item in enumerate(self.ids)}
