"""Past states: those of tenants in a registry that a server may be writing, for audits."""

from __future__ import annotations

from pathlib import Path

from llmrec_peft.serving.http.registry.database import reading
from llmrec_peft.serving.http.registry.tenant_rows import read_past
from llmrec_peft.serving.tenants import Past


class PastStates:
    """Looks states up in a registry, which nobody has to serve; see `KnownStates`."""

    def __init__(self, file: Path, store: Path, busy_s: float = 5.0) -> None:
        """Name what is read; nothing is opened yet.

        Args:
            file: File of the registry.
            store: Folder of the sealed store.
            busy_s: Seconds to wait for another program that holds the file locked.
        """
        self._file, self._store, self._busy_s = file, store, busy_s

    def past(self, tenant: str, state_digest: str) -> Past | None:
        """Return a state in which one of the tenant's versions was; None if none of them was, or too long ago.

        Raises:
            UnknownTenantError: If no tenant has the name.
            InputError: If the registry cannot be read, or the state is not as it was written.
        """
        with reading(self._file, self._busy_s) as connection:
            return read_past(connection, self._store, tenant, state_digest)
