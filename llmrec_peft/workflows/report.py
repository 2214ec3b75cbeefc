"""Report: the figures of a run's predictions, in the layout of ``metrics.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.intervals import paired_rmse_interval
from llmrec_peft.evaluation.metrics import rating_report
from llmrec_peft.evaluation.slices import item_slices

Predictions = Mapping[str, NDArray[np.floating]]


def figures(
    predictions: Predictions, observed: NDArray[np.float32], baselines: Sequence[str], ablations: Sequence[str]
) -> dict[str, Any]:
    """Figures of every model: ``before``, ``after``, ``baselines`` and ``ablations``."""
    return _nested({name: rating_report(p, observed) for name, p in predictions.items()}, baselines, ablations)


def item_figures(
    predictions: Predictions,
    test: Interactions,
    training_count: NDArray[np.int64],
    baselines: Sequence[str],
    ablations: Sequence[str],
) -> dict[str, Any]:
    """Figures on items with no, few and many training ratings."""
    report = {}
    for name, rows in item_slices(predictions, test.label, test.item, training_count).items():
        size = rows.pop("n")
        report[name] = {"n": size, **(_nested(rows, baselines, ablations) if rows else {})}
    return report


def comparisons(predictions: Predictions, test: Interactions, resamples: int) -> dict[str, Any]:
    """Paired intervals of `after` against every other model, resampling users and items."""
    if resamples == 0:
        return {}
    clusters = {"by_user": test.user, "by_item": test.item}
    return {
        f"after_minus_{name}": {
            unit: paired_rmse_interval(predictions["after"], other, test.label, cluster, resamples).plain()
            for unit, cluster in clusters.items()
        }
        for name, other in predictions.items()
        if name != "after"
    }


def _nested(reports: Mapping[str, Any], baselines: Sequence[str], ablations: Sequence[str]) -> dict[str, Any]:
    nested: dict[str, Any] = {name: reports[name] for name in ("before", "after")}
    nested["baselines"] = {name: reports[name] for name in baselines}
    if ablations:
        nested["ablations"] = {name: reports[name] for name in ablations}
    return nested
