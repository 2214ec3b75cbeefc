"""Isolation over HTTP: connections that ask while a tenant's run is swapped and keys are rotated, and what is wrong."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from isolation import OTHER, SHOP, K, Truth
from running_server import Running

from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.serving.http.schemas import RecommendOut

BY_DESIGN = (429, 503)
"""Statuses of requests that come again later."""
ASKS_A_SWAP = 100
"""Asks that are answered before the next swap, at most; others are under way meanwhile."""


@dataclass
class HttpCounts:
    """What happened.

    Attributes:
        asks: Requests for lists that were answered.
        answers: Lists in them.
        swaps: How often the tenant got another run.
        rotations: How often its key was replaced.
        evictions: How often a version left memory to make room.
        later: Requests that were to come again later, by status.
        versions: Versions that answered.
        wrong: What was wrong.
    """

    asks: int = 0
    answers: int = 0
    swaps: int = 0
    rotations: int = 0
    evictions: int = 0
    later: Counter[int] = field(default_factory=Counter)
    versions: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


def roots_of(runs: Sequence[Path]) -> list[Path]:
    """Folders below which runs lie."""
    return [run.parent for run in runs]


def swapped_over_http(
    served: Running,
    runs: Sequence[Path],
    truth: Truth,
    asks: int,
    swaps: int,
    connections: int = 8,
    exactly: bool = False,
) -> HttpCounts:
    """Ask two tenants over several connections while the run of one is swapped and its keys change.

    Args:
        served: A server of the tenants `SHOP` and `OTHER`; runs lie below its roots.
        runs: Runs that take turns.
        truth: What they and the other tenant's run answer.
        asks: Requests, at least.
        swaps: Swaps, at least; each third one is followed by a new key, and the end of the one before it.
        connections: Connections at once.
        exactly: Whether scores have to agree to the last digit.

    Returns:
        The counts; the search ends with the first wrong answer.
    """
    return asyncio.run(_Crowd(served, runs, truth, exactly).run(asks, swaps, connections))


class _Crowd:
    def __init__(self, served: Running, runs: Sequence[Path], truth: Truth, exactly: bool) -> None:
        self._served, self._runs, self._truth, self._exactly = served, runs, truth, exactly
        self._keys = {tenant: served.new_key(tenant, "ask") for tenant in (SHOP, OTHER)}
        with served.client() as admin:
            self._steady = admin.tenant(OTHER).main.version
        self._digests = {read_manifest(run).digest for run in runs}
        self._counts, self._done = HttpCounts(), False

    async def run(self, asks: int, swaps: int, connections: int) -> HttpCounts:
        limits = httpx.Limits(max_connections=connections + 2)
        async with (
            httpx.AsyncClient(base_url=self._served.url, limits=limits, timeout=60, trust_env=False) as client,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._swap(client, swaps, min(ASKS_A_SWAP, asks / swaps)))
            for number in range(connections):
                group.create_task(self._ask(client, asks, 5 * number))
        self._counts.evictions = self._served.host.engine.memory().evictions
        return self._counts

    async def _swap(self, client: httpx.AsyncClient, swaps: int, pace: float) -> None:
        counts, admin = self._counts, {"Authorization": f"Bearer {self._served.admin_key}"}
        for number in range(1, swaps + 1):
            if counts.wrong:
                break
            run = str(self._runs[number % len(self._runs)])
            answer = await client.put(f"/v1/tenants/{SHOP}", json={"run": run}, headers=admin)
            if answer.status_code != 200:
                counts.wrong.append(f"swap: {answer.status_code} {answer.text}")
                break
            counts.swaps += 1
            while counts.asks < number * pace and not counts.wrong:  # each run is asked before the next one comes
                await asyncio.sleep(0.002)
            if number % 3 == 0:
                await self._rotate(client, admin)
        self._done = True

    async def _rotate(self, client: httpx.AsyncClient, admin: dict[str, str]) -> None:
        """Hand out a new key, and end the former one once nobody takes it any more."""
        path = f"/v1/tenants/{SHOP}/keys"
        made = (await client.post(path, json={"scopes": ["ask"]}, headers=admin)).raise_for_status().json()
        former, self._keys[SHOP] = self._keys[SHOP], made["key"]
        key_id = former.split("_")[1]
        # asks that took the former key and are under way still have it
        (await client.delete(f"{path}/{key_id}", params={"after_s": 30}, headers=admin)).raise_for_status()
        self._counts.rotations += 1

    async def _ask(self, client: httpx.AsyncClient, asks: int, first: int) -> None:
        counts = self._counts
        for number in itertools.count(first):
            if counts.wrong or (self._done and counts.asks >= asks):
                return
            group = self._truth.groups[number % len(self._truth.groups)]
            tenant = OTHER if number % 4 == 3 else SHOP
            asked: dict[str, Any] = {"tenant": tenant, "user_ids": list(group), "k": K}
            headers = {"Authorization": f"Bearer {self._keys[tenant]}"}
            answer = await client.post("/v1/recommend", json=asked, headers=headers)
            if answer.status_code in BY_DESIGN and "retry-after" in answer.headers:
                counts.later[answer.status_code] += 1
                await asyncio.sleep(0.02)
            elif answer.status_code != 200:
                counts.wrong.append(f"{tenant}: {answer.status_code} {answer.text}")
            else:
                self._look(tenant, group, answer)

    def _look(self, tenant: str, group: tuple[str, ...], answer: httpx.Response) -> None:
        counts = self._counts
        found = RecommendOut.model_validate_json(answer.content)
        counts.asks += 1
        counts.answers += len(found.answers)
        versions = {one.version for one in found.answers}
        wrong = self._truth.wrong(group, found.answers, self._exactly)  # type: ignore[arg-type]
        if wrong is None and not versions <= ({self._steady} if tenant == OTHER else self._digests):
            wrong = "another tenant's version answered"
        if wrong is None and answer.headers["llmrec-version"] not in versions:
            wrong = "the header names another version"
        if wrong is not None:
            counts.wrong.append(f"{tenant}: {wrong}")
        if tenant == SHOP:
            counts.versions |= versions
