"""Read delimited, CSV and JSON text files strictly: every error names the file and the line."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from llmrec_peft.plugins import InputError
from llmrec_recipes.byte_lines import byte_lines, decoded

_WHOLE_LIMIT = 1 << 63
"""Whole numbers have to be smaller: Arrow stores them in 64 bits."""
_WHOLE = re.compile(r"[+-]?[0-9]{1,30}")
_NUMBER = re.compile(r"[0-9]{1,30}(\.[0-9]{0,30})?")
_LARGEST_ARRAY = 1 << 28
"""Largest size in bytes of a file that is one JSON array, which has to be read as a whole."""


def required_file(folder: Path, name: str) -> Path:
    """Return the path of a file that has to be in a folder.

    Raises:
        InputError: When the folder or the file is missing or empty.
    """
    path = folder / name
    try:
        if not folder.is_dir():
            raise InputError(f"no data folder {folder}")
        if not path.is_file():
            raise InputError(f"{folder}: no file {name} (the folder holds {listed(folder) or 'nothing'})")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    return path


def required_match(folder: Path, pattern: str) -> Path:
    """Return the path of the only file in a folder whose name matches a pattern such as ``*_users*.tsv``.

    Raises:
        InputError: When the folder is missing, or no file or several match, or the file is empty.
    """
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.match(pattern)) if folder.is_dir() else []
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}") from None
    if len(names) > 1:
        raise InputError(f"{folder}: {len(names)} files match {pattern} where one belongs: {listed(folder, pattern)}")
    return required_file(folder, names[0] if names else pattern)


def listed(folder: Path, pattern: str = "*") -> str:
    """Name some entries of a folder in one short line; a name may hold anything."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.match(pattern))
    return ", ".join(name if name.isprintable() and len(name) <= 60 else _shown(name) for name in names[:8])  # noqa: PLR2004


def no_graph(graph: Path | None, name: str) -> None:
    """Refuse a knowledge graph for data whose items no file links to one.

    Args:
        graph: Folder that was given, if any.
        name: What the data is called in the error.

    Raises:
        InputError: When one was given.
    """
    if graph is not None:
        raise InputError(f"data.graph: nothing links the items of {name} to a knowledge graph; leave it out")


def text_lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text without its line end); a file named ``*.gz`` is unpacked as it is read.

    Raises:
        InputError: Naming the line that is too long or cannot be decoded, or after which the file is damaged.
    """
    for number, line in byte_lines(path):
        try:
            text = decoded(line, encoding)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: not {encoding} text ({error})") from None
        yield number, text.rstrip("\r\n")


def rows(
    path: Path, delimiter: str, fields: int, encoding: str = "utf-8", header: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of a delimited file whose fields are not quoted.

    Args:
        path: File to read.
        delimiter: Text between two fields.
        fields: Number of fields that every line must have.
        encoding: The owner's text encoding.
        header: Whether the first line names the columns.

    Raises:
        InputError: Naming the line that has another number of fields or cannot be decoded.
    """
    for number, text in text_lines(path, encoding):
        if not text or (header and number == 1):
            continue
        parts = text.split(delimiter)
        if len(parts) != fields:
            raise InputError(f"{path}, line {number}: {len(parts)} fields where {fields} belong: {_shown(text)}")
        yield number, parts


