"""Bench: from a matrix file to its report: expand, measure what is missing, compare, write."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from llmrec_peft.benchmark.cells import Cell, chosen, load_matrix
from llmrec_peft.benchmark.choices import Choices
from llmrec_peft.benchmark.comparison import compare_all, pairs
from llmrec_peft.benchmark.forecast import forecasts
from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.benchmark.report import assemble, write_report
from llmrec_peft.benchmark.rows import Row
from llmrec_peft.benchmark.runner import alone_in, plan, run_cells


def selected(path: Path, data: Path, only: str | None) -> tuple[Matrix, list[Cell], list[Cell]]:
    """Expand a matrix and select cells by name.

    Args:
        path: Matrix file.
        data: Folder of the datasets.
        only: Text or pattern that the names of the wanted cells contain; None for all.

    Returns:
        The matrix, the selected cells, and all of its cells.

    Raises:
        InputError: For a mistake in the matrix, or if no cell has such a name.
    """
    matrix, cells = load_matrix(path, data)
    pairs(matrix, cells)  # comparisons without cells are refused before anything is measured
    return matrix, cells if only is None else chosen(cells, only), cells


def foreseen(path: Path, data: Path, out: Path, only: str | None, choices: Choices, probe: bool) -> dict[str, Any]:
    """Say what `bench` would do and what it would take; nothing is written into `out`.

    Args:
        path: Matrix file.
        data: Folder of the datasets.
        out: Folder of the rows and the report.
        only: Text or pattern that the names of the wanted cells contain; None for all.
        choices: Settings of the run.
        probe: Whether a cell of each unknown kind may be trained for one epoch, to see how long it takes.

    Returns:
        ``cells``, each with ``cell`` (its name), ``axes``, ``would``, ``memory_mb``, ``seconds`` and ``basis``, the
        last three None for what would not run; and ``total`` of those that would: ``cells``, the sum of ``seconds``,
        how many are of ``unknown`` time, and the largest ``memory_mb``.

    Raises:
        InputError: For a mistake in the matrix.
    """
    _, cells, every = selected(path, data, only)
    planned = plan(cells, out, choices)
    would_run = [cell for cell, state in planned if state.startswith("run")]
    found = forecasts(would_run, every, out, choices, probe)
    nothing = {"memory_mb": None, "seconds": None, "basis": None}
    seconds = [one.seconds for one in found.values() if one.seconds is not None]
    return {
        "cells": [
            {
                "cell": cell.title,
                "axes": cell.axes,
                "would": state,
                **(asdict(found[cell.key]) if cell.key in found else nothing),
            }
            for cell, state in planned
        ],
        "total": {
            "cells": len(would_run),
            "seconds": round(sum(seconds), 1) if seconds else None,
            "unknown": len(would_run) - len(seconds),
            "memory_mb": max((one.memory_mb for one in found.values() if one.memory_mb is not None), default=None),
        },
    }


def bench(path: Path, data: Path, out: Path, only: str | None, choices: Choices) -> list[Row]:
    """Measure the cells of a matrix that are missing, compare, and write the report.

    Args:
        path: Matrix file.
        data: Folder of the datasets.
        out: Folder of the rows and the report.
        only: Text or pattern that the names of the wanted cells contain; None for all.
        choices: Settings of the run.

    Returns:
        One row for each selected cell.

    Raises:
        InputError: For a mistake in the matrix, or if another benchmark is writing to `out`.
    """
    matrix, cells, all_cells = selected(path, data, only)
    with alone_in(out):
        rows = run_cells(cells, out, replace(choices, keep_predictions=bool(matrix.comparisons)))
        comparisons = compare_all(pairs(matrix, cells, all_cells), rows, out, choices.show)
        write_report(assemble(matrix, rows, comparisons), out)
    return rows
