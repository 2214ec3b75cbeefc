"""Baselines of links between people: whom the neighbours of a person are linked to, and who met the same items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from llmrec_peft.data.interactions import Interactions

if TYPE_CHECKING:
    from torch import Tensor

COMMON, ALIKE, BOTH = "common_neighbours", "preference_similarity", "neighbours_and_preferences"
DAMPING = (0.0, 0.5, 1.0)
"""Power of a neighbour's number of links that divides him: 0 counts common neighbours, 1 is resource allocation."""
LOGARITHMIC = -1.0
"""In place of a power: the logarithm, as Adamic and Adar divide."""
SHARES = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Weights of a common neighbour's part relative to the cosine of preferences."""


def people_rules(preferences: bool) -> dict[str, list[dict[str, float]]]:
    """Return the baselines with the settings to choose from.

    Args:
        preferences: Whether it is known what people met.
    """
    ways = [{"damping": d} for d in (*DAMPING, LOGARITHMIC)]
    rules: dict[str, list[dict[str, float]]] = {COMMON: ways}
    if preferences:
        rules[ALIKE] = [{}]
        rules[BOTH] = [{**way, "counts": share} for way in ways for share in SHARES]
    return rules


@dataclass(frozen=True)
class People:
    """Links that are learnt from, and what people met, by item index.

    Attributes:
        learn: Links of training: `oneself` to `item`.
        num_items: Rows of an item table.
        preferences: Weight of each feature of each person, as rows of length 1, sparse [num_items, features]; None if
            nothing is known of them.
    """

    learn: Interactions
    num_items: int
    preferences: Any | None

    def scores(self, name: str, settings: Mapping[str, float], oneself: NDArray[np.int64]) -> Tensor:
        """Return scores of some people for all people, float32 [n, num_items - 1].

        Args:
            name: Which baseline.
            settings: Its settings.
            oneself: Item index of each person who asks, int64 [n]; 0 for somebody who is no item.
        """
        import torch

        parts = []
        if name in (ALIKE, BOTH) and self.preferences is not None:
            parts.append((self.preferences[oneself] @ self.preferences.T).toarray())
        if name in (COMMON, BOTH):
            counted = (self._linked[oneself] @ self._damped(settings["damping"])).toarray()
            parts.append(settings.get("counts", 1.0) * counted)
        whole = np.sum(parts, axis=0)[:, 1:].astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(whole))

    @cached_property
    def _linked(self) -> Any:
        """Who is linked with whom, whichever way, as a sparse matrix of ones."""
        assert self.learn.oneself is not None  # noqa: S101 - made where items are people
        known = self.learn.oneself > 0
        ends = (self.learn.oneself[known], self.learn.item[known])
        shape = (self.num_items, self.num_items)
        one_way = sparse.csr_matrix((np.ones(len(ends[0]), np.float32), ends), shape=shape)
        both = (one_way + one_way.T).tocsr()
        both.data[:] = 1.0
        return both

    def _damped(self, damping: float) -> Any:
        """Return the links, each person's divided by a function of his number of links."""
        degree = np.asarray(self._linked.sum(1)).reshape(-1)
        divisor = np.log(1.0 + degree) if damping == LOGARITHMIC else degree**damping
        return sparse.diags(1.0 / np.maximum(divisor, 1e-9) * (degree > 0)) @ self._linked


def preferences_of(users: Mapping[str, Sequence[Any]], places: NDArray[np.int64], num_items: int) -> Any | None:
    """Return what people met, by item index: rare items weigh more (idf), and each row has length 1.

    Args:
        users: Columns that describe users; those that hold lists of texts say what they met.
        places: Item index of each user in their order, int64; 0 for none.
        num_items: Rows of an item table.

    Returns:
        A sparse matrix [num_items, features], or None if no column holds lists.
    """
    rows, features, number = [], [], dict[tuple[str, str], int]()
    for name, values in users.items():
        for place, met in zip(places.tolist(), values, strict=True):
            for one in met if isinstance(met, list) and place else ():
                rows.append(place)
                features.append(number.setdefault((name, str(one)), len(number)))
    if not rows:
        return None
    entries = (np.ones(len(rows)), (np.array(rows), np.array(features)))
    met_by = sparse.csr_matrix(entries, shape=(num_items, len(number)))
    met_by.data[:] = 1.0
    people = np.asarray(met_by.sum(0)).reshape(-1)
    weighted = met_by @ sparse.diags(np.log(num_items / people))
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(1)).reshape(-1))
    return (sparse.diags(1.0 / np.maximum(length, 1e-9)) @ weighted).tocsr()
