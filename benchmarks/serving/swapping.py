"""Swapping: one tenant's run is swapped over HTTP while it and others are asked; latency before, during and after."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from serving.crowd import crowd
from serving.gauges import load_of_machine, slope
from serving.lists_over_http import lists, rows_of, said
from serving.served import Served, registered, state_of

RATE, SECONDS, TIMES = 50.0, 60.0, 2.0
SWAPS, BLOCK = 10_000, 250
"""Swaps of the long run, in which memory is noted after each block."""
TENANTS, RUNS = 4, 8
PAUSES = {"a swap each second": 1.0, "one swap after the other": 0.0}
"""Seconds between two swaps."""


def measure(small: bool) -> dict[str, Any]:
    """Ask at a steady rate for a while without swaps, and as long with them; then swap ten thousand times."""
    seconds, swaps, block = (2.0, 24, 4) if small else (SECONDS, SWAPS, BLOCK)
    everyone = crowd(TENANTS + RUNS, small)
    began = load_of_machine()
    with tempfile.TemporaryDirectory(prefix="llmrec-server-") as work:
        state = state_of(Path(work) / "state", everyone.store)
        options = ["--root", str(everyone.store)]
        with Served(state, options, cache_bytes=0) as served:
            names = registered(served, everyone.runs[:TENANTS])
            runs = everyone.runs[TENANTS:]
            calm = lists(served, names, everyone.users, RATE, seconds)
            rows = {"without swaps": calm}
            counts = {}
            for name, pause_s in PAUSES.items():
                with _Swaps(served, names[0], runs, pause_s) as swapping:
                    rows[name] = lists(served, names, everyone.users, RATE, seconds)
                counts[name] = swapping.count
            memory = [served.private_mb()]
            for number in range(swaps):
                served.client.put_tenant(names[0], str(runs[number % len(runs)]))
                if number % block == block - 1:
                    memory.append(served.private_mb())
    at = (np.arange(len(memory)) * block / 1000).tolist()
    skipped = len(memory) // 5
    return {
        "rate": RATE,
        "rows": rows,
        "swaps_meanwhile": counts,
        "ratios": {name: round(rows[name]["p99"] / calm["p99"], 2) for name in PAUSES},
        "goal": TIMES,
        "long": {
            "swaps": swaps,
            "memory_mb": [round(one, 2) for one in memory],
            "line": slope(at[skipped:], memory[skipped:]),
        },
        "machine_load": [began, load_of_machine()],
    }


class _Swaps:
    """Gives a tenant one run after the other from a thread, until the block ends."""

    def __init__(self, served: Served, tenant: str, runs: Sequence[Path], pause_s: float) -> None:
        self._served, self._tenant, self._runs, self._pause_s = served, tenant, runs, pause_s
        self._done, self.count = threading.Event(), 0
        self._thread = threading.Thread(target=self._swap)

    def _swap(self) -> None:
        while not self._done.wait(self._pause_s):
            self._served.client.put_tenant(self._tenant, str(self._runs[self.count % len(self._runs)]))
            self.count += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def table(found: dict[str, Any]) -> str:
    """Return latency without and with swaps, and the memory's slope."""
    counts = ", ".join(f"{count:,} times ({name})" for name, count in found["swaps_meanwhile"].items())
    goal, long = found["goal"], found["long"]
    ratios = ", ".join(f"{name} {ratio:.2f} ({said(ratio <= goal)})" for name, ratio in found["ratios"].items())
    low, high = long["line"]["interval"]
    return "\n".join(
        [
            f"Lists of ten at {found['rate']:.0f} requests a second, open loop, of {TENANTS} tenants; meanwhile one of"
            f" them got another run {counts}.",
            "",
            *rows_of(found["rows"]),
            "",
            f"p99 beside that without swaps (goal at most {goal:.0f}): {ratios}. Over {long['swaps']:,} swaps the"
            f" server's private memory changed by {long['line']['slope']:+.3f} MB per 1,000 swaps ({low:+.3f} to"
            f" {high:+.3f}), from {long['memory_mb'][0]:.0f} to {long['memory_mb'][-1]:.0f} MB.",
        ]
    )
