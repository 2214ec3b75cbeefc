"""Host: an engine with its registry, keys, rates, lanes and metrics; what the endpoints and the page ask."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted
from llmrec_peft.serving.answers import Standing
from llmrec_peft.serving.engine import Engine
from llmrec_peft.serving.http.admin_key import require_admin_key
from llmrec_peft.serving.http.gate.keyring import KeyRing
from llmrec_peft.serving.http.gate.keys import Scope, StoredKey, new_key
from llmrec_peft.serving.http.gate.rates import Kind, Rates
from llmrec_peft.serving.http.lanes.lanes import Lanes
from llmrec_peft.serving.http.page.views import ListCache, Overview, Queue, Traffic
from llmrec_peft.serving.http.problems import RateError
from llmrec_peft.serving.http.registry.registry import FILE, Registry
from llmrec_peft.serving.http.schemas import (
    ExplainIn,
    ExplainOut,
    ItemsIn,
    RecommendIn,
    RecommendOut,
    TenantIn,
    TenantOut,
)
from llmrec_peft.serving.http.seeing.logs import DIGEST, event
from llmrec_peft.serving.http.seeing.metrics import Metrics
from llmrec_peft.serving.http.seeing.tracing import Tracing
from llmrec_peft.serving.http.settings import Settings
from llmrec_peft.serving.http.sources import run_folder
from llmrec_peft.serving.http.views import lists_of, tenant_of
from llmrec_peft.serving.refusals import UnavailableError, UnknownTenantError
from llmrec_peft.serving.sealed_store import SealedStore

STORE = "store"
DISK_S = 30.0
"""Seconds for which the page shows the bytes of the store that were counted before."""


class Host:
    """What a server answers with.

    Attributes:
        settings: What the operator decided.
        engine: Answers; each of its changes is in the registry before it answers.
        registry: What survives a restart.
        ring: Keys.
        rates: What tenants may ask for.
        metrics: What was measured.
        tracing: Where spans of requests go; None for nowhere.
        lanes: Where requests wait for their turn.
        refused: Tenants of the registry that could not be restored, and why.
        admin_key: File that holds the first admin key.
        starting: Whether tenants of the command line are still being registered.
        draining: Whether the server ends.
    """

    def __init__(self, settings: Settings, loaded: Callable[[], None] = lambda: None) -> None:
        """Open the state folder, restore its tenants without loading a run, and begin to answer.

        Args:
            settings: What the operator decided.
            loaded: Is called once, when a first run and with it the base was loaded by a change.

        Raises:
            InputError: If the folder cannot be had, or another server holds it.
        """
        self.settings = settings
        state = settings.state.absolute()
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = SealedStore(state / STORE)
        self.registry = Registry(state / FILE, store)
        try:
            self.engine = Engine(
                store,
                device=settings.device,
                cache_bytes=settings.cache_bytes,
                trust_remote_code=settings.trust_remote_code,
                host_bytes=settings.host_bytes,
                wait_s=settings.wait_s,
                loaders=settings.loaders,
                adapter_bytes=settings.adapter_bytes,
                journal=self.registry,
            )
            self.metrics = Metrics(settings.named_tenants)
            self.tracing = None if settings.otlp is None else Tracing.to(settings.otlp)
            self.ring, self.rates = KeyRing(), Rates(settings.quotas)
            self.lanes = Lanes(self.engine, settings, self.metrics)
            self.metrics.watch(self.engine.memory, self.engine.cached, self.lanes.waiting, self.registry.trouble)
            self._weights: dict[str, float] = {}
            self.refused: dict[str, str] = {}
            self._restore()
            for key in self.registry.keys():  # noqa: SIM118 - no mapping
                self.ring.put(key)
            self.admin_key = require_admin_key(state, self.ring, self.registry)
        except BaseException:
            self.registry.close()
            raise
        self.starting = self.draining = False
        self._loaded: Callable[[], None] | None = loaded

    def _restore(self) -> None:
        for one in self.registry.tenants():
            self.engine.restore(one.name, one.route, one.pinned)
            self._weigh(one.name, one.queue_weight)
        self.refused = dict(self.registry.refused)

    def _weigh(self, name: str, weight: float) -> None:
        self._weights[name] = weight
        self.lanes.set_weight(name, weight)

    async def drain(self) -> None:
        """Let what runs end, within `drain_s` seconds; what waits gets an error."""
        self.draining = True
        await self.lanes.close(self.settings.drain_s)

    def close(self) -> None:
        """End; everything that was acknowledged is on disk."""
        self.engine.close()
        self.registry.close()
        if self.tracing is not None:
            self.tracing.close()

    @property
    def trouble(self) -> str | None:
        """Why this server is not ready; None if it is."""
        if self.draining:
            return "the server ends"
        if self.starting:
            return "tenants are being registered"
        return self.registry.trouble()

    @property
    def losses(self) -> str | None:
        """Which tenants of the registry could not be restored, for the page; the others answer."""
        refused = "; ".join(f"{name} ({reason})" for name, reason in list(self.refused.items()))
        return f"not restored: {refused}" if refused else None

    def known_reason(self, error: InputError) -> InputError:
        """Return an error, or, for a tenant of the registry that could not be restored, why it is unavailable."""
        if isinstance(error, UnknownTenantError) and error.tenant in self.refused:
            return UnavailableError(error.tenant, f"it was not restored: {self.refused[error.tenant]}", None)
        return error

    def tenants(self) -> list[TenantOut]:
        """Return all tenants, in the order in which they were registered."""
        found = []
        for name in self.engine.tenants:
            try:
                found.append(self.tenant(name))
            except UnknownTenantError:  # it was removed meanwhile
                continue
        return found

    def tenant(self, name: str) -> TenantOut:
        """Return what answers a tenant's users.

        Raises:
            UnknownTenantError: If no tenant has the name.
        """
        return self._view(self.engine.standing(name))

    def _view(self, standing: Standing) -> TenantOut:
        return tenant_of(standing, self._weights.get(standing.tenant, 1.0))

    def overview(self) -> Overview:
        """Return the figures of the moment, for the page."""
        trouble, recent, lists = self.trouble, self.metrics.recent(), self.engine.cached()
        waiting = {name: sum(self.lanes.waiting_of(name).values()) for name in self.engine.tenants}
        texts = self.lanes.waiting()["texts"].tokens
        return Overview(
            ready=trouble is None,
            trouble=trouble or self.losses,
            window_s=recent.window_s,
            total=Traffic.of(recent.all),
            tenants={name: Traffic.of(figures) for name, figures in recent.tenants.items()},
            queue=Queue(waiting, texts, self.settings.quotas.waiting_tokens),
            memory=self.engine.memory(DISK_S),
            cache=ListCache(lists.hits, lists.misses, lists.nbytes, self.settings.cache_bytes),
        )

    async def recommend(self, asked: RecommendIn) -> RecommendOut:
        """Return the best items of users."""
        answers = await self.lanes.ask(asked.tenant, asked.users, asked.k, asked.seen)
        return RecommendOut(**lists_of(asked.tenant, asked.k, asked.seen, answers))

    async def explain(self, asked: ExplainIn) -> ExplainOut:
        """Return the evidence of one score.

        Raises:
            RateError: If the tenant asked for more than its rate.
        """
        self.take(asked.tenant, "explanations")
        found = await self.lanes.explain(asked.tenant, asked.user_id, asked.item_id, asked.top, asked.words)
        return ExplainOut(
            tenant=asked.tenant,
            user_id=asked.user_id,
            item_id=asked.item_id,
            **found.identity._asdict(),
            explanation=found.plain,
        )

    def take(self, tenant: str, kind: Kind, amount: int = 1) -> None:
        """Count against a tenant's rate.

        Raises:
            RateError: If there is no room.
        """
        wait_s = self.rates.take(tenant, kind, amount)
        if wait_s is not None:
            raise RateError(f"more {kind} than this tenant's rate", wait_s)

    async def put_tenant(self, name: str, wanted: TenantIn) -> tuple[TenantOut, bool]:
        """Register a tenant, or give it another run.

        Returns:
            What answers now, and whether the tenant is new.

        Raises:
            InputError: If the run does not lie below a root, or is refused; what answered before answers on.
        """
        folder = run_folder(wanted.run, self.settings.roots)
        return await self.put_run(name, folder, wanted)

    async def put_run(self, name: str, folder: Path, wanted: TenantIn) -> tuple[TenantOut, bool]:
        """Register a tenant with a run of the operator's, or give it that run."""

        def put() -> tuple[Standing, bool]:
            if name not in self.engine.tenants:
                return self.engine.register(name, folder, wanted.digest), True
            return self.engine.swap(name, folder, wanted.share, wanted.digest, keep_items=wanted.keep_items), False

        if wanted.share < 1 and name not in self.engine.tenants:
            raise InputError(f"tenant {quoted(name)} is new: its first run answers all users, so share is 1")
        standing, new = await self.lanes.change(put, name)
        self._note_loaded()
        self._note("register" if new else "swap", name, standing)
        if wanted.queue_weight is not None:
            await self.lanes.record(partial(self.registry.set_queue_weight, name, wanted.queue_weight), name)
            self._weigh(name, wanted.queue_weight)
        self.refused.pop(name, None)
        return self._view(standing), new

    async def pin(self, name: str, pinned: bool) -> TenantOut:
        """Keep a tenant's versions in memory, or no longer."""
        do = self.engine.pin if pinned else self.engine.unpin
        return await self._changed("pin" if pinned else "unpin", name, lambda: do(name))

    async def weight(self, name: str, version: str, share: float) -> TenantOut:
        """Let the version on trial answer another share of the users."""
        return await self._changed("weight", name, lambda: self.engine.weight(name, version, share))

    async def rollback(self, name: str, keep_items: bool = True) -> TenantOut:
        """End a trial; without one, go back to the former version."""
        return await self._changed("rollback", name, lambda: self.engine.rollback(name, keep_items))

    async def reload(self, name: str) -> TenantOut:
        """Load a tenant's versions, whatever failed before."""
        return await self._changed("reload", name, lambda: self.engine.reload(name))

    async def warm(self) -> None:
        """Load the first tenant's version, and with it the base, so that the first request need not wait for it."""
        for name in self.engine.tenants[:1]:
            with contextlib.suppress(InputError):  # its state says why
                await self.lanes.change(partial(self.engine.reload, name), name)
                self._note_loaded()

    def _note_loaded(self) -> None:
        if self._loaded is not None:
            self._loaded()
            self._loaded = None

    async def remove(self, name: str) -> None:
        """Forget a tenant, its keys and its events; what is under way is answered.

        Raises:
            UnknownTenantError: If no tenant has the name.
        """

        def forget() -> None:
            self.engine.unregister(name)
            for key in self.ring.of(name):
                self.ring.end(key.key_id, 0.0)

        await self.lanes.change(forget, name)
        self._weights.pop(name, None)
        self.lanes.set_weight(name, 1.0)  # whoever gets the name next begins like all others
        self._note("remove", name)

    async def add_items(self, asked: ItemsIn) -> TenantOut:
        """Make new items scorable by their texts.

        Raises:
            RateError: If the tenant added more than its rate.
            ServingError: If an item is refused; none is added then.
        """
        self.take(asked.tenant, "texts", len(asked.items))
        return self._view(await self.lanes.add_items(asked.tenant, asked.items))

    async def new_key(
        self, tenant: str | None, scopes: Sequence[Scope], expires: float | None, label: str
    ) -> tuple[str, StoredKey]:
        """Make a key, which is valid when this returns.

        Args:
            tenant: Whose; None for an admin key.
            scopes: What it allows.
            expires: When it ends, in seconds since 1970; None for never.
            label: What it is for.

        Raises:
            UnknownTenantError: If no tenant has the name.
        """
        text, key = new_key(tenant, scopes, expires, label)

        def put() -> None:
            if tenant is not None:
                self.engine.route(tenant)
            self.registry.put_key(key)
            self.ring.put(key)

        await self.lanes.change(put, tenant or "")  # in turn with `remove`: no key outlives its tenant
        return text, key

    async def end_key(self, key: StoredKey, when: float) -> None:
        """Let a key end at a time, in seconds since 1970; earlier than now is now."""
        await self.lanes.record(lambda: self.registry.end_key(key.key_id, when))
        self.ring.end(key.key_id, when)

    async def _changed(self, kind: str, name: str, do: Callable[[], Standing]) -> TenantOut:
        standing = await self.lanes.change(do, name)
        self._note(kind, name, standing)
        return self._view(standing)

    def _note(self, kind: str, name: str, standing: Standing | None = None) -> None:
        """Count and log a change."""
        self.metrics.changed(kind)
        identity = None if standing is None else standing.main
        version = None if identity is None else identity.version[:DIGEST]
        event(kind, tenant=name, version=version, state=None if identity is None else identity.state)
