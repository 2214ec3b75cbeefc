"""Results of a run for the ``model-index`` of its card: one value a metric, with the best baseline beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult

from llmrec_peft.artifact.figures import marked, spelled
from llmrec_peft.hub.card_facts import metrics_of
from llmrec_peft.page.earned import answering, difference_of
from llmrec_peft.page.run_report import HeadReport, RunReport
from llmrec_peft.printable import for_terminal

TASKS = {
    "rating": ("rating-prediction", "rating prediction"),
    "click": ("click-prediction", "click prediction"),
    "ranking": ("item-recommendation", "ranking of the whole catalogue"),
}
"""Identifier and name of each task; the Hub has none for recommenders."""
_LONGEST = 100


def eval_results(report: RunReport, tasks: Mapping[str, str], digest: str | None) -> list[EvalResult]:
    """Return the test figures of the model that answers, by head and metric.

    A value is the model's own. The best baseline stands in the metric's name and, with the wider 95 % interval of the
    difference, in its ``args``: as a result of its own it would be taken for one of the model's.

    Args:
        report: Figures of the run.
        tasks: Task of each head.
        digest: Digest of the data, 64 hexadecimal digits; None if it is not recorded.
    """
    heads: dict[str, HeadReport] = {report.head: report, **report.heads}
    name = one_line(report.data.name)
    data: dict[str, Any] = {
        "task_type": "",
        "dataset_type": slug(report.data.name),
        "dataset_name": name,
        "dataset_split": "test",
        "dataset_args": {one_line(key): one_line(value) for key, value in report.protocol.items()} | _digest(digest),
    }
    found = []
    for head, figures in heads.items():
        identifier, called = TASKS[tasks[head]]
        data |= {"task_type": identifier, "task_name": called if len(heads) == 1 else f"{called}, head {head}"}
        found += [
            EvalResult(**data, **_metric(figures, metric, figures.test.own[answering(figures)][metric]))
            for metric in metrics_of(figures)
        ]
    return found


def _metric(report: HeadReport, metric: str, value: float) -> dict[str, Any]:
    """Return the fields of a metric of a head."""
    ours, best = answering(report), report.best_baseline
    beside = None if best is None else report.test.baselines.get(best, {}).get(metric)
    name, called = one_line(metric.upper()), one_line(metric)
    if best is None or beside is None:
        return {"metric_type": called, "metric_value": value, "metric_name": name, "metric_args": {"model": ours}}
    known: dict[str, Any] = {"model": ours, "best_baseline": one_line(best), "best_baseline_value": beside}
    if metric == report.primary_metric:
        difference = difference_of(report, ours, best)
        known["no_better_than_best_baseline"] = ours in report.no_better_than_best_baseline
        if difference is not None:
            known |= {"minus_best_baseline": difference.difference, "low": difference.low, "high": difference.high}
        name = marked(name, bool(known["no_better_than_best_baseline"]))
    return {
        "metric_type": called,
        "metric_value": value,
        "metric_name": f"{name} (best baseline, {one_line(spelled(best))}: {beside:.4f})",
        "metric_args": known,
    }


def _digest(digest: str | None) -> dict[str, str]:
    return {} if digest is None else {"sha256": digest}


def one_line(value: object) -> str:
    """Return a value of others as a short line of text, for YAML."""
    return " ".join(for_terminal(value).split())[:_LONGEST]


def slug(name: str) -> str:
    """Return a name as the Hub's identifiers are written.

    >>> slug("MovieLens 100K, split u1"), slug("电影")
    ('movielens-100k-split-u1', 'unknown')
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_LONGEST] or "unknown"
