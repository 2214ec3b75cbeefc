"""Flood: a tenant that asks for many times its share is told to come later, and others are answered meanwhile."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from running_server import Running, running

pytestmark = pytest.mark.trains
SHARE, FLOOD = 20, 20
LIGHT = 30


async def asked(client: httpx.AsyncClient, key: str, body: dict[str, Any]) -> httpx.Response:
    return await client.post("/v1/recommend", json=body, headers={"Authorization": f"Bearer {key}"})


async def beside(served: Running, flood: list[dict[str, Any]]) -> tuple[list[httpx.Response], list[float], int]:
    """Let one tenant send requests all at once, and meanwhile ask the other one, one request after the other."""
    keys = {tenant: served.new_key(tenant, "ask") for tenant in ("heavy", "light")}
    limits = httpx.Limits(max_connections=128)
    async with httpx.AsyncClient(base_url=served.url, limits=limits, timeout=60, trust_env=False) as client:
        heavy = [asyncio.create_task(asked(client, keys["heavy"], body)) for body in flood]
        await asyncio.sleep(0.05)
        took, pending = [], 0
        for number in range(LIGHT):
            pending += any(not task.done() for task in heavy)
            began = time.perf_counter()
            answer = await asked(client, keys["light"], {"tenant": "light", "user_id": str(1 + number)})
            took.append(time.perf_counter() - began)
            assert answer.status_code == 200, answer.text
        return await asyncio.gather(*heavy), took, pending


def test_more_requests_than_its_rate_are_told_when_to_come_again(tmp_path: Path, rivals: list[Path]) -> None:
    runs, quotas = {"heavy": rivals[0], "light": rivals[1]}, {"requests": f"{SHARE}/second"}
    with running(tmp_path / "state", runs, cache_bytes=0, quotas=quotas) as served:
        flood = [{"tenant": "heavy", "user_id": "1"}] * (SHARE * FLOOD)
        began = time.perf_counter()
        answers, _, _ = asyncio.run(beside(served, flood))
        seconds = time.perf_counter() - began
    later = [one for one in answers if one.status_code == 429]
    assert {one.status_code for one in answers} == {200, 429}
    assert later
    assert len(answers) - len(later) <= SHARE * (seconds + 2), "no more than the rate lets through"
    assert all(int(one.headers["retry-after"]) >= 1 for one in later)


def test_many_users_in_each_request_win_nothing(tmp_path: Path, rivals: list[Path]) -> None:
    runs = {"heavy": rivals[0], "light": rivals[1]}
    users = [str(number) for number in range(1, 257)]
    with running(tmp_path / "state", runs, cache_bytes=0) as served:
        flood = [{"tenant": "heavy", "user_ids": users}] * 100
        began = time.perf_counter()
        answers, took, pending = asyncio.run(beside(served, flood))
        whole = time.perf_counter() - began
    assert {one.status_code for one in answers} <= {200, 429, 503}
    assert pending > 0, "the flood was under way"
    assert max(took) < whole / 4, "nobody waits until the flood has been answered"
