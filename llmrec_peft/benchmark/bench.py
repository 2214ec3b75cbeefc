"""Bench: from a matrix file to its report: expand, measure what is missing, compare, write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llmrec_peft.benchmark.cells import Cell, chosen, load_matrix
from llmrec_peft.benchmark.comparison import compare_all, pairs
from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.benchmark.report import assemble, write_report
from llmrec_peft.benchmark.rows import Row
from llmrec_peft.benchmark.runner import Choices, alone_in, run_cells


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
