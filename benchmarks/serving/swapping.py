"""Swapping: one tenant's run is swapped over HTTP while it and others are asked; latency before, during and after."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np

from serving.crowd import crowd
from serving.gauges import load_of_machine, slope
from serving.lists_over_http import lists, rows_of, said
from serving.served import Served, registered, state_of

RATE, SECONDS, TIMES = 50.0, 60.0, 2.0
SWAPS, BLOCK = 10_000, 250
"""Swaps of the long run, in which memory is noted after each block."""
TENANTS, RUNS = 4, 8


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
            done, count = threading.Event(), [0]

            def swap() -> None:
                while not done.is_set():
                    served.client.put_tenant(names[0], str(runs[count[0] % len(runs)]))
                    count[0] += 1

            thread = threading.Thread(target=swap)
            thread.start()
            busy = lists(served, names, everyone.users, RATE, seconds)
            done.set()
            thread.join()
            memory = [served.private_mb()]
            for number in range(swaps):
                served.client.put_tenant(names[0], str(runs[number % len(runs)]))
                if number % block == block - 1:
                    memory.append(served.private_mb())
    at = (np.arange(len(memory)) * block / 1000).tolist()
    skipped = len(memory) // 5
    return {
        "rate": RATE,
        "rows": {"without swaps": calm, "with swaps": busy},
        "swaps_meanwhile": count[0],
        "ratio": round(busy["p99"] / calm["p99"], 2),
        "goal": TIMES,
        "long": {
            "swaps": swaps,
            "memory_mb": [round(one, 2) for one in memory],
            "line": slope(at[skipped:], memory[skipped:]),
        },
        "machine_load": [began, load_of_machine()],
    }


def table(found: dict[str, Any]) -> str:
    """Return latency without and with swaps, and the memory's slope."""
    lines = [
        f"Lists of ten at {found['rate']:.0f} requests a second, open loop, of {TENANTS} tenants; meanwhile one of them"
        f" got another run {found['swaps_meanwhile']:,} times, one swap after the other.",
        "",
        *rows_of(found["rows"]),
    ]
    long = found["long"]
    low, high = long["line"]["interval"]
    met = said(found["ratio"] <= found["goal"])
    lines += [
        "",
        f"p99 with swaps is {found['ratio']:.2f} times that without (goal {found['goal']:.0f}: {met}). Over"
        f" {long['swaps']:,} swaps the server's private memory changed by {long['line']['slope']:+.3f} MB per 1,000"
        f" swaps ({low:+.3f} to {high:+.3f}), from {long['memory_mb'][0]:.0f} to {long['memory_mb'][-1]:.0f} MB.",
    ]
    return "\n".join(lines)
