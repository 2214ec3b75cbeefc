"""How figures are written in the tables: names of models and metrics, means over seeds, differences, marks."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from committed_results import Difference

MARK = "▼"
"""Behind a figure that is no better than the best baseline's."""
NONE = "="
"""Behind a difference of which an interval contains zero: no difference."""
MODELS = {
    "global_mean": "global mean",
    "user_mean": "user mean",
    "item_mean": "item mean",
    "bias": "bias model",
    "biased_mf": "biased matrix factorization (collaborative only)",
    "before": "before: frozen text and biases",
    "without_collaborative": "tuned, without collaborative",
    "without_text": "tuned, without text",
    "without_graph": "tuned, without graph",
    "without_adapter": "tuned, without adapter",
    "after": "**after: tuned**",
}
METRICS = {"rmse": "RMSE ↓", "auc": "AUC ↑", "uauc": "uAUC ↑", "hr@10": "HR@10 ↑", "ndcg@10": "NDCG@10 ↑"}


def mean_text(values: Sequence[float | None], form: str) -> str:
    """Mean of the values that are there, in this format; a dash where none is."""
    there = [value for value in values if value is not None]
    return format(statistics.mean(there), form) if there else "–"


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation over seeds."""
    return f"{statistics.mean(values):.4f}" + (f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else "")


def interval(one: Difference) -> str:
    """The difference with the wider of its intervals and what was resampled; `NONE` where any of them contains zero."""
    text = f"{one.value:+.4f} [{one.low:+.4f}, {one.high:+.4f}] by {one.unit}"
    return text if one.proven else f"{text} {NONE}"
