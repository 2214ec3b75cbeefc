"""Runner: runs each cell in a process of its own under limits; finished cells are not run again."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llmrec_peft.artifact.lock import Lock
from llmrec_peft.artifact.workspace import Workspace
from llmrec_peft.backbone.preflight import known_facts, refusal
from llmrec_peft.backbone.remote_code import decided
from llmrec_peft.benchmark.cells import Cell
from llmrec_peft.benchmark.process import Places, Process
from llmrec_peft.benchmark.rows import Row, bare_row, read_row, write_json
from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import shown
from llmrec_peft.progress import Bar, bar, note

COMMAND = (sys.executable, "-m", "llmrec_peft.benchmark.cell")
"""Command that measures a cell, called with the paths of its spec, of the JSON file to write, and of a run folder."""
LOCK = ".bench.lock"
"""File in a benchmark's folder that one runner at a time locks."""
_POLL_SECONDS = 0.1
_ORPHAN_SECONDS = 5.0


@dataclass(frozen=True)
class Choices:
    """Settings of a benchmark run.

    Attributes:
        overwrite: Whether finished cells are measured again.
        keep_failed: Whether failed cells are not measured again.
        keep_runs: Whether the cells' run folders are kept.
        keep_predictions: Whether the files that comparisons read are kept.
        jobs: Cells at a time; several disturb each other's latencies.
        show: Whether to show a progress bar and notes.
        command: Command that measures a cell.
    """

    overwrite: bool = False
    keep_failed: bool = False
    keep_runs: bool = False
    keep_predictions: bool = False
    jobs: int = 1
    show: bool = True
    command: Sequence[str] = field(default=COMMAND)


@contextlib.contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Create a benchmark's folder and lock it, so that no other runner writes there.

    The lock ends with its process, however that ends.

    Raises:
        InputError: If another runner holds it, or the folder cannot be written.
    """
    lock = Lock(out / LOCK)
    try:
        out.mkdir(parents=True, exist_ok=True)
        holder = lock.acquire()
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(out)}: {reason_of(error)}") from None
    if holder is not None:
        raise InputError(
            f"{shown(out)}: another benchmark is writing there ({holder}); wait for it, or give another --out"
        )
    try:
        yield
    finally:
        lock.release()


def run_cells(cells: Sequence[Cell], out: Path, choices: Choices) -> list[Row]:
    """Measure every cell that is not measured yet; `alone_in` must keep other runners out.

    Args:
        cells: Cells to measure.
        out: Folder of the benchmark; a cell's row is `out/cells/NAME.json`.
        choices: Settings.

    Returns:
        One row for each cell, in the order given: ``status`` is ``ok``, ``failed`` or ``refused``, with its ``reason``.

    Raises:
        InputError: If `out` cannot be written.
    """
    try:
        (out / "cells").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: {reason_of(error)}") from None
    rows = {cell.key: _settled(cell, out, choices) for cell in cells}
    waiting = deque(cell for cell in cells if rows[cell.key] is None)
    running: list[Process] = []
    try:
        with bar("cells", len(cells), len(cells) - len(waiting), choices.show) as shown:
            while waiting or running:
                while waiting and len(running) < choices.jobs:
                    running.append(_start(waiting.popleft(), out, choices))
                    shown.advance(0, text=", ".join(one.cell.title for one in running))
                for process in [*running]:
                    row = process.poll()
                    if row is not None:
                        running.remove(process)
                        rows[process.cell.key] = row
                        _report(process, row, running, shown, choices.show)
                if running:
                    time.sleep(_POLL_SECONDS)
    finally:
        for process in running:
            process.interrupt()
    return [row for row in (rows[cell.key] for cell in cells) if row is not None]


def plan(cells: Sequence[Cell], out: Path, choices: Choices) -> list[tuple[Cell, str]]:
    """Return what `run_cells` would do with each cell: ``run``, ``finished``, ``failed`` (kept) or ``refused: why``."""
    planned = []
    for cell in cells:
        why = _refusal(cell)
        row = read_row(out / "cells" / cell.file, cell)
        kept = row is not None and _stands(row, choices)
        state = "finished" if kept and row is not None and row["status"] == "ok" else "failed" if kept else "run"
        planned.append((cell, f"refused: {why}" if why else state))
    return planned


def _start(cell: Cell, out: Path, choices: Choices) -> Process:
    places = Places.of(cell, out)
    _await_orphan(places)
    return Process(cell, places, choices.command, choices.overwrite, choices.keep_runs, choices.keep_predictions)


def _await_orphan(places: Places) -> None:
    """Wait a moment for the process of a runner that was killed: it notices within a second, and lets go of the run."""
    workspace = Workspace(places.run, "training")
    for _ in range(round(_ORPHAN_SECONDS / _POLL_SECONDS)):
        if workspace.holder() is None:
            return
        time.sleep(_POLL_SECONDS)


def _report(process: Process, row: Row, running: Sequence[Process], shown: Bar, show: bool) -> None:
    """Report that a cell is finished, and which ones still run."""
    shown.advance(text=", ".join(one.cell.title for one in running))
    if show:
        result = "done" if row["status"] == "ok" else f"{row['status']}: {row['reason']}"
        note(f"{process.cell.title}: {result} ({process.seconds:.0f} s)")


def _settled(cell: Cell, out: Path, choices: Choices) -> Row | None:
    """Return the row of a cell that need not run: impossible, or measured before; None if it must run."""
    path = out / "cells" / cell.file
    why = _refusal(cell)
    if why is not None:
        row = bare_row(cell, "refused", why)
        write_json(path, row)
        return row
    earlier = read_row(path, cell)
    return earlier if earlier is not None and _stands(earlier, choices) else None


def _stands(row: Row, choices: Choices) -> bool:
    """Return whether an earlier row is used unchanged."""
    if choices.overwrite:
        return False
    return row["status"] == "ok" or (row["status"] == "failed" and choices.keep_failed)


def _refusal(cell: Cell) -> str | None:
    section = cell.recipe.backbone
    try:
        decided(section)
    except InputError as error:
        return str(error)
    facts = known_facts(section.name, section.revision)
    return refusal(cell.recipe.adapter.method, cell.recipe.adapter.config, facts, section.quantization)
