"""The table of collaborative peers from other packages beside our recipes, from classical_peers.json."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import committed_results as results
from committed_results import Difference
from figure_text import interval, spread
from markdown_table import table_header, table_row

AHEAD = "▲"
"""Behind a peer whose mean figure is better than ours."""
LOWER_IS_BETTER = ("rmse",)


def classical_peers() -> list[str]:
    """A row a task: the test figure of each peer and of this package, and the difference to the best peer."""
    tasks = results.load("classical_peers.json")["tasks"]
    models = list(dict.fromkeys(row["model"] for task in tasks for row in task["peers"]))
    lines = table_header("task", "metric", *models, "**this package**", "minus the best peer")
    for task in tasks:
        metric, rows = task["metric"], {row["model"]: row for row in task["peers"]}
        ours = None if task["ours"] is None else task["ours"]["test"][metric]
        cells = [_cell(rows.get(model), metric, ours) for model in models]
        arrow = "↓" if metric in LOWER_IS_BETTER else "↑"
        own = "–" if ours is None else f"**{spread(ours)}**"
        lines.append(table_row(task["task"], f"{metric.upper()} {arrow}", *cells, own, _minus_best(rows, metric)))
    return lines


def peers_ahead() -> list[str]:
    """The peers whose mean figure is ahead of ours, as a sentence for the README."""
    said = []
    for task in results.load("classical_peers.json")["tasks"]:
        metric, ours = task["metric"], task["ours"]
        for row in task["peers"]:
            if row["status"] == "ok" and ours is not None and _ahead(metric, ours["test"][metric], row["test"][metric]):
                apart = f"this package minus it {_minus(row, metric)}"
                said.append(
                    f"{row['model']} on {task['task']}: {metric.upper()} {spread(row['test'][metric])}, {apart}"
                )
    named = "; ".join(said) or "none"
    return [
        "Collaborative models of other packages that are ahead of ours on the mean, on the same split:",
        f"{named}.",
    ]


def _minus_best(rows: Mapping[str, Mapping[str, Any]], metric: str) -> str:
    """The paired difference to the peer that is best on validation, with its wider interval; a dash without runs."""
    done = [row for row in rows.values() if row["status"] == "ok"]
    pick = min if metric in LOWER_IS_BETTER else max
    best = pick(done, key=lambda row: float(row["validation"]))
    return f"{best['model']}: {_minus(best, metric)}" if "ours_minus" in best else "–"


def _minus(row: Mapping[str, Any], metric: str) -> str:
    """Our figure less a peer's, with its wider interval; without one where no run was paired with it."""
    if "ours_minus" not in row:
        return "not paired"
    one = row["ours_minus"][metric]
    return interval(Difference(one["difference"], one["low"], one["high"], one["unit"], one["differs"]))


def _cell(row: Mapping[str, Any] | None, metric: str, ours: Sequence[float] | None) -> str:
    """One peer's mean and spread over seeds; a dash where it was left out or not measured."""
    if row is None or row["status"] != "ok":
        return "–"
    figures = row["test"][metric]
    return spread(figures) + (f" {AHEAD}" if ours is not None and _ahead(metric, ours, figures) else "")


def _ahead(metric: str, ours: Sequence[float], peer: Sequence[float]) -> bool:
    first, second = statistics.mean(ours), statistics.mean(peer)
    return second < first if metric in LOWER_IS_BETTER else second > first
