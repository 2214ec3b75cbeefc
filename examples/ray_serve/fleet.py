"""Fleet: replicas that answer, one that keeps tenants and events, and a client that asks them by version.

Three parts, since each has another owner:

- `Answers`, any number of replicas. Each has an engine over the same sealed store, which loads the versions that it is
  asked for and keeps as many as its bytes allow. A replica keeps nothing that is not in the store, so it may die.
- `Records`, one replica. SQLite has one writer, and a second process that opens the registry is refused; so one replica
  owns it, and an event is acknowledged when it is on the disk there. Serve starts it again if it dies.
- `Fleet`, in the process that asks. It sends a request again that met a replica's death: an ask changes nothing, and an
  event has a name by which the registry knows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.config import RequestRouterConfig
from router import VersionRouter
from waiting import within

from llmrec_peft import Engine, InputError
from llmrec_peft.cluster.on_ray import running
from llmrec_peft.serving.http.registry.registry import Registry
from llmrec_peft.serving.http.schemas import EventIn
from llmrec_peft.serving.routes import Route
from llmrec_peft.serving.sealed_store import SealedStore
from llmrec_peft.serving.versions import Placed

LIMIT_S = 180.0
"""Seconds for Ray, and for its replicas, to start: on two busy cores each process imports torch for ten."""
ASK_S = 60.0
T = TypeVar("T")


@serve.deployment(
    name="answers",
    max_ongoing_requests=32,
    ray_actor_options={"num_cpus": 0.25},
    health_check_period_s=1.0,
    request_router_config=RequestRouterConfig(request_router_class=VersionRouter),
)
class Answers:
    """Answers for any version in the store; which ones are in memory is the engine's matter."""

    def __init__(self, state: str, host_bytes: int | None = None) -> None:
        """Begin without versions.

        Args:
            state: Folder that all machines see under the same path.
            host_bytes: Bytes that versions may take in this replica's memory.
        """
        import torch

        torch.set_num_threads(1)  # replicas share the cores
        self._store = Path(state) / "store"
        self._engine = Engine(self._store, device="cpu", host_bytes=host_bytes)
        self._lock = threading.Lock()
        self._name = serve.get_replica_context().replica_id.unique_id

    async def ask(self, version: str, users: Sequence[str], k: int) -> list[dict[str, Any]]:
        """Return the lists of users by a version, which is named by its folder in the store."""
        return await asyncio.to_thread(self._ask, version, users, k)

    def _ask(self, version: str, users: Sequence[str], k: int) -> list[dict[str, Any]]:
        with self._lock:
            if version not in self._engine.tenants:
                # The tenant's name in here is what the version is: no two contents have it.
                self._engine.register(version, self._store / version, digest=version[:64])
        return [answer.plain() | {"replica": self._name} for answer in self._engine.ask(version, users, k)]

    async def process(self, _: str) -> int:
        """Return the number of this replica's process."""
        return os.getpid()


@serve.deployment(name="records", num_replicas=1, ray_actor_options={"num_cpus": 0.25}, health_check_period_s=1.0)
class Records:
    """Keeps which version answers a tenant, and events."""

    def __init__(self, state: str) -> None:
        """Open the registry; a process that holds it is waited for by Serve's next try.

        Args:
            state: Folder on a disk of the machine where this replica runs.
        """
        self._store = SealedStore(Path(state) / "store")
        self._registry = Registry(Path(state) / "registry.sqlite", self._store)

    async def register(self, tenant: str, run: str) -> str:
        """Take a run in as a new tenant's version, and return the version's name."""
        return await asyncio.to_thread(self._register, tenant, run)

    def _register(self, tenant: str, run: str) -> str:
        sealed = self._store.add(run)
        self._registry.begin(tenant, Route(Placed.first(sealed)))
        return sealed.folder.name

    async def versions(self) -> dict[str, str]:
        """Return the version of each tenant."""
        return {one.name: one.route.main.sealed.folder.name for one in self._registry.tenants()}

    async def keep(self, tenant: str, events: Sequence[Mapping[str, Any]]) -> int:
        """Return the sequence number of a tenant's last event once these are on the disk."""
        found = [EventIn(**event) for event in events]
        return (await asyncio.to_thread(self._registry.add_events, tenant, found)).last

    async def kept(self, tenant: str) -> list[str | None]:
        """Return the names of a tenant's events, in their order."""
        return [event.event_id for event in self._registry.events(tenant, 0, 1_000_000)]

    async def process(self) -> int:
        """Return the number of this replica's process."""
        return os.getpid()


