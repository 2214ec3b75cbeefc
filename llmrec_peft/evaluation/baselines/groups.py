"""Groups of examples that have a rate of their own: by the item's category, and by its age at the example's time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions

Group = Callable[[Interactions], NDArray[np.int64]]
"""Returns the number of each example's group, from 0, int64 [n]."""
CATEGORY, FIRST_SEEN = "category", "first_seen"
"""Columns of items that groups are made of."""
HOUR = 3600.0
"""Seconds of an hour."""
OLDEST = 20
"""Class of the largest ages: 2¹⁹ - 1 hours, or 60 years, and more."""


def groups_of(items: Mapping[str, Sequence[Any]]) -> dict[str, Group]:
    """Return the groups that items' columns allow.

    ``category`` is the item's category. ``age`` is the class of the time since the item's first appearance: new, then
    under 1, 3, 7, ... hours, as for the recency signal; an item without a first appearance is new.

    Args:
        items: Columns in the order of item indices from 1, of which ``category`` (texts) and ``first_seen`` (whole
            numbers, in the unit of the interactions' times) are read.
    """
    groups: dict[str, Group] = {}
    if _holds(items, CATEGORY, str):
        known = {value: at for at, value in enumerate(sorted(set(items[CATEGORY]) - {None}), start=1)}
        number = np.array([0, *(known.get(value, 0) for value in items[CATEGORY])], np.int64)
        groups["category"] = lambda part: number[part.item]
    if _holds(items, FIRST_SEEN, int):
        never = np.iinfo(np.int64).max >> 1
        first = np.array([never, *(never if time is None else time for time in items[FIRST_SEEN])], np.int64)
        groups["age"] = lambda part: age_classes(part.timestamp - first[part.item])
    return groups


def age_classes(age: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the class of ages in seconds, int64 [n]: 0 up to 0 seconds, else 1 + ⌊log₂(1 + hours)⌋.

    >>> age_classes(np.array([-5, 0, 1, 3600, 3 * 3600])).tolist()
    [0, 0, 1, 2, 3]
    """
    classes = np.floor(np.log2(np.maximum(age, 0) / HOUR + 1.0)).astype(np.int64) + 1
    return np.where(age > 0, np.minimum(classes, OLDEST), 0)


def _holds(items: Mapping[str, Sequence[Any]], name: str, kind: type) -> bool:
    """Return whether a column is there, and holds values of one type, or none."""
    there = {type(value) for value in items.get(name, ())} - {type(None)}
    return there == {kind}
