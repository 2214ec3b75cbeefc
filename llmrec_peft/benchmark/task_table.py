"""Task table: a task as pages show it: rows with values to sort by, references, plots, curves and advice."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from llmrec_peft.benchmark.advice import advice
from llmrec_peft.benchmark.against import Records, against_best_baseline
from llmrec_peft.benchmark.costs import LISTED, PLOTTED
from llmrec_peft.benchmark.grouping import Group
from llmrec_peft.benchmark.item_slices import COLLABORATIVE, all_slices
from llmrec_peft.benchmark.markdown import NOTHING, metric_name, spread
from llmrec_peft.benchmark.noise import Difference
from llmrec_peft.benchmark.provenance import OTHER_CODE, by_other_code
from llmrec_peft.benchmark.spots import best_baseline, spots_of
from llmrec_peft.benchmark.tasks import FROZEN, FULL, Reference, Task, best_on_validation
from llmrec_peft.page.curves import Line, curves
from llmrec_peft.page.scatter import scatter

_BLEND = "blend"
_MOST_METRICS = 6
"""Further metrics of the tuned model in the table."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What is read.
        value: What is sorted by; None for nothing, which comes last in either direction.
        detail: What stands below the text, smaller.
    """

    text: str
    value: float | None
    detail: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        label: Whose figures they are.
        note: What is said beside it, such as that it is a reference.
        reference: Whether it is no row of the matrix.
        loses: Whether it does not beat its best baseline.
        cells: Its cells.
    """

    label: str
    note: str
    reference: bool
    loses: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class ShownTask:
    """A task as pages show it.

    Attributes:
        title: Name for people.
        metric: The primary metric.
        direction: ``lower`` or ``higher``, which is better.
        columns: Headings after the name.
        sorted_by: Number of the column by which the rows are sorted, from 0.
        rows: Rows, the best on test first.
        plots: Accuracy against each cost.
        slices: Figures on some of the test items: name, items, examples, best baseline, collaborative only, tuned.
        curves: The metric on validation by epoch; None where no epochs are known.
        missing: References that were not measured, in words.
        advice: Which method to use.
    """

    title: str
    metric: str
    direction: str
    columns: tuple[str, ...]
    sorted_by: int
    rows: tuple[Row, ...]
    plots: tuple[Markup, ...]
    slices: tuple[tuple[str, ...], ...]
    curves: Markup | None
    missing: tuple[str, ...]
    advice: tuple[str, ...]


def shown_task(task: Task, records: Records, current_code: str | None) -> ShownTask:
    """Return what pages show of a task.

    Args:
        task: Task of a report.
        records: Comparisons of the report.
        current_code: Digest of the code that measured the newest row.
    """
    metric = metric_name(task.metric)
    costs = [cost for cost in LISTED if any(cost.values(group) for group in task.groups)]
    others = [name for name in task.groups[0].accuracy["test"]["after"] if name != task.metric][:_MOST_METRICS]
    how = _shared_how(task, records)
    against = f"minus best baseline {how}".rstrip()
    headings = ["runs", f"valid {metric}", f"test {metric}", against]
    blended = any(group.values("test", _BLEND, task.metric) for group in task.groups)
    blend = [f"test {metric} of the blend with the best baseline"] if blended else []
    columns = (*headings, *blend, *(cost.label for cost in costs), *(f"test {metric_name(name)}" for name in others))
    rows = [_reference_row(one, len(columns)) for one in task.references()]
    for group in task.groups:
        figures = [_figures(group.values("test", "after", name)) for name in others]
        mixed = [_figures(group.values("test", _BLEND, task.metric))] if blended else []
        spent = [Cell(cost.written(group), cost.mean(group)) for cost in costs]
        rows.append(_group_row(task, group, records, current_code, how, [*mixed, *spent, *figures]))
    at = headings.index(f"test {metric}")
    rows.sort(key=lambda row: _order(row.cells[at].value, task.lower_is_better))
    return ShownTask(
        title=task.title,
        metric=metric,
        direction="lower" if task.lower_is_better else "higher",
        columns=columns,
        sorted_by=at,
        rows=tuple(rows),
        plots=tuple(_plots(task)),
        slices=tuple(_slices(task)),
        curves=_curves(task),
        missing=tuple(_missing(task)),
        advice=tuple(advice(task, records)),
    )


