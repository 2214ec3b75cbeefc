"""Runner: runs each cell in a process of its own under limits; finished cells are not run again."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from llmrec_peft.artifact.lock import Lock
from llmrec_peft.artifact.workspace import Workspace
from llmrec_peft.backbone.preflight import known_facts, refusal
from llmrec_peft.backbone.remote_code import decided
from llmrec_peft.benchmark.board import Board
from llmrec_peft.benchmark.cells import Cell
from llmrec_peft.benchmark.choices import Choices
from llmrec_peft.benchmark.process import Places, Process
from llmrec_peft.benchmark.rows import Row, bare_row, read_row, read_stale, write_json
from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import shown
from llmrec_peft.progress import note

LOCK = ".bench.lock"
"""File in a benchmark's folder that one runner at a time locks."""
_POLL_SECONDS = 0.1
_ORPHAN_SECONDS = 5.0


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
    if choices.show and not choices.keep_stale:
        _note_stale(cells, out)
    waiting = deque(cell for cell in cells if rows[cell.key] is None)
    running: list[Process] = []
    try:
        with Board(len(cells), len(cells) - len(waiting), choices.show) as board:
            while waiting or running:
                while waiting and len(running) < choices.jobs:
                    running.append(_start(waiting.popleft(), out, choices))
                    board.started(running[-1])
                for process in [*running]:
                    row = process.poll()
                    if row is not None:
                        running.remove(process)
                        rows[process.cell.key] = row
                        board.finished(process, row)
                board.update(running)
                if running:
                    time.sleep(_POLL_SECONDS)
    finally:
        for process in running:
            process.interrupt()
    return [row for row in (rows[cell.key] for cell in cells) if row is not None]


def plan(cells: Sequence[Cell], out: Path, choices: Choices) -> list[tuple[Cell, str]]:
    """Return what `run_cells` would do with each cell.

    Returns:
        Each cell with ``run``, ``run: measured by other code``, ``finished``, ``finished by other code``, ``failed``
        (and kept) or ``refused: why``.
    """
    planned = []
    for cell in cells:
        why, path = _refusal(cell), out / "cells" / cell.file
        kept = _kept(cell, path, choices)
        if why:
            state = f"refused: {why}"
        elif kept is not None:
            state = "failed" if kept["status"] != "ok" else "finished by other code" if "stale" in kept else "finished"
        else:
            state = "run" if read_stale(path, cell) is None else "run: measured by other code"
        planned.append((cell, state))
    return planned


def _start(cell: Cell, out: Path, choices: Choices) -> Process:
    places = Places.of(cell, out)
    _await_orphan(places)
    return Process(cell, places, choices)


def _await_orphan(places: Places) -> None:
    """Wait a moment for the process of a runner that was killed: it notices within a second, and lets go of the run."""
    workspace = Workspace(places.run, "training")
    for _ in range(round(_ORPHAN_SECONDS / _POLL_SECONDS)):
        if workspace.holder() is None:
            return
        time.sleep(_POLL_SECONDS)


def _note_stale(cells: Sequence[Cell], out: Path) -> None:
    """Say how many cells are measured again because the code is another one."""
    count = sum(read_stale(out / "cells" / cell.file, cell) is not None for cell in cells)
    if count:
        note(f"measured by other code, and measured again: {count} cells (--keep-stale takes them as they are)")


def _settled(cell: Cell, out: Path, choices: Choices) -> Row | None:
    """Return the row of a cell that need not run: impossible, or measured before; None if it must run."""
    path = out / "cells" / cell.file
    why = _refusal(cell)
    if why is not None:
        row = bare_row(cell, "refused", why)
        write_json(path, row)
        return row
    return _kept(cell, path, choices)


def _kept(cell: Cell, path: Path, choices: Choices) -> Row | None:
    """Return the earlier row of a cell that is used as it is; None if there is none."""
    if choices.overwrite:
        return None
    row = read_row(path, cell)
    if row is None and choices.keep_stale:
        row = read_stale(path, cell)
    if row is None:
        return None
    return row if row["status"] == "ok" or (row["status"] == "failed" and choices.keep_failed) else None


def _refusal(cell: Cell) -> str | None:
    section = cell.recipe.backbone
    try:
        decided(section)
    except InputError as error:
        return str(error)
    facts = known_facts(section.name, section.revision)
    return refusal(cell.recipe.adapter.method, cell.recipe.adapter.config, facts, section.quantization)
