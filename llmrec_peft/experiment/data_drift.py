"""Data drift: how newer interactions differ from those that a run learned from, and what it says of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.evaluation.outcomes import Ranks

if TYPE_CHECKING:
    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.evaluation.outcomes import Outcome
    from llmrec_peft.heads.contract import TaskHead

DRAWS = 20
"""Samples of old interactions that say how large a distance is by chance."""
Distance = Callable[[NDArray[np.int64]], float]


def data_drift(
    old: Interactions, new: Interactions, num_items: int, text: NDArray[np.float32] | None
) -> dict[str, Any]:
    """Compare new interactions with old ones.

    Distances stand beside what they are by chance: the 95 % quantile over samples of the old interactions, as large as
    the new ones and drawn with replacement.

    Args:
        old: Interactions that the run learned from.
        new: Interactions that it did not.
        num_items: Rows of an item table.
        text: Untuned vectors of items' texts, float32 [num_items, width]; None where nothing is read.

    Returns:
        Shares of new interactions whose user or item the run never learned from; the total variation distance between
        the items' shares of interactions; the cosine distance between mean vectors of the items' texts; the mean label
        of both.
    """
    popularity = old.counts_by_item(num_items) / max(1, len(old))

    def total_variation(items: NDArray[np.int64]) -> float:
        return 0.5 * float(np.abs(np.bincount(items, minlength=num_items) / len(items) - popularity).sum())

    found: dict[str, Any] = {
        "old": len(old),
        "new": len(new),
        "new_users": _share_unknown(new.user, old.user),
        "new_items": _share_unknown(new.item, old.item),
        "mean_label": {"old": float(old.label.mean()), "new": float(new.label.mean())},
        "popularity": _beside_chance(total_variation, old, new),
    }
    if text is not None:
        mean = _mean_text(old.item, text)

        def distance(items: NDArray[np.int64]) -> float:
            other = _mean_text(items, text)
            lengths = float(np.linalg.norm(mean)) * float(np.linalg.norm(other))
            return 1.0 - float(mean @ other) / max(1e-12, lengths)

        found["text"] = _beside_chance(distance, old, new)
    return found


def calibration(head: TaskHead[Any], outcome: Outcome, part: Interactions, span: tuple[float, float]) -> float | None:
    """Return the mean of what a model predicts less what was observed, in labels or probability; None for rankings."""
    if isinstance(outcome, Ranks):
        return None
    return float(np.mean(np.asarray(outcome, np.float64) - head.observed(part.label, span)))


def _share_unknown(new: NDArray[np.int64], old: NDArray[np.int64]) -> float:
    return float(np.mean(~np.isin(new, old)))


def _mean_text(items: NDArray[np.int64], text: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean vector of the texts of items, [width]; by the items' shares, so that no vector is copied."""
    counts = np.bincount(items, minlength=len(text)).astype(np.float32)
    mean: NDArray[np.float64] = (counts / np.float32(len(items)) @ text).astype(np.float64)
    return mean


def _beside_chance(distance: Distance, old: Interactions, new: Interactions) -> dict[str, float]:
    rng = np.random.default_rng(0)
    drawn = [distance(old.item[rng.integers(0, len(old), len(new))]) for _ in range(DRAWS)]
    return {"distance": distance(new.item), "by_chance": float(np.quantile(drawn, 0.95))}


def in_words(drift: dict[str, Any]) -> list[str]:
    """Say a drift in lines for notes."""
    lines = [
        f"drift: {drift['new']} new interactions beside {drift['old']} old ones;"
        f" {drift['new_users']:.0%} of them by new users, {drift['new_items']:.0%} about new items;"
        f" mean label {drift['mean_label']['new']:.3f}, was {drift['mean_label']['old']:.3f}"
    ]
    for name, what in (("popularity", "items' shares of interactions"), ("text", "mean text of the items")):
        if name in drift:
            one = drift[name]
            more = "no more than chance" if one["distance"] <= one["by_chance"] else "more than chance"
            lines.append(f"drift of {what}: {one['distance']:.4f} (by chance up to {one['by_chance']:.4f}): {more}")
    if drift.get("calibration") is not None:
        told = drift["calibration"]
        lines.append(
            f"the run predicts {told['newest']:+.3f} too much on the newest interactions,"
            f" {told['old']:+.3f} on old ones"
        )
    return lines
