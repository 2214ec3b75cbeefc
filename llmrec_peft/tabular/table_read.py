"""What reading a table file gives: the table, and the rows that were left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted, shown
from llmrec_peft.tabular.form import MOST_COLUMNS, repeated


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read.

    Attributes:
        file: The file.
        line: The line that it begins in, from 1; of a Parquet file, the row.
        field: The column that is wrong; None if the whole row is.
        reason: What is wrong, and what would be right.
    """

    file: Path
    line: int
    field: str | None
    reason: str

    @property
    def place(self) -> str:
        """Line, and column if it is one."""
        return f"line {self.line}" if self.field is None else f"line {self.line}, column {quoted(self.field, 60)}"

    def __str__(self) -> str:
        """Say where and what in one line."""
        return f"{shown(self.file)}, {self.place}: {self.reason}"


@dataclass(frozen=True)
class TableRead:
    """A table that was read.

    Attributes:
        table: Its rows; texts, where no other type was asked for.
        bad: Rows that were left out, in the order of the file.
    """

    table: pa.Table
    bad: tuple[BadRow, ...] = ()


class BadRows:
    """Collects bad rows, as many as are allowed."""

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self.rows: list[BadRow] = []

    @property
    def left(self) -> int:
        """How many more may be bad."""
        return self._allowed - len(self.rows)

    def add(self, rows: Sequence[BadRow]) -> None:
        """Take note of bad rows.

        Raises:
            InputError: If it is one too many; the message says where and what it is.
        """
        for row in rows:
            if len(self.rows) >= self._allowed:
                more = f" (after {len(self.rows)} bad rows, all that skip_bad allows)" if self.rows else ""
                raise InputError(f"{row}{more}")
            self.rows.append(row)


def require_names(names: Sequence[str], where: Path) -> None:
    """Refuse a header with too many columns, a column without a name, or one name twice.

    Raises:
        InputError: Naming the column.
    """
    if len(names) > MOST_COLUMNS:
        raise InputError(f"{shown(where)}: {len(names):,} columns, more than the {MOST_COLUMNS:,} of a table")
    for at, name in enumerate(names):
        if not name.strip():
            raise InputError(f"{shown(where)}: column {at + 1} has no name in the header: name all (option columns)")
    if (twice := repeated(names)) is not None:
        often = list(names).count(twice)
        raise InputError(f"{shown(where)}: {often} columns are called {quoted(twice, 60)}: name all (option columns)")
