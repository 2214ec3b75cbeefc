"""Files of users: ids one a line, or a table with a column of ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.errors import InputError
from llmrec_peft.workflows.pair_files import CsvSource, ParquetSource, Source, listed_names
from llmrec_peft.workflows.streams import STREAM, name_of, opened

_LINE_BYTES = 64 << 10
"""Longest line of a list of ids."""
_COLUMN = "user_id"
_TABLES = frozenset(
    (".csv", ".tsv", ".tab", ".psv", ".parquet", ".json", ".jsonl", ".ndjson", ".gz", ".bz2", ".xz", ".zst", ".zip")
)
"""Endings of tables; every other file is a list."""
_STREAMED: Mapping[str, Callable[..., Source]] = {".csv": CsvSource, ".parquet": ParquetSource}
"""Tables that are read a chunk at a time where they have the column."""


def read_users(source: Path, run: Path | None = None) -> tuple[list[str], int]:
    """Return the users of a file, each once, and how many rows repeat one.

    Args:
        source: A table by its ending, such as CSV, TSV, JSON lines or Parquet, also compressed; or a file with another
            ending, or ``-`` for stdin, with one id a line.
        run: Run folder; a table may call its users as the run's own files did, instead of `user_id`.

    Raises:
        InputError: If the file cannot be read, or has no users.
    """
    name = name_of(source)
    users: dict[str, None] = {}
    rows = 0
    for user in _ids(source, name, run):
        rows += 1
        if not user:
            raise InputError(f"{name}, row {rows}: user_id is empty")
        users[user] = None
    if not users:
        raise InputError(f"{name}: there are no users")
    return list(users), rows - len(users)


def _ids(source: Path, name: str, run: Path | None) -> Iterator[str | None]:
    """Yield the id of each row."""
    ending = source.suffix.lower()
    if source == STREAM or ending not in _TABLES:
        with opened(source) as file:
            yield from _listed(file, name)
        return
    with opened(source) as file:
        kind = _STREAMED.get(ending)
        if kind is not None and _COLUMN in kind(file, name, ()).names:
            file.seek(0)
            for chunk in kind(file, name, (_COLUMN,)):
                yield from chunk.ids(_COLUMN)
            return
    yield from _of_any_table(source, name, run)


def _of_any_table(source: Path, name: str, run: Path | None) -> Iterable[str | None]:
    """Return the ids of a table whose form is guessed, trimmed as those of a user's own files are.

    Raises:
        InputError: If it cannot be read, or no column is known to have ids of users.
    """
    from llmrec_peft.custom.cells import id_texts
    from llmrec_peft.tabular.read import read_table
    from llmrec_peft.tabular.sniff import sniffed

    found = sniffed(source, {"rest": False})  # an id holds no delimiter
    if "encoding" in found.unsure:
        raise InputError(f"{name}: not utf-8 text: save the file as UTF-8")
    known = (_COLUMN, *(_called(run) if run is not None else ()))
    table = read_table(source, found.form).table
    column = next((one for one in known if one in table.column_names), None)
    if column is None:
        raise InputError(
            f"{name}: no column {' or '.join(listed_names([one]) for one in known)} (it has"
            f" {listed_names(table.column_names)}); a file with one id a line and no heading is named .txt"
        )
    ids: list[str | None] = id_texts(table.column(column), f"{name}, column {column}").to_pylist()
    return ids


def _called(run: Path) -> list[str]:
    """Return what the run's own files call the column of users, the file of users first; nothing for other runs."""
    values: Any = SealedFolder.open(run).recipe()
    names = []
    for path in (("data", "options", "users", "id"), ("data", "options", "interactions", "user")):
        value = values
        for field in path:
            value = value.get(field) if isinstance(value, Mapping) else None
        if isinstance(value, str) and value != _COLUMN and value not in names:
            names.append(value)
    return names


def _listed(file: Any, name: str) -> Iterator[str]:
    """Yield the ids of a list, one a line; empty lines and a heading ``user_id`` are left out."""
    at = 0
    while line := file.readline(_LINE_BYTES):
        at += 1
        if len(line) >= _LINE_BYTES:
            raise InputError(f"{name}, line {at}: it is longer than any id: give one user id a line")
        try:
            text = line.removeprefix(b"\xef\xbb\xbf").decode("utf-8") if at == 1 else line.decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{name}, line {at}: not utf-8 text: save the file as UTF-8") from None
        user = text.removesuffix("\n").removesuffix("\r")
        if user and not (at == 1 and user == _COLUMN):
            yield user
