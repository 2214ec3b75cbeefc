"""A tenant's run swapped a thousand times while a hundred thousand asks are answered; writes what was counted."""

from __future__ import annotations

import json
import os
import time
from datetime import date
from pathlib import Path

import pytest
from isolation import Truth, swapped_while_asked

from llmrec_peft.serving.engine import Engine

pytestmark = [pytest.mark.trains, pytest.mark.slow, pytest.mark.timeout(7200)]
ASKS = int(os.environ.get("LLMREC_SOAK_ASKS", "100000"))
SWAPS = int(os.environ.get("LLMREC_SOAK_SWAPS", "1050"))
RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
USERS, THREADS = 3, 3


def test_no_answer_is_wrong(five_rivals: list[Path], tmp_path: Path) -> None:
    *runs, other = five_rivals
    engine = Engine(tmp_path / "store", device="cpu", cache_bytes=0)
    truth, began = Truth.of(five_rivals, USERS), time.perf_counter()
    counts = swapped_while_asked(engine, runs, truth, ASKS, SWAPS, other, THREADS)
    seconds = time.perf_counter() - began
    assert counts.wrong == []
    assert counts.asks >= ASKS
    assert counts.swaps == SWAPS
    assert len(counts.versions) == len(runs), "all runs answered"
    report = {
        "name": "isolation",
        "date": date.today().isoformat(),
        "asks": counts.asks,
        "users_an_ask": USERS,
        "answers": counts.answers,
        "asks_of_another_tenant": counts.other_asks,
        "threads": THREADS,
        "swaps": counts.swaps,
        "loads": counts.loads,
        "drops": counts.drops,
        "versions": len(counts.versions),
        "wrong": len(counts.wrong),
        "seconds": round(seconds, 1),
    }
    out = Path(os.environ.get("LLMREC_SOAK_ISOLATION", RESULTS / "isolation.json"))
    out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
