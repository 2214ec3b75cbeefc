"""Requests of any kind over HTTP: in an open loop, each timed from when it was due, or one after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from serving.served import Served

Request = Callable[[int], tuple[str, dict[str, Any]]]
"""Returns the path and the body of the request with a number."""


@dataclass
class Outcome:
    """What became of requests.

    Attributes:
        seconds: Seconds of each answer, in an open loop from the moment at which its request was due.
        status: How often each status came.
        wall_s: Seconds of everything.
    """

    seconds: list[float] = field(default_factory=list)
    status: dict[str, int] = field(default_factory=dict)
    wall_s: float = 0.0

    def note(self, response: httpx.Response, seconds: float) -> None:
        """Note an answer."""
        key = str(response.status_code)
        self.status[key] = self.status.get(key, 0) + 1
        self.seconds.append(seconds)


def open_loop(served: Served, request: Request, rate: float, seconds: float) -> Outcome:
    """Send requests at an even rate for some seconds; each is timed from when it was due, however late it was sent."""

    async def run() -> Outcome:
        found = Outcome()
        async with _client(served, 256) as client, asyncio.TaskGroup() as group:
            await asyncio.gather(*(client.get("/healthz") for _ in range(8)))
            began = time.perf_counter()

            async def one(number: int) -> None:
                path, body = request(number)
                response = await client.post(path, json=body)
                found.note(response, time.perf_counter() - began - number / rate)

            for number in range(int(rate * seconds)):
                await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
                group.create_task(one(number))
        found.wall_s = time.perf_counter() - began
        return found

    return asyncio.run(run())


def closed_loop(served: Served, request: Request, callers: int, seconds: float) -> Outcome:
    """Let several callers each send its next request when the last one is answered."""

    async def run() -> Outcome:
        found, numbers = Outcome(), iter(range(1 << 40))
        async with _client(served, callers) as client:
            began = time.perf_counter()

            async def caller() -> None:
                while (now := time.perf_counter()) - began < seconds:
                    path, body = request(next(numbers))
                    found.note(await client.post(path, json=body), time.perf_counter() - now)

            await asyncio.gather(*(caller() for _ in range(callers)))
            found.wall_s = time.perf_counter() - began
        return found

    return asyncio.run(run())


def _client(served: Served, connections: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    headers = {"Authorization": f"Bearer {served.key}"}
    return httpx.AsyncClient(base_url=served.url, headers=headers, limits=limits, timeout=120.0, trust_env=False)
