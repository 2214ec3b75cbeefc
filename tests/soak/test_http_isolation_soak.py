"""A hundred thousand requests over HTTP during a thousand swaps, evictions and new keys; writes what was counted."""

from __future__ import annotations

import json
import os
import time
from datetime import date
from pathlib import Path

import pytest
from http_isolation import roots_of, swapped_over_http
from isolation import OTHER, SHOP, Truth
from running_server import running
from tiered_engines import room_for_two, sizes

pytestmark = [pytest.mark.trains, pytest.mark.slow, pytest.mark.timeout(7200)]
ASKS = int(os.environ.get("LLMREC_SOAK_HTTP_ASKS", "100000"))
SWAPS = int(os.environ.get("LLMREC_SOAK_HTTP_SWAPS", "1050"))
EVICTIONS = int(os.environ.get("LLMREC_SOAK_HTTP_EVICTIONS", "1000"))
OUT = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "http_isolation.json"
USERS, CONNECTIONS = 3, 8


def test_no_answer_over_http_is_wrong(five_rivals: list[Path], tmp_path: Path) -> None:
    *rivals, other = five_rivals
    truth, began = Truth.of(five_rivals, USERS), time.perf_counter()
    room = room_for_two(sizes(five_rivals, tmp_path / "sizes"))
    quotas = {"requests": "100000/second"}
    runs = {SHOP: rivals[0], OTHER: other}
    memory = {"cache_bytes": 0, "host_bytes": room, "loaders": 2}
    with running(tmp_path / "state", runs, roots_of(five_rivals), quotas=quotas, **memory) as served:
        counts = swapped_over_http(served, rivals, truth, ASKS, SWAPS, CONNECTIONS)
    assert counts.wrong == []
    assert counts.asks >= ASKS
    assert counts.swaps == SWAPS
    assert counts.evictions >= EVICTIONS
    assert len(counts.versions) == len(rivals), "all runs answered"
    report = {
        "name": "http_isolation",
        "date": date.today().isoformat(),
        "asks": counts.asks,
        "users_an_ask": USERS,
        "answers": counts.answers,
        "connections": CONNECTIONS,
        "swaps": counts.swaps,
        "new_keys": counts.rotations,
        "evictions": counts.evictions,
        "later_429": counts.later[429],
        "later_503": counts.later[503],
        "versions": len(counts.versions),
        "wrong": len(counts.wrong),
        "seconds": round(time.perf_counter() - began, 1),
    }
    out = Path(os.environ.get("LLMREC_SOAK_HTTP", OUT))
    out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
