"""Board: one view of a running benchmark on a terminal: a bar over all cells, and a line for each that runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from llmrec_peft import progress
from llmrec_peft.benchmark.process import Process
from llmrec_peft.benchmark.rows import Row
from llmrec_peft.printable import for_terminal

_A_SECOND = 4
"""Times that the board is drawn anew."""


class Board:
    """Shows which cells run, for how long, and with how much memory; where stderr is no terminal, a line an event.

    Args:
        total: Cells.
        done: Cells that are finished already.
        show: Whether anything is shown.
        console: Where to show it.
    """

    def __init__(self, total: int, done: int, show: bool, console: Console = progress.console) -> None:
        self._total, self._done, self._show = total, done, show
        self._bar = Progress(
            TextColumn("cells"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self._task: TaskID = self._bar.add_task("", total=total, completed=done)
        drawn = show and console.is_terminal
        self._live = Live(console=console, refresh_per_second=_A_SECOND, transient=True) if drawn else None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._stack.enter_context(self._live)
            self.update(())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def started(self, process: Process) -> None:
        """Say that a cell begins."""
        if self._show and self._live is None:
            progress.note(f"{process.cell.title}: started ({self._done} of {self._total} cells are done)")

    def finished(self, process: Process, row: Row) -> None:
        """Say how a cell ended."""
        self._done += 1
        self._bar.advance(self._task)
        if self._show:
            result = "done" if row["status"] == "ok" else f"{row['status']}: {row['reason']}"
            progress.note(f"{process.cell.title}: {result} ({_took(process)})")

    def update(self, running: Sequence[Process]) -> None:
        """Draw what is running now."""
        if self._live is None:
            return
        lines = Table.grid(padding=(0, 2))
        for one in running:
            lines.add_row(Text(for_terminal(one.cell.title)), Text(_took(one)))
        self._live.update(Group(self._bar.get_renderable(), lines))


def _took(process: Process) -> str:
    """Return time and most memory of a cell so far."""
    minutes, seconds = divmod(round(process.seconds), 60)
    time = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    return f"{time}, {process.peak / 2**20:,.0f} MiB"
