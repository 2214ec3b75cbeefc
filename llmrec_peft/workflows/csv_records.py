"""CSV records: the fields of each row beside the very bytes they were read from; and rows written as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, BinaryIO

from llmrec_peft.errors import InputError, reason_of

_LINE_BYTES = 64 << 20
"""Longest line; a longer one is no table."""
_FIELD_CHARACTERS = 16 << 20
"""Longest field; a longer one is a quotation mark that is never closed."""
_BOM = b"\xef\xbb\xbf"
_HEADER = "the header"


@dataclass(frozen=True)
class Record:
    """One row.

    Attributes:
        fields: Its fields, as text.
        raw: Its bytes, without the end of the line.
        end: The bytes of the end of its line; empty for a last line that has none.
    """

    fields: list[str]
    raw: bytes
    end: bytes


class CsvRecords:
    """Reads the records of a CSV file one by one; lines without any character are left out.

    Attributes:
        header: The first record, which names the columns.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Read the header.

        Args:
            file: The file, open for reading.
            name: What errors call it.

        Raises:
            InputError: If there is no header, or it is no UTF-8 text.
        """
        self._file = file
        self._name = name
        self._done = 0
        self._started = False
        self._raw: list[bytes] = []
        csv.field_size_limit(max(csv.field_size_limit(), _FIELD_CHARACTERS))
        self._reader = csv.reader(self._lines(), strict=True)
        header = self._next()
        if header is None:
            raise InputError(f"{name}: the file is empty: its first line has to name the columns")
        self.header = header

    def __iter__(self) -> Iterator[Record]:
        """Yield the rows below the header.

        Raises:
            InputError: Naming the row that is no UTF-8 text, or does not have the header's fields.
        """
        width = len(self.header.fields)
        while (record := self._next()) is not None:
            self._done += 1
            if len(record.fields) != width:
                raise InputError(
                    f"{self._name}, row {self._done}: {len(record.fields)} fields where the header has {width}"
                    " (a field that contains a comma belongs in quotation marks)"
                )
            yield record

    def _next(self) -> Record | None:
        """Return the next record; None at the end."""
        while True:
            self._raw.clear()
            try:
                fields = next(self._reader)
            except StopIteration:
                return None
            except csv.Error as error:
                raise InputError(f"{self._name}, {self._place()}: {_reason(error)}") from None
            if fields:
                break
        raw = b"".join(self._raw)
        bare = raw.removesuffix(b"\n").removesuffix(b"\r") if raw.endswith(b"\n") else raw
        self._started = True
        return Record(fields, bare, raw[len(bare) :])

    def _lines(self) -> Iterator[str]:
        """Yield the lines as text and keep their bytes."""
        first = True
        while line := self._read():
            if len(line) > _LINE_BYTES:
                raise InputError(f"{self._name}, {self._place()}: a line of more than {_LINE_BYTES >> 20} MiB")
            self._raw.append(line)
            text = line.removeprefix(_BOM) if first else line
            first = False
            try:
                yield text.decode("utf-8")
            except UnicodeDecodeError as error:
                wrong = text[error.start]
                raise InputError(
                    f"{self._name}, {self._place()}: not utf-8 text (byte 0x{wrong:02x}): save the file as UTF-8"
                ) from None

    def _read(self) -> bytes:
        try:
            return self._file.readline(_LINE_BYTES + 1)
        except OSError as error:
            raise InputError(f"{self._name}, {self._place()}: unreadable ({reason_of(error)})") from None

    def _place(self) -> str:
        return f"row {self._done + 1}" if self._started else _HEADER


def _reason(error: csv.Error) -> str:
    """Return what is wrong with a record in the words of this program."""
    said = str(error)
    if "new-line character" in said:
        return "a line ends in a carriage return alone: lines end in a line feed, or in both"
    if "unexpected end of data" in said or "field larger than" in said:
        return "a quotation mark is never closed"
    return f"unreadable ({said})"


def csv_lines(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV, with lines that end in a line feed.

    Python's writer puts a carriage return inside a field into quotation marks only if its own lines end in one.
    """
    lines: list[str] = []
    csv.writer(SimpleNamespace(write=lines.append), lineterminator="\r\n").writerows(rows)
    return "".join(f"{line[:-2]}\n" for line in lines)
