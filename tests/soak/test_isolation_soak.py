"""A tenant's run swapped a thousand times while a hundred thousand asks are answered; writes what was counted.

Once with room for all versions, and once with room for two, so that others leave memory and are loaded again.
"""

from __future__ import annotations

import json
import os
import time
from datetime import date
from pathlib import Path

import pytest
from isolation import Counts, Truth, swapped_while_asked
from tiered_engines import room_for_two, sizes

from llmrec_peft.serving.engine import Engine

pytestmark = [pytest.mark.trains, pytest.mark.slow, pytest.mark.timeout(7200)]
ASKS = int(os.environ.get("LLMREC_SOAK_ASKS", "100000"))
EVICTED_ASKS = int(os.environ.get("LLMREC_SOAK_EVICTED_ASKS", "100000"))
EVICTIONS = int(os.environ.get("LLMREC_SOAK_EVICTIONS", "1000"))
SWAPS = int(os.environ.get("LLMREC_SOAK_SWAPS", "1050"))
RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
USERS, THREADS = 3, 3


def test_no_answer_is_wrong(five_rivals: list[Path], tmp_path: Path) -> None:
    engine = Engine(tmp_path / "store", device="cpu", cache_bytes=0)
    counts, seconds = soaked(engine, five_rivals, ASKS)
    write("isolation", counts, seconds)


def test_no_answer_is_wrong_while_versions_leave_memory_and_come_back(five_rivals: list[Path], tmp_path: Path) -> None:
    room = room_for_two(sizes(five_rivals, tmp_path / "sizes"))
    engine = Engine(tmp_path / "store", device="cpu", cache_bytes=0, host_bytes=room, loaders=2)
    counts, seconds = soaked(engine, five_rivals, EVICTED_ASKS)
    assert counts.evictions >= EVICTIONS
    assert engine.memory().failures == engine.memory().refusals == 0
    write("eviction", counts, seconds)


def soaked(engine: Engine, runs: list[Path], asks: int) -> tuple[Counts, float]:
    """Ask while a tenant's run is swapped; return the counts and seconds."""
    *rivals, other = runs
    truth, began = Truth.of(runs, USERS), time.perf_counter()
    counts = swapped_while_asked(engine, rivals, truth, asks, SWAPS, other, THREADS)
    seconds = time.perf_counter() - began
    assert counts.wrong == []
    assert counts.asks >= asks
    assert counts.swaps == SWAPS
    assert len(counts.versions) == len(rivals), "all runs answered"
    return counts, seconds


def write(name: str, counts: Counts, seconds: float) -> None:
    """Write what was counted."""
    report = {
        "name": name,
        "date": date.today().isoformat(),
        "asks": counts.asks,
        "users_an_ask": USERS,
        "answers": counts.answers,
        "asks_of_another_tenant": counts.other_asks,
        "threads": THREADS,
        "swaps": counts.swaps,
        "loads": counts.loads,
        "made_again": counts.made_again,
        "drops": counts.drops,
        "evictions": counts.evictions,
        "versions": len(counts.versions),
        "wrong": len(counts.wrong),
        "seconds": round(seconds, 1),
    }
    out = Path(os.environ.get(f"LLMREC_SOAK_{name.upper()}", RESULTS / f"{name}.json"))
    out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
