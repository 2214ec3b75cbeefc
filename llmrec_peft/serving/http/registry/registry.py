"""Registry: what a server has to know after a restart, on the disk before anybody is told that it was done."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from sqlite3 import Connection
from typing import Self, TypeVar

from llmrec_peft.artifact.lock import Lock
from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.printable import shown
from llmrec_peft.serving.http.gate.keys import StoredKey
from llmrec_peft.serving.http.registry import event_rows, key_rows, tenant_rows
from llmrec_peft.serving.http.registry.database import RegistryError, open_for_writing, reading
from llmrec_peft.serving.http.registry.event_rows import EventsReceipt, StoredEvent
from llmrec_peft.serving.http.registry.tenant_rows import StoredTenant
from llmrec_peft.serving.http.registry.writer import Writer
from llmrec_peft.serving.http.schemas import EventIn
from llmrec_peft.serving.refusals import UnavailableError
from llmrec_peft.serving.routes import Route
from llmrec_peft.serving.sealed_store import SealedStore

FILE = "registry.sqlite"
"""The registry's name in a server's state folder."""
T = TypeVar("T")


class Registry:
    """Tenants, their versions and states, keys and events, in one SQLite file with a write-ahead log.

    What changes returns when it is on the disk. One thread writes; readers have connections of their own and wait for
    nobody. It is the `Journal` of an `Engine`. Two tenants who gave one version the same events share its state, with
    the vectors that were written last.

    Attributes:
        refused: Tenants whose routes the last call of `tenants` could not make again, with the reason; their events and
            keys are there, and registering such a name again gives it another route.
    """

    def __init__(self, file: Path, store: SealedStore, busy_s: float = 5.0) -> None:
        """Open a registry, or make one.

        Args:
            file: Its file; made, for its owner alone, if it is missing.
            store: Where the tenants' runs are sealed.
            busy_s: Seconds to wait for another program that holds the file locked.

        Raises:
            InputError: If another process serves it, it cannot be made or opened, is no registry, is damaged, or has
                another format.
        """
        self._file, self._store, self._busy_s = file, store.folder, busy_s
        self.refused: dict[str, str] = {}
        self._lock = Lock(file.with_name(f".{file.name}.lock"))
        self._hold()
        try:
            self._writer = Writer(open_for_writing(file, busy_s))
        except BaseException:
            self._lock.release()
            raise

    def _hold(self) -> None:
        """Make sure that no other process serves this registry."""
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            holder = self._lock.acquire()
        except OSError as error:
            raise InputError(f"{shown(self._file)}: no registry can be here ({reason_of(error)})") from None
        if holder is not None:
            raise InputError(f"{shown(self._file)} is served by {holder}: one server has a state folder")

    def close(self) -> None:
        """Write what waits, and let go; later calls get an error."""
        self._writer.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def trouble(self) -> str | None:
        """Return why the last change could not be written; None if it was written, or there was none."""
        return self._writer.trouble

    def begin(self, tenant: str, route: Route) -> None:
        """Write a new tenant, see `Journal`.

        Raises:
            UnavailableError: If it cannot be written now.
        """
        now = time.time()
        self._write(tenant, lambda connection: tenant_rows.begin(connection, tenant, route, now))

    def replace(self, tenant: str, route: Route) -> None:
        """Write another route of a tenant, see `Journal`.

        Raises:
            UnknownTenantError: If no tenant has the name.
            UnavailableError: If it cannot be written now.
        """
        self._write(tenant, lambda connection: tenant_rows.replace(connection, tenant, route))

    def pin(self, tenant: str, pinned: bool) -> None:
        """Write whether a tenant's versions stay in memory, see `Journal`.

        Raises:
            UnknownTenantError: If no tenant has the name.
            UnavailableError: If it cannot be written now.
        """
        self._write(tenant, lambda connection: tenant_rows.pin(connection, tenant, pinned))

    def end(self, tenant: str) -> None:
        """Forget a tenant, its keys and its events, see `Journal`; nothing if nobody has the name.

        Raises:
            UnavailableError: If it cannot be written now.
        """
        self._write(tenant, lambda connection: tenant_rows.end(connection, tenant))

    def set_queue_weight(self, tenant: str, weight: float) -> None:
        """Write a tenant's part of the machine beside others' 1.

        Raises:
            UnknownTenantError: If no tenant has the name.
            UnavailableError: If it cannot be written now.
        """
        self._write(tenant, lambda connection: tenant_rows.weigh(connection, tenant, weight))

    def tenants(self) -> list[StoredTenant]:
        """Return the tenants in the order in which they were registered; no run is loaded.

        One whose states cannot be made again with the same digests is left out, and noted in `refused`.

        Raises:
            RegistryError: If the registry cannot be read.
        """
        with self._reading() as connection:
            found, self.refused = tenant_rows.read_tenants(connection, self._store)
        return found

    def put_key(self, key: StoredKey) -> None:
        """Write a key.

        Raises:
            InputError: If another key has its name.
            RegistryError: If it cannot be written now.
        """
        self._writer.do(lambda connection: key_rows.put(connection, key))

    def end_key(self, key_id: str, when: float) -> None:
        """Let a key end, unless it ends before; nothing if there is no such key.

        Args:
            key_id: Name of the key.
            when: Seconds since 1970.

        Raises:
            RegistryError: If it cannot be written now.
        """
        self._writer.do(lambda connection: key_rows.end(connection, key_id, when))

    def keys(self) -> list[StoredKey]:
        """Return all keys, those that have ended among them.

        Raises:
            RegistryError: If the registry cannot be read.
        """
        with self._reading() as connection:
            return key_rows.read(connection)

    def add_events(self, tenant: str, events: Sequence[EventIn]) -> EventsReceipt:
        """Write events, which get the next sequence numbers; one with an `event_id` that is there already is left out.

        Raises:
            UnknownTenantError: If no tenant has the name.
            UnavailableError: If they cannot be written now; none of them is there then.
        """
        now = time.time()
        return self._write(tenant, lambda connection: event_rows.add(connection, tenant, events, now))

    def events(self, tenant: str, after: int = 0, limit: int = 10_000) -> list[StoredEvent]:
        """Return a tenant's events in the order of their sequence numbers.

        Args:
            tenant: Whose events they are.
            after: Sequence number after which they begin.
            limit: How many, at most.

        Raises:
            UnknownTenantError: If no tenant has the name.
            RegistryError: If the registry cannot be read.
        """
        with self._reading() as connection:
            return event_rows.read(connection, tenant, after, limit)

    def _write(self, tenant: str, work: Callable[[Connection], T]) -> T:
        """Do some work for a tenant, and return when it is on the disk."""
        try:
            return self._writer.do(work)
        except RegistryError as error:
            raise UnavailableError(tenant, error, error.retry_s) from error

    def _reading(self) -> AbstractContextManager[Connection]:
        return reading(self._file, self._busy_s)
