"""What every layout of MovieLens gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft.plugins import InputError

if TYPE_CHECKING:
    from datasets import Dataset

OLDEST = 150
"""Largest age in years that is read; a larger number is another column."""


@dataclass(frozen=True)
class Found:
    """The tables of one layout.

    Attributes:
        name: Which MovieLens it is.
        interactions: The ratings, as `interactions_table` makes them.
        items: The films: ``item_id``, ``title``, ``year`` (or null), ``genres``.
        users: ``user_id``, and what else the layout says of a user.
        rating_range: Fewest and most stars.
        described_in: The file that names the films, as notes call it.
        notes: What was read in another way than its owner writes it, one line each.
    """

    name: str
    interactions: Dataset
    items: Dataset
    users: Dataset
    rating_range: tuple[float, float]
    described_in: str
    notes: tuple[str, ...] = ()


def require_new(name: str, seen: set[str], path: Path, line: int, what: str) -> None:
    """Refuse an id that is empty or was there before; remember it."""
    if not name.strip():
        raise InputError(f"{path}, line {line}: the {what}'s id is empty")
    if name in seen:
        raise InputError(f"{path}, line {line}: {what} {name[:20]!r} is there twice")
    seen.add(name)
