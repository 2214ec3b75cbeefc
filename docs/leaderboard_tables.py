"""The leaderboard: every committed result of `llmrec bench` by task, and every recipe's figures on real data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from committed_results import RESULTS, load
from markdown_table import table_header, table_row
from recipe_tables import ROOT, data_name, measured_recipes

from llmrec_peft.benchmark.grouping import groups_of
from llmrec_peft.benchmark.markdown import LOSES, NOTHING
from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.benchmark.pictures import COSTS, GAINS
from llmrec_peft.benchmark.provenance import current_code
from llmrec_peft.benchmark.report import read_report
from llmrec_peft.benchmark.result_schema import is_report
from llmrec_peft.benchmark.task_table import Cell, Row, ShownTask, shown_task
from llmrec_peft.benchmark.tasks import tasks_of
from llmrec_peft.printable import for_markdown
from llmrec_peft.recipe.measurements import ModelFigures

SHOWN = ("trained parameters", "peak memory, MiB", "encode one new item, ms p95")
"""Costs in the tables, of those that a result has."""
SAID = {
    GAINS: "test figures less the best baseline's, turned so that more is better, with 95 % intervals",
    COSTS: "test figures against trained parameters, memory and the latency of a new item",
}
"""What the pictures show, by the ends of their names."""


def recipes() -> list[str]:
    """Each recipe on each data set that it was measured on: what is served beside its references."""
    columns = ("recipe", "data", "metric", "best baseline", "collaborative only", "frozen", "tuned", "served")
    lines = table_header(*columns, "served minus best baseline")
    for name, one in measured_recipes():
        result = one.result
        assert result is not None  # noqa: S101 - only those are yielded
        apart, test = result.served_minus_best_baseline, result.test
        lines.append(
            table_row(
                name + (f" {LOSES}" if result.loses else ""),
                data_name(one),
                result.metric,
                *map(_model, (test.best_baseline, test.collaborative_only, test.frozen, test.tuned, test.served)),
                NOTHING
                if apart is None
                else f"{apart.difference:+.4f} [{apart.low:+.4f}, {apart.high:+.4f}] by {apart.unit}",
            )
        )
    return lines


def benchmarks() -> list[str]:
    """Each task of each committed result: every method by its test figure, beside its references, and the advice."""
    lines: list[str] = []
    for file in committed():
        report = read_report(file)
        matrix = Matrix.from_plain(report["matrix"], file.name)
        measured = groups_of(report["rows"])
        records = report.get("comparisons", ())
        current = current_code([row for group in measured for row in group.rows])
        link = f"[results/{file.name}](../{file.relative_to(ROOT).as_posix()})"
        lines += [
            f"### {for_markdown(matrix.name)}",
            "",
            f"{report['date']}, {link}. {for_markdown(matrix.description)}".strip(),
            "",
            *_pictures(file),
        ]
        for task in tasks_of(measured, matrix):
            lines += _task(shown_task(task, records, current))
    return lines[:-1]


def committed() -> Iterator[Path]:
    """Yield the committed results of `llmrec bench`, by name."""
    for file in sorted(RESULTS.glob("*.json")):
        if is_report(load(file.name)):
            yield file


def _pictures(file: Path) -> Iterator[str]:
    """Yield the pictures of a result, which `benchmarks/plot.py` draws beside it."""
    for name, what in SAID.items():
        picture = file.with_name(f"{file.stem}-{name}.png")
        if picture.is_file():
            yield from (f"![{file.stem}: {what}](../{picture.relative_to(ROOT).as_posix()})", "")


def _task(task: ShownTask) -> list[str]:
    """Return a task's heading, table and advice."""
    kept = [at for at, name in enumerate(task.columns) if at <= task.sorted_by + 1 or name in SHOWN]
    lines = [f"#### {for_markdown(task.title)}", "", *table_header("method", *(task.columns[at] for at in kept))]
    lines += [table_row(_name(row), *(_cell(row.cells[at]) for at in kept)) for row in task.rows]
    return [*lines, "", for_markdown(" ".join(task.advice)), ""]


def _name(row: Row) -> str:
    name = for_markdown(row.label)
    if row.reference:
        return f"*{name}*"
    return name + (f" {LOSES}" if row.loses else "") + (f" ({row.note})" if row.note else "")


def _cell(cell: Cell) -> str:
    return f"{cell.text} {cell.detail}" if cell.detail else cell.text


def _model(figures: ModelFigures | None) -> str:
    if figures is None:
        return NOTHING
    return f"{figures.mean:.4f} ({figures.name.replace('_', ' ')})"
