"""Engine: answers for many tenants on one base; a tenant's name is looked up once, and what it named then answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from llmrec_peft.backbone.remote_code import allowing
from llmrec_peft.errors import InputError
from llmrec_peft.explanation.explainer import WordMethod
from llmrec_peft.run.ids import checked_count, checked_histories, text_id, text_ids
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.serving import computing
from llmrec_peft.serving.answers import Answer, Audit, Basis, Scores
from llmrec_peft.serving.auditing import Auditor
from llmrec_peft.serving.encoding import ItemEncoder
from llmrec_peft.serving.explaining import Explained, explained
from llmrec_peft.serving.hosted import HostedVersions
from llmrec_peft.serving.journal import Journal
from llmrec_peft.serving.refusals import about
from llmrec_peft.serving.result_cache import Cached, Kept, ResultCache, key_of
from llmrec_peft.serving.routes import Route
from llmrec_peft.serving.sealed_store import SealedStore
from llmrec_peft.serving.shared_passes import ADAPTER_BYTES
from llmrec_peft.serving.versions import Identity, Placed

CACHE_BYTES = 64 << 20
"""Bytes of lists that are kept by default."""


class Engine(HostedVersions):
    """Serves many runs on one base in memory, each under a tenant's name, from several threads.

    A run is copied into the store first, and nothing but the copy is read afterwards. Whatever names a tenant looks it
    up once and carries what it found, an object that never changes, to its end: an ask that began before a swap is
    answered by the version that answered then. What cannot be answered is an error with its reason.
    """

    def __init__(
        self,
        store: SealedStore | str | Path,
        base: Recommender | None = None,
        device: str | torch.device | None = None,
        cache_bytes: int = CACHE_BYTES,
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
            cache_bytes: Bytes of lists that are kept; 0 keeps none.
            encoder: Encodes texts of new items; by default those of all versions in shared passes (`SharedPasses`).
            try_adapters: Whether an adapter is put into the base before its version answers, see `Loading`.
            trust_remote_code: Whether Python code that comes with the base may run, if a run's recipe asks for it.
            host_bytes: Bytes that versions may take in memory; the others are loaded from the store when they are asked
                for. None for no bound.
            wait_s: Seconds that an ask waits for a version that is not in memory.
            loaders: Versions that are loaded at the same time, at most.
            adapter_bytes: Bytes for adapters whose texts share passes; others leave memory and come back.
            adapter_host_bytes: Bytes of host memory for copies of adapters, see `SharedPasses`.
            journal: Is told of changes before they answer, so that `restore` can bring tenants back; what it raises
                ends the change. None keeps nothing.

        Raises:
            InputError: If the store cannot be opened, or one of the last numbers is too small.
        """
        super().__init__(
            store,
            base,
            device,
            encoder,
            try_adapters,
            trust_remote_code,
            host_bytes,
            wait_s,
            loaders,
            adapter_bytes,
            adapter_host_bytes,
            journal,
        )
        self._cache = ResultCache(cache_bytes)
        self._auditor = Auditor(self._tenants, self._loading, self._encoder)

    def ask(
        self,
        tenant: str,
        users: Sequence[str],
        k: int = 10,
        seen: bool = False,
        wait_s: float | None = None,
        route: Route | None = None,
    ) -> list[Answer]:
        """Return the best items of each user.

        Args:
            tenant: Whom to ask.
            users: User ids; unknown ones get the popular items.
            k: Items per user.
            seen: Whether items of the user's history may be recommended again.
            wait_s: Seconds to wait for a version that is not in memory; by default those of the engine.
            route: What `route` returned for the tenant, so that several asks are answered by the same versions,
                whatever is swapped meanwhile; by default what answers now.

        Raises:
            ServingError: If no tenant has the name, or the version cannot answer this.
        """
        users, k = text_ids(users, "user"), checked_count(k)
        found: list[Answer | None] = [None] * len(users)
        route = self.route(tenant) if route is None else route
        with about(tenant):
            for placed, places in route.by_version(users):
                kept = self._lists(placed, [users[at] for at in places], k, bool(seen), wait_s)
                for at in places:
                    found[at] = _answer(tenant, users[at], placed, kept[users[at]], k, bool(seen))
        return [answer for answer in found if answer is not None]

    def route(self, tenant: str) -> Route:
        """Return what answers a tenant's users now; it never changes, and keeps no version in memory.

        Raises:
            UnknownTenantError: If no tenant has the name.
        """
        return self._tenants.route(tenant)

    def kept(self, tenant: str, users: Sequence[str], k: int = 10, seen: bool = False) -> list[Answer] | None:
        """Return the best items of each user if all lists are kept; else None, and nothing is computed or loaded.

        Args:
            tenant: Whom to ask.
            users: User ids.
            k: Items per user.
            seen: Whether items of the user's history may be recommended again.

        Raises:
            ServingError: If no tenant has the name.
        """
        users, k, seen = text_ids(users, "user"), checked_count(k), bool(seen)
        route = self._tenants.route(tenant)
        found = list[Answer]()
        for user in users:
            placed = route.of(user)
            one = self._cache.get(key_of(placed.identity, user, k, seen))
            if one is None:
                return None
            found.append(_answer(tenant, user, placed, one, k, seen))
        self._cache.count(len(found), len(found))
        return found

    def cached(self) -> Cached:
        """Return what lists are kept, and how often one was of use."""
        return self._cache.figures()

    def _lists(self, placed: Placed, users: Sequence[str], k: int, seen: bool, wait_s: float | None) -> dict[str, Kept]:
        """Return the lists of users by their ids; those that were not kept are computed in one pass."""
        identity = placed.identity
        keys = {user: key_of(identity, user, k, seen) for user in users}
        kept = {user: one for user, key in keys.items() if (one := self._cache.get(key)) is not None}
        together = tuple(user for user in keys if user not in kept)
        hits = len(kept)
        if together:
            with self._tier.leased(placed, wait_s=wait_s) as snapshot:
                found = computing.lists(snapshot, together, k, seen)
            for user, new in zip(together, found, strict=True):
                kept[user] = Kept(new, together)
                self._cache.put(keys[user], kept[user])
        self._cache.count(len(keys), hits)
        return kept

    def score(
        self,
        tenant: str,
        users: Sequence[str],
        items: Sequence[str],
        histories: Sequence[Sequence[tuple[str, float]]] | None = None,
        wait_s: float | None = None,
        route: Route | None = None,
    ) -> Scores:
        """Predict labels of pairs.

        Args:
            tenant: Whom to ask.
            users: User ids, [n]; an unknown one is scored as the average user.
            items: Item ids, [n], of the run or added by `add_items`.
            histories: Item ids and labels of each user's history, see `Recommender.score`.
            wait_s: Seconds to wait for a version that is not in memory; by default those of the engine.
            route: See `ask`.

        Raises:
            ServingError: If no tenant has the name, or an item is unknown.
        """
        users, items = text_ids(users, "user"), text_ids(items, "item")
        if len(users) != len(items):
            raise InputError(f"score: {len(users)} users for {len(items)} items")
        told = None if histories is None else checked_histories(histories)
        if told is not None and len(told) != len(users):
            raise InputError(f"score: {len(told)} histories for {len(users)} users")
        values = np.empty(len(users), np.float32)
        identities: list[Identity | None] = [None] * len(users)
        basis: list[Basis] = ["personal"] * len(users)
        route = self.route(tenant) if route is None else route
        with about(tenant):
            for placed, places in route.by_version(users):
                own = [users[at] for at in places]
                given = None if told is None else [told[at] for at in places]
                with self._tier.leased(placed, wait_s=wait_s) as snapshot:
                    values[places] = computing.scores(snapshot, own, [items[at] for at in places], given)
                    known = computing.bases(snapshot, own)
                for at, one in zip(places, known, strict=True):
                    identities[at], basis[at] = placed.identity, one
        return Scores(
            tenant,
            tuple(users),
            tuple(items),
            values,
            tuple(one for one in identities if one is not None),
            tuple(basis),
            None if told is None else tuple(tuple(history) for history in told),
        )

    def explain(
        self,
        tenant: str,
        user: str,
        item: str,
        top: int = 5,
        words: WordMethod = "leave-one-out",
        wait_s: float | None = None,
    ) -> Explained:
        """Return the evidence of one score, as ``llmrec explain --json`` has it, without the deletion test.

        Args:
            tenant: Whom to ask.
            user: User id that the run knows.
            item: Item id, of the run or added by `add_items`.
            top: Pieces of each kind at most.
            words: How contributions of words are computed; ``none`` needs no language model.
            wait_s: Seconds to wait for a version that is not in memory; by default those of the engine.

        Raises:
            ServingError: If no tenant has the name, or the user or the item is unknown.
        """
        user, item, top = text_id(user, "user"), text_id(item, "item"), checked_count(top)
        placed = self._tenants.route(tenant).of(user)
        with about(tenant), self._tier.leased(placed, wait_s=wait_s) as snapshot:
            return explained(snapshot, user, item, top, words)

    def audit(self, answer: Answer | Scores, tolerance: float | None = None) -> Audit:
        """Compute an answer again from the sealed version and the events of its state, and compare.

        Args:
            answer: An answer of this engine, or of one that gave the tenant the same versions and events.
            tolerance: How far two scores may be from each other. By default 0, and 0.0002 where items were added,
                whose texts were in a pass with others; answers of another machine need 0.0002, too, which allows for
                another rounding of the last of four digits.

        Raises:
            ServingError: If the tenant is not registered, or the version cannot be loaded.
        """
        with about(answer.tenant), allowing(self._trust_remote_code):
            return self._auditor.audit(answer, tolerance)


def _answer(tenant: str, user: str, placed: Placed, kept: Kept, k: int, seen: bool) -> Answer:
    found = kept.found
    return Answer(tenant, user, placed.identity, found.basis, found.items, k, seen, kept.together)
