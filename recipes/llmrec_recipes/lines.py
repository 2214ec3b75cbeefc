"""Lines of delimited files, read strictly: every error names the file and the line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from llmrec_peft.errors import InputError

_WHOLE_LIMIT = 1 << 63
"""Arrow holds whole numbers in 64 bits."""


def required_file(folder: Path, name: str) -> Path:
    """A file that has to be in a folder.

    Raises:
        InputError: When the folder or the file is missing or empty.
    """
    if not folder.is_dir():
        raise InputError(f"no data folder {folder}")
    path = folder / name
    if not path.is_file():
        present = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8])
        raise InputError(f"{folder}: no file {name} (the folder holds {present or 'nothing'})")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    return path


def rows(
    path: Path, delimiter: str, fields: int, encoding: str = "utf-8", header: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of a delimited file without quoting.

    Args:
        path: File to read.
        delimiter: What stands between fields.
        fields: How many fields every line must have.
        encoding: The owner's text encoding.
        header: Whether the first line names the columns.

    Raises:
        InputError: Naming the line that has another number of fields or cannot be decoded.
    """
    number = 0
    try:
        with path.open("rb") as file:  # decoded line by line: a text file decodes blocks, and the line is lost
            for number, line in enumerate(file, start=1):
                if header and number == 1:
                    continue
                text = line.decode(encoding).rstrip("\r\n")
                if not text:
                    continue
                parts = text.split(delimiter)
                if len(parts) != fields:
                    raise InputError(f"{path}, line {number}: {len(parts)} fields where {fields} belong: {text[:60]!r}")
                yield number, parts
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, line {number}: not {encoding} text ({error.reason})") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None


def whole_number(text: str, path: Path, line: int, what: str) -> int:
    """Parse a whole number.

    Raises:
        InputError: Naming file, line and field.
    """
    try:
        number = int(text)
    except ValueError:
        raise InputError(f"{path}, line {line}: {what} {text[:20]!r} is no whole number") from None
    if abs(number) >= _WHOLE_LIMIT:
        raise InputError(f"{path}, line {line}: {what} {text[:20]}… is too large")
    return number
