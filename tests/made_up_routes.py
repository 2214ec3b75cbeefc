"""Routes of versions that are nowhere: digests, states and vectors of items, without a run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from llmrec_peft.run.adding import Addition
from llmrec_peft.serving.routes import Route
from llmrec_peft.serving.sealed_store import SealedRun
from llmrec_peft.serving.versions import Event, Placed


def version(store: Path, name: str, withheld: str = "") -> Placed:
    """A version before any event; `withheld` is the end of its folder's name."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return Placed.first(SealedRun.named(store, f"{digest}{withheld}"))


def with_items(placed: Placed, ids: Sequence[str], width: int | None = 4, dtype: torch.dtype = torch.float32) -> Placed:
    """The version after these items were added together, with drawn vectors; None for a run that stores none."""
    columns = [{"item_id": item, "title": f"title of {item}", "year": 1995, "genres": ["Crime", "é"]} for item in ids]
    vectors = None if width is None else torch.randn(len(ids), width).to(dtype)
    addition = Addition(list(ids), [f"title of {item}" for item in ids], columns, vectors, cut=1)
    return placed.after(Event("items", columns), addition)


def same(one: Placed | None, other: Placed | None) -> bool:
    """Whether two are the same version in the same state, with the same items to the last bit of their vectors."""
    if one is None or other is None:
        return one is other
    if (one.sealed, one.identity, one.state.events()) != (other.sealed, other.identity, other.state.events()):
        return False
    mine, theirs = one.additions(), other.additions()
    return len(mine) == len(theirs) and all(map(_same_addition, mine, theirs))


def _same_addition(mine: Addition, theirs: Addition) -> bool:
    if (mine.ids, mine.titles, mine.columns, mine.cut) != (theirs.ids, theirs.titles, theirs.columns, theirs.cut):
        return False
    if mine.vectors is None or theirs.vectors is None:
        return mine.vectors is theirs.vectors
    return mine.vectors.dtype == theirs.vectors.dtype and torch.equal(mine.vectors, theirs.vectors)


def same_route(one: Route, other: Route) -> bool:
    """Whether two routes lead to the same versions in the same states."""
    return one.share == other.share and all(
        same(mine, theirs)
        for mine, theirs in ((one.main, other.main), (one.trial, other.trial), (one.former, other.former))
    )
