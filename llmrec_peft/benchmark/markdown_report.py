"""Markdown report: advice, tables and comparisons of a benchmark, and where its rows come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmrec_peft.benchmark import accuracy_tables, cost_table
from llmrec_peft.benchmark.advice import HOW, advice
from llmrec_peft.benchmark.cells import row_of, titled
from llmrec_peft.benchmark.grouping import Group, groups_of
from llmrec_peft.benchmark.markdown import paragraph
from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.benchmark.provenance import OTHER_CODE, by_other_code, current_code, provenance_of
from llmrec_peft.benchmark.sections import RecipeChoice
from llmrec_peft.benchmark.tasks import Task, tasks_of
from llmrec_peft.printable import for_markdown

Report = Mapping[str, Any]
"""Contents of ``results.json``."""


def as_markdown(report: Report) -> str:
    """Return the report as Markdown: hardware, advice, tables, comparisons, and what was not measured."""
    matrix = Matrix.from_plain(report["matrix"], report["name"])
    rows = report["rows"]
    lines = [f"# {for_markdown(matrix.name)}", ""]
    if matrix.description:
        lines += [paragraph(for_markdown(matrix.description)), ""]
    lines += [*_computed_on(report), ""]
    if "note" in report:
        lines += [paragraph(for_markdown(report["note"])), ""]
    groups, timed = groups_of(rows), matrix.timing is not None
    lines += _advice(tasks_of(groups, matrix), report.get("comparisons", ()))
    lines += [paragraph(cost_table.LEGEND if timed else accuracy_tables.LEGEND), ""]
    if timed:
        lines += cost_table.cost_tables(rows)
    else:
        lines += _accuracy(groups, matrix, report.get("comparisons", ()))
        lines += [paragraph(for_markdown(one), True) for one in unmeasured(rows)]
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


def unmeasured(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each cell that failed or was refused, with its reason."""
    return [f"{titled(row['axes'])}: {row['status']}: {row['reason']}" for row in rows if row["status"] != "ok"]


def _advice(found: Sequence[Task], records: Sequence[Mapping[str, Any]]) -> list[str]:
    if not found:
        return []
    lines = ["## Which should I use?", "", paragraph(HOW), ""]
    lines += [
        paragraph(f"**{for_markdown(task.title)}.** {for_markdown(' '.join(advice(task, records)))}", True)
        for task in found
    ]
    return [*lines, ""]


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


def _computed_on(report: Report) -> list[str]:
    """Return date, versions, code, seeds, data and machines; and how many rows other code measured."""
    if not report["hardware"]:
        return ["No cell was measured."]
    found = provenance_of(report)
    lines = [paragraph(for_markdown(f"{report['date']}. {'; '.join(found.versions)}.")), ""]
    lines += [paragraph(for_markdown(one), True) for one in (*found.machines, *found.side_by_side)]
    lines += [paragraph(for_markdown(f"Runs: {one}"), True) for one in found.seeds]
    lines += [paragraph(for_markdown(f"Data: {one}"), True) for one in found.data]
    if found.commit is not None:
        lines.append(paragraph(for_markdown(f"Commit: {found.commit}"), True))
    if found.codes:
        lines.append(paragraph(for_markdown(f"Code: {found.codes[0][0]}"), True))
    measured = [row for row in report["rows"] if row["status"] == "ok"]
    other = [titled(row["axes"]) for row in measured if by_other_code(row, current_code(measured))]
    if other:
        lines.append(paragraph(for_markdown(f"{OTHER_CODE} Measured by other code: {', '.join(other)}"), True))
    return lines
