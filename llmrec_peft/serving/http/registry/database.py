"""Database: the registry's SQLite file, how it is made, checked and opened, and what its errors mean."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from llmrec_peft.artifact.folder import flush
from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import shown
from llmrec_peft.regular_files import SAFE_FLAGS, require_regular
from llmrec_peft.serving.http.registry.schema import APPLICATION, CHECKED, FORMAT, TABLES

_FILE_MODE, _FOLDER_MODE = 0o600, 0o700
_MOST_BYTES = 1 << 44
_LOG_BYTES = 64 << 20
"""Bytes of the write-ahead log that stay on the disk after they were taken over into the file."""
RETRY_S = 1.0
"""Seconds after which a registry that could not be read or written may work again."""
_REASONS = {
    sqlite3.SQLITE_BUSY: "another program holds it locked",
    sqlite3.SQLITE_LOCKED: "another program holds it locked",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "it may not be written",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_IOERR: "the disk gave an error",
    sqlite3.SQLITE_NOTADB: "it is no SQLite file",
    sqlite3.SQLITE_CORRUPT: "it is damaged",
}


class RegistryError(InputError):
    """The registry cannot be read or written now.

    Attributes:
        reason: Why.
        retry_s: Seconds after which it may work again.
    """

    def __init__(self, reason: str) -> None:
        """Say why."""
        super().__init__(f"the registry does not work: {reason}")
        self.reason, self.retry_s = reason, RETRY_S


def reason_in(error: sqlite3.Error) -> str:
    """Return in a few words what an error of SQLite says.

    >>> reason_in(sqlite3.OperationalError("no such table: tenants"))
    'no such table: tenants'
    """
    code = getattr(error, "sqlite_errorcode", None)
    return reason_of(error) if code is None else _REASONS.get(code & 0xFF, reason_of(error))


def open_for_writing(file: Path, busy_s: float) -> sqlite3.Connection:
    """Open a registry to write it; it is made if it is missing.

    The file is for its owner alone, and so is its folder. A commit is on the disk when it returns.

    Args:
        file: The file.
        busy_s: Seconds to wait for another program that holds it locked.

    Returns:
        A connection without a transaction, which one thread at a time may use.

    Raises:
        InputError: If it cannot be made or opened, is no registry, is damaged, or has a newer format.
    """
    _make_private(file)
    with _in_words(file):
        connection = _connect(file, "rw", busy_s)
        try:
            if _is_new(connection, file):
                connection.executescript(f"BEGIN IMMEDIATE; {TABLES} COMMIT;")
            else:
                _require_whole(connection, file)
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise InputError(f"{shown(file)}: this file system does not take a write-ahead log")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        except BaseException:
            connection.close()
            raise
    return connection


@contextlib.contextmanager
def reading(file: Path, busy_s: float) -> Iterator[sqlite3.Connection]:
    """Open a registry to read it as it is at one moment, whoever writes meanwhile.

    Args:
        file: The file.
        busy_s: Seconds to wait for another program that holds it locked.

    Raises:
        RegistryError: If it cannot be read.
        InputError: If it is missing, no registry, or has a newer format.
    """
    require_regular(file, _MOST_BYTES)
    try:
        with contextlib.closing(_connect(file, "ro", busy_s)) as connection:
            connection.execute("BEGIN")
            if _is_new(connection, file):
                raise InputError(f"{shown(file)}: is empty")
            yield connection
    except sqlite3.Error as error:
        raise RegistryError(reason_in(error)) from error


def _connect(file: Path, mode: str, busy_s: float) -> sqlite3.Connection:
    uri = f"{file.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, busy_s, isolation_level=None, check_same_thread=False, uri=True)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _make_private(file: Path) -> None:
    """Make a registry's folder and file if they are missing, and keep others from both."""
    try:
        file.parent.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
        with contextlib.suppress(PermissionError):  # a folder of somebody else's, in which we may write
            file.parent.chmod(_FOLDER_MODE)
        if not os.path.lexists(file):
            os.close(os.open(file, os.O_CREAT | os.O_RDWR | SAFE_FLAGS, _FILE_MODE))
            flush(file.parent)
        if stat.S_IMODE(require_regular(file, _MOST_BYTES).st_mode) != _FILE_MODE:
            file.chmod(_FILE_MODE)
    except OSError as error:
        raise InputError(f"{shown(file)}: no registry can be here ({reason_of(error)})") from None


def _is_new(connection: sqlite3.Connection, file: Path) -> bool:
    """Return whether a file is empty; refuse one that is no registry of a format that is known here."""
    found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    if found == [0, 0] and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return True
    if found[0] != APPLICATION:
        raise InputError(f"{shown(file)}: is a database of another program")
    if found[1] != FORMAT:
        raise InputError(
            f"{shown(file)}: is a registry of format {found[1]}, and this version of llmrec reads format {FORMAT}"
        )
    return False


def _require_whole(connection: sqlite3.Connection, file: Path) -> None:
    """Refuse a damaged registry; events, of which there may be many millions, are not looked at."""
    for table in CHECKED:
        said = connection.execute(f"PRAGMA quick_check({table})").fetchone()[0]
        if said != "ok":
            raise InputError(f"{shown(file)}: is damaged ({said})")


@contextlib.contextmanager
def _in_words(file: Path) -> Iterator[None]:
    """Say in one line what SQLite says of a file that is opened."""
    try:
        yield
    except sqlite3.Error as error:
        raise InputError(f"{shown(file)}: {reason_in(error)}") from error
