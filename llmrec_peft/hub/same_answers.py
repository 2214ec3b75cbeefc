"""Same answers: whether a copy of a run gives the item vectors and the recommendations of the run itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.histories import Histories
from llmrec_peft.data.vocabulary import UNKNOWN
from llmrec_peft.errors import InputError
from llmrec_peft.run.canary import WITHIN
from llmrec_peft.run.tenant import LoadedTenant, Tenant

BEST = 20
"""Items of a list of recommendations that are compared."""
TOGETHER = 4096
"""Users whose lists are compared at a time."""
PAIRS = 16
"""Items whose scores for the unknown user are compared in a run that encodes a text for each score."""


@dataclass(frozen=True)
class Compared:
    """What was compared, and found the same.

    Attributes:
        items: Items whose vectors were compared.
        users: Known users whose recommendations were compared.
    """

    items: int
    users: int

    def __str__(self) -> str:
        known = f", and those of {self.users:,} known users" if self.users else ""
        return f"the vectors of {self.items:,} items and the recommendations to a new user{known}"


def require_same(run: Tenant, copy: LoadedTenant) -> Compared:
    """Compare a run with a copy of it, which knows all of its users or none.

    Known users are compared without their interactions, which are no part of a copy.

    Args:
        run: The run.
        copy: The copy, as it was read.

    Raises:
        InputError: Naming the item or the user whose answer differs.
    """
    run = _without_interactions(run)
    items = len(run.catalogue.ids)
    if list(copy.vocabulary.items) != list(run.vocabulary.items):
        raise InputError("the copy has other items than the run")
    for name, one, other in _vectors(run, copy):
        _require_equal(run, name, one, other)
    users = np.arange(1, copy.vocabulary.num_users)
    if len(users) and list(copy.vocabulary.users) != list(run.vocabulary.users):
        raise InputError("the copy has other users than the run")
    if run.encodes_to_score:
        rows = np.unique(np.linspace(0, items - 1, PAIRS).astype(np.int64))
        unknown = np.full(len(rows), UNKNOWN)
        _require_close("the scores of a new user", run.score(unknown, rows), copy.score(unknown, rows))
        return Compared(items, 0)
    nobody = np.array([UNKNOWN])
    _require_close("the scores of a new user", run.catalogue_scores(nobody), copy.catalogue_scores(nobody))
    if not np.array_equal(run.catalogue.popularity, copy.catalogue.popularity):
        raise InputError("the copy recommends other items to a new user than the run")
    for at in range(0, len(users), TOGETHER):
        some = users[at : at + TOGETHER]
        lists = run.best_rows(some, BEST), copy.best_rows(some, BEST)
        for user, best, others in zip(some.tolist(), *lists, strict=True):
            if not np.array_equal(best, others):
                raise InputError(
                    f"the copy recommends other items to user {run.vocabulary.users[user - 1]!r:.60} than the run"
                )
    return Compared(items, len(users))


def _without_interactions(run: Tenant) -> Tenant:
    """Return a run as it is where neither interactions nor the owner's columns of users came with it."""
    count = run.vocabulary.num_users
    return replace(run, seen=Histories.empty(count), users=[{}] * count)


def _vectors(run: Tenant, copy: Tenant) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.float32]]]:
    """Yield what is compared of the items: the vectors of their texts, and the items' side of all scores."""
    one, other = run.catalogue.vectors, copy.catalogue.vectors
    if (one is None) != (other is None):
        raise InputError("the copy has no vectors of items" if other is None else "the copy has vectors, the run none")
    if one is not None and other is not None:
        yield "text vector", one.float().cpu().numpy(), other.float().cpu().numpy()
    if run.encodes_to_score:
        return
    sides = run.item_side(), copy.item_side()
    vectors = [side.vector for side in sides]
    if vectors[0] is not None and vectors[1] is not None:
        yield "vector", vectors[0].float().cpu().numpy(), vectors[1].float().cpu().numpy()
    yield "offset", sides[0].offset.float().cpu().numpy()[:, None], sides[1].offset.float().cpu().numpy()[:, None]


def _require_equal(run: Tenant, name: str, one: NDArray[np.float32], other: NDArray[np.float32]) -> None:
    if one.shape != other.shape:
        raise InputError(f"the copy's {name}s of items are {list(other.shape)}, not {list(one.shape)}")
    wrong = np.flatnonzero((one != other).any(axis=1))
    if len(wrong):
        raise InputError(f"the copy's {name} of item {run.catalogue.ids[wrong[0]]!r:.60} is not that of the run")


def _require_close(name: str, one: NDArray[np.float32], other: NDArray[np.float32]) -> None:
    if one.shape != other.shape or not np.allclose(one, other, WITHIN, WITHIN):
        raise InputError(f"{name} are not those of the run")
