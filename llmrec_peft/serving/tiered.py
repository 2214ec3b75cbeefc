"""Tiered: the versions of an engine's tenants, in memory or sealed; which are kept, and what they take."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch

from llmrec_peft.backbone.precision import best_device
from llmrec_peft.backbone.remote_code import allowing
from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.serving.answers import Standing
from llmrec_peft.serving.encoding import ItemEncoder
from llmrec_peft.serving.journal import Journal
from llmrec_peft.serving.loading import Loading
from llmrec_peft.serving.refusals import about
from llmrec_peft.serving.routes import Route
from llmrec_peft.serving.sealed_store import SealedRun, SealedStore
from llmrec_peft.serving.shared_passes import ADAPTER_BYTES, SharedPasses
from llmrec_peft.serving.skeletons import Skeletons
from llmrec_peft.serving.tenants import Tenants
from llmrec_peft.serving.tiers.host_tier import HostTier
from llmrec_peft.serving.tiers.memory import Memory
from llmrec_peft.serving.tiers.returned_memory import return_freed_memory
from llmrec_peft.serving.versions import Version

_CYCLES = 64
"""Adapters whose modules were freed between two collections of cycles, of which they are full; the rest of a version
has none."""


@dataclass(frozen=True)
class Readiness:
    """Whether what answers some users of a tenant can answer now.

    Attributes:
        absent: Digests of the versions among these that are not in memory.
        encodes: Whether the language model reads a text for each score of one of them; known of versions that were in
            memory once.
    """

    absent: frozenset[str]
    encodes: bool


class TieredVersions:
    """Versions by tenant, loaded when they are asked for and kept in memory within a number of bytes.

    Attributes:
        store: Where runs are sealed.
    """

    def __init__(
        self,
        store: SealedStore | str | Path,
        base: Recommender | None = None,
        device: str | torch.device | None = None,
        encoder: ItemEncoder | None = None,
        try_adapters: bool = True,
        trust_remote_code: bool = False,
        host_bytes: int | None = None,
        wait_s: float = 60.0,
        loaders: int = 1,
        adapter_bytes: int = ADAPTER_BYTES,
        adapter_host_bytes: int | None = None,
        journal: Journal | None = None,
    ) -> None:
        """Begin without tenants.

        Args:
            store: Where runs are sealed.
            base: A recommender whose base is shared; by default the first run says which base it is.
            device: Device of the computation; by default that of `base`, or the first CUDA device, or the CPU.
            encoder: Encodes texts of new items; by default those of all versions in shared passes.
            try_adapters: Whether an adapter is put into the base before its version answers, see `Loading`.
            trust_remote_code: Whether Python code that comes with the base may run, if a run's recipe asks for it.
            host_bytes: Bytes that versions may take in memory; None for no bound.
            wait_s: Seconds that an ask waits for a version that is not in memory.
            loaders: Versions that are loaded at the same time, at most.
            adapter_bytes: Bytes for adapters whose texts share passes; others leave memory and come back.
            adapter_host_bytes: Bytes of host memory for copies of adapters, see `SharedPasses`.
            journal: Is told of changes before they answer.

        Raises:
            InputError: If the store cannot be opened, or one of the last numbers is too small.
        """
        for name, value in (("host_bytes", host_bytes), ("wait_s", wait_s), ("loaders", loaders)):
            if value is not None and not value > 0:
                raise InputError(f"{name} is a number above 0, not {quoted(value)}")
        self.store = store if isinstance(store, SealedStore) else SealedStore(store)
        if device is not None:
            where = torch.device(device)
        else:
            where = best_device() if base is None else base.device
        if encoder is None:
            encoder = SharedPasses(adapter_bytes, adapter_host_bytes=adapter_host_bytes)
        self._encoder: ItemEncoder = encoder
        self._skeletons = Skeletons()
        kept = None if host_bytes is None else self._skeletons
        self._loading = Loading(where, None if base is None else base.language_model, try_adapters, kept)
        self._trust_remote_code = trust_remote_code
        self._cycles = 0
        self._tier = HostTier(self._load, self._drop, host_bytes, wait_s, loaders, self._load_again)
        self._tenants = Tenants(self._tier, journal)

    def close(self) -> None:
        """End the thread that encodes texts of new items; calls that wait for it, and later ones, get an error."""
        self._encoder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def tenants(self) -> tuple[str, ...]:
        """Names of all tenants, in the order in which they were registered."""
        return self._tenants.names

    @property
    def in_memory(self) -> dict[str, int]:
        """How often each version in memory is in use, by its digest: by routes, and by asks under way."""
        return self._tier.uses()

    def standing(self, tenant: str) -> Standing:
        """Return which versions answer a tenant's users.

        Raises:
            UnknownTenantError: If no tenant has the name.
        """
        standing = self._tenants.standing(tenant)
        main = self._tenants.route(tenant).main.sealed
        with self._tier.lock:
            version = self._tier.in_memory(main)
        return standing if version is None else replace(standing, notes=standing.notes + self._encoder.notes(version))

    def readiness(self, tenant: str, users: Sequence[str] | None = None) -> Readiness:
        """Return whether the versions that answer some users are in memory; loads and waits for nothing.

        Args:
            tenant: Whose users they are.
            users: User ids; None for all.

        Raises:
            UnknownTenantError: If no tenant has the name.
        """
        places = self._tenants.route(tenant).answering_of(users)
        with self._tier.lock:
            known = [(placed.sealed, self._tier.find(placed.sealed)) for placed in places]
            absent = frozenset(sealed.digest for sealed, one in known if one is None or one.version is None)
            return Readiness(absent, any(one is not None and one.encodes for _, one in known))

    @contextlib.contextmanager
    def in_use(
        self,
        tenant: str,
        users: Sequence[str] | None = None,
        wait_s: float | None = None,
        route: Route | None = None,
    ) -> Iterator[None]:
        """Keep the versions that answer some users in memory for the block; those that are not there are loaded first.

        Where two versions answer, both have to fit into memory together.

        Args:
            tenant: Whose users they are.
            users: User ids; None for all.
            wait_s: Seconds to wait, for all of them together; by default those that an ask waits for each.
            route: What answers them; by default what answers now.

        Raises:
            UnknownTenantError: If no tenant has the name.
            UnavailableError: If a version was not loaded in time, its load failed, or there is no room for it.
        """
        until = None if wait_s is None else time.monotonic() + wait_s
        with contextlib.ExitStack() as stack:
            with about(tenant):
                for placed in (self._tenants.route(tenant) if route is None else route).answering_of(users):
                    left = None if until is None else max(0.0, until - time.monotonic())
                    stack.enter_context(self._tier.leased(placed, wait_s=left))
            yield

    def memory(self, disk_age_s: float = 0.0) -> Memory:
        """Return what versions take, tier by tier, and what became of asks for them.

        Args:
            disk_age_s: Seconds for which the bytes on the disk that were counted before are good enough.
        """
        with self._tier.lock:
            found = self._tier.memory()
        adapters = self._encoder.adapter_memory()
        return replace(
            found,
            skeleton_bytes=self._skeletons.nbytes,
            adapter_budget=adapters.budget,
            adapter_bytes=adapters.used,
            adapter_host_budget=adapters.host_budget,
            adapter_host_bytes=adapters.host_used,
            disk_bytes=self.store.nbytes(disk_age_s),
        )

    def pin(self, tenant: str) -> Standing:
        """Keep the versions that answer a tenant's users in memory, also those of later swaps.

        Raises:
            ServingError: If no tenant has the name, a version cannot be loaded, or the budget has no room for all that
                is pinned; nothing is pinned then.
        """
        with self._tenants.changed(tenant), about(tenant):
            self._with_loaded(tenant, lambda: self._tenants.pin(tenant))
        return self.standing(tenant)

    def unpin(self, tenant: str) -> Standing:
        """Let a tenant's versions leave memory when there is no room, as those of others do.

        Raises:
            UnknownTenantError: If no tenant has the name.
        """
        with self._tenants.changed(tenant):
            self._tenants.unpin(tenant)
        return self.standing(tenant)

    def reload(self, tenant: str) -> Standing:
        """Load the versions that answer a tenant's users unless they are in memory, whatever failed before.

        Raises:
            ServingError: If no tenant has the name, or a version cannot be loaded.
        """
        with self._tenants.changed(tenant), about(tenant):
            self._with_loaded(tenant, lambda: None)
        return self.standing(tenant)

    def _with_loaded(self, tenant: str, do: Callable[[], None]) -> None:
        """Do something while the versions that answer a tenant's users are in memory."""
        with contextlib.ExitStack() as stack:
            for placed in self._tenants.route(tenant).answering:
                stack.enter_context(self._tier.leased(placed, beside=tenant))
            do()

    def _load(self, sealed: SealedRun, first: bool) -> Version:
        """Load a version; its adapter is tried the first time."""
        self._cycles += first
        with allowing(self._trust_remote_code):
            version = self._loading.load(sealed, answers=first)
        if first:
            return_freed_memory()
        return version

    def _load_again(self, sealed: SealedRun) -> Version | None:
        """Make a version again that was loaded before, if nothing has to be read for it."""
        return self._loading.again(sealed)

    def _drop(self, version: Version) -> None:
        """Free a version that nothing uses any more; waits for nobody."""
        self._cycles += version.tenant.adapter.has_modules
        version.tenant.base.retire(version.tenant.adapter)
        self._encoder.drop(version)

    def _collect(self) -> None:
        """Collect what adapters left in cycles, once there are several; called by changes, not by asks."""
        if self._cycles >= _CYCLES:
            self._cycles = 0
            gc.collect()
