"""Runner: each cell a process of its own under limits; what is finished is not run again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.backbone.preflight import known_facts, refusal
from llmrec_peft.benchmark.cells import Cell
from llmrec_peft.errors import InputError
from llmrec_peft.progress import bar, note

COMMAND = (sys.executable, "-m", "llmrec_peft.benchmark.cell")
"""What measures a cell: called with the spec's path, the path of the JSON file to write, and a run folder."""
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Choices:
    """How a benchmark is run.

    Attributes:
        overwrite: Measure finished cells again.
        keep_failed: Leave failed cells as they are.
        keep_runs: Leave the cells' run folders.
        jobs: Cells at a time; more than one disturb each other's latencies.
        show: Whether to show a progress bar and notes.
        command: What measures a cell.
    """

    overwrite: bool = False
    keep_failed: bool = False
    keep_runs: bool = False
    jobs: int = 1
    show: bool = True
    command: Sequence[str] = field(default=COMMAND)


def run_cells(cells: Sequence[Cell], out: Path, choices: Choices) -> list[dict[str, Any]]:
    """Measure every cell that is not measured yet.

    Args:
        cells: What to measure.
        out: Folder of the benchmark; a cell's row is `out/cells/NAME.json`.
        choices: How.

    Returns:
        A row for each cell, in the order given: ``status`` is ``ok``, ``failed`` or ``refused``, and ``reason``
        says why.

    Raises:
        InputError: When `out` cannot be written.
    """
    try:
        (out / "cells").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: {error.strerror or error}") from None
    rows = {cell.key: _settled(cell, out, choices) for cell in cells}
    waiting = deque(cell for cell in cells if rows[cell.key] is None)
    running: list[_Process] = []
    try:
        with bar("cells", len(cells), len(cells) - len(waiting), choices.show) as shown:
            while waiting or running:
                while waiting and len(running) < choices.jobs:
                    running.append(_Process(waiting.popleft(), out, choices))
                    shown.advance(0, text=", ".join(one.cell.title for one in running))
                for process in [*running]:
                    row = process.poll()
                    if row is not None:
                        running.remove(process)
                        rows[process.cell.key] = row
                        shown.advance(text=", ".join(one.cell.title for one in running))
                        if choices.show:
                            said = "done" if row["status"] == "ok" else f"{row['status']}: {row['reason']}"
                            note(f"{process.cell.title}: {said} ({process.seconds:.0f} s)")
                if running:
                    time.sleep(_POLL_SECONDS)
    finally:
        for process in running:
            process.stop()
            process.tidy()
    return [row for row in (rows[cell.key] for cell in cells) if row is not None]


def plan(cells: Sequence[Cell], out: Path, choices: Choices) -> list[tuple[Cell, str]]:
    """What `run_cells` would do with each cell: ``run``, ``finished``, ``failed`` (and kept) or ``refused: why``."""
    planned = []
    for cell in cells:
        why = _refusal(cell)
        row = _read(out / "cells" / cell.file, cell)
        kept = row is not None and _stands(row, choices)
        state = "finished" if kept and row is not None and row["status"] == "ok" else "failed" if kept else "run"
        planned.append((cell, f"refused: {why}" if why else state))
    return planned


