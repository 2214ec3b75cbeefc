"""Report: the rows of a benchmark as CSV, as Markdown tables, and as JSON with what it was computed on."""

from __future__ import annotations

import csv
import datetime
import io
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.benchmark.matrix import AXES, Matrix

Row = dict[str, Any]
_GROUP = ("recipe", "backbone", "precision")
_LOSES = "†"


def write_report(matrix: Matrix, rows: Sequence[Row], out: Path) -> None:
    """Write ``results.csv`` (a line a cell), ``results.md`` (means over seeds) and ``results.json``.

    Args:
        matrix: What was measured.
        rows: A row for each cell.
        out: Folder that exists.

    Raises:
        InputError: When it cannot be written.
    """
    contents = {"results.csv": as_csv(rows), "results.md": as_markdown(matrix, rows), "results.json": ""}
    report = {
        "name": matrix.name,
        "date": datetime.date.today().isoformat(),
        "hardware": _distinct(rows, "hardware"),
        "versions": _distinct(rows, "versions"),
        "matrix": matrix.model_dump(mode="json"),
        "rows": [{key: value for key, value in row.items() if key not in ("hardware", "versions")} for row in rows],
    }
    contents["results.json"] = json.dumps(report, indent=2) + "\n"
    for name, text in contents.items():
        with whole_file(out / name) as partial:
            partial.write_text(text, encoding="utf-8")


def as_csv(rows: Sequence[Row]) -> str:
    """One line a cell; what a cell has no figure for is empty."""
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def as_markdown(matrix: Matrix, rows: Sequence[Row]) -> str:
    """A table for each recipe, backbone and precision: trivial lines first, then a line an adapter."""
    parts = [f"# {matrix.name}", ""]
    if matrix.description:
        parts += [matrix.description, ""]
    parts += [_computed_on(rows), ""]
    parts += [
        "Accuracy is the mean over seeds ± the standard deviation between them. A step is an optimizer step over the"
        " same texts as the frozen forward, timed in turns with it in one process; *stored* replays the states below"
        " the adapter. Memory is the peak of the process that trains (resident, or allocated on the accelerator)."
        f" {_LOSES}: no better than the best trivial line on the test part.",
        "",
    ]
    for group in dict.fromkeys(_of(row, _GROUP) for row in rows):
        own = [row for row in rows if _of(row, _GROUP) == group]
        parts += [f"## {' · '.join(group)}", "", *_table(own), ""]
    return "\n".join(parts)


def _table(rows: Sequence[Row]) -> list[str]:
    """The lines of one table."""
    good = [row for row in rows if row["status"] == "ok"]
    metric = good[0]["accuracy"]["metric"].upper() if good else "accuracy"
    where = _where(good[0]["accuracy"]) if good else ""
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
        f"test {metric}{where}",
    ]
    lines = ["| " + " | ".join(columns) + " |", "| --- |" + " ---: |" * (len(columns) - 1)]
    blanks = len(columns) - 3
    for name in good[0]["accuracy"]["trivial"] if good else []:
        figures = [_spread([row["accuracy"][part][name] for row in _one_a_seed(good)]) for part in ("valid", "test")]
        lines.append(f"| *{name.replace('_', ' ')}* |" + " |" * blanks + f" {figures[0]} | {figures[1]} |")
    if good:
        figures = [_spread([row["accuracy"][p]["before"] for row in _one_a_seed(good)]) for p in ("valid", "test")]
        lines.append("| *before: frozen text, linear head* |" + " |" * blanks + f" {figures[0]} | {figures[1]} |")
    for adapter in dict.fromkeys(row["axes"]["adapter"] for row in rows):
        own = [row for row in rows if row["axes"]["adapter"] == adapter]
        done = [row for row in own if row["status"] == "ok"]
        if done:
            lines.append("| " + " | ".join([adapter, *_figures(done, cuda)]) + " |")
        reasons = dict.fromkeys((row["status"], row["reason"]) for row in own if row["status"] != "ok")
        for status, reason in reasons:
            seeds = [str(row["axes"]["seed"]) for row in own if (row["status"], row["reason"]) == (status, reason)]
            said = f"{status}: {_plain(reason)}"
            lines.append(f"| {adapter} | {', '.join(seeds)} | {said} |" + " |" * (len(columns) - 3))
    return lines


