"""Answer change: how far answers moved, as distances of vectors, differences of scores, and best items that stayed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmrec_peft.run.tenant import Tenant

USERS, ITEMS = 100, 2000
"""Users and items whose scores are compared, at most."""
READ_USERS, READ_ITEMS = 4, 32
"""The same where the language model reads a text for each score."""
LISTED = 10
"""Length of a user's list."""
CHUNK = 65_536
"""Pairs that are scored at once."""


def change_of_answers(before: Tenant, after: Tenant, seed: int = 0) -> dict[str, Any]:
    """Compare two runs with the same users and items, such as one whose language model was changed.

    Args:
        before: The run as it was.
        after: The changed run.
        seed: Seed of the draw of users and items.

    Returns:
        ``vectors`` of all items' texts (see `change_of_vectors`), ``scores`` of up to 100 users for up to 2,000 items
        (see `change_of_scores`), ``top_10_kept`` (see `share_kept`), and how many ``users`` and ``items`` that were.
    """
    rng = np.random.default_rng(seed)
    reads = before.encodes_to_score
    users = _drawn(rng, before.vocabulary.users, READ_USERS if reads else USERS)
    items = _drawn(rng, before.catalogue.ids, READ_ITEMS if reads else ITEMS)
    now, then = (_lists(tenant, users, items) for tenant in (after, before))
    found: dict[str, Any] = {
        "users": len(users),
        "items": len(items),
        "scores": change_of_scores(now, then),
        "top_10_kept": share_kept(now, then),
    }
    new, old = after.catalogue.vectors, before.catalogue.vectors
    if new is not None and old is not None:
        found["vectors"] = {**change_of_vectors(new.float(), old.float()), "number": len(new)}
    return found


def change_of_vectors(now: Tensor, before: Tensor) -> dict[str, float]:
    """Return the cosine distance of each pair of vectors: mean, median and largest.

    Args:
        now: float32 [n, width].
        before: float32 [n, width].
    """
    cosine = torch.nn.functional.cosine_similarity(now, before, dim=-1).double().cpu().numpy()
    distance = np.maximum(0.0, 1.0 - cosine)
    return {
        "cosine_distance_mean": float(distance.mean()),
        "cosine_distance_median": float(np.median(distance)),
        "cosine_distance_max": float(distance.max()),
    }


def change_of_scores(now: NDArray[Any], before: NDArray[Any]) -> dict[str, float]:
    """Return the differences of scores without their sign: mean, median, 95 % quantile and largest."""
    moved = np.abs(now.astype(np.float64) - before)
    return {
        "mean": float(moved.mean()),
        "median": float(np.median(moved)),
        "p95": float(np.quantile(moved, 0.95)),
        "max": float(moved.max()),
    }


def share_kept(now: NDArray[Any], before: NDArray[Any]) -> float:
    """Return the mean share of each user's ten best items that are the same, from scores [users, items]."""
    k = min(LISTED, now.shape[1])
    tops = zip(*(np.argsort(-scores, axis=1, kind="stable")[:, :k] for scores in (now, before)), strict=True)
    return float(np.mean([len(np.intersect1d(one, other)) / k for one, other in tops]))


def _drawn(rng: np.random.Generator, names: Any, most: int) -> list[str]:
    """Draw names without repetition, in their own order."""
    rows = np.sort(rng.choice(len(names), min(most, len(names)), replace=False))
    return [names[row] for row in rows.tolist()]


def _lists(tenant: Tenant, users: list[str], items: list[str]) -> NDArray[Any]:
    """Return scores of all pairs, [users, items]."""
    pairs = tenant.pairs([user for user in users for _ in items], items * len(users), None, CHUNK)
    return pairs.reshape(len(users), len(items))
