"""Shops: throughput over HTTP from 1 to 1,024 tenants under Zipf's law, all in memory; in rounds, by turns."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from serving.cliff import zipf
from serving.crowd import crowd
from serving.gauges import load_of_machine, quantiles, ratio
from serving.open_loop import Outcome, closed_loop
from serving.served import Served, registered, state_of

SIZES = (1, 4, 16, 64, 256, 1024)
ROUNDS, SECONDS, CALLERS = 7, 3.0, 4
GOAL = 0.8
REFERENCE = (
    "For scale: an encoder server with 1,024 adapters on one L4 answers about 97 requests a second, p95 177 ms, by its"
    " authors' account; each of those requests encodes a text, and these do not."
)


def measure(small: bool) -> dict[str, Any]:
    """Ask for lists of ten in a closed loop; one tenant is asked twice in each round, as the control."""
    sizes, rounds, seconds = (SIZES[:3], 2, 0.3) if small else (SIZES, ROUNDS, SECONDS)
    everyone = crowd(sizes[-1], small)
    began = load_of_machine()
    with tempfile.TemporaryDirectory(prefix="llmrec-server-") as work:
        state = state_of(Path(work) / "state", everyone.store)
        options = ["--root", str(everyone.store)]
        with Served(state, options, cache_bytes=0) as served:
            names = registered(served, everyone.runs[: sizes[-1]])
            for name in names:
                served.client.recommend(name, everyone.users[0])
            labels = [str(size) for size in sizes] + ["1 again"]
            draws = {label: zipf(int(label.split()[0]), seed=at) for at, label in enumerate(labels)}
            found: dict[str, list[Outcome]] = {label: [] for label in labels}
            for number in range(rounds + 1):
                for label in labels[number % len(labels) :] + labels[: number % len(labels)]:

                    def request(one: int, label: str = label) -> tuple[str, dict[str, Any]]:
                        user = everyone.users[one * 31 % len(everyone.users)]
                        return "/v1/recommend", {"tenant": names[next(draws[label])], "user_id": user, "k": 10}

                    outcome = closed_loop(served, request, CALLERS, seconds)
                    if number:
                        found[label].append(outcome)
            private = served.private_mb()
    first = [len(one.seconds) / one.wall_s for one in found["1"]]
    rows = []
    for label in labels:
        throughput = [len(one.seconds) / one.wall_s for one in found[label]]
        status: dict[str, int] = {}
        for one in found[label]:
            for code, count in one.status.items():
                status[code] = status.get(code, 0) + count
        took = [each for one in found[label] for each in one.seconds]
        rows.append(
            {
                "tenants": label,
                "calls_per_s": round(float(np.median(throughput)), 1),
                **ratio(throughput, first),
                **quantiles(took),
                "status": status,
            }
        )
    return {
        "items": everyone.items,
        "callers": CALLERS,
        "rounds": rounds,
        "goal": GOAL,
        "private_mb": round(private, 1),
        "rows": rows,
        "machine_load": [began, load_of_machine()],
    }


def table(found: dict[str, Any]) -> str:
    """Return a row for each number of tenants."""
    lines = [
        f"Lists of ten of {found['items']:,} items, {found['callers']} connections, closed loop, tenants under Zipf's"
        f" law (s = 1), no list kept; ratios to one tenant in the same round with 95 % intervals. Goal at the largest:"
        f" {found['goal']}.",
        "",
        "| tenants | requests/s | ratio | median ms | p95 ms | p99 ms | answers |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in found["rows"]:
        low, high = row["interval"]
        status = ", ".join(f"{count:,} of {code}" for code, count in row["status"].items())
        times = " | ".join(f"{row[one]:.2f}" for one in ("median_ms", "p95_ms", "p99_ms"))
        share = f"{row['ratio']:.3f} ({low:.3f} to {high:.3f})"
        lines.append(f"| {row['tenants']} | {row['calls_per_s']:,.0f} | {share} | {times} | {status} |")
    lines += ["", f"The server's private memory is {found['private_mb']:.0f} MB with all of them. {REFERENCE}"]
    return "\n".join(lines)


def plot(found: dict[str, Any], target: Path) -> None:
    """Draw throughput, and the median and the 99th centile."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rows = [row for row in found["rows"] if row["tenants"] != "1 again"]
    at = [int(row["tenants"]) for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
    left.plot(at, [row["ratio"] for row in rows], "o-", color="#2f6f9f", markersize=4)
    left.fill_between(at, *zip(*(row["interval"] for row in rows), strict=True), color="#2f6f9f", alpha=0.15, lw=0)
    left.axhline(found["goal"], color="#9aa5b1", lw=1, ls=":")
    left.set_ylim(bottom=0.0)
    left.set_ylabel("requests per second over HTTP, one tenant = 1")
    right.plot(at, [row["median_ms"] for row in rows], "o-", color="#2f6f9f", label="median", markersize=4)
    right.plot(at, [row["p99_ms"] for row in rows], "--", color="#2f6f9f", label="99th centile", lw=1)
    right.set_yscale("log")
    right.set_ylabel("ms a request")
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("tenants")
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(target, dpi=130)
    plt.close(figure)
