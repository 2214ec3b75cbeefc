"""What can be recommended, and what a recommendation is."""

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
        score: What `Recommender.score` gives: stars, a probability, or a score whose order alone has a meaning.
    """

    item_id: str
    title: str
    score: float


@dataclass(frozen=True)
class Recommendations:
    """What one user is recommended.

    Attributes:
        user_id: The user.
        basis: ``personal``, or ``popularity`` for a user that training did not know: the items with most
            interactions, in that order, each with the score it has for the average user.
        items: Best first.
    """

    user_id: str
    basis: Literal["personal", "popularity"]
    items: tuple[ScoredItem, ...]

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass
class Catalogue:
    """Items that can be scored: those of the run, then those added since.

    Attributes:
        ids: Item ids.
        titles: Titles.
        table_index: Row of each item in the signals' tables; 0 for items added since, which only their text
            speaks for.
        popularity: Training interactions of each item.
        vectors: Text vectors, float32 [n, width]; None where no signal reads text.
        added: What was said of each item added since, where prompts name it.
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
