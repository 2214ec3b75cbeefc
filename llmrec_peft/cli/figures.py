"""Print a run's figures: every model on validation and test, and how much the tuned model is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmrec_peft.artifact.figures import figure_rows, legend
from llmrec_peft.cli.output import print_line, print_table

_METRICS = 4
"""Test metrics that a table shows; `metrics.json` has all."""


def print_figures(metrics: Mapping[str, Any]) -> None:
    """Print the tables of a run's ``metrics.json``, one a head, then its sizes and times."""
    _print_head(f"{metrics['recipe']} on {metrics['data']['name']}, seed {metrics['seed']}", metrics)
    for name, report in metrics.get("heads", {}).items():
        _print_head(f"the same model's {name} head", report)
    parameters, seconds = metrics["parameters"], metrics["seconds"]
    frozen, peak = parameters["total"] - parameters["trainable"], metrics["peak_memory_mb"]["rss"] / 1024
    print_line(
        f"{parameters['adapter']:,} adapter parameters inside {frozen:,} frozen ones;"
        f" tuned in {seconds['train']:.0f} s of {seconds['total']:.0f} s, peak memory {peak:.1f} GiB"
    )


def _print_head(title: str, report: Mapping[str, Any]) -> None:
    after, primary = report["test"]["after"], report["primary_metric"]
    shown = [primary, *(name for name in after if name != primary and "left_out" not in name)][:_METRICS]
    body = [
        [
            row.label,
            _figure(row.valid, primary),
            *(_figure(row.test, name) for name in shown),
            _interval(report["comparisons"].get(f"after_minus_{row.key}", {})),
        ]
        for row in figure_rows(report)
    ]
    columns = ["model", f"valid {primary}", *(f"test {name}" for name in shown), "after minus it, 95 %"]
    print_table(title, columns, body, range(1, len(columns)))
    for line in legend(report):
        print_line(line)
    left_out = after.get("uauc_users_left_out")
    if left_out:
        print_line(f"uauc leaves out {left_out} users whose test examples are all of one class")


def _figure(row: Mapping[str, float], metric: str) -> str:
    return f"{row[metric]:.4f}" if metric in row else "–"


def _interval(comparison: Mapping[str, Any]) -> str:
    """Return a difference with its 95 % interval, over items where there is one; empty without a comparison."""
    against = comparison.get("by_item") or comparison.get("by_user")
    return f"{against['difference']:+.3f} [{against['low']:+.3f}, {against['high']:+.3f}]" if against else ""
