"""Print what commands answer on stdout: JSON for scripts, tables and sentences for people."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from llmrec_peft.printable import for_terminal, say, write_json, write_text

_GAP = 2
"""Characters between two columns."""
_READABLE = 24
"""Characters that a column of text keeps at least, if its cells are as long; narrower ones are hard to read."""


def print_json(values: Any) -> None:
    """Print plain values as JSON."""
    write_json(values, sys.stdout)


def print_text(text: str) -> None:
    """Print lines as they are, such as YAML or Markdown, which is not broken at the terminal's width."""
    write_text(text, sys.stdout)


def print_note(line: str) -> None:
    """Print a line on stderr, beside an answer on stdout."""
    say(line)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Print rows under a title, folded where the terminal is too narrow for them.

    The first column and the columns in `right` are never broken; other columns break between words. Columns for which
    there is no room follow in further tables below, each of which repeats the first column. Without a terminal, and
    without ``COLUMNS`` in the environment, nothing is broken or folded.

    Args:
        title: Line above the table; empty for none.
        columns: Heading of each column.
        rows: Cells of each row, shown as they are: square brackets are no markup.
        right: Numbers of the columns that are aligned to the right, such as figures.
    """
    room = _room()
    cells = [[for_terminal(cell) for cell in row] for row in (columns, *rows)]
    widest = [max(cell_len(row[number]) for row in cells) for number in range(len(columns))]
    most = max(_READABLE, room - widest[0] - _GAP)  # a word that is longer than this is broken after all
    least = [
        widest[number] if number == 0 or number in right else min(most, _least([row[number] for row in cells]))
        for number in range(len(columns))
    ]
    if title:
        print_line(title)
    for part in _folded(least, room):
        widths = _widths([least[number] for number in part], [widest[number] for number in part], room)
        table = Table(header_style="bold", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        for number, width in zip(part, widths, strict=True):
            justify: Literal["left", "right"] = "right" if number in right else "left"
            table.add_column(Text(cells[0][number]), justify=justify, width=width, overflow="fold")
        for row in cells[1:]:
            table.add_row(*(Text(row[number]) for number in part))
        console = Console(highlight=False, width=max(room, sum(widths) + _GAP * len(widths)))
        with console.capture() as captured:
            console.print(table)
        lines = captured.get().split("\n")
        styled = console.is_terminal  # then the lines hold the escape sequences of a bold heading, which are our own
        _write("".join(f"{line.rstrip()}\n" for line in lines[:-1]) + "\n", styled)


def print_line(line: str) -> None:
    """Print a sentence, broken between words where the terminal is narrower; whole where there is no terminal."""
    for part in line.splitlines() or [""]:
        words = textwrap.wrap(for_terminal(part), _room(), break_long_words=False, break_on_hyphens=False)
        write_text("\n".join(words) + "\n", sys.stdout)


@dataclass
class Branch:
    """A node of a tree: its lines, and what is below it."""

    label: str
    below: list[Branch] = field(default_factory=list)


def print_tree(root: Branch) -> None:
    """Print a tree; its lines are whole where there is no terminal."""

    def grown(branch: Branch) -> Tree:
        tree = Tree(Text("\n".join(for_terminal(line) for line in branch.label.split("\n"))))
        for one in branch.below:
            tree.children.append(grown(one))
        return tree

    console = Console(highlight=False, width=_room())
    with console.capture() as captured:
        console.print(grown(root))
    _write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()), styled=False)


def _write(table: str, styled: bool) -> None:
    """Write a table whose cells are printable already."""
    if not styled:
        write_text(table, sys.stdout)
        return
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(table.encode(encoding, "backslashreplace").decode(encoding))


def _room() -> int:
    """Return the terminal's width in characters; more than any line takes where output goes into a pipe or a file."""
    return Console().width if sys.stdout.isatty() or "COLUMNS" in os.environ else 1_000_000


def _least(cells: Sequence[str]) -> int:
    """Return the least width of a column of text: its longest word, and a readable line."""
    words = [cell_len(word) for cell in cells for word in cell.split()]
    return max([min(_READABLE, max(map(cell_len, cells))), *words])


def _folded(least: Sequence[int], room: int) -> list[list[int]]:
    """Return the columns of each table, by number; every table begins with the first column."""
    parts, used = [[0]], least[0]
    for number in range(1, len(least)):
        needed = _GAP + least[number]
        if used + needed > room and len(parts[-1]) > 1:
            parts.append([0])
            used = least[0]
        parts[-1].append(number)
        used += needed
    return parts


def _widths(least: Sequence[int], widest: Sequence[int], room: int) -> list[int]:
    """Return the width of each column: as wide as its cells, the widest narrowed until all have room."""
    widths = list(widest)
    excess = sum(widths) + _GAP * (len(widths) - 1) - room
    while excess > 0:
        spare = [(width, number) for number, width in enumerate(widths) if width > least[number]]
        if not spare:
            break
        widths[max(spare)[1]] -= 1
        excess -= 1
    return widths
