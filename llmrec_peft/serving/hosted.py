"""Hosted: the versions of an engine's tenants, and how they change while others are asked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmrec_peft.printable import quoted
from llmrec_peft.run.ids import text_id
from llmrec_peft.serving import computing
from llmrec_peft.serving.answers import Standing
from llmrec_peft.serving.loading import KnownScores
from llmrec_peft.serving.refusals import ServingError, about, refusing
from llmrec_peft.serving.routes import Route
from llmrec_peft.serving.tiered import TieredVersions
from llmrec_peft.serving.versions import Placed, Snapshot


class HostedVersions(TieredVersions):
    """Versions by tenant: registered, swapped, tried on a share of the users, rolled back.

    A change makes another route and puts it in the place of the one that it began with, so that no ask waits for it.
    Changes of one tenant follow each other.
    """

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
            with self._opened(tenant, run, digest, known) as first:
                self._tenants.begin(tenant, Route(first.placed))
            return self.standing(tenant)

    def restore(self, tenant: str, route: Route, pinned: bool = False) -> None:
        """Register a tenant with the route that a journal has; no run is read now.

        The first ask loads a version, with the checks of a first load. Those of a pinned tenant are loaded in the
        background; one that cannot be loaded has the state ``failed``, as after any other load.

        Args:
            tenant: The tenant's name.
            route: Versions of the store, each in a state.
            pinned: Whether the versions that answer stay in memory.

        Raises:
            ServingError: If the name is taken.
        """
        text_id(tenant, "tenant")
        with self._tenants.changed(tenant):
            self._tenants.restore(tenant, route, pinned)
            if pinned:
                self._tier.begin_loads(route.answering, tenant)

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
        with self._tenants.changed(tenant), about(tenant):
            route = self._tenants.route(tenant)
            if rows:
                found = [self._with_items(tenant, placed, rows) for placed in route.answering]
                placed = [one.placed for one in found]
                trial = placed[1] if len(placed) > 1 else None
                self._tenants.replace(tenant, replace(route, main=placed[0], trial=trial), found)
            return self.standing(tenant)

    def _with_items(self, tenant: str, placed: Placed, rows: Sequence[Mapping[str, Any]]) -> Snapshot:
        """Return a version with items added; it is loaded if it has to be."""
        with self._tier.leased(placed, beside=tenant) as snapshot:
            return computing.with_items(snapshot, rows, self._encoder)

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
        with self._tenants.changed(tenant):
            route = self._tenants.route(tenant)
            with self._opened(tenant, run, digest, known) as begun:
                if begun.placed.sealed == route.main.sealed and keep_items:
                    if route.trial is not None and share == 1:
                        self._tenants.replace(tenant, route.alone())
                    return self.standing(tenant)
                with refusing(tenant):
                    found = self._following(begun, route, keep_items)
                    placed = found.placed
                    changed = route.followed_by(placed) if share == 1 else route.trying(placed, share)
                    self._tenants.replace(tenant, changed, [found])
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
        with self._tenants.changed(tenant):
            route = self._tenants.route(tenant)
            if route.trial is None or route.trial.sealed.digest != version:
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
        with self._tenants.changed(tenant):
            route = self._tenants.route(tenant)
            if route.trial is not None:
                self._tenants.replace(tenant, route.alone())
                return self.standing(tenant)
            if route.former is None:
                raise ServingError(tenant, "there is no former version to go back to")
            with refusing(tenant), self._tier.leased(route.former, beside=tenant) as back:
                found = self._following(back, route, keep_items)
                self._tenants.replace(tenant, route.followed_by(found.placed), [found])
            return self.standing(tenant)

    def unregister(self, tenant: str) -> None:
        """Forget a tenant; asks that are under way are answered. Sealed copies stay in the store.

        Raises:
            UnknownTenantError: If no tenant has the name.
        """
        with self._tenants.changed(tenant):
            self._tenants.end(tenant)
        self._collect()

    def _following(self, snapshot: Snapshot, route: Route, keep_items: bool) -> Snapshot:
        """Return a version with the items that were added to the one that answers, if they are to be kept."""
        return computing.with_items_of(snapshot, route.main, self._encoder) if keep_items else snapshot

    @contextlib.contextmanager
    def _opened(
        self, tenant: str, run: str | Path, digest: str | None, known: KnownScores | None
    ) -> Iterator[Snapshot]:
        """Seal a run, load it unless it is in memory already, and keep it there for the block.

        Raises:
            RefusedVersionError: If it is refused.
        """
        with contextlib.ExitStack() as stack:
            with refusing(tenant):
                first = Placed.first(self.store.add(run, digest, self._tier.failed))
                snapshot = stack.enter_context(self._tier.leased(first, beside=tenant))
                if known is not None:
                    known.require(snapshot.version.tenant)
            yield snapshot


def _require_share(tenant: str, share: float) -> None:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise ServingError(tenant, f"a share of users is a number above 0 and at most 1, not {quoted(share)}")
