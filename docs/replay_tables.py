"""Tables of the replay by month: accuracy and cost of a stale model, retrains, updates and counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markdown_table import table_header, table_row

FILE = Path(__file__).parents[1] / "benchmarks" / "results" / "replay.json"
METHODS = {
    "stale": "stale: trained on September and October",
    "retrain": "full retrain each month",
    "update": "`llmrec update` each month",
    "counts": "counts, each month",
    "counts, every rating": "counts, every rating as it comes",
}
COUNTS = "counts, every rating"
"""The best baseline."""


def replay() -> list[str]:
    """Each method over all months."""
    found: Mapping[str, Mapping[str, float]] = _read()["summary"]
    best = found[COUNTS]["rmse"]
    columns = ("RMSE next month", "AUC of likes", "RMSE old window, at the end", "processor seconds")
    lines = table_header("method", *columns, "examples × epochs")
    for name, called in METHODS.items():
        one = found[name]
        loses = " LOSES" if not name.startswith("counts") and one["rmse"] >= best else ""
        figures = [f"{one['rmse']:.4f}{loses}", f"{one['auc']:.4f}", f"{one['old_rmse']:.4f}"]
        lines.append(table_row(called, *figures, f"{one['processor_seconds']:.1f}", f"{one['examples']:,}"))
    return lines


def replay_months() -> list[str]:
    """Each month: the next month's RMSE, the old window's, promotion, and what an update costs beside a retrain."""
    columns = ["ratings", "stale", "retrain", "update", "update minus stale, 95 % by user", "update minus retrain"]
    columns += ["counts", "every rating", "old window: stale, retrain, update", "update promoted"]
    lines = table_header("learned → predicted", *columns, "cost of update, of a retrain")
    for row in _read()["rows"]:
        of = row["methods"]
        told = [f"{row['learned']} → {row['predicted']}", f"{row['ratings']:,}"]
        told += [f"{of[name]['rmse']:.4f}" for name in ("stale", "retrain", "update")]
        told += [_interval(row["intervals"][f"update minus {name}"]) for name in ("stale", "retrain")]
        told += [f"{of[name]['rmse']:.4f}" for name in ("counts", COUNTS)]
        told.append(", ".join(f"{of[name]['old_rmse']:.4f}" for name in ("stale", "retrain", "update")))
        told.append("yes" if row["update"]["promoted"] else "no")
        seconds, examples = (of["update"][cost] / of["retrain"][cost] for cost in ("processor_seconds", "examples"))
        lines.append(table_row(*told, f"{seconds:.0%} of its processor seconds, {examples:.0%} of its examples"))
    return lines


def _interval(one: Mapping[str, float]) -> str:
    return f"{one['difference']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}]"


def _read() -> Any:
    return json.loads(FILE.read_text(encoding="utf-8"))
