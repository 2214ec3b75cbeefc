"""TableFile: a file of the social data sets, read into columns; a wrong cell is named by file, line and column."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.plugins import FileForm, InputError, lines_of_rows, read_table
from llmrec_recipes.byte_lines import byte_lines
from llmrec_recipes.text_files import required_file

if TYPE_CHECKING:
    import pyarrow as pa

_SEPARATORS = (b"\t", b"::", b",", b";")
"""What separates the cells of files that people converted; the owner's blanks otherwise."""


class TableFile:
    """One file of delimited cells without quotation.

    Attributes:
        path: The file.
        table: Its rows.
    """

    def __init__(self, path: Path, form: FileForm, numbers: tuple[str, ...] = ()) -> None:
        """Read the file.

        Args:
            path: The file.
            form: How it is written, with all of its columns.
            numbers: Columns of numbers; others hold texts.

        Raises:
            InputError: Naming file, line and column of what cannot be read, or if there is no row.
        """
        import pyarrow as pa

        self.path, self._form = path, form
        self.table: pa.Table = read_table(path, form, dict.fromkeys(numbers, pa.float64())).table
        if not self.table.num_rows:
            raise InputError(f"{path}: the file holds no row")

    @classmethod
    def plain(cls, folder: Path, name: str, columns: tuple[str, ...], numbers: tuple[str, ...] = ()) -> TableFile:
        """Read a file without a header, whose first line tells what separates its cells."""
        path = required_file(folder, name)
        first = next((line for _, line in byte_lines(path)), b"")
        separator = next((mark for mark in _SEPARATORS if mark in first), None)
        delimiter = "spaces" if separator is None else separator.decode()
        form = {"delimiter": delimiter, "quote": "none", "header": False, "columns": columns}
        return cls(path, FileForm.model_validate(form), numbers)

    @classmethod
    def headed(cls, folder: Path, name: str, columns: tuple[str, ...], numbers: tuple[str, ...] = ()) -> TableFile:
        """Read a tab-separated file whose first line names its columns.

        Raises:
            InputError: If one of the columns is missing.
        """
        path = required_file(folder, name)
        read = cls(path, FileForm.model_validate({"delimiter": "\t", "quote": "none"}), numbers)
        lacking = [column for column in columns if column not in read.table.column_names]
        if lacking:
            raise InputError(f"{path}, line 1: no column {lacking[0]!r}; it has {', '.join(columns)}")
        return read

    def ids(self, column: str) -> pa.Array:
        """Return a column of ids.

        Raises:
            InputError: If one is empty or has blanks in it.
        """
        from pyarrow import compute

        values = self.table.column(column).combine_chunks()
        wrong = compute.index(compute.match_substring_regex(values, r"^\S+$"), False).as_py()
        if wrong >= 0:
            self.refuse(wrong, column, "an id without blanks belongs here")
        return values

    def numbers(self, column: str, allowed: NDArray[np.float64] | None, expected: str) -> NDArray[np.float64]:
        """Return a column of numbers, float64 [n].

        Args:
            column: Its name.
            allowed: The numbers that there are; None for whole ones from 1.
            expected: The same in words, for the error.

        Raises:
            InputError: If one is missing, or none of these.
        """
        values = np.asarray(self.table.column(column).fill_null(np.nan), np.float64)
        right = np.isin(values, allowed) if allowed is not None else (values >= 1.0) & (values % 1.0 == 0.0)
        if not right.all():
            row = int(np.argmin(right))
            self.refuse(row, column, f"{'nothing' if np.isnan(values[row]) else f'{values[row]:g}'} where {expected}")
        return values

    def refuse(self, row: int, column: str, why: str) -> NoReturn:
        """Raise the error for a cell.

        Args:
            row: Its row, from 0.
            column: Its column.
            why: What is wrong with it, and what belongs there.
        """
        (line,) = lines_of_rows(self.path, self._form, [row])
        raise InputError(f"{self.path}, line {line}, column {column!r}: {why}")
