"""Latency: `/v1/recommend` over 20,825 items at 50 requests a second, beside `Engine.ask` on the same run.

The engine is asked in a process of its own while no server runs. Every user is another one, so that no list is kept.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from serving.gauges import load_of_machine
from serving.lists_over_http import lists, rows_of, said, timed
from serving.loading import RUNS, SIZES, SMALL, _run
from serving.served import Served

RATE, SECONDS = 50.0, 60.0
P99_MS, TIMES = 20.0, 5.0
"""The goals: the 99th centile, and how much longer than the engine's the median may be."""
K = 10


def measure(small: bool) -> dict[str, Any]:
    """Measure the engine, the server over loopback, and the server again with lists that are kept."""
    import torch

    torch.set_num_threads(1)
    items, users = (SMALL if small else SIZES)[1]
    seconds = 2.0 if small else SECONDS
    RUNS.mkdir(parents=True, exist_ok=True)
    run, began = _run(RUNS, items, users), load_of_machine()
    options = ["--tenant", f"shop={run}"]
    with tempfile.TemporaryDirectory(prefix="llmrec-server-") as work:
        known, took = _engine(run, Path(work) / "engine", int(RATE * seconds))
        state = Path(work) / "state"
        with Served(state, options, cache_bytes=0) as served:
            computed = lists(served, ["shop"], known, RATE, seconds, even=True)
            random = lists(served, ["shop"], known, RATE, seconds)
        with Served(state, options) as served:
            lists(served, ["shop"], known[:200], 4 * RATE, seconds / 4)
            kept = lists(served, ["shop"], known[:200], RATE, seconds / 4)
    rows = {
        "engine": timed(took),
        "http": computed,
        "http, at random moments": random,
        "http, lists that are kept": kept,
    }
    return {
        "items": items,
        "rate": RATE,
        "rows": rows,
        "ratio": round(rows["http"]["p50"] / rows["engine"]["p50"], 2),
        "goals": {"p99_ms": P99_MS, "times": TIMES},
        "machine_load": [began, load_of_machine()],
    }


def _engine(run: Path, store: Path, asks: int) -> tuple[list[str], list[float]]:
    from llmrec_peft.run.recommender import Recommender
    from llmrec_peft.serving.engine import Engine

    known = list(Recommender.from_pretrained(run, device="cpu").vocabulary.users)
    took: list[float] = []
    with Engine(store, device="cpu", cache_bytes=0) as engine:
        engine.register("shop", run)
        for number in range(asks + 100):
            began = time.perf_counter()
            engine.ask("shop", [known[number * 7919 % len(known)]], K)
            took.append(time.perf_counter() - began)
    return known, took[100:]


def table(found: dict[str, Any]) -> str:
    """Return a row for the engine and one for each way to ask the server."""
    goals = found["goals"]
    lines = [
        f"Lists of ten of {found['items']:,} items at {found['rate']:.0f} requests a second, open loop: each is timed"
        " from when it was due. Requests are due every 20 ms, in the third row at random moments (exponential gaps),"
        " where they meet each other: one thread computes. Client and server share the machine.",
        "",
        *rows_of(found["rows"]),
    ]
    even, random = (found["rows"][name]["p99"] for name in ("http", "http, at random moments"))
    lines += [
        "",
        f"The median over HTTP is {found['ratio']:.2f} times the engine's (goal {goals['times']:.0f}:"
        f" {said(found['ratio'] <= goals['times'])}); its 99th centile is {even:.1f} ms (goal {goals['p99_ms']:.0f}:"
        f" {said(even <= goals['p99_ms'])}), at random moments {random:.1f} ms ({said(random <= goals['p99_ms'])}).",
    ]
    return "\n".join(lines)
