"""Restart: from the start of the process to a ready server, with 1 and with 1,024 tenants in its registry."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from serving.crowd import crowd
from serving.gauges import load_of_machine
from serving.lists_over_http import said
from serving.served import Served, registered, state_of

SIZES = (1, 1024)
TIMES, GOAL_S = 7, 5.0


def measure(small: bool) -> dict[str, Any]:
    """Register tenants once, and then start the server several times with either state folder, by turns."""
    sizes, times = ((1, 8), 2) if small else (SIZES, TIMES)
    everyone = crowd(sizes[-1], small)
    began = load_of_machine()
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    codes: list[int] = []
    with tempfile.TemporaryDirectory(prefix="llmrec-server-") as work:
        states = {size: state_of(Path(work) / f"state-{size}", everyone.store) for size in sizes}
        for size, state in states.items():
            with Served(state, ["--root", str(everyone.store)]) as served:
                names = registered(served, everyone.runs[:size])
                before = {name: served.client.recommend(name, everyone.users[0]) for name in (names[0], names[-1])}
        wrong = 0
        for _ in range(times):
            for size, state in states.items():
                with Served(state) as served:
                    seconds[size].append(served.started_s)
                    wrong += len(served.client.tenants()) != size
                    for name in dict.fromkeys((f"tenant-{1}", f"tenant-{size}")):
                        answer = served.client.recommend(name, everyone.users[0])
                        wrong += name in before and answer != before[name]
                    codes.append(served.end())
    return {
        "goal_s": GOAL_S,
        "wrong": wrong,
        "exit_codes": sorted(set(codes)),
        "rows": {
            str(size): {
                "median_s": round(statistics.median(values), 2),
                "max_s": round(max(values), 2),
                "starts": len(values),
            }
            for size, values in seconds.items()
        },
        "machine_load": [began, load_of_machine()],
    }


def table(found: dict[str, Any]) -> str:
    """Return a row for each number of tenants."""
    lines = ["| tenants | median s | largest s | starts |", "| ---: | ---: | ---: | ---: |"]
    for size, row in found["rows"].items():
        lines.append(f"| {int(size):,} | {row['median_s']:.2f} | {row['max_s']:.2f} | {row['starts']} |")
    largest = found["rows"][max(found["rows"], key=int)]["max_s"]
    met = said(largest <= found["goal_s"])
    lines += [
        "",
        f"From the start of the process until `/readyz` says 200 (goal {found['goal_s']:.0f} s: {met});"
        f" {found['wrong']} answers or lists of tenants differed from those before; exit codes after SIGTERM:"
        f" {found['exit_codes']}.",
    ]
    return "\n".join(lines)
