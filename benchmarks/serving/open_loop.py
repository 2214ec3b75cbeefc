"""Open loop and closed loop: requests that are sent when they are due, or one after the other, from this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from serving.gauges import quantiles

Request = Callable[[int], tuple[str, dict[str, Any]]]
"""Returns the path and the body of the request with a number."""


@dataclass
class Outcome:
    """What became of requests.

    Attributes:
        seconds: Seconds of each answer, in an open loop from the moment at which its request was due.
        due: When each request was due, in seconds after the first.
        status: How often each status came.
        versions: Digests that answered.
        wall_s: Seconds of everything.
    """

    seconds: list[float] = field(default_factory=list)
    due: list[float] = field(default_factory=list)
    status: dict[str, int] = field(default_factory=dict)
    versions: list[str] = field(default_factory=list)
    wall_s: float = 0.0

    def figures(self) -> dict[str, Any]:
        """Return quantiles of the seconds, in milliseconds, and the statuses."""
        return {**quantiles(self.seconds), "status": self.status}

    def note(self, response: httpx.Response, due: float, seconds: float) -> None:
        """Note an answer."""
        key = str(response.status_code)
        self.status[key] = self.status.get(key, 0) + 1
        self.seconds.append(seconds)
        self.due.append(due)
        self.versions.append(response.headers.get("llmrec-version", ""))


def rows_of(rows: dict[str, Any]) -> list[str]:
    """Return a table of latencies in Markdown, a line each."""
    lines = ["| | median ms | p95 ms | p99 ms | largest ms | answers |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    for name, row in rows.items():
        times = " | ".join(f"{row[one]:.2f}" for one in ("median_ms", "p95_ms", "p99_ms", "max_ms"))
        status = ", ".join(f"{count:,} of {code}" for code, count in row.get("status", {}).items())
        lines.append(f"| {name} | {times} | {status} |")
    return lines


def said(met: bool) -> str:
    """Return whether a goal was met, with the mark of one that was not."""
    return "met" if met else "▼ not met"


def open_loop(url: str, key: str, request: Request, rate: float, seconds: float) -> Outcome:
    """Send requests at a rate for some seconds; each is timed from when it was due, however late it was sent."""

    async def run() -> Outcome:
        found = Outcome()
        async with _client(url, key, 256) as client:
            await asyncio.gather(*(client.get("/healthz") for _ in range(8)))
            began = time.perf_counter()

            async def one(number: int) -> None:
                path, body = request(number)
                due = number / rate
                response = await client.post(path, json=body)
                found.note(response, due, time.perf_counter() - began - due)

            async with asyncio.TaskGroup() as group:
                for number in range(int(rate * seconds)):
                    await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
                    group.create_task(one(number))
            found.wall_s = time.perf_counter() - began
        return found

    return asyncio.run(run())


def closed_loop(url: str, key: str, request: Request, callers: int, seconds: float) -> Outcome:
    """Let several callers each send its next request when the last one is answered."""

    async def run() -> Outcome:
        found, numbers = Outcome(), iter(range(1 << 40))
        async with _client(url, key, callers) as client:
            began = time.perf_counter()

            async def caller() -> None:
                while (now := time.perf_counter()) - began < seconds:
                    path, body = request(next(numbers))
                    response = await client.post(path, json=body)
                    found.note(response, now - began, time.perf_counter() - now)

            await asyncio.gather(*(caller() for _ in range(callers)))
            found.wall_s = time.perf_counter() - began
        return found

    return asyncio.run(run())


def _client(url: str, key: str, connections: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=120.0, trust_env=False)
