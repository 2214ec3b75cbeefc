"""Flood: one tenant asks for 20 times its share, by many requests or by many users in each; others' latency beside it.

The flooding tenant is asked from a process of its own. What it may have is bounded by its rate, which refuses before a
body is read, and by turns that are charged with the time that lists took.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from serving.crowd import crowd
from serving.gauges import load_of_machine
from serving.lists_over_http import lists, rows_of, said
from serving.served import Served, registered, state_of

RATE, SECONDS, TIMES = 30.0, 40.0, 2.0
SHARE, FLOOD = 10.0, 20
"""Requests a second that a tenant may send, and by how many times the flooding one exceeds it."""
TENANTS = 4
MANY = 128
"""Users of each request of the second flood."""


def measure(small: bool) -> dict[str, Any]:
    """Ask three tenants calmly, then while a fourth floods with requests, then while it floods with users."""
    seconds = 2.0 if small else SECONDS
    everyone = crowd(TENANTS, small)
    began = load_of_machine()
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="llmrec-server-") as work:
        state = state_of(Path(work) / "state", everyone.store)
        options = ["--root", str(everyone.store)]
        with Served(state, options, cache_bytes=0, quotas__requests=f"{SHARE:.0f}/second") as served:
            names = registered(served, everyone.runs)
            *calm, flooding = names
            key = served.client.new_key(flooding, ["ask"]).key
            rows["no flood"] = lists(served, calm, everyone.users, RATE, seconds)
            for name, users in (("20 times its requests", 1), (f"its requests, {MANY} users in each", MANY)):
                flood = _Flood(served.url, key, flooding, everyone.users, users, seconds + 10.0)
                rows[name] = lists(served, calm, everyone.users, RATE, seconds)
                rows[f"the flooding tenant: {name}"] = {"status": flood.end()}
    first = rows["no flood"]["p99"]
    return {
        "rate": RATE,
        "share": SHARE,
        "rows": rows,
        "ratios": {name: round(row["p99"] / first, 2) for name, row in rows.items() if "p99" in row},
        "goal": TIMES,
        "machine_load": [began, load_of_machine()],
    }


class _Flood:
    """Requests of one tenant from a process of its own, as fast as they are due."""

    def __init__(self, url: str, key: str, tenant: str, known: list[str], users: int, seconds: float) -> None:
        given = [url, tenant, str(users), str(seconds), *known]
        self._process = subprocess.Popen(
            [sys.executable, __file__, *given], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self._process.stdin is not None:
            self._process.stdin.write(key + "\n")
            self._process.stdin.flush()

    def end(self) -> dict[str, int]:
        """Wait for its end, and return the answers that it got by status."""
        told, _ = self._process.communicate()
        return {code: int(count) for code, count in (pair.split("=") for pair in told.split())}


def flood(url: str, key: str, tenant: str, users: int, seconds: float, known: list[str]) -> dict[str, int]:
    """Send requests at 20 times a tenant's share, or at its share with many users in each; return the statuses."""
    import asyncio

    import httpx

    status: dict[str, int] = {}
    rate = SHARE * FLOOD if users == 1 else SHARE

    async def run() -> None:
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60.0, trust_env=False) as client:

            async def one(number: int) -> None:
                asked = [known[(number * users + at) % len(known)] for at in range(users)]
                answer = await client.post("/v1/recommend", json={"tenant": tenant, "user_ids": asked})
                code = str(answer.status_code)
                status[code] = status.get(code, 0) + 1

            async with asyncio.TaskGroup() as group:
                began = asyncio.get_running_loop().time()
                for number in range(int(rate * seconds)):
                    await asyncio.sleep(max(0.0, began + number / rate - asyncio.get_running_loop().time()))
                    group.create_task(one(number))

    asyncio.run(run())
    return status


def table(found: dict[str, Any]) -> str:
    """Return latencies of the calm tenants, and what the flooding one got."""
    ratios = {name: ratio for name, ratio in found["ratios"].items() if name != "no flood"}
    outcome = "; ".join(f"{name}: {ratio:.2f} ({said(ratio <= found['goal'])})" for name, ratio in ratios.items())
    return "\n".join(
        [
            f"Lists of ten of {TENANTS - 1} calm tenants, together {found['rate']:.0f} a second, open loop; a fourth"
            f" tenant may send {found['share']:.0f} a second and sends {FLOOD} times as many, or as many with {MANY}"
            " users each.",
            "",
            *rows_of(found["rows"]),
            "",
            f"p99 of the calm tenants beside that without a flood (goal at most {found['goal']:.0f}): {outcome}.",
        ]
    )


if __name__ == "__main__":
    address, name, many, lasting, *ids = sys.argv[1:]
    outcome = flood(address, sys.stdin.readline().strip(), name, int(many), float(lasting), ids)
    print(" ".join(f"{code}={count}" for code, count in sorted(outcome.items())))
