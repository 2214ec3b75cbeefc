"""Print a run's figures: every model on validation and test, and how much the tuned model is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmrec_peft.artifact.figures import NO_ADAPTER, figure_rows, legend
from llmrec_peft.cli.output import print_line, print_table
from llmrec_peft.evaluation.intervals import no_difference, wider

_METRICS = 4
"""Test metrics that a table shows; `metrics.json` has all."""
_NO_DIFFERENCE = "="
"""Behind a difference of which an interval, over users or over items, contains zero."""


def print_figures(metrics: Mapping[str, Any]) -> None:
    """Print the tables of a run's ``metrics.json``, one a head, then its sizes and times."""
    _print_head(f"{metrics['recipe']} on {metrics['data']['name']}, seed {metrics['seed']}", metrics)
    for name, report in metrics.get("heads", {}).items():
        _print_head(f"the same model's {name} head", report)
    parameters, seconds = metrics["parameters"], metrics["seconds"]
    frozen, peak = parameters["total"] - parameters["trainable"], metrics["peak_memory_mb"]["rss"] / 1024
    if parameters["adapter"]:
        tuned = f"{parameters['adapter']:,} adapter parameters inside {frozen:,} frozen ones"
    else:
        tuned = f"{NO_ADAPTER} ({parameters['trainable']:,} parameters), beside {frozen:,} frozen ones"
    print_line(f"{tuned}; tuned in {seconds['train']:.0f} s of {seconds['total']:.0f} s, peak memory {peak:.1f} GiB")


def _print_head(title: str, report: Mapping[str, Any]) -> None:
    after, primary = report["test"]["after"], report["primary_metric"]
    shown = [primary, *(name for name in after if name != primary and "left_out" not in name)][:_METRICS]
    differences = {row.key: report["comparisons"].get(f"after_minus_{row.key}", {}) for row in figure_rows(report)}
    units = {_unit(wider(one)) for one in differences.values() if one}
    body = [
        [
            row.label,
            _figure(row.valid, primary),
            *(_figure(row.test, name) for name in shown),
            _interval(differences[row.key], name_unit=len(units) > 1),
        ]
        for row in figure_rows(report)
    ]
    difference = f"after minus it, by {next(iter(units))}" if len(units) == 1 else "after minus it"
    columns = ["model", f"valid {primary}", *(f"test {name}" for name in shown), difference]
    print_table(title, columns, body, range(1, len(columns)))
    for line in legend(report):
        print_line(line)
    if units:
        named = " or ".join(f"{unit}s" for unit in sorted(units))
        several = any(len(one) > 1 for one in differences.values())  # AUC by user has one by users alone
        which = ", the wider of the two" if several else ""
        print_line(f"in brackets: 95 % interval of the paired bootstrap over {named}{which}")
    if any(one and no_difference(one) for one in differences.values()):
        print_line(f"{_NO_DIFFERENCE} no significant difference: an interval contains zero")
    left_out = after.get("uauc_users_left_out")
    if left_out:
        print_line(f"uauc leaves out {left_out} users whose test examples are all of one class")
    one_class = after.get("impression_left_out")
    if one_class:
        print_line(f"means over impressions leave out {one_class} of them that are all clicked or all unclicked")


def _figure(row: Mapping[str, float], metric: str) -> str:
    return f"{row[metric]:.4f}" if metric in row else "–"


def _unit(name: str) -> str:
    """Return what is resampled, such as ``user`` for ``by_user``."""
    return name.removeprefix("by_")


def _interval(intervals: Mapping[str, Any], name_unit: bool) -> str:
    """Return a difference with the wider of its 95 % intervals; empty without a comparison."""
    if not intervals:
        return ""
    unit = wider(intervals)
    one = intervals[unit]
    text = f"{one['difference']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]"
    text += f" by {_unit(unit)}" if name_unit else ""
    return f"{text} {_NO_DIFFERENCE}" if no_difference(intervals) else text
