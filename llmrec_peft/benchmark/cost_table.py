"""Cost table: cost and accuracy of each adapter, one line per adapter, for each recipe, backbone and precision."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmrec_peft.benchmark.accuracy_tables import SLICES
from llmrec_peft.benchmark.cells import row_of, titled
from llmrec_peft.benchmark.grouping import Group
from llmrec_peft.benchmark.markdown import LOSES, spread, table
from llmrec_peft.benchmark.rows import Row
from llmrec_peft.printable import for_markdown

_OWN_TABLE = ("recipe", "backbone", "precision")
LEGEND = (
    "Accuracy is the mean over seeds ± the standard deviation between them. A step is an optimizer step over the same"
    " texts as the frozen forward, timed in turns with it in one process; *stored* replays the states below the"
    " adapter. Memory is the peak of the process that trains (resident, or allocated on the accelerator)."
    f" {LOSES}: no better on the test part than the best baseline, which is chosen on validation."
)


def cost_tables(rows: Sequence[Row]) -> list[str]:
    """Make one table per recipe, backbone and precision: baselines first, then one line for each of the other axes."""
    lines: list[str] = []
    for title in dict.fromkeys(_title(row["axes"]) for row in rows):
        lines += [f"## {for_markdown(title)}", "", *_table([row for row in rows if _title(row["axes"]) == title]), ""]
    return lines


def _title(axes: Mapping[str, Any]) -> str:
    return " · ".join(str(axes[axis]) for axis in _OWN_TABLE if axis in axes)


def _name(axes: Mapping[str, Any]) -> str:
    """Return the name that distinguishes a line from the others of its table."""
    return titled({axis: value for axis, value in row_of(axes).items() if axis not in _OWN_TABLE}) or "tuned"


def _table(rows: Sequence[Row]) -> list[str]:
    """Return the lines of one table."""
    good = [row for row in rows if row["status"] == "ok"]
    metric = good[0]["accuracy"]["metric"].upper() if good else "accuracy"
    cuda = any(row["peak_memory_mb"]["cuda"] for row in good)
    columns = [
        "adapter",
        "seeds",
        "parameters",
        "file, KiB",
        "step, ms p50 (p95)",
        "step ÷ frozen forward",
        "… stored",
        "new text, ms p50 (p95)",
        f"{good[0]['answers']['pairs'] if good else 'known'} pairs, ms",
        "peak, MiB",
        *(["GPU peak, MiB"] if cuda else []),
        f"valid {metric}",
        f"test {metric}{_where(good[0]['accuracy']) if good else ''}",
    ]
    blanks = [""] * (len(columns) - 3)
    body: list[list[str]] = []
    missing = []
    reference = Group({}, tuple(_one_a_seed(good)))
    for model in [*(good[0]["accuracy"]["baselines"] if good else []), *(["before"] if good else [])]:
        name = "before: frozen text, linear head" if model == "before" else model.replace("_", " ")
        best = " (best baseline)" if model in reference.best_baselines else ""
        figures = [spread(reference.values(part, model, reference.accuracy["metric"])) for part in ("valid", "test")]
        body.append([f"*{for_markdown(name)}*{best}", *blanks, *figures])
    for name in dict.fromkeys(_name(row["axes"]) for row in rows):
        own = [row for row in rows if _name(row["axes"]) == name]
        done = [row for row in own if row["status"] == "ok"]
        if done:
            body.append([for_markdown(name), *_figures(done, cuda)])
        reasons = dict.fromkeys((row["status"], row["reason"]) for row in own if row["status"] != "ok")
        for status, reason in reasons:
            seeds = [str(row["axes"]["seed"]) for row in own if (row["status"], row["reason"]) == (status, reason)]
            missing.append("- " + for_markdown(f"{name}, seed {', '.join(seeds)}: {status}: {reason}"))
    return [*(table(columns, body) if body else []), *([""] if body and missing else []), *missing]


def _figures(rows: Sequence[Row], cuda: bool) -> list[str]:
    """Return the cells of an adapter's line after its name."""
    first, group = rows[0], Group({}, tuple(rows))
    metric = group.accuracy["metric"]

    def mean(of: Callable[[Row], float | None], form: str) -> str:
        values = [value for value in map(of, rows) if value is not None]
        return format(statistics.mean(values), form) if values else "–"

    def latency(of: Callable[[Row], dict[str, float] | None]) -> str:
        if any(of(row) is None for row in rows):
            return "–"
        p50, p95 = (mean(lambda row, k=key: (of(row) or {})[k], ".1f") for key in ("p50_ms", "p95_ms"))  # type: ignore[misc]
        return f"{p50} ({p95})"

    return [
        ", ".join(str(row["axes"]["seed"]) for row in rows),
        f"{first['parameters']['adapter']:,}",
        mean(lambda row: row["adapter_bytes"] and row["adapter_bytes"] / 1024, ",.1f"),
        latency(lambda row: row["steps"]["step"]),
        mean(lambda row: row["steps"]["step_over_forward"], ".2f"),
        mean(lambda row: row["steps"]["step_with_trunk_over_forward"], ".2f"),
        latency(lambda row: row["answers"].get("new_text")),
        mean(lambda row: row["answers"]["known_pairs"]["p50_ms"], ".2f"),
        mean(lambda row: row["peak_memory_mb"]["rss"], ",.0f"),
        *([mean(lambda row: row["peak_memory_mb"]["cuda"], ",.0f")] if cuda else []),
        spread(group.values("valid", "after", metric)),
        spread(group.values("test", "after", metric)) + (f" {LOSES}" if group.loses("after", metric) else ""),
    ]


def _one_a_seed(rows: Sequence[Row]) -> list[Row]:
    """Return the first row of each seed: baselines and `before` are the same in all cells of a seed."""
    return list({row["axes"]["seed"]: row for row in reversed(rows)}.values())[::-1]


def _where(accuracy: Mapping[str, Any]) -> str:
    name = accuracy["slice"]
    return f", {SLICES[name]} (n {accuracy['n']:,})" if name else f" (n {accuracy['n']:,})"
