"""Writer: one thread that writes to the registry, and brings what many callers write to the disk together."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from llmrec_peft.serving.http.registry.database import RegistryError, reason_in

MOST = 256
"""Pieces of work of one transaction, so that nobody waits long for those of others."""
_DEFECTS = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError)
"""Errors of SQLite that are mistakes of a statement; others are trouble with the file or the disk."""
T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


@dataclass(eq=False)
class _Job:
    work: Work[Any]
    done: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: Exception | None = None


class Writer:
    """Does work that changes a database, in the order in which it comes.

    Flushing the disk takes longer than writing, so all work that waits is committed by one flush (group commit). Each
    piece has a savepoint: its error undoes it alone.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Begin to wait for work.

        Args:
            connection: Connection without a transaction; this object's from now on.
        """
        self._connection = connection
        self._changed = threading.Condition()
        self._queue: deque[_Job] = deque()
        self._closed = False
        self._trouble: str | None = None
        self._thread = threading.Thread(target=self._run, name="llmrec-registry", daemon=True)
        self._thread.start()

    @property
    def trouble(self) -> str | None:
        """Why the last work was not written; None if it was."""
        return self._trouble

    def do(self, work: Work[T]) -> T:
        """Do some work, and return when it is on the disk.

        Args:
            work: Changes the database through the connection that it is given. It may be called twice, where the first
                changes were undone; so it changes nothing else.

        Returns:
            What `work` returns.

        Raises:
            RegistryError: If it could not be written; nothing of it is there then.
            Exception: What `work` raises; nothing of it is there then.
        """
        job = _Job(work)
        with self._changed:
            if self._closed:
                raise RegistryError("it is closed")
            self._queue.append(job)
            self._changed.notify()
        job.done.wait()
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    def close(self) -> None:
        """Do what waits, and end; nothing if it has ended."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed)
                jobs = [self._queue.popleft() for _ in range(min(MOST, len(self._queue)))]
            if not jobs:
                return
            self._write(jobs)
            for job in jobs:
                job.done.set()

    def _write(self, jobs: Sequence[_Job]) -> None:
        """Do some work in one transaction; where that fails as a whole, piece by piece."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            for job in jobs:
                job.error = error
        else:
            try:
                self._commit(jobs)
            except Exception as error:  # noqa: BLE001 - whatever it is, callers get it and the thread goes on
                if len(jobs) > 1:
                    for job in jobs:
                        self._write([job])
                    return
                jobs[0].error = error
        self._say_in_words(jobs)

    def _commit(self, jobs: Sequence[_Job]) -> None:
        connection = self._connection
        try:
            for job in jobs:
                connection.execute("SAVEPOINT one")
                job.error = None
                try:
                    job.result = job.work(connection)
                except Exception as error:
                    if not connection.in_transaction:  # SQLite has undone the work of all
                        raise
                    job.error = error
                    connection.execute("ROLLBACK TO one")
                connection.execute("RELEASE one")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")

    def _say_in_words(self, jobs: Sequence[_Job]) -> None:
        """Say what kept work from being written, and remember whether anything did."""
        trouble = None
        for job in jobs:
            if isinstance(job.error, sqlite3.Error) and not isinstance(job.error, _DEFECTS):
                trouble = reason_in(job.error)
                job.error = RegistryError(trouble)
        self._trouble = trouble
