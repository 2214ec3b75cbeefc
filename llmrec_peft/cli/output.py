"""What commands print on stdout: JSON for scripts, tables for people."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


def print_json(values: Any) -> None:
    """Print plain values as JSON."""
    sys.stdout.write(json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Print rows under a title; columns whose number is in `right` stand to the right."""
    table = Table(title=title or None, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    # a pipe or a file has no width; folding to 80 columns would break words for nobody
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
    Console(highlight=False, width=width).print(table)


LOSES = "▼"
"""Mark of a model that is no better than the trivial line."""
SHOWN = 4
"""Metrics that a table has room for."""


def metrics_table(metrics: Mapping[str, Any]) -> None:
    """Print a run's figures: every model on validation and test, and how `after` compares with it."""
    title = f"{metrics['recipe']} on {metrics['data']['name']}, seed {metrics['seed']}"
    _head_table(title, metrics)
    for name, report in metrics.get("heads", {}).items():
        _head_table(f"the same under head {name}", report)
    parameters, seconds = metrics["parameters"], metrics["seconds"]
    frozen, peak = parameters["total"] - parameters["trainable"], metrics["peak_memory_mb"]["rss"] / 1024
    _say(
        f"{parameters['adapter']:,} adapter parameters inside {frozen:,} frozen ones;"
        f" tuned in {seconds['train']:.0f} s of {seconds['total']:.0f} s, peak memory {peak:.1f} GiB"
    )


def _head_table(title: str, report: Mapping[str, Any]) -> None:
    test, valid, primary = report["test"], report["valid"], report["primary_metric"]
    others = [name for name in test["after"] if name != primary and "left_out" not in name]
    shown = [primary, *others[: SHOWN - 1]]
    rows: list[tuple[str, str, str | None]] = [
        *((name.replace("_", " "), name, "baselines") for name in test["baselines"]),
        ("before: frozen text", "before", None),
        ("after: tuned", "after", None),
        *([("after + the line", "blend", None)] if "blend" in test else []),
        *((name.replace("_", " "), name, "ablations") for name in test.get("ablations", {})),
    ]
    body = []
    for label, key, group in rows:
        on_valid, on_test = (valid[group][key], test[group][key]) if group else (valid[key], test[key])
        found = report["comparisons"].get(f"after_minus_{key}", {})
        against = found.get("by_item") or found.get("by_user")
        interval = f"{against['difference']:+.3f} [{against['low']:+.3f}, {against['high']:+.3f}]" if against else ""
        mark = f" {LOSES}" if key in report.get("no_better_than_best_baseline", ()) else ""
        cells = [_figure(on_valid, primary), *(_figure(on_test, name) for name in shown)]
        body.append([f"{label}{mark}", *cells, interval])
    columns = ["model", f"valid {primary}", *(f"test {name}" for name in shown), "after minus it, 95 %"]
    print_table(title, columns, body, range(1, len(columns)))
    line = report.get("best_baseline")
    if line is not None and report.get("no_better_than_best_baseline"):
        figure = _figure(test["baselines"][line], primary)
        told = f"{LOSES} no better than the trivial line, {line.replace('_', ' ')} ({primary} {figure})"
        share = report.get("blend_share_of_best_baseline")
        _say(told + ("" if share is None else f"; its share in the blend, by validation: {share:g}"))
    left = test["after"].get("uauc_users_left_out")
    if left:
        _say(f"uauc leaves out {left} users whose test examples are all of one class")


def _figure(row: Mapping[str, float], metric: str) -> str:
    return f"{row[metric]:.4f}" if metric in row else "–"


def _say(line: str) -> None:
    Console(highlight=False, soft_wrap=True).print(line, markup=False)
