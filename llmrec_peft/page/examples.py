"""Examples of a page: what a run recommends to some users, and which items that nobody rated it would show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from llmrec_peft.run.recommender import Recommender

FEW = 3
"""Users of made-up data who are shown unasked."""
MOST = 50
"""Users of a page, at most."""
_NEW_ITEMS = 3
"""Items without a training interaction that are shown for each user."""
_CANDIDATES = 20_000
"""Such items that are scored for it, at most."""


@dataclass(frozen=True)
class ShownItem:
    """A recommended item.

    Attributes:
        item_id: Its id.
        title: Its title.
        score: Its score.
        interactions: Training interactions that it has.
    """

    item_id: str
    title: str
    score: float
    interactions: int


@dataclass(frozen=True)
class Example:
    """Recommendations of one user.

    Attributes:
        user_id: The user.
        known: Whether training knew the user; others get the most popular items.
        items: The best items, best first.
        new_items: The best of the items that no training interaction has.
    """

    user_id: str
    known: bool
    items: tuple[ShownItem, ...]
    new_items: tuple[ShownItem, ...]


@dataclass(frozen=True)
class Examples:
    """Examples of a page.

    Attributes:
        users: Recommendations of each user.
        score: What the scores are, such as ``predicted stars``.
        reads_text: Whether an item that nobody rated is known by its text.
        without_item: Items of the catalogue that no training interaction has.
        catalogue: Items of the catalogue.
    """

    users: tuple[Example, ...]
    score: str
    reads_text: bool
    without_item: int
    catalogue: int


_SCORES = {"rating": "predicted label", "click": "probability"}


def examples_of(run: Path, users: Sequence[str] | None, k: int) -> Examples:
    """Load a run and recommend to some users.

    Args:
        run: Run folder.
        users: User ids; None for the first few that the run knows.
        k: Items a user.

    Raises:
        InputError: If the run cannot be loaded, is no recommender, or too many users are asked for.
    """
    from llmrec_peft import registry
    from llmrec_peft.run.recommender import Recommender

    if users is not None and len(users) > MOST:
        raise InputError(f"a page shows {MOST} users at most, not {len(users)}: llmrec recommend answers for many")
    recommender = Recommender.from_pretrained(run)
    task = registry.get("heads", recommender.recipe.head.name).task
    catalogue = recommender.tenant.catalogue
    fresh = np.flatnonzero(catalogue.popularity == 0)
    asked = list(recommender.vocabulary.users[:FEW]) if users is None else list(dict.fromkeys(users))
    return Examples(
        users=tuple(_example(recommender, user, k, fresh[:_CANDIDATES]) for user in asked),
        score=_SCORES.get(task, "score (only its order means something)"),
        reads_text=recommender.recipe.reads.language_model,
        without_item=len(fresh),
        catalogue=len(catalogue.ids),
    )


def _example(recommender: Recommender, user: str, k: int, fresh: np.ndarray) -> Example:
    """Recommend to one user, and rank the items that nobody rated among themselves."""
    catalogue = recommender.tenant.catalogue
    answer = recommender.recommend([user], k=k)[0]
    known = answer.basis == "personal"
    row_of = catalogue.row_of
    items = tuple(
        ShownItem(item.item_id, item.title, item.score, int(catalogue.popularity[row_of[item.item_id]]))
        for item in answer.items
    )
    new_items: tuple[ShownItem, ...] = ()
    if known and len(fresh):
        scores = recommender.score([user] * len(fresh), [catalogue.ids[row] for row in fresh.tolist()])
        best = np.argsort(-scores, kind="stable")[:_NEW_ITEMS]
        new_items = tuple(
            ShownItem(catalogue.ids[row], catalogue.titles[row], float(scores[at]), 0)
            for at, row in ((int(at), int(fresh[at])) for at in best)
        )
    return Example(user, known, items, new_items)
