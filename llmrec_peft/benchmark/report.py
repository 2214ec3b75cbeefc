"""Report: the rows of a benchmark, with hardware and versions, as JSON, as CSV, and as Markdown."""

from __future__ import annotations

import csv
import datetime
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.benchmark import accuracy_tables, cost_table
from llmrec_peft.benchmark.cells import row_of, titled
from llmrec_peft.benchmark.grouping import Group, groups_of
from llmrec_peft.benchmark.markdown import paragraph
from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.benchmark.rows import Row
from llmrec_peft.benchmark.sections import RecipeChoice
from llmrec_peft.errors import InputError
from llmrec_peft.printable import for_markdown

Report = Mapping[str, Any]
"""Contents of ``results.json``."""
_SHARED = ("hardware", "versions")
"""Values that most rows share: listed once, and referenced by number in each row."""


def assemble(matrix: Matrix, rows: Sequence[Row], comparisons: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Collect everything that a report contains.

    Args:
        matrix: Matrix that was measured.
        rows: One row for each cell.
        comparisons: Comparisons of the rows.

    Returns:
        ``name``, ``date`` (of the newest row), ``hardware`` and ``versions`` (lists; rows contain an index into them),
        ``matrix``, ``rows`` and ``comparisons``.
    """
    shared = {key: _distinct(rows, key) for key in _SHARED}
    numbered = [
        {key: shared[key].index(value) if key in _SHARED else value for key, value in row.items()} for row in rows
    ]
    dates = [row["date"] for row in rows if "date" in row]
    return {
        "name": matrix.name,
        "date": max(dates, default=datetime.date.today().isoformat()),
        **shared,
        "matrix": matrix.model_dump(mode="json", exclude_defaults=True),
        "rows": numbered,
        "comparisons": [dict(one) for one in comparisons],
    }


def write_report(report: Report, out: Path) -> None:
    """Write ``results.json``, ``results.csv`` (one line per cell) and ``results.md`` (means over seeds).

    Raises:
        InputError: If they cannot be written.
    """
    contents = {
        "results.csv": as_csv(report["rows"]),
        "results.md": as_markdown(report),
        "results.json": json.dumps(report, indent=2) + "\n",
    }
    for name, text in contents.items():
        with whole_file(out / name) as partial:
            partial.write_text(text, encoding="utf-8")


def read_report(path: Path) -> dict[str, Any]:
    """Read a ``results.json``, or a committed copy of one.

    Raises:
        InputError: If it is not such a file.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: unreadable ({error})") from None
    if not isinstance(report, dict) or not {"name", "matrix", "rows"} <= set(report):
        raise InputError(f"{path}: not the results.json of a benchmark")
    Matrix.from_plain(report["matrix"], str(path))
    return report


def as_markdown(report: Report) -> str:
    """Return the report as Markdown: hardware, tables, comparisons, and what was not measured."""
    matrix = Matrix.from_plain(report["matrix"], report["name"])
    rows = report["rows"]
    lines = [f"# {for_markdown(matrix.name)}", ""]
    if matrix.description:
        lines += [paragraph(for_markdown(matrix.description)), ""]
    lines += [*_computed_on(report), ""]
    if "note" in report:
        lines += [paragraph(for_markdown(report["note"])), ""]
    timed = matrix.timing is not None
    lines += [paragraph(cost_table.LEGEND if timed else accuracy_tables.LEGEND), ""]
    if timed:
        lines += cost_table.cost_tables(rows)
    else:
        lines += _accuracy(groups_of(rows), matrix, report.get("comparisons", ()))
        lines += [
            paragraph(for_markdown(f"{titled(row['axes'])}: {row['status']}: {row['reason']}"), True)
            for row in rows
            if row["status"] != "ok"
        ]
    if report.get("comparisons"):
        lines += ["## Comparisons", "", paragraph("Bold: the interval excludes zero."), ""]
        lines += [*accuracy_tables.compared(report["comparisons"]), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def summary_table(report: Report) -> str:
    """Return the summary alone, for a README: one line per row of the matrix; for a timed matrix, its tables."""
    matrix = Matrix.from_plain(report["matrix"], report["name"])
    if matrix.timing is not None:
        return "\n".join(cost_table.cost_tables(report["rows"]))
    groups = groups_of(report["rows"])
    return "\n".join(accuracy_tables.summary(groups, _choices(matrix), report.get("comparisons", ()))) + "\n"


def as_csv(rows: Sequence[Row]) -> str:
    """Return one line per cell; missing figures are empty."""
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _accuracy(groups: Sequence[Group], matrix: Matrix, comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    if not groups:
        return []
    choices = _choices(matrix)
    lines = ["## Summary", "", *accuracy_tables.summary(groups, choices, comparisons), ""]
    for group in groups:
        seeds = ", ".join(
            titled({a: v for a, v in row["axes"].items() if a not in row_of(row["axes"])}) for row in group.rows
        )
        lines += [f"## {for_markdown(group.title)}", "", paragraph(for_markdown(f"Runs: {seeds}.")), ""]
        lines += accuracy_tables.every_model(group, choices[group.axes["recipe"]])
    return lines


def _choices(matrix: Matrix) -> dict[str, RecipeChoice]:
    return {choice.label or Path(choice.recipe).stem: choice for choice in matrix.recipes}


def _flat(row: Row) -> Row:
    """Return a cell's row with one value per column."""
    flat = {**row["axes"], "status": row["status"], "reason": row["reason"] or ""}
    seconds, memory = row.get("seconds", {}), row.get("peak_memory_mb", {})
    flat |= {"seconds_cell": seconds.get("cell", ""), "peak_rss_mb": memory.get("rss", "")}
    if row["status"] != "ok":
        return flat
    accuracy, group = row["accuracy"], Group({}, (row,))
    metric, best = accuracy["metric"], accuracy["best_baseline"]
    flat |= {"peak_cuda_mb": memory["cuda"], "seconds_train": seconds["train"]}
    flat |= {"adapter_parameters": row["parameters"]["adapter"], "trained_parameters": row["parameters"]["trainable"]}
    flat |= {"adapter_bytes": row.get("adapter_bytes", ""), "metric": metric}
    flat |= {"test_items": accuracy["slice"] or "all", "test_n": accuracy.get("n", "")}
    for part in ("valid", "test"):
        flat |= {f"{part}_{model}": figures[metric] for model, figures in accuracy[part].items() if metric in figures}
    if best is not None:
        flat |= {"best_baseline": best, "beats_best_baseline": not group.loses("after", metric)}
        flat |= {"best_baseline_test": accuracy["test"][best][metric]}
    steps, answers = row.get("steps", {}), row.get("answers", {})
    for part in ("forward", "step", "step_with_trunk"):
        flat |= {f"{part}_{key}": value for key, value in (steps.get(part) or {}).items()}
    flat |= {name: steps[name] for name in ("step_over_forward", "step_with_trunk_over_forward") if name in steps}
    for part in ("new_text", "known_pairs"):
        flat |= {f"{part}_{key}": value for key, value in answers.get(part, {}).items()}
    return flat


def _computed_on(report: Report) -> list[str]:
    """Return date, machines and versions; with several machines, the tasks measured on each."""
    rows = report["rows"]
    if not report["hardware"]:
        return ["No cell was measured."]
    lines = [paragraph(for_markdown(f"{report['date']}. {'; '.join(map(_packages, report['versions']))}.")), ""]
    for at, one in enumerate(report["hardware"]):
        threads = f"{one['threads']} thread{'' if one['threads'] == 1 else 's'}"
        machine = f"{one['cuda'] or one['processor']}, {one['cores']} cores ({threads}), {one['memory_gb']} GB"
        tasks = dict.fromkeys(str(row["axes"]["recipe"]) for row in rows if row.get("hardware") == at)
        named = f": {', '.join(tasks)}" if tasks and len(report["hardware"]) > 1 else ""
        lines.append(paragraph(for_markdown(machine + named), bullet=True))
    return lines


def _packages(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in ("llmrec-peft", "torch", "transformers", "peft"))


def _distinct(rows: Sequence[Row], key: str) -> list[Any]:
    distinct: list[Any] = []
    for row in rows:
        if key in row and row[key] not in distinct:
            distinct.append(row[key])
    return distinct
