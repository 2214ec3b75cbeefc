"""Lists over HTTP: requests at a rate, by the package's own load test, and their figures in one form for all parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.gauges import quantiles
from serving.served import Served

WARM_S = 3.0


def lists(
    served: Served, tenants: Sequence[str], users: Sequence[str], rate: float, seconds: float, even: bool = False
) -> dict[str, Any]:
    """Ask for lists of ten in an open loop; all tenants and users are equally likely.

    Args:
        served: The server.
        tenants: Whom to ask.
        users: Whom for.
        rate: Requests per second.
        seconds: For how long.
        even: Whether gaps are equal; else they are exponential, as those of many independent callers.

    Returns:
        Milliseconds from when a request was due to its answer, and the number of answers by status.
    """
    from llmrec_peft.serving.http.load_test.load_plan import LoadPlan
    from llmrec_peft.serving.http.load_test.load_test import load_test

    plan = LoadPlan(served.url, tenants, users, rate, seconds, warm_up_s=min(WARM_S, seconds), zipf=0.0, even=even)
    report = load_test(plan, served.key)
    waited = report.waited
    times = {} if waited is None else {name: getattr(waited, name) for name in ("p50", "p90", "p99", "max")}
    return {**times, "status": dict(report.statuses)}


def timed(seconds: Sequence[float], status: dict[str, int] | None = None) -> dict[str, Any]:
    """Return times that were measured otherwise in the same form."""
    found = quantiles(seconds, ("p50", "p90", "p99", "max"), (0.5, 0.9, 0.99, 1.0))
    return found if status is None else {**found, "status": status}


def rows_of(rows: dict[str, Any]) -> list[str]:
    """Return a table of latencies in Markdown, a line each."""
    lines = ["| | median ms | p90 ms | p99 ms | largest ms | answers |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    for name, row in rows.items():
        times = " | ".join(f"{row[one]:.2f}" if one in row else "" for one in ("p50", "p90", "p99", "max"))
        status = ", ".join(f"{count:,} of {code}" for code, count in row.get("status", {}).items())
        lines.append(f"| {name} | {times} | {status} |")
    return lines


def said(met: bool) -> str:
    """Return whether a goal was met, with the mark of one that was not."""
    return "met" if met else "▼ not met"
