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
LIGHT = 20


async def asked(client: httpx.AsyncClient, key: str, body: dict[str, Any]) -> httpx.Response:
    return await client.post("/v1/recommend", json=body, headers={"Authorization": f"Bearer {key}"})


async def beside(served: Running, flood: list[dict[str, Any]], pause_s: float) -> tuple[list[httpx.Response], int]:
    """Let one tenant send requests all at once, and meanwhile ask the other one, one request after the other.

    Returns:
        Answers to the first one's requests, and how many of them had come when all of the other's had.
    """
    keys = {tenant: served.new_key(tenant, "ask") for tenant in ("heavy", "light")}
    limits = httpx.Limits(max_connections=256)
    async with httpx.AsyncClient(base_url=served.url, limits=limits, timeout=60, trust_env=False) as client:
        heavy = [asyncio.create_task(asked(client, keys["heavy"], body)) for body in flood]
        await asyncio.sleep(0.05)
        for number in range(LIGHT):
            await asyncio.sleep(pause_s)
            answer = await asked(client, keys["light"], {"tenant": "light", "user_id": str(1 + number)})
            assert answer.status_code == 200, answer.text
        before = sum(task.done() for task in heavy)
        return await asyncio.gather(*heavy), before


def test_more_requests_than_its_rate_are_told_when_to_come_again(tmp_path: Path, rivals: list[Path]) -> None:
    runs, quotas = {"heavy": rivals[0], "light": rivals[1]}, {"requests": f"{SHARE}/second"}
    with running(tmp_path / "state", runs, cache_bytes=0, quotas=quotas) as served:
        flood = [{"tenant": "heavy", "user_id": "1"}] * (SHARE * FLOOD)
        began = time.perf_counter()
        answers, _ = asyncio.run(beside(served, flood, 1.5 / SHARE))  # the other one keeps to its rate
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
        flood = [{"tenant": "heavy", "user_ids": users}] * 200
        answers, before = asyncio.run(beside(served, flood, 0.0))
    assert {one.status_code for one in answers} <= {200, 429, 503}
    assert before < 3 * LIGHT, "each request waits for few of the flood's, and not for all that came before it"