def _slices(task: Task) -> Iterator[tuple[str, ...]]:
    """Yield a line for each group and slice of its test items."""
    for group in task.groups:
        for one in all_slices(group, task.metric):
            figures = (one.written(model) for model in (COLLABORATIVE, "after"))
            yield (task.name(group), one.items, f"{one.n:,}", one.best_written, *figures)


def _missing(task: Task) -> list[str]:
    """Name the references that a reader would look for, and that were not measured."""
    roles = {task.role(group) for group in task.groups}
    missing = [role for role in (FULL,) if role not in roles]
    frozen = FROZEN in roles or any(one.model == "before" for one in task.references())
    return [*([] if task.collaborative_only else ["collaborative only"]), *([] if frozen else [FROZEN]), *missing]


def _group_row(
    task: Task, group: Group, records: Records, current_code: str | None, how: str, further: Sequence[Cell]
) -> Row:
    apart = against_best_baseline(group, task.metric, records)
    other = any(by_other_code(row, current_code) for row in group.rows)
    role = task.role(group)
    return Row(
        label=task.name(group) + (f" {OTHER_CODE}" if other else ""),
        note=f"reference: {role}" if role else "",
        reference=False,
        loses=group.loses("after", task.metric),
        cells=(
            Cell(str(len(group.rows)), len(group.rows)),
            _figures(group.values("valid", "after", task.metric)),
            _figures(group.values("test", "after", task.metric)),
            _difference(apart, how),
            *further,
        ),
    )


def _reference_row(reference: Reference, columns: int) -> Row:
    runs = len(reference.test)
    cells = [
        Cell(NOTHING, None) if reference.published else Cell(str(runs), runs),
        _figures(reference.valid),
        _figures(reference.test),
    ]
    return Row(
        label=reference.label,
        note="",
        reference=True,
        loses=False,
        cells=(*cells, *[Cell(NOTHING, None)] * (columns - len(cells))),
    )


def _figures(values: Sequence[float]) -> Cell:
    return Cell(spread(values), statistics.mean(values) if values else None)


def _shared_how(task: Task, records: Records) -> str:
    """Return how the intervals of all groups were computed; empty where they differ, or there are none."""
    found = {
        apart.how
        for group in task.groups
        if (apart := against_best_baseline(group, task.metric, records)) is not None and apart.low is not None
    }
    return found.pop() if len(found) == 1 else ""


def _difference(apart: Difference | None, how: str) -> Cell:
    if apart is None:
        return Cell(NOTHING, None)
    if apart.low is None:
        return Cell(f"{apart.value:+.4f}", apart.value)
    detail = f"[{apart.low:+.4f}, {apart.high:+.4f}] {'' if how else apart.how}".rstrip()
    return Cell(f"{apart.value:+.4f}", apart.value, detail)


def _order(value: float | None, lower_is_better: bool) -> tuple[bool, float]:
    if value is None:
        return True, 0.0
    return False, value if lower_is_better else -value


def _plots(task: Task) -> list[Markup]:
    """Draw accuracy against each cost that several groups have, and in which they differ."""
    line, metric = best_baseline(task), metric_name(task.metric)
    drawn = []
    for cost in PLOTTED:
        spots = spots_of(task, cost)
        if spots:
            title = f"Test {metric} against {cost.label}"
            labels = (cost.label, f"test {metric}")
            drawn.append(scatter(title, spots, *labels, task.lower_is_better, line, "best baseline"))
    return drawn


def _curves(task: Task) -> Markup | None:
    """Draw the metric on validation by epoch, means over runs; the best method by name, frozen text dashed."""
    best = best_on_validation(task.groups, task.metric)
    lines = []
    for group in task.groups:
        histories = [row.get("training", {}).get("history", ()) for row in group.rows]
        whole = [one for one in histories if one and all(value is not None and math.isfinite(value) for value in one)]
        epochs = min(map(len, whole), default=0)
        if epochs == 0:
            continue
        kind = "curve" if group is best else "frozen" if task.role(group) == FROZEN else "faint"
        means = tuple(statistics.mean(one[epoch] for one in whole) for epoch in range(epochs))
        lines.append(Line(task.name(group), means, kind))
    return curves(f"{metric_name(task.metric)} on validation by epoch", lines) if lines else None
