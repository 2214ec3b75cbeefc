"""Tables of `starting.py`: RMSE of each start and of each merge, with its difference to the reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

ARMS = ("frozen", "cold", "nearest", "mean", "nearest and text signal")
MERGES = ("own", "another shop's", "linear", "linear, rank 8", "ties", "dare-linear", "dare-ties", "joint run")


def rows_of(record: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    """Return a row of the table for each arm."""
    lines = []
    for name in names:
        arm = record["arms"][name]
        mean, spread = float(np.mean(arm["rmse"])), float(np.std(arm["rmse"], ddof=1))
        told = "–"
        if "low" in arm:
            told = f"{arm['difference']:+.4f} [{arm['low']:+.4f}, {arm['high']:+.4f}]"
            told = told if arm["low"] <= 0.0 <= arm["high"] else f"**{told}**"
        lines.append(f"| {name} | {mean:.4f} ± {spread:.4f} | {told} |")
    return lines


def write_table(result: Mapping[str, Any], path: Path) -> None:
    """Write the tables of a result as Markdown."""
    shops = ", ".join(f"{name} {count:,}" for name, count in result["shops"].items())
    lines = [
        "# Starting and merging",
        "",
        f"{result['date']}, `{result['command']}`. Shops of films by genre in MovieLens-100K, with their ratings for"
        f" training and validation: {shops}.",
        "RMSE is pooled over the shops; mean ± standard deviation over the seeds. Bold: the 95 % interval, the wider of"
        " those over users and over films, excludes zero. Negative is better.",
    ]
    for record in result.get("starts", ()):
        new = ", ".join(result["new"])
        lines += ["", f"## {record['ratings']} training ratings", ""]
        lines += [f"New shops {new}, {record['test']:,} test ratings.", ""]
        lines += [f"| adapter begins | RMSE | minus {record['against']} |", "| --- | ---: | ---: |"]
        lines += rows_of(record, ARMS)
    if "merges" in result:
        lines += _merges(result["merges"])
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _merges(merges: Mapping[str, Any]) -> list[str]:
    lines = ["", "## Merged adapters of all shops", ""]
    lines += [f"Each shop's own head over texts encoded with the adapter; {merges['test']:,} test ratings.", ""]
    lines += [f"| adapter | RMSE | minus {merges['against']} |", "| --- | ---: | ---: |", *rows_of(merges, MERGES), ""]
    lines += ["Distance of a mean of updates to the exact one, relative to it:", ""]
    for name, found in merges["errors"].items():
        lines.append(f"- {name}: {float(np.mean(found)):.3f}")
    return lines