def csv_rows(path: Path, columns: tuple[str, ...], header: bool = True) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of a comma-separated file whose fields may be quoted.

    Args:
        path: File to read.
        columns: Names of its columns, in this order.
        header: Whether the first line gives these names; else it is the first row.

    Raises:
        InputError: Naming the line that has another number of fields or is no CSV.
    """
    reader = csv.reader((f"{text}\n" for _, text in text_lines(path)), strict=True)
    try:
        for fields in reader:
            if header and reader.line_num == 1:
                if tuple(fields) != columns:
                    raise InputError(f"{path}, line 1: {','.join(fields)[:60]!r} where {','.join(columns)!r} belongs")
                continue
            if not fields:
                continue
            if len(fields) != len(columns):
                raise InputError(f"{path}, line {reader.line_num}: {len(fields)} fields where {len(columns)} belong")
            yield reader.line_num, fields
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: no CSV ({error})") from None


@dataclass(frozen=True)
class Record:
    """A JSON object of a file; its methods return fields and refuse those of another type.

    Attributes:
        where: File and line (or position in the array), as errors name it.
        fields: The object.
    """

    where: str
    fields: dict[str, Any]

    def text(self, field: str, default: str | None = None) -> str:
        """Return a text, or `default` where the field is absent or null."""
        value = self.fields.get(field)
        if value is None and default is not None:
            return default
        return self._checked_text(value, field)

    def texts(self, field: str) -> list[str]:
        """Return a list of texts: empty where the field is absent or null, of one where it is a single text."""
        value = self.fields.get(field)
        if value is None:
            return []
        return [self._checked_text(one, field) for one in (value if isinstance(value, list) else [value])]

    def name(self, field: str) -> str:
        """Return a text that is not empty and has no white space around it, such as an id."""
        value = self.text(field)
        if not value or value != value.strip():
            self.refuse(field, "a name")
        return value

    def whole(self, field: str, low: int = -_WHOLE_LIMIT + 1, high: int = _WHOLE_LIMIT - 1) -> int:
        """Return a whole number from `low` to `high`."""
        return self._checked_whole(self.fields.get(field), field, low, high)

    def wholes(self, field: str, low: int = -_WHOLE_LIMIT + 1, high: int = _WHOLE_LIMIT - 1) -> list[int]:
        """Return a list of whole numbers from `low` to `high`."""
        values = self.fields.get(field)
        if not isinstance(values, list):
            self.refuse(field, "a list of whole numbers")
        return [self._checked_whole(value, field, low, high) for value in values]

    def number(self, field: str, low: float, high: float) -> float:
        """Return a number from `low` to `high`."""
        value = self.fields.get(field)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.refuse(field, f"a number from {low:g} to {high:g}")
        return float(value)

    def refuse(self, field: str, expected: str, part: str | None = None) -> NoReturn:
        """Raise the error for a field that is absent or holds another value than what is expected.

        Args:
            field: Name of the field.
            expected: What belongs there.
            part: The part of a long text that is wrong.
        """
        if field not in self.fields:
            raise InputError(f"{self.where}: no field {field!r}")
        shown = _shown(self.fields[field] if part is None else part)
        raise InputError(f"{self.where}: {field} {shown} where {expected} belongs")

    def _checked_text(self, value: Any, field: str) -> str:
        if not isinstance(value, str):
            self.refuse(field, "a text")
        try:
            value.encode()
        except UnicodeEncodeError:  # JSON can escape half a character, which no table holds
            self.refuse(field, "valid Unicode")
        return value

    def _checked_whole(self, value: Any, field: str, low: int, high: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            bounded = f" from {low} to {high}" if high < _WHOLE_LIMIT - 1 else f" not below {low}" if low >= 0 else ""
            self.refuse(field, f"a whole number{bounded}")
        return value


def json_lines(path: Path) -> Iterator[Record]:
    """Yield the records of a file with one JSON object a line, packed by gzip or not.

    Raises:
        InputError: Naming the line that is no JSON object.
    """
    for number, text in text_lines(path):
        if text.strip():
            yield _record(_parsed(text, f"{path}, line {number}"), f"{path}, line {number}")


def json_array(path: Path) -> Iterator[Record]:
    """Yield the records of a file that is one JSON array of objects, numbered from 0.

    Raises:
        InputError: When the file is too large, is no such array, or holds no record.
    """
    size = path.stat().st_size
    if size > _LARGEST_ARRAY:
        raise InputError(f"{path}: {size} bytes, more than the {_LARGEST_ARRAY} of a JSON array that is read whole")
    try:
        content = path.read_bytes()
        values = _parsed(content.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: not utf-8 text ({error.reason})") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    if not isinstance(values, list):
        raise InputError(f"{path}: {_shown(values)} where an array of records belongs")
    if not values:
        raise InputError(f"{path}: the array holds no record")
    for number, value in enumerate(values):
        yield _record(value, f"{path}, record {number}")


def json_object(path: Path) -> Record:
    """Return the one JSON object that a file is, packed by gzip or not.

    Raises:
        InputError: When the file is too large, damaged, or no such object.
    """
    lines, size = list[str](), 0
    for number, text in text_lines(path):
        size += len(text)
        if size > _LARGEST_ARRAY:
            raise InputError(f"{path}, line {number}: more than {_LARGEST_ARRAY} characters of an object read whole")
        lines.append(text)
    return _record(_parsed("\n".join(lines), str(path)), str(path))


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise InputError(f"{where}: no JSON ({line}column {error.colno}: {error.msg})") from None
    except RecursionError:
        raise InputError(f"{where}: no record (too deeply nested)") from None
    except ValueError as error:
        raise InputError(f"{where}: no JSON ({error})") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _record(value: Any, where: str) -> Record:
    if not isinstance(value, dict):
        raise InputError(f"{where}: {_shown(value)} where an object with named fields belongs")
    return Record(where, value)


def _shown(value: Any) -> str:
    """Return the beginning of a value for a one-line error; of a container, only its kind and size."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = ascii(value[:61]) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"  # noqa: PLR2004 - enough to find it


def whole_number(text: str, path: Path, line: int, what: str, low: int | None = None, high: int | None = None) -> int:
    """Parse a whole number of a delimited file, written in digits alone.

    Args:
        text: The field.
        path: File, for the error.
        line: Number of the line, for the error.
        what: Name of the field, for the error.
        low: Least number that makes sense.
        high: Largest number that makes sense.

    Raises:
        InputError: Naming file, line and field.
    """
    if not _WHOLE.fullmatch(text):
        raise InputError(f"{path}, line {line}: {what} {_shown(text[:20])} is no whole number")
    number = int(text)
    if abs(number) >= _WHOLE_LIMIT:
        raise InputError(f"{path}, line {line}: {what} {text[:20]}… is too large")
    if (low is not None and number < low) or (high is not None and number > high):
        bounds = f"outside {low} to {high}" if low is not None and high is not None else f"below {low}"
        raise InputError(f"{path}, line {line}: {what} {number} is {bounds}")
    return number


def number(text: str, path: Path, line: int, what: str, high: float) -> float:
    """Parse a number from 0 up of a delimited file, written in digits with a decimal point or without.

    Args:
        text: The field.
        path: File, for the error.
        line: Number of the line, for the error.
        what: Name of the field, for the error.
        high: Largest number that makes sense.

    Raises:
        InputError: Naming file, line and field.
    """
    if not _NUMBER.fullmatch(text):
        raise InputError(f"{path}, line {line}: {what} {_shown(text[:20])} is no number from 0 up")
    if float(text) > high:
        raise InputError(f"{path}, line {line}: {what} {text[:20]} is above {high:g}")
    return float(text)
