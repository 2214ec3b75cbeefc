"""What a person sees while something long runs: notes and progress bars on stderr, silent on request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False, soft_wrap=True)


def note(message: str) -> None:
    """Print one line on stderr."""
    console.print(message, markup=False)


def warn(message: str) -> None:
    """Print one warning line on stderr."""
    console.print(f"warning: {message}", markup=False, style="yellow")


class Bar:
    """One progress bar whose text after the bar can change (loss, validation figure)."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
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
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, disable=not (show and console.is_terminal)) as progress:
        yield Bar(progress, progress.add_task(title, total=total, completed=done, text=""))
