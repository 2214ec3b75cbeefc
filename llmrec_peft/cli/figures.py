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
    unit = _wider_unit(report["comparisons"])
    body = [
        [
            row.label,
            _figure(row.valid, primary),
            *(_figure(row.test, name) for name in shown),
            _interval(report["comparisons"].get(f"after_minus_{row.key}", {}), unit),
        ]
        for row in figure_rows(report)
    ]
    difference = f"after minus it, by {unit}" if report["comparisons"] else "after minus it"
    columns = ["model", f"valid {primary}", *(f"test {name}" for name in shown), difference]
    print_table(title, columns, body, range(1, len(columns)))
    for line in legend(report):
        print_line(line)
    if report["comparisons"]:
        print_line(f"by {unit}: 95 % interval of the paired bootstrap over {unit}s")
    left_out = after.get("uauc_users_left_out")
    if left_out:
        print_line(f"uauc leaves out {left_out} users whose test examples are all of one class")


def _figure(row: Mapping[str, float], metric: str) -> str:
    return f"{row[metric]:.4f}" if metric in row else "–"


def _wider_unit(comparisons: Mapping[str, Any]) -> str:
    """Return what is resampled, ``user`` or ``item``, in the wider intervals of the tuned model's differences."""
    widths = {"user": 0.0, "item": 0.0}
    for name, comparison in comparisons.items():
        if name.startswith("after_minus_"):
            for unit in widths:
                interval = comparison.get(f"by_{unit}")
                widths[unit] += interval["high"] - interval["low"] if interval else 0.0
    return "item" if widths["item"] > widths["user"] else "user"


def _interval(comparison: Mapping[str, Any], unit: str) -> str:
    """Return a difference with its 95 % interval over users or items; empty without a comparison."""
    against = comparison.get(f"by_{unit}")
    return f"{against['difference']:+.3f} [{against['low']:+.3f}, {against['high']:+.3f}]" if against else ""
