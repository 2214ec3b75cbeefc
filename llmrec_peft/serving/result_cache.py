"""ResultCache: answers that were computed before, by what they came from and what was asked."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass

from llmrec_peft.run.catalogue import Recommendations
from llmrec_peft.serving.versions import Identity

Key = tuple[Identity, str, int, bool]
_ENTRY_BYTES, _ITEM_BYTES = 600, 170
"""Bytes of an entry's key and objects, and of an item of a list; its texts are the catalogue's and cost nothing."""


def key_of(identity: Identity, user: str, k: int, seen: bool) -> Key:
    """Return the key of an answer: the version, its state and the question, never a name or a path."""
    return identity, user, int(k), bool(seen)


@dataclass(frozen=True)
class Kept:
    """An answer in the cache.

    Attributes:
        found: The list.
        together: Users whose lists were computed in the same pass.
    """

    found: Recommendations
    together: tuple[str, ...]


@dataclass(frozen=True)
class Cached:
    """What a cache of lists keeps.

    Attributes:
        budget: Bytes that lists may take.
        nbytes: Bytes that they take, by an estimate.
        lists: How many there are.
        hits: Lists that were asked for and found.
        misses: Lists that had to be computed.
    """

    budget: int
    nbytes: int
    lists: int
    hits: int
    misses: int


class ResultCache:
    """Keeps the latest lists within a number of bytes; the one that was asked for longest ago goes first."""

    def __init__(self, most_bytes: int) -> None:
        """Begin empty.

        Args:
            most_bytes: Bytes that the lists may take, by an estimate; 0 keeps none.
        """
        self._most = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[Key, tuple[Kept, int]] = OrderedDict()
        self._lock = threading.Lock()
        self._asked, self._found = 0, 0

    @property
    def nbytes(self) -> int:
        """Bytes that the lists take, by an estimate."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)

    def count(self, asked: int, found: int) -> None:
        """Count lists that somebody asked for, and those of them that were kept."""
        with self._lock:
            self._asked, self._found = self._asked + asked, self._found + found

    def figures(self) -> Cached:
        """Return what is kept, and how often it was of use."""
        with self._lock:
            return Cached(self._most, self._bytes, len(self._kept), self._found, self._asked - self._found)

    def get(self, key: Key) -> Kept | None:
        """Return a list; None if it is not there."""
        if not self._most:
            return None
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def put(self, key: Key, kept: Kept) -> None:
        """Keep a list, and forget others as far as there is no room."""
        size = _size(key, kept)
        if size > self._most:
            return
        with self._lock:
            former = self._kept.pop(key, None)
            self._bytes += size - (0 if former is None else former[1])
            self._kept[key] = (kept, size)
            while self._bytes > self._most:
                _, (_, freed) = self._kept.popitem(last=False)
                self._bytes -= freed


def _size(key: Key, kept: Kept) -> int:
    """Return about how many bytes an entry takes; users of one pass are shared by its entries."""
    shared = sys.getsizeof(kept.together) // max(1, len(kept.together))
    return _ENTRY_BYTES + 2 * sys.getsizeof(key[1]) + shared + _ITEM_BYTES * len(kept.found.items)
