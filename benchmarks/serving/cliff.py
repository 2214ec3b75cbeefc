"""The cliff: throughput from 1 to 1,024 tenants under Zipf's law, where all are in memory and where a tier is full.

A tenant's rank is its number: tenant r is asked in proportion to 1/r. Sizes take turns for a second or two each, and
figures are ratios to one tenant in the same round, so that a busy machine slows all of them; the row "1 again" is a
second engine with one tenant, whose ratio says how much can be told apart. Every list is computed: none is kept.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from serving.crowd import Crowd, crowd
from serving.engines import engine_of, host_bytes_of, meters
from serving.gauges import load_of_machine, quantiles, ratio

SIZES = tuple(2**power for power in range(11))
HELD = 64
"""Tenants that the bounded host tier has room for."""
ROUNDS, SECONDS, CALLERS = 9, 1.5, 2
ZIPF = 1.0
K = 10
GOAL = 0.8
AGAIN = "1 again"
Call = Callable[[Any, str, int], object]


@dataclass
class Row:
    """One size: an engine, who is drawn, and what was measured in each round."""

    name: str
    engine: Any
    tenants: Sequence[str]
    draws: Iterator[int]
    throughput: list[float] = field(default_factory=list)
    by_processor: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    metered: dict[str, int] = field(default_factory=dict)


def measure(small: bool) -> dict[str, Any]:
    """Measure lists with all tenants in memory, and with a tier that has room for few."""
    sizes, held = (SIZES[:4], 4) if small else (SIZES, HELD)
    rounds, seconds = (2, 0.2) if small else (ROUNDS, SECONDS)
    everyone = crowd(sizes[-1], small)
    curves: dict[str, Any] = {}
    whole = engine_of(everyone)
    registered(whole, everyone, sizes[-1])
    again = engine_of(everyone)
    registered(again, everyone, 1)
    rows = [row_of(str(size), whole, everyone, size) for size in sizes]
    rows.append(row_of(AGAIN, again, everyone, 1))
    curves["lists, all in memory"] = measured(rows, listing(everyone), rounds, seconds)
    budget = host_bytes_of(whole, held)
    full = [bounded(str(size), everyone, size, budget) for size in sizes] + [bounded(AGAIN, everyone, 1, budget)]
    name = f"lists, {held} in memory"
    curves[name] = {"host_bytes": budget, **measured(full, listing(everyone), rounds, seconds)}
    return {"items": int(everyone.items), "zipf": ZIPF, "callers": CALLERS, "goal": GOAL, "curves": curves}


def note(line: str) -> None:
    """Say on stderr how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def row_of(name: str, engine: Any, everyone: Crowd, size: int) -> Row:
    """Return a row in which the first tenants of an engine are asked."""
    return Row(name, engine, tenants_of(size), zipf(size, seed=size))


def bounded(name: str, everyone: Crowd, size: int, budget: int) -> Row:
    """Return a row with an engine of its own, whose host tier has so many bytes."""
    engine = engine_of(everyone, host_bytes=budget)
    registered(engine, everyone, size)
    return row_of(name, engine, everyone, size)


def tenants_of(size: int) -> list[str]:
    """Return the names of the first tenants."""
    return [f"tenant {number}" for number in range(1, size + 1)]


def registered(engine: Any, everyone: Crowd, size: int) -> None:
    """Register the first tenants."""
    for name, run in zip(tenants_of(size), everyone.runs, strict=False):
        engine.register(name, run)


def zipf(size: int, seed: int) -> Iterator[int]:
    """Draw tenants without end, tenant r in proportion to 1/r^s."""
    draw = np.random.default_rng(seed)
    chances = 1.0 / np.arange(1, size + 1) ** ZIPF
    while True:
        yield from draw.choice(size, 4096, p=chances / chances.sum()).tolist()


def listing(everyone: Crowd) -> Call:
    """Return the call for the ten best items of one user."""
    users = everyone.users

    def call(engine: Any, tenant: str, number: int) -> object:
        (answer,) = engine.ask(tenant, [users[number * 31 % len(users)]], k=K)
        return answer.items

    return call


