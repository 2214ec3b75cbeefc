"""The records of a delimited file, each with its line and what is wrong with it: the slow, exact way."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from llmrec_peft.tabular.escapes import BACKSLASH, is_escaped, own_cell, parsed_text, without_escapes
from llmrec_peft.tabular.form import SPACES, FileForm
from llmrec_peft.tabular.lines import MARK, Line

LONGEST_RECORD = 1 << 25
"""Most characters of a record; a longer one is a quotation mark that is never closed."""
_BLANKS = re.compile("[ \t]+")


class Record(NamedTuple):
    """One row as it stands in the file.

    Attributes:
        line: The line that it begins in; of an unclosed quotation mark, the line that this opens in.
        cells: Its cells.
        flaw: What is wrong with it; None if nothing is.
    """

    line: int
    cells: list[str]
    flaw: str | None


class UnclosedError(Exception):
    """A quotation mark is never closed."""


def records(lines: Iterable[Line], form: FileForm, columns: int | None = None) -> Iterable[Record]:
    """Return the records of a delimited file; empty lines are none.

    Args:
        lines: Its lines.
        form: Its form.
        columns: How many columns it has, which `FileForm.rest` needs; by default as many as the form names.
    """
    if form.quote != "none":
        return QuotedRecords(iter(lines), form)
    return _plain_records(lines, form, columns or len(form.columns or ()))


def _plain_records(lines: Iterable[Line], form: FileForm, columns: int) -> Iterator[Record]:
    split = _splitter(form, columns)
    ends = " \t\r\n" if form.delimiter == SPACES else "\r\n"
    for number, text, flaw in lines:
        bare = text.strip(ends) if form.delimiter == SPACES else text.rstrip(ends)
        if bare or flaw:
            yield Record(number, split(bare), flaw)


def _splitter(form: FileForm, columns: int) -> Callable[[str], list[str]]:
    """Return what makes the cells of a line without quotation."""
    if form.delimiter == SPACES:
        least = columns - 1 if form.rest and columns else 0
        return (lambda text: [text]) if form.rest and columns == 1 else lambda text: _BLANKS.split(text, least)
    most = columns - 1 if form.rest and columns else -1
    return lambda text: text.split(form.delimiter, most)


class QuotedRecords:
    """Records with cells in quotation marks, which may hold delimiters and line breaks, by Python's csv module."""

    def __init__(self, lines: Iterator[Line], form: FileForm) -> None:
        """Begin at the start of a record.

        Args:
            lines: The lines.
            form: The file's form.
        """
        self._source = lines
        self._pushed: deque[Line] = deque()
        self._held: list[Line] = []
        self._length = 0
        self._form = form
        self._marked = len(form.delimiter) > 1 or not form.delimiter.isascii()
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST_RECORD))

    @property
    def inside(self) -> bool:
        """Whether lines of a record were read that is not whole yet."""
        return bool(self._held)

    def __iter__(self) -> Iterator[Record]:
        """Yield the records."""
        delimiter = MARK if self._marked else self._form.delimiter
        escape = BACKSLASH if is_escaped(self._form) else None
        while True:
            reader = csv.reader(self._lines(), delimiter=delimiter, quotechar=self._form.quote, escapechar=escape)
            try:
                for cells in reader:
                    yield from self._record(cells)
                return
            except UnclosedError:
                yield self._unclosed()

    def _record(self, cells: list[str]) -> Iterator[Record]:
        held, self._held, self._length = self._held, [], 0
        flaw = next((line.flaw for line in held if line.flaw), None)
        if cells or flaw:
            if self._marked:
                cells = [cell.replace(MARK, self._form.delimiter) for cell in cells]
            if is_escaped(self._form):
                cells = [own_cell(cell) for cell in cells]
            yield Record(held[0].number, cells, flaw)

    def _lines(self) -> Iterator[str]:
        """Yield the lines to the parser, and keep those of the record that it is at.

        Raises:
            UnclosedError: When the file ends inside a cell, or a record gets too long.
        """
        while True:
            line = self._pushed.popleft() if self._pushed else next(self._source, None)
            if line is None:
                if self._held:
                    raise UnclosedError
                return
            self._held.append(line)
            self._length += len(line.text)
            if self._length > LONGEST_RECORD:
                raise UnclosedError
            text = parsed_text(line.text, self._form.quote) if is_escaped(self._form) else line.text
            yield text.replace(self._form.delimiter, MARK) if self._marked else text

    def _unclosed(self) -> Record:
        """Return the record of an unclosed quotation mark; the lines after that where it opens are read again."""
        held, self._held, self._length = self._held, [], 0
        at = _opening([line.text for line in held], self._form)
        self._pushed.extendleft(reversed(held[at + 1 :]))
        return Record(held[at].number, [], f"the quotation mark that opens a cell here is never closed ({_ADVICE})")


_ADVICE = (
    "if the file has no quotation: option quote: none; if a backslash stands before marks in cells: option escape:"
    " backslash"
)


def _opening(lines: list[str], form: FileForm) -> int:
    """Return which of the lines of a record holds the quotation mark that is never closed."""
    quote, delimiter = form.quote, form.delimiter
    opened, inside = 0, False
    for at, raw in enumerate(lines):
        line = without_escapes(raw, quote) if is_escaped(form) else raw
        place, starts = 0, not inside
        while True:
            if inside:
                place = line.find(quote, place)
                if place < 0:
                    break
                doubled = line.startswith(quote, place + 1)
                place, inside = place + (2 if doubled else 1), doubled
                starts = False
            else:
                if starts and line.startswith(quote, place):
                    inside, opened, place = True, at, place + 1
                    continue
                place = line.find(delimiter, place)
                if place < 0:
                    break
                place, starts = place + len(delimiter), True
    return opened
