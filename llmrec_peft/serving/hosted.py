"""Hosted: the versions of an engine's tenants, and how they change while others are asked."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch

from llmrec_peft.backbone.precision import best_device
from llmrec_peft.backbone.remote_code import allowing
from llmrec_peft.printable import quoted
from llmrec_peft.run.ids import text_id
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.serving import computing
from llmrec_peft.serving.answers import Standing
from llmrec_peft.serving.encoding import ItemEncoder
from llmrec_peft.serving.loading import KnownScores, Loading
from llmrec_peft.serving.refusals import ServingError, about, refusing
from llmrec_peft.serving.routes import Route
from llmrec_peft.serving.sealed_store import SealedStore
from llmrec_peft.serving.shared_passes import ADAPTER_BYTES, SharedPasses
from llmrec_peft.serving.tenants import Tenants
from llmrec_peft.serving.versions import Version

_DROPPED = 64
"""Versions that are dropped between two collections of cycles: modules of adapters refer to each other."""


class HostedVersions:
    """Versions by tenant: registered, swapped, tried on a share of the users, rolled back.

    A change makes another route and puts it in the place of the one that it began with, so that no ask waits for it.
    Changes of one tenant follow each other.

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
        adapter_bytes: int = ADAPTER_BYTES,
    ) -> None:
        """Begin without tenants.

        Args:
            store: Where runs are sealed.
            base: A recommender whose base is shared; by default the first run says which base it is.
            device: Device of the computation; by default that of `base`, or the first CUDA device, or the CPU.
            encoder: Encodes texts of new items; by default those of all versions in shared passes.
            try_adapters: Whether an adapter is put into the base before its version answers, see `Loading`.
            trust_remote_code: Whether Python code that comes with the base may run, if a run's recipe asks for it.
            adapter_bytes: Bytes for adapters whose texts share passes; others leave memory and come back.
        """
        self.store = store if isinstance(store, SealedStore) else SealedStore(store)
        if device is not None:
            where = torch.device(device)
        else:
            where = best_device() if base is None else base.device
        self._encoder: ItemEncoder = SharedPasses(adapter_bytes) if encoder is None else encoder
        self._loading = Loading(where, None if base is None else base.language_model, try_adapters)
        self._tenants = Tenants(self._drop)
        self._trust_remote_code = trust_remote_code
        self._dropped = 0

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
        return self._tenants.leases.counts

    def standing(self, tenant: str) -> Standing:
        """Return which versions answer a tenant's users.

        Raises:
            UnknownTenantError: If no tenant has the name.
        """
        with self._tenants.leased(tenant) as route:
            return _standing(tenant, route, self._encoder.notes(route.main.version))

    def register(
        self, tenant: str, run: str | Path, digest: str | None = None, known: KnownScores | None = None
    ) -> Standing:
        """Take a run in and answer a new tenant's users with it.

        Args:
            tenant: The tenant's name.
            run: Run folder; it is not read any more when this returns.
            digest: Digest that the run must have.
            known: Scores that it must give.

        Raises:
            RefusedVersionError: If the run is refused; nothing has changed then.
            ServingError: If the name is taken.
        """
        text_id(tenant, "tenant")
        with self._tenants.changed(tenant):
            if tenant in self._tenants.names:
                raise ServingError(tenant, "is registered already; swap gives it another run")
            with self._opened(tenant, run, digest, known) as version:
                self._tenants.begin(tenant, Route(version.first()))
            return self.standing(tenant)

    def add_items(self, tenant: str, rows: Iterable[Mapping[str, Any]]) -> Standing:
        """Make new items scorable by their texts alone, in the version that answers and in one on trial.

        Args:
            tenant: Whose items they are.
            rows: ``item_id`` and columns of each new item, see `Recommender.add_items`.

        Returns:
            The tenant's versions, in the states that have the items.

        Raises:
            ServingError: If no tenant has the name, or a version refuses an item; none is added then.
        """
        rows = list(rows)
        with self._tenants.changed(tenant), self._tenants.leased(tenant) as route, about(tenant):
            if rows:
                main = computing.with_items(route.main, rows, self._encoder)
                trial = None if route.trial is None else computing.with_items(route.trial, rows, self._encoder)
                self._tenants.replace(tenant, replace(route, main=main, trial=trial))
            return self.standing(tenant)

    def swap(
        self,
        tenant: str,
        run: str | Path,
        share: float = 1.0,
        digest: str | None = None,
        known: KnownScores | None = None,
        keep_items: bool = True,
    ) -> Standing:
        """Take another run in, load it beside the one that answers, check it, and let it answer.

        Asks that are under way end on the version that they began with; the next ones get the new version.

        Args:
            tenant: Whose run it is.
            run: Run folder; it is not read any more when this returns.
            share: Share of the users whom it answers, above 0; below 1 it is on trial, and another trial ends.
            digest: Digest that the run must have.
            known: Scores that it must give.
            keep_items: Whether items that were added since training are added to it, too, if it does not know them.

        Raises:
            RefusedVersionError: If the run, or an item that is to be kept, is refused. What answered before answers on.
            ServingError: If no tenant has the name.
        """
        _require_share(tenant, share)
        with self._tenants.changed(tenant), self._tenants.leased(tenant) as route:
            with self._opened(tenant, run, digest, known) as version:
                if version is route.main.version and keep_items:
                    if route.trial is not None and share == 1:
                        self._tenants.replace(tenant, route.alone())
                    return self.standing(tenant)
                begun = version.first()
                with refusing(tenant):
                    begun = computing.with_items_of(begun, route.main, self._encoder) if keep_items else begun
                self._tenants.replace(tenant, route.followed_by(begun) if share == 1 else route.trying(begun, share))
            self._collect()
            return self.standing(tenant)

    def weight(self, tenant: str, version: str, share: float) -> Standing:
        """Let the version on trial answer another share of the users; with 1 it becomes the one that answers.

        Args:
            tenant: Whose version it is.
            version: Its digest.
            share: Share of the users, 0 to 1. Who is answered by it at a smaller share is so at a larger one.

        Raises:
            ServingError: If no tenant has the name, or this version is not on trial.
        """
        if share != 0:
            _require_share(tenant, share)
        with self._tenants.changed(tenant), self._tenants.leased(tenant) as route:
            if route.trial is None or route.trial.version.digest != version:
                raise ServingError(tenant, f"version {quoted(version)} is not on trial")
            changed = route.followed_by(route.trial) if share == 1 else route.trying(route.trial, share)
            self._tenants.replace(tenant, changed)
            return self.standing(tenant)

    def rollback(self, tenant: str, keep_items: bool = True) -> Standing:
        """End the trial of a version; without one, let the version answer that answered before the last swap.

        Args:
            tenant: Whose version it is.
            keep_items: Whether items that were added since the swap are added to the former version, too.

        Raises:
            RefusedVersionError: If an item that is to be kept is refused.
            ServingError: If no tenant has the name, or there is nothing to go back to.
        """
        with self._tenants.changed(tenant), self._tenants.leased(tenant) as route:
            if route.trial is not None:
                self._tenants.replace(tenant, route.alone())
                return self.standing(tenant)
            if route.former is None:
                raise ServingError(tenant, "there is no former version to go back to")
            back = route.former
            with refusing(tenant):
                back = computing.with_items_of(back, route.main, self._encoder) if keep_items else back
            self._tenants.replace(tenant, route.followed_by(back))
            return self.standing(tenant)

    def unregister(self, tenant: str) -> None:
        """Forget a tenant; asks that are under way are answered. Sealed copies stay in the store.

        Raises:
            UnknownTenantError: If no tenant has the name.
        """
        with self._tenants.changed(tenant):
            self._tenants.end(tenant)
        self._collect()

    @contextlib.contextmanager
    def _opened(self, tenant: str, run: str | Path, digest: str | None, known: KnownScores | None) -> Iterator[Version]:
        """Seal a run, load it unless it is in memory already, and keep it there for the block.

        Raises:
            RefusedVersionError: If it is refused.
        """
        with refusing(tenant):
            sealed = self.store.add(run, digest)
            version = self._tenants.leases.find(sealed)
            if version is None:
                with allowing(self._trust_remote_code):
                    version = self._loading.load(sealed)
                with self._tenants.leases.lock:
                    self._tenants.leases.take([version])
        try:
            if known is not None:
                with refusing(tenant):
                    known.require(version.tenant)
            yield version
        finally:
            self._tenants.leases.give_back([version])

    def _drop(self, version: Version) -> None:
        """Free a version that nothing uses any more; waits for nobody."""
        version.tenant.base.retire(version.tenant.adapter)
        self._encoder.drop(version)
        self._dropped += 1

    def _collect(self) -> None:
        """Collect what dropped versions left in cycles, once there are several; called by changes, not by asks."""
        if self._dropped >= _DROPPED:
            self._dropped = 0
            gc.collect()


def _standing(tenant: str, route: Route, notes: tuple[str, ...]) -> Standing:
    trial, former = route.trial, route.former
    return Standing(
        tenant,
        route.main.identity,
        None if trial is None else trial.identity,
        route.share,
        None if former is None else former.identity,
        route.main.version.tenant.notes + notes,
    )


def _require_share(tenant: str, share: float) -> None:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise ServingError(tenant, f"a share of users is a number above 0 and at most 1, not {quoted(share)}")
