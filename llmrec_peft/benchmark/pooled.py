"""Pooled: two groups of runs on several splits, each run of one paired with the run of the other on the same split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.errors import InputError, nearest
from llmrec_peft.evaluation.intervals import paired_interval
from llmrec_peft.evaluation.measures import LOWER_IS_BETTER, Measure, measure_of
from llmrec_peft.evaluation.outcomes import Outcome, Ranks
from llmrec_peft.evaluation.weighted import Figure
from llmrec_peft.workflows.compare import METRICS, Run, require_lists

Side = Sequence[tuple[Path, str]]
"""Run folders, one per split, and the model of each that is compared."""


def pooled_comparison(first: Side, second: Side, metric: str, resamples: int) -> dict[str, Any]:
    """Compare the figures of two models over the test examples of all splits together.

    The metric is computed once over all examples, not once per split. Users are resampled with all their examples (or
    persons, where several users are records of one: their numbers are those of the data, which all splits share); an
    item of each split is a cluster of its own, since the splits trained on different items.

    Args:
        first: Runs and models.
        second: Runs and models on the same splits in the same order; they may be the same runs.
        metric: Metric of the runs' primary head.
        resamples: Resamples of the intervals.

    Returns:
        ``difference`` (first less second), ``intervals`` by user and by item, ``verdict`` and ``notes``.

    Raises:
        InputError: If two runs were tested on different examples, or a metric or model is missing.
    """
    if len(first) != len(second):
        raise InputError(f"{len(first)} runs cannot be paired with {len(second)}")
    ours, theirs = ([Run.read(folder) for folder, _ in side] for side in (first, second))
    for one, other in zip(ours, theirs, strict=True):
        if one.predictions.digest != other.predictions.digest:
            raise InputError(f"{other.folder.name} was tested on other examples than {one.folder.name}")
    task = ours[0].head(None).task
    if metric not in METRICS[task]:
        raise InputError(f"metric {metric!r}: of {task} heads these can be compared: {', '.join(METRICS[task])}")
    examples = _together(ours)
    require_lists(metric, examples)
    measure = measure_of(task, lambda label: label, np.zeros(1, np.int64))
    figures = [
        _figure([_scores(run, model) for run, (_, model) in zip(runs, side, strict=True)], metric, measure, examples)
        for runs, side in ((ours, first), (theirs, second))
    ]
    try:
        intervals = {
            unit: paired_interval(figures[0], figures[1], cluster, resamples)
            for unit, cluster in measure.clusters(metric, examples).items()
        }
    except ValueError as error:
        raise InputError(f"metric {metric}: {error}") from None
    difference = next(iter(intervals.values())).difference
    verdict = "no difference"
    if all(interval.excludes_zero for interval in intervals.values()):
        verdict = "first is better" if (difference < 0.0) == (metric in LOWER_IS_BETTER) else "second is better"
    return {
        "difference": difference,
        "intervals": {unit: interval.plain() for unit, interval in intervals.items()},
        "verdict": verdict,
        "notes": [f"the test examples of {len(first)} splits together; an item of each split is a cluster"],
    }


def _together(runs: Sequence[Run]) -> Interactions:
    """Return the test examples of all splits, with shared user numbers and separate item numbers."""
    users = [name for run in runs for name in run.predictions.user]
    items = [f"{at} {name}" for at, run in enumerate(runs) for name in run.predictions.item]
    user, item = (np.unique(np.asarray(names), return_inverse=True)[1].astype(np.int64) for names in (users, items))
    label = np.concatenate([run.head(None).observed for run in runs]).astype(np.float32)
    persons = [run.predictions.person for run in runs]
    person = np.concatenate([one for one in persons if one is not None]) if persons[0] is not None else None
    lists = [run.predictions.impression for run in runs]
    shown = np.concatenate([one for one in lists if one is not None]) if lists[0] is not None else None
    return Interactions(user, item, label, np.zeros(len(label), np.int64), person=person, impression=shown)


def _scores(run: Run, model: str) -> NDArray[np.floating]:
    models = run.head(None).models
    if model not in models:
        raise InputError(f"{run.folder.name} has no model {model!r}: {nearest(model, models)}")
    return models[model]


def _figure(scores: list[NDArray[np.floating]], metric: str, measure: Measure, examples: Interactions) -> Figure:
    values = np.concatenate(scores)
    ranking = "hr@10" in measure.metrics
    outcome: Outcome = Ranks(values.astype(np.float64), np.zeros((len(values), 0), np.int64)) if ranking else values
    return measure.weighted(metric, outcome, examples)
