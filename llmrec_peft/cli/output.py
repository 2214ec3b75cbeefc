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


def metrics_table(metrics: Mapping[str, Any]) -> None:
    """Print a run's figures: every model on validation and test, and how `after` compares with it."""
    test, valid, primary = metrics["test"], metrics["valid"], metrics["primary_metric"]
    rows = [
        *((name.replace("_", " "), name, "baselines") for name in test["baselines"]),
        ("before: frozen text", "before", None),
        ("after: tuned", "after", None),
        *((name.replace("_", " "), name, "ablations") for name in test.get("ablations", {})),
    ]
    body = []
    for label, key, group in rows:
        on_valid, on_test = (valid[group][key], test[group][key]) if group else (valid[key], test[key])
        against = metrics["comparisons"].get(f"after_minus_{key}", {}).get("by_item")
        interval = f"{against['difference']:+.3f} [{against['low']:+.3f}, {against['high']:+.3f}]" if against else ""
        cells = [f"{on_valid[primary]:.4f}", *(f"{on_test[name]:.4f}" for name in test["after"])]
        body.append([label, *cells, interval])
    columns = ["model", f"valid {primary}", *(f"test {name}" for name in test["after"]), "after minus it, 95 %"]
    title = f"{metrics['recipe']} on {metrics['data']['name']}, seed {metrics['seed']}"
    print_table(title, columns, body, range(1, len(columns)))
    parameters, seconds = metrics["parameters"], metrics["seconds"]
    frozen, peak = parameters["total"] - parameters["trainable"], metrics["peak_memory_mb"]["rss"] / 1024
    Console(highlight=False, soft_wrap=True).print(
        f"{parameters['adapter']:,} adapter parameters inside {frozen:,} frozen ones;"
        f" tuned in {seconds['train']:.0f} s of {seconds['total']:.0f} s, peak memory {peak:.1f} GiB"
    )
