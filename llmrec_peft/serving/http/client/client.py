"""Client: the HTTP interface of `llmrec serve` as typed calls; what a server refuses is one line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, Self

import httpx

from llmrec_peft.errors import InputError
from llmrec_peft.serving.http import schemas
from llmrec_peft.serving.http.client import calls
from llmrec_peft.serving.http.client.calls import Answer, Call
from llmrec_peft.serving.http.client.connection import Connection, ServerError, problem
from llmrec_peft.strict_json import parse_json


class Client(Connection):
    """Asks a server, and waits for its answers; the arguments are those of `Connection`.

    ``Client(key_file="films.key").recommend("films", "1", k=5).answers[0].items``
    """

    @cached_property
    def _http(self) -> httpx.Client:
        return httpx.Client(**self.options)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, call: Call[Answer]) -> Answer:
        """Send a request, again if need be.

        Raises:
            ServerError: If the server refuses it, or gives no answer.
        """
        for tries in range(self.retries + 1):
            try:
                return self.read(call, self._http.request(**self.request(call)))
            except httpx.HTTPError as lost:
                error = self.lost(lost)
            except ServerError as refused:
                error = refused
            if (pause := self.pause(call, error, tries)) is None:
                break
            time.sleep(pause)
        raise error

    def recommend(
        self, tenant: str, users: str | Sequence[str], k: int = 10, seen: bool = False
    ) -> schemas.RecommendOut:
        """Return the best items of one user or of several, see `Engine.ask`."""
        return self.send(calls.recommend(tenant, users, k, seen))

    def score(self, tenant: str, users: Sequence[str], items: Sequence[str]) -> schemas.ScoreOut:
        """Return scores of pairs, users [n] and items [n], see `Engine.score`."""
        return self.send(calls.score(tenant, users, items))

    def explain(
        self,
        tenant: str,
        user: str,
        item: str,
        top: int = 5,
        words: Literal["leave-one-out", "none"] = "leave-one-out",
    ) -> schemas.ExplainOut:
        """Return the evidence of one score."""
        return self.send(calls.explain(tenant, user, item, top, words))

    def add_items(self, tenant: str, items: Sequence[Mapping[str, Any]]) -> schemas.TenantOut:
        """Add new items, see `Engine.add_items`; never sent twice."""
        return self.send(calls.add_items(tenant, items))

    def send_events(self, tenant: str, events: Sequence[schemas.EventIn | Mapping[str, Any]]) -> schemas.EventsOut:
        """Send events, which are on the server's disk when this returns; give each an ``event_id`` for safe retries."""
        return self.send(calls.send_events(tenant, events))

    def events(self, tenant: str, after: int = 0, limit: int = 10_000) -> schemas.StoredEventsOut:
        """Return at most `limit` events that follow a sequence number."""
        return self.send(calls.events(tenant, after, limit))

    def all_events(self, tenant: str, after: int = 0, limit: int = 10_000) -> Iterator[schemas.StoredEventOut]:
        """Yield all events that follow a sequence number; `limit` of them are asked for at a time."""
        while found := self.events(tenant, after, limit).events:
            yield from found
            after = found[-1].sequence

    def tenants(self) -> list[schemas.TenantOut]:
        """Return the tenants that the key may see."""
        return self.send(calls.tenants()).tenants

    def tenant(self, name: str) -> schemas.TenantOut:
        """Return what answers a tenant's users."""
        return self.send(calls.tenant(name))

    def put_tenant(
        self,
        name: str,
        run: str,
        digest: str | None = None,
        share: float = 1.0,
        keep_items: bool = True,
        queue_weight: float | None = None,
    ) -> schemas.TenantOut:
        """Register a run as a new tenant, or let it follow the present one, see `Engine.swap`.

        Args:
            name: The tenant.
            run: Run folder as the server sees it, below one of its roots.
            digest: Digest that the run must have.
            share: Above 0; below 1 the run is on trial for that share of the users.
            keep_items: Whether items that were added stay.
            queue_weight: The tenant's part of the machine beside others' 1, 0.01 to 100.
        """
        return self.send(calls.put_tenant(name, run, digest, share, keep_items, queue_weight))

    def remove_tenant(self, name: str) -> None:
        """Forget a tenant."""
        self.send(calls.remove_tenant(name))

    def pin(self, name: str, pinned: bool = True) -> schemas.TenantOut:
        """Keep a tenant's versions in memory, or let them leave it."""
        return self.send(calls.pin(name, pinned))

    def weight(self, name: str, version: str, share: float) -> schemas.TenantOut:
        """Let the version on trial answer another share of the users, 0 to 1; with 1 it becomes the main one."""
        return self.send(calls.weight(name, version, share))

    def rollback(self, name: str, keep_items: bool = True) -> schemas.TenantOut:
        """End a trial, or bring the former version back."""
        return self.send(calls.rollback(name, keep_items))

    def reload(self, name: str) -> schemas.TenantOut:
        """Load a tenant's versions, whatever failed before."""
        return self.send(calls.reload(name))

    def new_key(
        self,
        name: str,
        scopes: Sequence[schemas.ScopeName] = ("ask",),
        expires_s: float | None = None,
        label: str = "",
    ) -> schemas.NewKeyOut:
        """Make a key for a tenant; its text is in this answer and nowhere else."""
        return self.send(calls.new_key(name, scopes, expires_s, label))

    def new_admin_key(self, expires_s: float | None = None, label: str = "") -> schemas.NewKeyOut:
        """Make a further admin key; its text is in this answer and nowhere else."""
        return self.send(calls.new_admin_key(expires_s, label))

    def keys(self, name: str | None) -> list[schemas.KeyOut]:
        """Return what is known of a tenant's keys, or of the admins' for None."""
        return self.send(calls.keys(name)).keys

    def end_key(self, name: str | None, key_id: str, after_s: float = 0.0) -> None:
        """End a key of a tenant, or of an admin for None, now or in some seconds."""
        self.send(calls.end_key(name, key_id, after_s))

    def overview(self) -> dict[str, Any]:
        """Return the figures of the server's page as plain values."""
        values = parse_json(self._plain("/v1/overview").content, self.url)
        if not isinstance(values, dict):
            raise InputError(f"{self.url}: the overview is no JSON object")
        return values

    def metrics(self) -> str:
        """Return the server's metrics in Prometheus's text format."""
        return self._plain("/metrics").text

    def healthy(self) -> bool:
        """Return whether the server runs."""
        return self._is_success("/healthz")

    def ready(self) -> bool:
        """Return whether the server takes requests."""
        return self._is_success("/readyz")

    def _plain(self, path: str) -> httpx.Response:
        try:
            response = self._http.get(path)
        except httpx.HTTPError as lost:
            raise self.lost(lost) from None
        if not response.is_success:
            raise problem(response)
        return response

    def _is_success(self, path: str) -> bool:
        try:
            return self._http.get(path).is_success
        except httpx.HTTPError:
            return False


class AsyncClient(Connection):
    """Sends `calls` from a coroutine: ``await client.send(calls.recommend("films", "1"))``; see `Client`."""

    @cached_property
    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(**self.options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def send(self, call: Call[Answer]) -> Answer:
        """Send a request, see `Client.send`."""
        for tries in range(self.retries + 1):
            try:
                return self.read(call, await self._http.request(**self.request(call)))
            except httpx.HTTPError as lost:
                error = self.lost(lost)
            except ServerError as refused:
                error = refused
            if (pause := self.pause(call, error, tries)) is None:
                break
            await asyncio.sleep(pause)
        raise error
