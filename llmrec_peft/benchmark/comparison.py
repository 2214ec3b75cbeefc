"""Comparison: rows of the report against other rows or their own baselines, by bootstrap over saved predictions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec_peft.benchmark.cells import Cell, matches, row_of, spelled_out
from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.benchmark.pooled import pooled_comparison
from llmrec_peft.benchmark.process import Places
from llmrec_peft.benchmark.rows import Row, write_json
from llmrec_peft.benchmark.sections import BEST_BASELINE, PRIMARY, Comparison
from llmrec_peft.errors import InputError
from llmrec_peft.identity import values_digest
from llmrec_peft.progress import bar
from llmrec_peft.workflows.compare import BASELINE, compare

_BEST_IN_COMPARE = "best"
"""Name in `compare` for each run's own best baseline."""


@dataclass(frozen=True)
class Pair:
    """Two groups of cells to compare.

    Attributes:
        first: Cells of one row of the report, over seeds.
        second: Cells of the other row, in the same order; None if a model of the first's own runs is compared.
        against: That model's name; None if there are other cells.
        wanted: The comparison of the matrix.
        metrics: Metrics to compare; the tables' by default.
    """

    first: tuple[Cell, ...]
    second: tuple[Cell, ...] | None
    against: str | None
    wanted: Comparison
    metrics: tuple[str, ...]


def pairs(matrix: Matrix, cells: Sequence[Cell], all_cells: Sequence[Cell] | None = None) -> list[Pair]:
    """Expand the comparisons of a matrix, among some of its cells.

    Args:
        matrix: Matrix with the comparisons.
        cells: Cells that are measured.
        all_cells: Cells of the whole matrix, if those are not all.

    Raises:
        InputError: If the whole matrix has no cell that a comparison asks for.
    """
    grouped = _by_row(cells)
    metrics = {choice.label or Path(choice.recipe).stem: choice.metrics or (PRIMARY,) for choice in matrix.recipes}
    everything = _by_row(cells if all_cells is None else all_cells)
    for at, comparison in enumerate(matrix.comparisons):
        if not any(_counterparts(everything, comparison, row) for row in _matching(everything, comparison.first)):
            _refuse(f"comparisons.{at}", everything, comparison)
    return [
        Pair(
            grouped[first], second, against, comparison, comparison.metrics or metrics[grouped[first][0].axes["recipe"]]
        )
        for comparison in matrix.comparisons
        for first in _matching(grouped, comparison.first)
        for second, against in _counterparts(grouped, comparison, first)
    ]


def compare_all(pairs_: Sequence[Pair], rows: Sequence[Row], out: Path, show: bool = True) -> list[dict[str, Any]]:
    """Compare every pair; earlier comparisons are read from ``out/comparisons``.

    Args:
        pairs_: Pairs to compare.
        rows: Rows of the cells.
        out: Folder of the benchmark.
        show: Whether to show a progress bar.

    Returns:
        One record for each pair, model and metric: ``first`` (axes), ``against`` (axes, or a model's name), ``model``,
        ``metric``, and either ``difference``, ``intervals`` and ``verdict``, or ``left_out`` with the reason.
    """
    by_key = {row["key"]: row for row in rows}
    questions = [question for pair in pairs_ for question in _questions(pair, by_key)]
    records = []
    with bar("comparisons", len(questions), 0, show) as shown:
        for pair, model, metric in questions:
            records.append(_record(pair, model, metric, by_key, out))
            shown.advance()
    return records


def _by_row(cells: Sequence[Cell]) -> dict[str, tuple[Cell, ...]]:
    """Group cells by their row of the report."""
    grouped: dict[str, tuple[Cell, ...]] = {}
    for cell in cells:
        key = values_digest([row_of(cell.axes)])
        grouped[key] = (*grouped.get(key, ()), cell)
    return grouped


def _matching(grouped: Mapping[str, tuple[Cell, ...]], condition: Mapping[str, Any]) -> list[str]:
    return [key for key, cells in grouped.items() if matches(condition, cells[0].axes)]


def _counterparts(
    grouped: Mapping[str, tuple[Cell, ...]], comparison: Comparison, first: str
) -> list[tuple[tuple[Cell, ...] | None, str | None]]:
    """Return what a row is compared against: other rows of the same recipe, or a model of its own runs."""
    if isinstance(comparison.against, str):
        return [(None, comparison.against)]
    own = row_of(grouped[first][0].axes)
    same = {axis: value for axis, value in own.items() if axis not in {*comparison.against, *comparison.first}}
    same["recipe"] = own["recipe"] if "recipe" not in comparison.against else comparison.against["recipe"]
    return [
        (cells, None)
        for key, cells in grouped.items()
        if key != first and matches(comparison.against, cells[0].axes) and _same(same, cells[0].axes)
    ]


