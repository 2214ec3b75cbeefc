"""New items: items added by their texts at ten a second, until they can be recommended, beside lists at 50 a second."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

from serving.crowd import crowd
from serving.gauges import load_of_machine
from serving.lists_over_http import lists, rows_of, said, timed
from serving.open_loop import open_loop
from serving.served import Served, registered, state_of

RATE, LISTS, SECONDS = 10.0, 50.0, 60.0
P99_S = 1.0
TENANTS = 8


def measure(small: bool) -> dict[str, Any]:
    """Add items of eight tenants in turns, while lists are asked for; then look whether each item is there."""
    seconds = 2.0 if small else SECONDS
    everyone = crowd(TENANTS, small)
    began = load_of_machine()
    with tempfile.TemporaryDirectory(prefix="llmrec-server-") as work:
        state = state_of(Path(work) / "state", everyone.store)
        with Served(state, ["--root", str(everyone.store)]) as served:
            names = registered(served, everyone.runs)

            def adding(number: int) -> tuple[str, dict[str, Any]]:
                title = everyone.titles[number % len(everyone.titles)]
                item = {"item_id": f"new-{number}", "title": f"{title} {number}"}
                return "/v1/items", {"tenant": names[number % TENANTS], "items": [item]}

            open_loop(served, lambda number: adding(number + 10**6), RATE, 3.0)
            alone = lists(served, names, everyone.users, LISTS, seconds)
            beside: list[dict[str, Any]] = []
            thread = threading.Thread(
                target=lambda: beside.append(lists(served, names, everyone.users, LISTS, seconds))
            )
            thread.start()
            added = open_loop(served, adding, RATE, seconds)
            thread.join()
            count = int(RATE * seconds)
            missing = sum(
                served.client.score(names[number % TENANTS], ["u1"], [f"new-{number}"]).scores == []
                for number in range(count)
            )
    return {
        "rate": RATE,
        "lists": LISTS,
        "goal_s": P99_S,
        "missing": missing,
        "rows": {
            "an item, until it is usable": timed(added.seconds, added.status),
            "a list meanwhile": beside[0],
            "a list without new items": alone,
        },
        "machine_load": [began, load_of_machine()],
    }


def table(found: dict[str, Any]) -> str:
    """Return a row for items and one for the lists beside them."""
    lines = [
        f"{found['rate']:.0f} new items a second by their texts, of {TENANTS} tenants in turns, each on disk and usable"
        f" when it is answered, beside {found['lists']:.0f} lists a second; open loop. {found['missing']} of the items"
        " could not be scored afterwards.",
        "",
        *rows_of(found["rows"]),
    ]
    p99 = found["rows"]["an item, until it is usable"]["p99"] / 1000
    met = said(p99 <= found["goal_s"])
    lines += ["", f"The 99th centile of an item is {p99:.2f} s (goal {found['goal_s']:.0f} s: {met})."]
    return "\n".join(lines)
