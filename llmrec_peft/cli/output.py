"""What commands print on stdout: JSON for scripts, tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def print_json(values: Any) -> None:
    """Print plain values as JSON."""
    sys.stdout.write(json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Print rows under a title; columns whose number is in `right` stand to the right."""
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def metrics_table(metrics: Mapping[str, Any]) -> None:
    """Print a run's figures: every model on validation and test, and how `after` compares."""
    test, valid = metrics["test"], metrics["valid"]
    names = list(test["after"])
    rows = [
        *((f"baseline: {name.replace('_', ' ')}", name, "baselines") for name in test["baselines"]),
        ("before: frozen text and biases", "before", None),
        ("after: tuned", "after", None),
        *((f"ablation: {name.replace('_', ' ')}", name, "ablations") for name in test.get("ablations", {})),
    ]
    body = []
    for label, key, group in rows:
        on_valid, on_test = (valid[group][key], test[group][key]) if group else (valid[key], test[key])
        against = metrics.get("comparisons", {}).get(f"after_minus_{key}", {}).get("by_item")
        interval = f"{against['difference']:+.4f} [{against['low']:+.4f}, {against['high']:+.4f}]" if against else ""
        cells = [f"{on_valid[metrics['primary_metric']]:.4f}", *(f"{on_test[name]:.4f}" for name in names)]
        body.append([label, *cells, interval])
    columns = [
        "model",
        f"valid {metrics['primary_metric']}",
        *(f"test {name}" for name in names),
        "tuned minus it (95 %, items)",
    ]
    print_table(f"{metrics['recipe']} on {metrics['data']['name']}, seed {metrics['seed']}", columns, body, range(1, 5))
