"""Process: runs the measurement of one cell, watches it from outside and ends it if it exceeds a limit."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from llmrec_peft.artifact.folder import partials_of
from llmrec_peft.artifact.workspace import Workspace
from llmrec_peft.benchmark.cells import Cell
from llmrec_peft.benchmark.choices import Choices
from llmrec_peft.benchmark.family import Family
from llmrec_peft.benchmark.rows import Row, bare_row, read_row, write_json
from llmrec_peft.errors import disk_is_full

COMPARED = ("manifest.json", "metrics.json", "recipe.yaml", "predictions.parquet")
"""Files of a run folder that comparisons read."""


@dataclass(frozen=True)
class Places:
    """Paths of a cell's files in the benchmark's folder.

    Attributes:
        row: Its row.
        spec: Input of its process.
        log: Output of its process.
        run: The run folder that it writes, another one for other code: a training is never taken up by other code.
        kept: Files of that folder that comparisons read.
    """

    row: Path
    spec: Path
    log: Path
    run: Path
    kept: Path

    @classmethod
    def of(cls, cell: Cell, out: Path) -> Places:
        """Return the paths of a cell in `out`."""
        row = out / "cells" / cell.file
        name = row.stem
        return cls(
            row,
            row.with_name(f".{name}.spec"),
            row.with_name(f"{name}.log"),
            out / "runs" / f"{name}-{cell.code[:8]}",
            out / "predictions" / name,
        )

    def remove_interrupted(self) -> None:
        """Remove what trainings of the same cell by other code left when they were interrupted; whole runs stay."""
        for left in self.run.parent.glob(f".{self.row.stem}-????????.*"):
            if not left.name.startswith(f".{self.run.name}."):
                shutil.rmtree(left, ignore_errors=True)

    def remove_run(self) -> None:
        """Remove the run folder and its temporary files."""
        for ending in ("training", "new"):
            shutil.rmtree(Workspace(self.run, ending).folder, ignore_errors=True)
        shutil.rmtree(self.run, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.run.parent.rmdir()  # if it is empty

    def keep_predictions(self) -> None:
        """Copy what comparisons read from the run folder; nothing for a run without predictions."""
        if not all((self.run / name).is_file() for name in COMPARED):
            return
        self.kept.mkdir(parents=True, exist_ok=True)
        for name in COMPARED:
            shutil.copyfile(self.run / name, self.kept / name)


class Process:
    """A cell that is being measured; `seconds` and `peak` (bytes) say what it has taken when it was last looked at.

    Args:
        cell: Cell to measure.
        places: Paths of its files.
        choices: Command that measures it, what is kept, how many run at a time; with `overwrite`, what an interrupted
            process of the same cell left is deleted.
    """

    def __init__(self, cell: Cell, places: Places, choices: Choices) -> None:
        self.cell = cell
        self.places = places
        self.seconds = 0.0
        self.peak = 0
        self._choices = choices
        places.row.unlink(missing_ok=True)
        if choices.overwrite or cell.timing is not None:
            places.remove_run()
        places.remove_interrupted()
        places.run.parent.mkdir(parents=True, exist_ok=True)
        places.spec.write_text(json.dumps({**cell.spec(), "at_a_time": choices.jobs}), encoding="utf-8")
        self._stderr: IO[bytes] = places.log.open("wb")
        self._started = time.monotonic()
        self._popen = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [*choices.command, str(places.spec), str(places.row), str(places.run)],
            stdin=subprocess.DEVNULL,
            stdout=self._stderr,
            stderr=self._stderr,
            start_new_session=True,  # so that a limit ends its children with it
        )
        self._family = Family(self._popen.pid)

    def poll(self) -> Row | None:
        """Return the cell's row once it is finished; stop it if it exceeds a limit."""
        self.seconds = time.monotonic() - self._started
        limits = self.cell.limits
        code = self._popen.poll()
        if code is None:
            used = self._family.resident()
            self.peak = max(self.peak, used)
            if self.seconds > limits.seconds:
                self.stop()
                return self._failed(f"over {limits.seconds:g} s")
            if used > limits.memory_gb * 2**30:
                self.stop()
                return self._failed(f"over {limits.memory_gb:g} GB of memory")
            return None
        self.stop()  # also children that it left running
        row = read_row(self.places.row, self.cell)
        if code == 0 and row is not None:
            return self._finished(row)
        return self._failed(self._cause(code))

    def stop(self) -> None:
        """End the process and its children."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()

    def interrupt(self) -> None:
        """End the process; checkpoints stay for the next process of the same cell, unless the cell is timed."""
        self.stop()
        self._tidy()
        if self.cell.timing is not None:
            self.places.remove_run()

    def _tidy(self) -> None:
        """Remove files that only the process needed."""
        self._stderr.close()
        self.places.spec.unlink(missing_ok=True)
        for left in partials_of(self.places.row):
            left.unlink(missing_ok=True)  # an incomplete row of a cell that was stopped while writing

    def _finished(self, row: Row) -> Row:
        self._tidy()
        self.places.log.unlink(missing_ok=True)
        if self._choices.keep_predictions:
            try:
                self.places.keep_predictions()
            except OSError as error:
                shutil.rmtree(self.places.kept, ignore_errors=True)
                if not disk_is_full(error):
                    raise
        if not self._choices.keep_runs:
            self.places.remove_run()
        return row

    def _cause(self, code: int) -> str:
        """Return the last line that the process wrote, or how it ended."""
        self._stderr.flush()
        lines = self.places.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if code < 0:
            name = signal.Signals(-code).name
            return f"ended by {name}" + (" (out of memory?)" if -code == signal.SIGKILL else "")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return last.removeprefix("error: ") if last else f"exit code {code}, and not a word"

    def _failed(self, reason: str) -> Row:
        row = {
            **bare_row(self.cell, "failed", reason),
            "seconds": {"cell": round(self.seconds, 3)},
            "peak_memory_mb": {"rss": round(self.peak / 2**20, 1), "cuda": None},
        }
        self._tidy()
        if not self._choices.keep_runs:
            self.places.remove_run()
        write_json(self.places.row, row)
        return row