def _same(wanted: Mapping[str, Any], axes: Mapping[str, Any]) -> bool:
    return all(axes.get(axis) == value for axis, value in wanted.items())


def _refuse(where: str, grouped: Mapping[str, tuple[Cell, ...]], comparison: Comparison) -> None:
    if not _matching(grouped, comparison.first):
        raise InputError(f"{where}.first: no cell has {spelled_out(comparison.first)}")
    against = comparison.against if isinstance(comparison.against, dict) else {}
    raise InputError(f"{where}.against: beside those of `first` no cell has {spelled_out(against)}")


def _questions(pair: Pair, rows: Mapping[str, Row]) -> Iterator[tuple[Pair, str, str]]:
    """Yield every model and metric that the runs of a pair have."""
    measured = [rows[cell.key] for cell in pair.first if rows.get(cell.key, {}).get("status") == "ok"]
    if not measured:
        return
    accuracy = measured[0]["accuracy"]
    if pair.against == BEST_BASELINE and accuracy["best_baseline"] is None:
        return
    for model in pair.wanted.models:
        for metric in pair.metrics:
            name = accuracy["metric"] if metric == PRIMARY else metric
            if model in accuracy["test"] and name in accuracy["test"][model]:
                yield pair, model, name


def _record(pair: Pair, model: str, metric: str, rows: Mapping[str, Row], out: Path) -> dict[str, Any]:
    second = None if pair.second is None else row_of(pair.second[0].axes)
    record = {
        "first": row_of(pair.first[0].axes),
        "against": pair.against if second is None else second,
        "model": model,
        "metric": metric,
    }
    cells = [*pair.first, *(pair.second or ())]
    unmeasured = [cell.title for cell in cells if rows.get(cell.key, {}).get("status") != "ok"]
    if unmeasured:
        return {**record, "left_out": f"not measured: {', '.join(unmeasured)}"}
    keys = [[cell.key for cell in pair.first], None if pair.second is None else [cell.key for cell in pair.second]]
    path = out / "comparisons" / f"{values_digest([*keys, record, pair.wanted.resamples])[:16]}.json"
    earlier = _read(path)
    if earlier is not None:
        return {**record, **earlier}
    try:
        answer = _answer(pair, model, metric, rows, out)
    except InputError as error:
        return {**record, "left_out": str(error)}
    path.parent.mkdir(exist_ok=True)
    write_json(path, answer)
    return {**record, **answer}


def _answer(pair: Pair, model: str, metric: str, rows: Mapping[str, Row], out: Path) -> dict[str, Any]:
    """Compute difference, intervals and verdict from the saved predictions."""
    first = [_kept(cell, out) for cell in pair.first]
    second = first if pair.second is None else [_kept(cell, out) for cell in pair.second]
    if _several_parts(pair.first):
        others = [_model_against(pair, model, rows[cell.key]) for cell in pair.first]
        sides = [(run, model) for run in first], list(zip(second, others, strict=False))
        return pooled_comparison(*sides, metric, pair.wanted.resamples)
    own = _BEST_IN_COMPARE if pair.against == BEST_BASELINE else pair.against
    against = [str(run) for run in second] if own is None else [f"{BASELINE}{own}"]
    report = compare(first, against, metric, model, resamples=pair.wanted.resamples)
    return {key: report[key] for key in ("difference", "intervals", "verdict", "notes")}


def _model_against(pair: Pair, model: str, row: Row) -> str:
    """Return the model that a run is compared against."""
    if pair.against is None:
        return model
    return str(row["accuracy"]["best_baseline"]) if pair.against == BEST_BASELINE else pair.against


def _several_parts(cells: Sequence[Cell]) -> bool:
    """Return whether the runs of a row were tested on different examples."""
    return len({json.dumps(cell.recipe.plain()["data"], sort_keys=True) for cell in cells}) > 1


def _kept(cell: Cell, out: Path) -> Path:
    folder = Places.of(cell, out).kept
    if not folder.is_dir():
        raise InputError(f"the predictions of {cell.title} were not kept: --overwrite measures it again")
    return folder


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) and "difference" in values else None
