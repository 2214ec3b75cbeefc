"""Computing: what one version in one state answers; it is given the snapshot and knows no names of tenants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.vocabulary import UNKNOWN
from llmrec_peft.run.adding import Addition
from llmrec_peft.run.catalogue import Recommendations
from llmrec_peft.serving.answers import Basis
from llmrec_peft.serving.encoding import ItemEncoder
from llmrec_peft.serving.loading import CHUNK
from llmrec_peft.serving.versions import Event, Placed, Snapshot, State, Version

Told = Sequence[Sequence[tuple[str, float]]]
ITEMS = "items"
"""Kind of the event that items were added."""


def lists(snapshot: Snapshot, users: Sequence[str], k: int, seen: bool) -> list[Recommendations]:
    """Return the best items of each user, see `Recommender.recommend`."""
    return snapshot.tenant.recommend(users, k, seen)


def scores(
    snapshot: Snapshot, users: Sequence[str], items: Sequence[str], histories: Told | None
) -> NDArray[np.float32]:
    """Return the scores of pairs, float32 [n], see `Recommender.score`."""
    return snapshot.tenant.pairs(users, items, histories, CHUNK)


def bases(snapshot: Snapshot, users: Sequence[str]) -> list[Basis]:
    """Return for each user whether training knew him."""
    known = snapshot.tenant.vocabulary.user_indices(users) != UNKNOWN
    return ["personal" if each else "popularity" for each in known.tolist()]


def with_items(snapshot: Snapshot, rows: Iterable[Mapping[str, Any]], encoder: ItemEncoder) -> Snapshot:
    """Return a version in the state after items were added.

    Args:
        snapshot: The version and its state.
        rows: ``item_id`` and columns of each new item.
        encoder: Encodes their texts.

    Raises:
        InputError: As `Recommender.add_items`.
    """
    addition = _read(snapshot, rows, encoder)
    return snapshot.after(Event(ITEMS, addition.columns), addition)


def with_items_of(snapshot: Snapshot, other: Placed, encoder: ItemEncoder) -> Snapshot:
    """Return a version in the state in which it has also the items that were added to another version.

    Raises:
        InputError: If this version's texts take columns that the other one's do not, or it reads no texts.
    """
    known = snapshot.tenant.catalogue.row_of
    rows = [row for row in other.rows() if row["item_id"] not in known]
    if not rows:
        return snapshot
    addition = _read(snapshot, rows, encoder)
    columns = [row if row == own else own for row, own in zip(rows, addition.columns, strict=True)]  # kept once
    return snapshot.after(Event(ITEMS, columns), replace(addition, columns=columns))


def _read(snapshot: Snapshot, rows: Iterable[Mapping[str, Any]], encoder: ItemEncoder) -> Addition:
    return Addition.of(snapshot.tenant, rows, lambda texts: encoder.items(snapshot.version, texts))


def replayed(version: Version, state: State, encoder: ItemEncoder) -> Snapshot:
    """Return a version in the state that its events led to, computed from its beginning.

    Raises:
        InputError: As `with_items`.
    """
    snapshot = version.first()
    for event in state.events():
        snapshot = with_items(snapshot, event.values, encoder)
    return snapshot
