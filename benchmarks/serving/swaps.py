"""Swaps: one tenant gets another run ten thousand times, while it and another tenant are asked.

Runs come in turns, so that each swap loads a version and drops one. After each swap the tenant has to be answered by
the run that it was given. The other tenant's run stays: its times are the control row, since they tell a machine that
became slower from a process that did. Flat means that a line through all blocks rises by no more than its interval.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from serving.cliff import loaded
from serving.crowd import crowd
from serving.engines import engine_of
from serving.gauges import load_of_machine, private_mb, quantiles, slope

SWAPS, RUNS, BLOCK = 10_000, 8, 100
BEGIN = 10
"""Blocks at the beginning that are no part of the lines: memory of the allocator and of caches fills."""
SHOP, STILL = "swapped", "still"
SERIES = {
    "swap_ms": "a swap, ms",
    "ask_ms": "an ask after it, ms",
    "still_ms": "an ask of the tenant that stays, ms (control)",
    "private_mb": "private memory, MB",
}


def measure(small: bool) -> dict[str, Any]:
    """Swap, ask and note down the median of each block."""
    swaps, block = (40, 4) if small else (SWAPS, BLOCK)
    everyone = crowd(4 if small else RUNS + 1, small)
    *runs, kept = everyone.runs
    engine = engine_of(everyone)
    engine.register(SHOP, runs[0])
    engine.register(STILL, kept)
    users, wrong, began = everyone.users, 0, load_of_machine()
    took = {name: np.full(swaps, np.nan) for name in ("swap_ms", "ask_ms", "still_ms")}  # it is private memory, too
    blocks: dict[str, list[float]] = {name: [] for name in SERIES}
    for number in range(1, swaps + 1):
        run, user = runs[number % len(runs)], users[number * 31 % len(users)]
        took["swap_ms"][number - 1] = timed(lambda run=run: engine.swap(SHOP, run))[0]
        for tenant, name, expected in ((SHOP, "ask_ms", run), (STILL, "still_ms", kept)):
            seconds, answers = timed(lambda tenant=tenant, user=user: engine.ask(tenant, [user]))
            took[name][number - 1] = seconds
            wrong += [answer.version for answer in answers] != [expected.name[:64]]
        if number % block == 0:
            for name, seconds_of in took.items():
                blocks[name].append(1000 * float(np.median(seconds_of[number - block : number])))
            blocks["private_mb"].append(private_mb())
    at = np.arange(1, len(blocks["swap_ms"]) + 1) * block / 1000
    return {
        "swaps": swaps,
        "runs": len(runs),
        "items": everyone.items,
        "wrong": wrong,
        "block": block,
        "blocks": {name: [round(value, 4) for value in values] for name, values in blocks.items()},
        "lines": {name: slope(at[BEGIN:], values[BEGIN:]) for name, values in blocks.items()},
        "times": {name: quantiles(values.tolist()) for name, values in took.items()},
        "machine_load": [began, load_of_machine()],
    }


def timed(call: Any) -> tuple[float, Any]:
    """Return the seconds of a call, and its result."""
    began = time.perf_counter()
    found = call()
    return time.perf_counter() - began, found


def table(found: dict[str, Any]) -> str:
    """Return a row for each series."""
    lines = [
        f"{found['swaps']:,} swaps among {found['runs']} runs of {found['items']:,} items, an ask of it and of"
        f" another one after each; {found['wrong']} answers of another version. Lines are fitted to the medians of"
        f" {found['block']} swaps, without the first {BEGIN} blocks.",
        "",
        "| | middle | change per 1,000 swaps, 95 % interval | median | 99th centile |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, said in SERIES.items():
        line, times = found["lines"][name], found["times"].get(name)
        low, high = line["interval"]
        cells = [said, f"{line['middle']:.2f}", f"{line['slope']:+.4f} ({low:+.4f} to {high:+.4f})"]
        cells += ["", ""] if times is None else [f"{times['median_ms']:.2f}", f"{times['p99_ms']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"{loaded(found).capitalize()}."]
    return "\n".join(lines)


def plot(found: dict[str, Any], target: Path) -> None:
    """Draw the blocks' medians and memory."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6))
    at = np.arange(1, len(found["blocks"]["swap_ms"]) + 1) * found["block"]
    for name, colour in (("swap_ms", "#2f6f9f"), ("ask_ms", "#c98a2b"), ("still_ms", "#9aa5b1")):
        left.plot(at, found["blocks"][name], color=colour, lw=1, label=SERIES[name])
    left.set_yscale("log")
    left.set_ylabel("ms, median of a block")
    left.legend(frameon=False, fontsize=8)
    right.plot(at, found["blocks"]["private_mb"], color="#2f6f9f", lw=1)
    right.set_ylim(bottom=0.0)
    right.set_ylabel("private memory, MB")
    for axes in (left, right):
        axes.set_xlabel("swaps")
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(target, dpi=130)
    plt.close(figure)
