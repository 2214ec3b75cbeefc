"""Leases: how often a version is in use, so that it leaves memory when nothing uses it, and not before."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable

from llmrec_peft.serving.sealed_store import SealedRun
from llmrec_peft.serving.versions import Version


class Leases:
    """Counts the routes and asks that use each version.

    The lock is held while numbers are added, never while anything is computed, loaded or dropped.
    """

    def __init__(self, drop: Callable[[Version], None]) -> None:
        """Begin without versions.

        Args:
            drop: Frees a version that nothing uses any more; called once for each version, without the lock.
        """
        self.lock = threading.Lock()
        self._drop = drop
        self._counts: Counter[Version] = Counter()

    def take(self, versions: Iterable[Version]) -> None:
        """Count further uses; whoever calls holds `lock`, so that what he found in a route is still in use."""
        for version in versions:
            self._counts[version] += 1

    def give_back(self, versions: Iterable[Version]) -> None:
        """End uses, and drop the versions that have none left."""
        unused = []
        with self.lock:
            for version in versions:
                self._counts[version] -= 1
                if not self._counts[version]:
                    del self._counts[version]
                    unused.append(version)
        for version in unused:
            self._drop(version)

    def find(self, sealed: SealedRun) -> Version | None:
        """Return the version of a sealed run and count one more use; None if it is not in memory."""
        with self.lock:
            for version in self._counts:
                if version.sealed == sealed:
                    self.take([version])
                    return version
        return None

    @property
    def counts(self) -> dict[str, int]:
        """Uses of each version in memory, by its digest."""
        with self.lock:
            found: Counter[str] = Counter()
            for version, count in self._counts.items():
                found[version.digest] += count
            return dict(found)
