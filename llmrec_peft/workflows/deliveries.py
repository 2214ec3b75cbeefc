"""Deliveries: the entries of a folder into which new data comes, and which of them are complete."""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from dataclasses import dataclass
from pathlib import Path

from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import shown

UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart")
"""Endings of names under which programs write what they rename once it is whole."""
MOST_FILES = 100_000
"""Files of one delivery, at most."""


@dataclass(frozen=True)
class Delivery:
    """A file or a folder with new data, as it was found.

    Attributes:
        name: Name of the entry.
        path: Where it lies.
        files: Number of its files.
        bytes: Their sizes together.
        fingerprint: SHA-256 of the names, sizes and times of modification of its files; no content is read.
        changed: When anything in it last changed, of content or place, in seconds since 1970.
    """

    name: str
    path: Path
    files: int
    bytes: int
    fingerprint: str
    changed: float


def deliveries(folder: Path, settle: float) -> list[Delivery]:
    """Return the complete deliveries of a folder in the order in which they came.

    Left out are hidden entries, those whose name says that they are unfinished, and those in which anything changed
    within the last `settle` seconds.

    Raises:
        InputError: If the folder cannot be read.
    """
    try:
        entries = [entry for entry in folder.iterdir() if _is_named_complete(entry.name)]
    except OSError as error:
        raise InputError(f"{shown(folder)}: {reason_of(error)}") from None
    now = time.time()
    found = [one for one in map(look_at, entries) if one is not None]
    return sorted((one for one in found if now - one.changed >= settle), key=lambda one: (one.changed, one.name))


def look_at(path: Path) -> Delivery | None:
    """Look at an entry; None if it is gone, changes meanwhile, or is incomplete by the name of one of its files.

    Raises:
        InputError: If it has more than `MOST_FILES` files.
    """
    digest, files, size = hashlib.sha256(), 0, 0
    try:
        changed = path.stat().st_ctime
        for file in _files(path):
            if file.name.endswith(UNFINISHED):
                return None
            about = file.stat()
            changed = max(changed, about.st_ctime)
            files, size = files + 1, size + about.st_size
            if files > MOST_FILES:
                raise InputError(f"{shown(path)}: more than {MOST_FILES} files, too many for one delivery")
            told = f"{file.relative_to(path)}\0{about.st_size}\0{about.st_mtime_ns}\0"
            digest.update(os.fsencode(told))
        changed = max([changed, *(folder.stat().st_ctime for folder in _folders(path))])
    except OSError:  # it is being moved, or a link in it leads nowhere yet
        return None
    return Delivery(path.name, path, files, size, digest.hexdigest(), changed) if files else None


def _is_named_complete(name: str) -> bool:
    return not name.startswith(".") and not name.endswith(UNFINISHED)


def _files(path: Path) -> list[Path]:
    """Return the files of a delivery in a fixed order, of too many no more than one too many."""
    if not path.is_dir():
        return [path]
    every = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    return sorted(itertools.islice(every, MOST_FILES + 1))


def _folders(path: Path) -> list[Path]:
    return [Path(folder) for folder, _, _ in os.walk(path)]