def _figures(rows: Sequence[Row], cuda: bool) -> list[str]:
    """An adapter's cells after its name."""
    first = rows[0]

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
        _spread([row["accuracy"]["valid"]["after"] for row in rows]),
        _spread([row["accuracy"]["test"]["after"] for row in rows]) + ("" if _beats(rows) else f" {_LOSES}"),
    ]


def best_trivial(row: Row) -> tuple[str, float]:
    """The best trivial line of a measured cell on its test part, the strictest choice of one."""
    accuracy = row["accuracy"]
    best = min if accuracy["lower_is_better"] else max
    name = best(accuracy["trivial"], key=lambda one: accuracy["test"][one])
    return name, accuracy["test"][name]


def _beats(rows: Sequence[Row]) -> bool:
    """Whether the mean over seeds is better than that of the best trivial line."""
    own: float = statistics.mean(row["accuracy"]["test"]["after"] for row in rows)
    line: float = statistics.mean(best_trivial(row)[1] for row in rows)
    return own < line if rows[0]["accuracy"]["lower_is_better"] else own > line


def _flat(row: Row) -> Row:
    """A cell's row with one value a column."""
    flat = {**row["axes"], "status": row["status"], "reason": row["reason"] or ""}
    seconds, memory = row.get("seconds", {}), row.get("peak_memory_mb", {})
    flat |= {"seconds_cell": seconds.get("cell", ""), "peak_rss_mb": memory.get("rss", "")}
    if row["status"] != "ok":
        return flat
    accuracy = row["accuracy"]
    name, line = best_trivial(row)
    flat |= {"peak_cuda_mb": memory["cuda"], "seconds_train": seconds["train"]}
    flat |= {"adapter_parameters": row["parameters"]["adapter"], "trained_parameters": row["parameters"]["trainable"]}
    flat |= {"adapter_bytes": row["adapter_bytes"], "metric": accuracy["metric"]}
    flat |= {"test_items": accuracy["slice"] or "all", "test_n": accuracy["n"]}
    for part in ("valid", "test"):
        flat |= {f"{part}_{model}": figure for model, figure in accuracy[part].items()}
    flat |= {"best_trivial": name, "beats_trivial": _beats([row]), "best_trivial_test": line}
    for part in ("forward", "step", "step_with_trunk"):
        flat |= {f"{part}_{key}": value for key, value in (row["steps"][part] or {}).items()}
    flat |= {name: row["steps"][name] for name in ("step_over_forward", "step_with_trunk_over_forward")}
    for part in ("new_text", "known_pairs"):
        flat |= {f"{part}_{key}": value for key, value in row["answers"].get(part, {}).items()}
    return flat


def _computed_on(rows: Sequence[Row]) -> str:
    """One sentence: machine, versions, date."""
    machines = [
        f"{one['cuda'] or one['processor']}, {one['cores']} cores ({one['threads']} threads), {one['memory_gb']} GB"
        for one in _distinct(rows, "hardware")
    ]
    versions = [
        ", ".join(f"{name} {one[name]}" for name in ("llmrec-peft", "torch", "transformers", "peft"))
        for one in _distinct(rows, "versions")
    ]
    if not machines:
        return "No cell was measured."
    return f"{datetime.date.today().isoformat()}. {'; '.join(machines)}. {'; '.join(versions)}."


def _distinct(rows: Sequence[Row], key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for row in rows:
        if key in row and row[key] not in found:
            found.append(row[key])
    return found


def _one_a_seed(rows: Sequence[Row]) -> list[Row]:
    """The first row of each seed: trivial lines and `before` are the same in all of a seed's cells."""
    return list({row["axes"]["seed"]: row for row in reversed(rows)}.values())[::-1]


def _spread(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"


def _where(accuracy: dict[str, Any]) -> str:
    name = accuracy["slice"]
    return f", {name.replace('_', ' ')} (n {accuracy['n']:,})" if name else f" (n {accuracy['n']:,})"


def _of(row: Row, axes: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(row["axes"][axis]) for axis in AXES if axis in axes)


def _plain(text: str) -> str:
    """A reason that cannot break a Markdown table."""
    return " ".join(text.replace("|", "/").split())
