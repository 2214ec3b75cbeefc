"""Progress: notes and progress bars on stderr while something long runs; silent on request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import rich.progress as rich_progress
from rich.console import Console

from llmrec_peft.printable import for_terminal

console = Console(stderr=True, highlight=False, soft_wrap=True)


def note(message: str) -> None:
    """Print one line on stderr."""
    _print(message)


def warn(message: str) -> None:
    """Print one warning line on stderr."""
    _print(f"warning: {message}", "yellow")


def _print(message: str, style: str | None = None) -> None:
    """Print lines that may repeat titles and paths of others; what stderr cannot encode is printed as an escape."""
    lines = "\n".join(for_terminal(line) for line in message.split("\n"))
    encoding = console.encoding
    shown = lines.encode(encoding, "backslashreplace").decode(encoding)
    console.print(shown, markup=False, emoji=False, style=style)


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
            self._progress.update(self._task, advance=steps, text=for_terminal(text))


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
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(bar_width=24),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[text]}", markup=False),
        rich_progress.TimeRemainingColumn(compact=True),
    )
    with rich_progress.Progress(*columns, console=console, disable=not (show and console.is_terminal)) as progress:
        yield Bar(progress, progress.add_task(for_terminal(title), total=total, completed=done, text=""))


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
