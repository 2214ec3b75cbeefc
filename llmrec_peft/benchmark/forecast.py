"""Forecast: the memory and time that the cells of a matrix would take, before any of them is measured."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmrec_peft.benchmark.answers import BATCHES
from llmrec_peft.benchmark.cells import Cell, row_of, titled
from llmrec_peft.benchmark.choices import Choices
from llmrec_peft.benchmark.rows import Row, read_row, read_stale
from llmrec_peft.benchmark.runner import run_cells
from llmrec_peft.errors import InputError
from llmrec_peft.progress import note

_KINDS_OF_ANSWERS = 3 * len(BATCHES)


@dataclass(frozen=True)
class Forecast:
    """What measuring a cell would take.

    Attributes:
        memory_mb: Peak memory of training in MiB, as `llmrec memory` estimates it; None where it cannot.
        seconds: Time; None where nothing is known.
        basis: What the time follows from.
    """

    memory_mb: float | None
    seconds: float | None
    basis: str


def forecasts(
    cells: Sequence[Cell], every: Sequence[Cell], out: Path, choices: Choices, probe: bool
) -> dict[str, Forecast]:
    """Forecast cells; those that differ in seeds alone are of one kind and get the same figures.

    Time is the mean over finished cells of the same kind in `out`. Where there are none, a cell of the kind is trained
    for one epoch in a temporary folder, and the time is an upper bound that follows from it.

    Args:
        cells: Cells that would run.
        every: All cells of the matrix.
        out: Folder of the benchmark; nothing is written there.
        choices: Settings of the run.
        probe: Whether cells may be trained for one epoch.

    Returns:
        Forecast by the cell's key.
    """
    kinds: dict[str, Cell] = {}
    for cell in cells:
        kinds.setdefault(_kind(cell), cell)
    times: dict[str, tuple[float | None, str]] = {**_finished(kinds, every, out)}
    unknown = {kind: cell for kind, cell in kinds.items() if kind not in times}
    if probe and unknown:
        times |= _probed(unknown, choices)
    memory = {kind: _memory_mb(cell) for kind, cell in kinds.items()}
    nothing = (None, "no finished cell of this kind")
    return {cell.key: Forecast(memory[_kind(cell)], *times.get(_kind(cell), nothing)) for cell in cells}


def _kind(cell: Cell) -> str:
    return titled(row_of(cell.axes))


def _memory_mb(cell: Cell) -> float | None:
    from llmrec_peft.footprint.check import footprint_of

    try:
        return round(footprint_of(cell.recipe).total / 2**20, 1)
    except InputError:  # data or base that is not there: the cell will say so
        return None


def _finished(kinds: Mapping[str, Cell], every: Sequence[Cell], out: Path) -> dict[str, tuple[float, str]]:
    """Return the mean time of the finished cells of each kind, whatever code measured them, and how many they are."""
    taken: dict[str, list[float]] = {}
    for cell in every:
        path = out / "cells" / cell.file
        row = read_row(path, cell) or read_stale(path, cell)
        if _kind(cell) in kinds and row is not None and row["status"] == "ok":
            taken.setdefault(_kind(cell), []).append(row["seconds"]["cell"])
    return {kind: (statistics.mean(times), f"{len(times)} finished") for kind, times in taken.items()}


def _probed(kinds: Mapping[str, Cell], choices: Choices) -> dict[str, tuple[float | None, str]]:
    """Train a cell of each kind for one epoch and return an upper bound of its time, and that it comes from this."""
    if choices.show:
        note(f"{len(kinds)} kinds of cells are trained for one epoch each (--no-probe leaves that out)")
    shortened = [
        replace(cell, recipe=cell.recipe.changed({"training.epochs": 1}), timing=None) for cell in kinds.values()
    ]
    with tempfile.TemporaryDirectory(prefix="llmrec-probe-") as folder:
        rows = run_cells(shortened, Path(folder), Choices(show=choices.show, command=choices.command))
    found: dict[str, tuple[float | None, str]] = {}
    for (kind, cell), row in zip(kinds.items(), rows, strict=True):
        if row["status"] == "ok":
            found[kind] = (upper_bound(cell, row), "one epoch, at most")
        else:
            found[kind] = (None, f"one epoch {row['status']}: {row['reason']}")
    return found


def upper_bound(cell: Cell, probe: Row) -> float:
    """Return how many seconds a cell takes at most, from its row with one epoch.

    Every fit is given all of its epochs, and each further epoch the time that the fit took with its first one; fits
    that stop early take less. Timing takes its seconds for each kind of call. A cell is stopped at its limit.

    Args:
        cell: Cell.
        probe: Row of the same cell with one epoch and without timing.
    """
    seconds: Mapping[str, Any] = probe["seconds"]
    fits = seconds["train"] - seconds["encode"] + seconds["before"] + seconds["ablations"]
    bound: float = seconds["cell"] + (cell.recipe.training.epochs - 1) * fits
    if cell.timing is not None:
        bound += cell.timing.seconds * (_KINDS_OF_ANSWERS + cell.timing.steps) + seconds["prepare"]
    return float(min(bound, cell.limits.seconds))
