"""Remembered: answers about large files, kept in the user's cache so that their bytes are read once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from llmrec_peft.errors import InputError
from llmrec_peft.regular_files import open_regular
from llmrec_peft.strict_json import parse_json

VERIFY = "LLMREC_VERIFY"
"""Environment variable: set to 1, nothing remembered in the cache is believed and every file is read anew."""
LARGE = 1 << 23
"""Bytes from which on a file's answers are remembered; a smaller one is read faster than looked up."""
_SETTLED_NS = 2_000_000_000
"""Age of a file's last change from which on a second change cannot hide behind the same time stamp."""
_LARGEST_RECORD = 1 << 14

_here: dict[tuple[str, str], tuple[list[int], str]] = {}
"""What this process has found out: by path and question, the file's state and the answer."""


def cache_folder() -> Path:
    """Return the folder of converted models and remembered digests: ``$LLMREC_CACHE``, else the user's cache."""
    own = os.environ.get("LLMREC_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "llmrec-peft"


def remembered(path: Path, question: str, answer: Callable[[Path], str]) -> str:
    """Return the answer to a question about a file's bytes, computed once for each state of the file.

    A state is the resolved path, device, inode, size and the times of the last change of content and of entry; the
    latter cannot be set back. What was changed less than two seconds ago is not remembered. The record lies in the
    user's cache, never beside the model: whoever wrote the model cannot write the record. An unreadable record counts
    as none, and a cache that cannot be written changes nothing.

    Args:
        path: A regular file, or a link to one.
        question: What is asked, such as ``sha256``.
        answer: Reads the file and answers; its exceptions pass through and nothing is remembered.

    Raises:
        OSError: If the file is not there.
    """
    whole = path.resolve()
    state = _state(whole)
    key = (str(whole), question)
    known = _here.get(key)
    if known is not None and known[0] == state:
        return known[1]
    record = _record(whole)
    if record is not None and os.environ.get(VERIFY, "") in ("", "0"):
        stored = _read(record).get(question)
        if isinstance(stored, list) and len(stored) == 2 and stored[0] == state and isinstance(stored[1], str):  # noqa: PLR2004
            _here[key] = (state, stored[1])
            return stored[1]
    now = time.time_ns()
    found = answer(whole)
    if _state(whole) == state and state[2] >= LARGE and max(state[3:]) + _SETTLED_NS < now:
        _here[key] = (state, found)
        if record is not None:
            _write(record, {**_read(record), question: [state, found]})
    return found


@contextlib.contextmanager
def read_anew() -> Iterator[None]:
    """Believe nothing remembered inside the block: files are read again, and what they answer replaces the record."""
    before = os.environ.get(VERIFY)
    _here.clear()
    os.environ[VERIFY] = "1"
    try:
        yield
    finally:
        os.environ.pop(VERIFY)
        if before is not None:
            os.environ[VERIFY] = before


def _state(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _record(path: Path) -> Path | None:
    try:
        return cache_folder() / "digests" / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"
    except RuntimeError:  # no home folder
        return None


def _read(record: Path) -> dict[str, Any]:
    """Return a record's answers; none where it is missing, broken, another user's or no regular file."""
    try:
        with open_regular(record, _LARGEST_RECORD) as (descriptor, found):
            if hasattr(os, "getuid") and found.st_uid != os.getuid():
                return {}
            values = parse_json(os.read(descriptor, _LARGEST_RECORD), str(record))
    except (OSError, InputError):
        return {}
    return values if isinstance(values, dict) else {}


def _write(record: Path, values: dict[str, Any]) -> None:
    """Replace a record whole; of two processes the last one wins, and both are right."""
    with contextlib.suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(prefix=".", suffix=".new", dir=record.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(values, file)
            Path(partial).replace(record)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