def measured(rows: list[Row], call: Call, rounds: int, seconds: float) -> dict[str, Any]:
    """Call every tenant of every row once, and then the rows in turns, the first round unmeasured."""
    for row in rows:
        for number, tenant in enumerate(row.tenants):
            call(row.engine, tenant, number)
        note(f"{row.name}: {len(row.tenants)} tenants were called once")
    began = load_of_machine()
    for number in range(rounds + 1):
        for row in rows[number % len(rows) :] + rows[: number % len(rows)]:
            before = meters(row.engine)
            asked(row, call, seconds, keep=number > 0)
            if number:
                for name, value in meters(row.engine).items():
                    row.metered[name] = row.metered.get(name, 0) + value - before.get(name, 0)
        note(f"round {number}: " + ", ".join(f"{row.name} {(row.throughput or [0.0])[-1]:.1f}/s" for row in rows))
    first = rows[0]
    found = []
    for row in rows:
        figures = {
            "tenants": row.name,
            "calls": len(row.seconds),
            "calls_per_s": round(float(np.median(row.throughput)), 1),
            **ratio(row.throughput, first.throughput),
            "by_processor": ratio(row.by_processor, first.by_processor),
            **quantiles(row.seconds),
            **row.metered,
        }
        found.append(figures)
    return {"rows": found, "rounds": rounds, "machine_load": [began, load_of_machine()]}


def asked(row: Row, call: Call, seconds: float, keep: bool) -> None:
    """Call a row's tenants from several threads for some seconds."""
    lock, took, errors = threading.Lock(), list[float](), list[BaseException]()
    counter = iter(range(1 << 40))
    began, busy = time.perf_counter(), time.process_time()

    def caller() -> None:
        while time.perf_counter() - began < seconds and not errors:
            with lock:
                tenant, number = row.tenants[next(row.draws)], next(counter)
            at = time.perf_counter()
            try:
                call(row.engine, tenant, number)
            except Exception as error:  # noqa: BLE001 - it is raised again below
                errors.append(error)
            took.append(time.perf_counter() - at)

    threads = [threading.Thread(target=caller) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    if keep:
        row.throughput.append(len(took) / (time.perf_counter() - began))
        row.by_processor.append(len(took) / (time.process_time() - busy))
        row.seconds.extend(took)


def table(found: dict[str, Any]) -> str:
    """Return a table for each curve."""
    lines = [
        f"Tenants of {found['items']:,} items each, asked under Zipf's law (s = {found['zipf']}) by {found['callers']}"
        f" callers; ratios to one tenant in the same round, with 95 % intervals. Goal at the largest: {found['goal']}."
    ]
    for name, curve in found["curves"].items():
        head = ["tenants", "calls/s", "ratio", "of processor time", "median ms", "p99 ms", "in memory", "loads"]
        lines += ["", f"**{name}**", "", f"| {' | '.join(head)} |", f"|{' ---: |' * len(head)}"]
        for row in curve["rows"]:
            low, high = row["interval"]
            hits = row.get("hits")
            share = "all" if hits is None or row["calls"] == 0 else f"{1 - row['loads'] / row['calls']:.0%}"
            cells = [
                row["tenants"],
                f"{row['calls_per_s']:,.0f}",
                f"{row['ratio']:.3f} ({low:.3f} to {high:.3f})",
                f"{row['by_processor']['ratio']:.3f}",
                f"{row['median_ms']:.2f}",
                f"{row['p99_ms']:.2f}",
                share,
                str(row.get("loads", 0)),
            ]
            lines.append(f"| {' | '.join(cells)} |")
        lines += ["", f"{curve['rounds']} rounds; {loaded(curve)}."]
    return "\n".join(lines)


def loaded(found: dict[str, Any]) -> str:
    """Say how busy the machine was with everything together."""
    before, after = found["machine_load"]
    return f"{before:.0f} processes wanted a core at the beginning and {after:.0f} at the end, these among them"


def plot(found: dict[str, Any], target: Path) -> None:
    """Draw each curve's ratio, and its median and 99th centile."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
    for colour, (name, curve) in zip(("#2f6f9f", "#c98a2b", "#7a5195"), found["curves"].items(), strict=False):
        rows = [row for row in curve["rows"] if row["tenants"] != AGAIN]
        again = next(row for row in curve["rows"] if row["tenants"] == AGAIN)
        at = [int(row["tenants"]) for row in rows]
        left.plot(at, [row["ratio"] for row in rows], "o-", color=colour, label=name, markersize=4)
        left.fill_between(at, *zip(*(row["interval"] for row in rows), strict=True), color=colour, alpha=0.15, lw=0)
        left.plot([1], [again["ratio"]], "x", color=colour)
        right.plot(at, [row["median_ms"] for row in rows], "o-", color=colour, label=f"{name}: median", markersize=4)
        right.plot(at, [row["p99_ms"] for row in rows], "--", color=colour, label="99th centile", lw=1)
    left.axhline(found["goal"], color="#9aa5b1", lw=1, ls=":")
    left.set_ylim(bottom=0.0)
    left.set_ylabel("throughput, one tenant = 1")
    right.set_yscale("log")
    right.set_ylabel("ms a call")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("tenants (cross: one tenant again)")
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(target, dpi=130)
    plt.close(figure)
