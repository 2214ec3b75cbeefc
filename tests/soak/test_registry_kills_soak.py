"""A server that is killed at a hundred random moments keeps what it acknowledged; writes what was counted."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path

import pytest
from registry_kills import kill_and_restart

pytestmark = [pytest.mark.trains, pytest.mark.slow, pytest.mark.timeout(7200)]
KILLS = int(os.environ.get("LLMREC_SOAK_REGISTRY_KILLS", "100"))
SEED = int(os.environ.get("LLMREC_SOAK_SEED", "1"))
RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def test_nothing_acknowledged_is_lost_and_nothing_is_there_twice(rivals: list[Path], tmp_path: Path) -> None:
    began = time.perf_counter()
    counts = kill_and_restart(rivals, KILLS, SEED, tmp_path)
    seconds = time.perf_counter() - began
    assert counts.wrong == []
    assert counts.kills == KILLS
    assert counts.before_a_change < KILLS / 2
    assert counts.applied + counts.not_applied > 0, "some kills came between a change and its acknowledgement"
    assert counts.sent_again > 0
    report = {"name": "registry_kills", "date": date.today().isoformat(), "seed": SEED, **asdict(counts)}
    report |= {"wrong": len(counts.wrong), "seconds": round(seconds, 1)}
    out = Path(os.environ.get("LLMREC_SOAK_REGISTRY", RESULTS / "registry_kills.json"))
    out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
