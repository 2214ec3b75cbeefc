"""Mapped files: sealed files mapped into memory, where they lie there, and which of them need not be hashed again."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import mmap
import os
import threading
import time
import weakref
from collections import OrderedDict, deque
from pathlib import Path
from typing import NamedTuple

import numpy as np

from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.regular_files import SAFE_FLAGS, open_regular

MOST = 1 << 16
"""Files whose digests are remembered, the latest."""
_SETTLED_NS = 2_000_000_000
"""Age of a file's last change from which on a further change is sure to have another time."""


class Stamp(NamedTuple):
    """What the system says of a file; whatever is written into it, or takes its place, changes it."""

    device: int
    inode: int
    size: int
    written: int
    changed: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stamp:
        """Return it from what the system says."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


_digests: OrderedDict[Stamp, str] = OrderedDict()
_Place = tuple[int, int, int, str]
"""Beginning, serial number, end and path of a mapped file."""
_places: list[_Place] = []
"""Those of all files that are mapped, sorted."""
_left: deque[_Place] = deque()
"""Places of files that are not mapped any more: noted by finalizers, which may run anywhere, and after the system has
given the place to another file."""
_serials = itertools.count()
_lock = threading.Lock()


class Mapped(NamedTuple):
    """A mapped file.

    Attributes:
        content: Its bytes; what is written into them stays in this process.
        digest: Their SHA-256.
    """

    content: bytearray | mmap.mmap
    digest: str


def map_file(path: Path, limit: int) -> Mapped:
    """Map a regular file of at most `limit` bytes; an empty one cannot be mapped.

    A file of which this process knows the digest is not read: its pages come as they are used. It is known by device,
    inode, size and the times of its last changes, of which nobody can set the second.

    Raises:
        InputError: If it is missing, no regular file, too large, or cannot be mapped.
    """
    with open_regular(path, limit) as (descriptor, found):
        try:
            content = mmap.mmap(descriptor, found.st_size, access=mmap.ACCESS_COPY) if found.st_size else bytearray()
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be mapped ({reason_of(error)})") from None
        if isinstance(content, mmap.mmap):
            _note_place(content, str(path))
        stamp = Stamp.of(found)
        digest = _known(stamp)
        if digest is None:
            digest = hashlib.sha256(content).hexdigest()
            if Stamp.of(os.fstat(descriptor)) == stamp and is_settled(stamp):
                _remember(stamp, digest)
    return Mapped(content, digest)


def map_same(path: str, stamp: Stamp) -> mmap.mmap | None:
    """Map a file that is not empty; None if it is not the one that had the stamp, or was touched since.

    Raises:
        OSError: If it cannot be opened or mapped.
    """
    descriptor = os.open(path, SAFE_FLAGS)
    try:
        if Stamp.of(os.fstat(descriptor)) != stamp:
            return None
        content = mmap.mmap(descriptor, stamp.size, access=mmap.ACCESS_COPY)
    finally:
        os.close(descriptor)
    _note_place(content, path)
    return content


def is_settled(stamp: Stamp) -> bool:
    """Return whether a further change of a file is sure to give it another stamp."""
    return time.time_ns() - stamp.changed > _SETTLED_NS


def is_mapped(address: int) -> bool:
    """Return whether an address lies in a file that was mapped here and is still there."""
    return place_of(address) is not None


def place_of(address: int) -> tuple[Path, int] | None:
    """Return the file that is mapped at an address, and the place of the byte in it; None if there is none."""
    with _lock:
        _forget_left()
        at = bisect.bisect_left(_places, (address + 1,)) - 1
        if at < 0 or address >= _places[at][2]:
            return None
        return Path(_places[at][3]), address - _places[at][0]


def forget() -> None:
    """Forget all digests, so that files are hashed as by a fresh process."""
    with _lock:
        _digests.clear()


def _note_place(content: mmap.mmap, path: str) -> None:
    begin: int = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    place = begin, next(_serials), begin + len(content), path
    with _lock:
        _forget_left()
        bisect.insort(_places, place)
    weakref.finalize(content, _left.append, place).atexit = False


def _forget_left() -> None:
    while _left:
        del _places[bisect.bisect_left(_places, _left.popleft())]


def _known(stamp: Stamp) -> str | None:
    with _lock:
        if stamp in _digests:
            _digests.move_to_end(stamp)
        return _digests.get(stamp)


def _remember(stamp: Stamp, digest: str) -> None:
    with _lock:
        _digests[stamp] = digest
        while len(_digests) > MOST:
            _digests.popitem(last=False)
