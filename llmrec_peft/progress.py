"""Progress: notes and progress bars on stderr while something long runs; silent on request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import rich.progress as rich_progress
from rich.console import Console

console = Console(stderr=True, highlight=False, soft_wrap=True)


def note(message: str) -> None:
    """Print one line on stderr."""
    console.print(message, markup=False)


def warn(message: str) -> None:
    """Print one warning line on stderr."""
    console.print(f"warning: {message}", markup=False, style="yellow")


class Bar:
    """One progress bar whose text after the bar can change (loss, validation figure)."""

    def __init__(self, progress: rich_progress.Progress, task: rich_progress.TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, steps: int = 1, text: str | None = None) -> None:
        """Move on, optionally with a new text."""
        if text is None:
            self._progress.update(self._task, advance=steps)
        else:
            self._progress.update(self._task, advance=steps, text=text)


@contextmanager
def bar(title: str, total: int, done: int = 0, show: bool = True) -> Iterator[Bar]:
    """Show a progress bar with count, text and time left while the block runs; none where stderr is a file.

    Args:
        title: What is being done.
        total: Number of steps.
        done: Steps that are behind already (a resumed run).
        show: False where another process shows it.
    """
    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(bar_width=24),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[text]}"),
        rich_progress.TimeRemainingColumn(compact=True),
    )
    with rich_progress.Progress(*columns, console=console, disable=not (show and console.is_terminal)) as progress:
        yield Bar(progress, progress.add_task(title, total=total, completed=done, text=""))


@dataclass(frozen=True)
class Progress:
    """Where a long computation reports to; silent by default, as a library should be.

    Attributes:
        shown: Whether notes and bars are printed on stderr.
    """

    shown: bool = False

    def note(self, message: str) -> None:
        """Print one line."""
        if self.shown:
            note(message)

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Show a progress bar while the block runs.

        Args:
            title: What is being done.
            total: Number of steps.
            done: Steps that are behind already (a resumed run).
        """
        with bar(title, total, done, self.shown) as drawn:
            yield drawn


SILENT = Progress()
"""Reports nothing."""