class Fleet:
    """Asks replicas by version, and again if one dies."""

    def __init__(self, answers: Any, records: Any, tries: int = 20) -> None:
        """Begin.

        Args:
            answers: Serve's handle of `Answers`.
            records: Serve's handle of `Records`.
            tries: How often a request is sent that meets the death of a replica; a second lies between two tries.
        """
        self.answers, self.records, self._tries = answers, records, tries
        self._versions: dict[str, str] = {}

    def register(self, tenant: str, run: Path) -> str:
        """Register a run as a new tenant, and return the version's name."""
        self._versions[tenant] = self.records.register.remote(tenant, str(run)).result(timeout_s=ASK_S)
        return self._versions[tenant]

    def version(self, tenant: str) -> str:
        """Return the version that answers a tenant.

        Raises:
            InputError: If no tenant has the name.
        """
        if tenant not in self._versions:
            self._versions = self._again(self.records.versions.remote)
        if tenant not in self._versions:
            raise InputError(f"tenant {tenant!r} is not registered")
        return self._versions[tenant]

    def ask(self, tenant: str, users: Sequence[str], k: int = 10) -> list[dict[str, Any]]:
        """Return the lists of users.

        Raises:
            InputError: If another version answered than was named.
        """
        version = self.version(tenant)
        found = self._again(lambda: self.answers.ask.remote(version, list(users), k))
        if any(answer["version"] != version[:64] for answer in found):
            raise InputError(f"tenant {tenant!r}: another version answered")
        return found

    def keep(self, tenant: str, events: Sequence[Mapping[str, Any]]) -> int:
        """Keep events, each with an ``event_id``; they are on the disk when this returns."""
        if not all(event.get("event_id") for event in events):
            raise InputError("an event needs an event_id: it may have to be sent twice")
        return self._again(lambda: self.records.keep.remote(tenant, list(events)))

    def _again(self, send: Callable[[], Any]) -> Any:
        for tried in range(self._tries):
            try:
                return send().result(timeout_s=ASK_S)
            except RayActorError:  # the replica died, and nobody knows what it did before
                if tried + 1 == self._tries:
                    raise
                time.sleep(1.0)
        raise AssertionError("unreachable")


@contextlib.contextmanager
def started(state: Path, replicas: int = 2, host_bytes: int | None = None) -> Iterator[Fleet]:
    """Start Ray, or join the cluster of RAY_ADDRESS, and serve until the block ends; no port is opened to others.

    Args:
        state: Folder of the store and the registry.
        replicas: Replicas that answer.
        host_bytes: Bytes of versions in each replica's memory.

    Raises:
        InputError: If Ray or its replicas do not start in time.
    """
    state.mkdir(parents=True, exist_ok=True)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    with contextlib.ExitStack() as stack:
        stack.enter_context(importable())
        with within(LIMIT_S, "Ray to start"):
            stack.enter_context(running(ray, replicas))
        stack.callback(serve.shutdown)
        yield deployed(state.absolute(), replicas, host_bytes)


@contextlib.contextmanager
def importable() -> Iterator[None]:
    """Let Ray's workers on this machine import these modules by name; a cluster needs them in its environment."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parent), before)))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def deployed(state: Path, replicas: int, host_bytes: int | None = None) -> Fleet:
    """Deploy, or change the number of replicas, and return once all of them are healthy."""

    answers = Answers.options(num_replicas=replicas).bind(str(state), host_bytes)
    with within(LIMIT_S, f"{replicas} replicas to be healthy"):
        serve.start(proxy_location="Disabled")
        records = serve.run(Records.bind(str(state)), name="records", route_prefix=None)
        return Fleet(serve.run(answers, name="answers", route_prefix=None), records)
