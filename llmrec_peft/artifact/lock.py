"""Lock: one process at a time writes a folder, and a second is told at once who does."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from llmrec_peft.errors import InputError
from llmrec_peft.strict_json import read_object

_MOST_BYTES = 4096
"""Bytes that are read of a holder's file."""
_LONGEST_HOST = 80


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    Attributes:
        pid: Its number.
        host: Its machine.
        since: When it took the lock, seconds since 1970.
    """

    pid: int
    host: str
    since: float

    def __str__(self) -> str:
        """Describe it in a sentence."""
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host}, since {since}"


class Lock:
    """A lock on a file, held until `release` or until the process ends, however it ends.

    The lock is the kernel's (``flock``), so that nothing of a dead process blocks; beside the file lies one that
    names the holder. Both are removed when the lock is released.
    """

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is written yet."""
        self._path, self._about = path, about(path)
        self._lock = FileLock(path, timeout=0)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return bool(self._lock.is_locked)

    def acquire(self) -> str | None:
        """Take the lock at once.

        Returns:
            None if it is taken now, else a description of who holds it.

        Raises:
            OSError: If the file cannot be written.
        """
        try:
            while True:
                self._lock.acquire()
                if self._is_in_place():
                    break
                self._lock.release()  # the former holder removed the file while this process was opening it
        except Timeout:
            return str(holder_of(self._path) or "another process")
        own = asdict(Holder(os.getpid(), socket.gethostname(), time.time()))
        partial = self._about.with_name(f"{self._about.name}.{os.getpid()}")
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
            partial.write_text(json.dumps(own), encoding="utf-8")
            partial.replace(self._about)
        return None

    def release(self) -> None:
        """Let go and remove the files; nothing if the lock is not held."""
        if not self.held:
            return
        if self._is_in_place():
            for path in (self._about, self._path):  # removed while it is held: see `acquire`
                with contextlib.suppress(OSError):
                    path.unlink()
        self._lock.release()

    def _is_in_place(self) -> bool:
        """Whether the locked file is the one that bears the name now."""
        descriptor = self._lock._context.lock_file_fd
        if not isinstance(descriptor, int):
            return True  # the library's stand-in where the file system knows no locks
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.lstat())
        except OSError:
            return False


def about(path: Path) -> Path:
    """Return the file that names the holder of a lock."""
    return path.with_name(path.name + ".json")


def holder_of(path: Path) -> Holder | None:
    """Read who holds a lock; None where the file is missing or says nothing."""
    try:
        values = read_object(about(path), _MOST_BYTES)
        pid, host, since = int(values["pid"]), str(values["host"])[:_LONGEST_HOST], float(values["since"])
        time.localtime(since)
        return Holder(pid, "".join(letter for letter in host if letter.isprintable()), since)
    except (InputError, OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
