"""Skeletons: runs that were loaded once and may be wanted again, without their numbers, within a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict

from llmrec_peft.artifact.untouched import Untouched
from llmrec_peft.run.skeleton import Skeleton
from llmrec_peft.run.tenant import LoadedTenant
from llmrec_peft.serving.sealed_store import SealedRun

MOST_BYTES = 64 << 20
"""Bytes of all skeletons of an engine: those of about 8,000 runs."""


class Skeletons:
    """Skeletons by sealed run, those that were used last."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        """Begin without any.

        Args:
            most_bytes: Bytes of all of them.
        """
        self._most, self._bytes = most_bytes, 0
        self._known: OrderedDict[SealedRun, Skeleton] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes that they take."""
        return self._bytes

    def keep(self, sealed: SealedRun, tenant: LoadedTenant, before: Untouched | None) -> None:
        """Keep the skeleton of a run that has just been loaded, if one can be made of it and answers as the run does.

        Args:
            sealed: The run in the store.
            tenant: It in memory.
            before: Its folder, before it was read.
        """
        if before is None or not before.settled or Untouched.now(sealed.folder) != before:
            return
        with self._lock:
            known = self._known.get(sealed)
        if known is not None and known.files == before:  # it is read once more for an audit
            return
        skeleton = Skeleton.of(tenant, before)
        if skeleton is None or not _answers(skeleton, tenant):
            return
        with self._lock:
            self._forget(sealed)
            self._known[sealed] = skeleton
            self._bytes += skeleton.nbytes
            while self._bytes > self._most:
                self._forget(next(iter(self._known)))

    def tenant(self, sealed: SealedRun) -> LoadedTenant | None:
        """Make a run again; None if its skeleton is not known, or a file was touched since."""
        with self._lock:
            skeleton = self._known.get(sealed)
            if skeleton is not None:
                self._known.move_to_end(sealed)
        if skeleton is None:
            return None
        tenant: LoadedTenant | None = None
        try:
            tenant = skeleton.tenant()
        finally:
            if tenant is None:
                with self._lock:
                    if self._known.get(sealed) is skeleton:
                        self._forget(sealed)
        return tenant

    def _forget(self, sealed: SealedRun) -> None:
        former = self._known.pop(sealed, None)
        self._bytes -= 0 if former is None else former.nbytes


def _answers(skeleton: Skeleton, tenant: LoadedTenant) -> bool:
    """Return whether a run can be made again and scores as it did when it was written."""
    try:
        again = skeleton.tenant()
        if again is not None and tenant.canary is not None:
            tenant.canary.require(again)
    except Exception:  # noqa: BLE001 - a stranger's signal may do anything
        return False
    return again is not None