class _Process:
    """A cell that is being measured."""

    def __init__(self, cell: Cell, out: Path, choices: Choices) -> None:
        self.cell = cell
        self._row = out / "cells" / cell.file
        name = self._row.stem
        self._spec = out / "cells" / f".{name}.spec"
        self._log = out / "cells" / f"{name}.log"
        self._run = out / "runs" / name
        self._keep_run = choices.keep_runs
        self._run.parent.mkdir(parents=True, exist_ok=True)
        self._row.unlink(missing_ok=True)
        self._spec.write_text(json.dumps(cell.spec()), encoding="utf-8")
        self._stderr: IO[bytes] = self._log.open("wb")
        self._started = time.monotonic()
        self.seconds = 0.0
        self._peak = 0
        self._popen = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [*choices.command, str(self._spec), str(self._row), str(self._run)],
            stdin=subprocess.DEVNULL,
            stdout=self._stderr,
            stderr=self._stderr,
            start_new_session=True,  # so that a limit ends its children with it
        )

    def poll(self) -> dict[str, Any] | None:
        """The cell's row once it is over; stops it where it is over a limit."""
        self.seconds = time.monotonic() - self._started
        limits = self.cell.limits
        code = self._popen.poll()
        if code is None:
            used = _resident(self._popen.pid)
            self._peak = max(self._peak, used)
            if self.seconds > limits.seconds:
                self.stop()
                return self._failed(f"over {limits.seconds:g} s")
            if used > limits.memory_gb * 2**30:
                self.stop()
                return self._failed(f"over {limits.memory_gb:g} GB of memory")
            return None
        self.stop()  # whatever it left running
        row = _read(self._row, self.cell)
        if code == 0 and row is not None:
            self.tidy()
            self._log.unlink(missing_ok=True)
            return row
        return self._failed(self._cause(code))

    def stop(self) -> None:
        """End the process and its children."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()

    def tidy(self) -> None:
        """Remove what only the process needed."""
        self._stderr.close()
        self._spec.unlink(missing_ok=True)
        if not self._keep_run:
            shutil.rmtree(self._run, ignore_errors=True)
        for left in self._run.parent.glob(f".{self._run.name}.*"):
            shutil.rmtree(left, ignore_errors=True)
        for left in self._row.parent.glob(f".{self._row.name}.*.new"):
            left.unlink(missing_ok=True)  # half a row of a cell that was stopped while it wrote
        with contextlib.suppress(OSError):
            self._run.parent.rmdir()  # where it is empty

    def _cause(self, code: int) -> str:
        """The last line that the process wrote, or how it ended."""
        self._stderr.flush()
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if code < 0:
            name = signal.Signals(-code).name
            return f"ended by {name}" + (" (out of memory?)" if -code == signal.SIGKILL else "")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return last.removeprefix("error: ") if last else f"exit code {code}, and not a word"

    def _failed(self, reason: str) -> dict[str, Any]:
        row = {
            **_bare_row(self.cell, "failed", reason),
            "seconds": {"cell": round(self.seconds, 3)},
            "peak_memory_mb": {"rss": round(self._peak / 2**20, 1), "cuda": None},
        }
        self.tidy()
        _write(self._row, row)
        return row


def _settled(cell: Cell, out: Path, choices: Choices) -> dict[str, Any] | None:
    """The row of a cell that need not run: impossible, or measured before."""
    path = out / "cells" / cell.file
    why = _refusal(cell)
    if why is not None:
        row = _bare_row(cell, "refused", why)
        _write(path, row)
        return row
    found = _read(path, cell)
    return found if found is not None and _stands(found, choices) else None


def _stands(row: dict[str, Any], choices: Choices) -> bool:
    """Whether an earlier row is taken as it is."""
    if choices.overwrite:
        return False
    return row["status"] == "ok" or (row["status"] == "failed" and choices.keep_failed)


def _refusal(cell: Cell) -> str | None:
    section = cell.recipe.backbone
    facts = known_facts(section.name, section.revision)
    return refusal(cell.method, cell.recipe.adapter.config, facts, section.quantization)


def _bare_row(cell: Cell, status: str, reason: str) -> dict[str, Any]:
    return {
        "axes": cell.axes,
        "key": cell.key,
        "status": status,
        "reason": reason,
        "recipe": cell.recipe.plain(),
    }


def _read(path: Path, cell: Cell) -> dict[str, Any] | None:
    """A cell's row, if it is there, whole, and that of this very cell."""
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return row if isinstance(row, dict) and row.get("key") == cell.key and "status" in row else None


def _write(path: Path, row: dict[str, Any]) -> None:
    with whole_file(path) as partial:
        partial.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")


def _resident(pid: int) -> int:
    """Resident memory of a process and its descendants, in bytes."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for member in family:
        with contextlib.suppress(psutil.Error):
            total += member.memory_info().rss
    return total
