"""Many tenants: what `benchmarks/tenants.py` and its parts promise those who read their figures."""

from __future__ import annotations

import importlib
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
MACHINE = {"device": "cpu", "processor": "a processor", "cores": 2, "threads": 1, "cuda": None}
SAID = {"date": "2026-01-01", "hardware": MACHINE, "versions": {"torch": "1", "transformers": "2", "peft": "3"}}


@pytest.fixture(scope="module")
def rooms() -> Iterator[dict[str, ModuleType]]:
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(ROOT / "benchmarks")
        names = ("tenants", "serving.cliff", "serving.gauges", "serving.swaps", "serving.crowd")
        yield {name.rpartition(".")[2]: importlib.import_module(name) for name in names}
        for name in [one for one in sys.modules if one.partition(".")[0] == "serving"]:
            del sys.modules[name]


def row(tenants: str, ratio: float) -> dict[str, Any]:
    times = {"median_ms": 1.0, "p95_ms": 2.0, "p99_ms": 3.0, "max_ms": 4.0}
    of_processor = {"ratio": ratio, "interval": [ratio, ratio]}
    figures = {"calls": 100, "calls_per_s": 1000.0, "ratio": ratio, "interval": [ratio - 0.01, ratio + 0.01]}
    return {"tenants": tenants, **figures, "by_processor": of_processor, **times, "hits": 60, "loads": 40}


def test_tenants_are_drawn_by_zipf(rooms: dict[str, ModuleType]) -> None:
    drawn = np.bincount(list(itertools.islice(rooms["cliff"].zipf(4, seed=0), 40_000)), minlength=4) / 40_000
    assert drawn == pytest.approx(np.array([12, 6, 4, 3]) / 25, abs=0.01)


def test_ratio_is_that_of_rounds_and_its_interval_holds_it(rooms: dict[str, ModuleType]) -> None:
    base = np.array([10.0, 100.0, 1000.0, 20.0, 50.0])  # the machine's speed changes from round to round
    found = rooms["gauges"].ratio(0.9 * base * np.array([1.0, 1.02, 0.98, 1.01, 0.99]), base)
    low, high = found["interval"]
    assert found["ratio"] == pytest.approx(0.9)
    assert 0.88 <= low <= found["ratio"] <= high <= 0.92


def test_slope_of_what_grows_is_found_and_that_of_noise_is_not(rooms: dict[str, ModuleType]) -> None:
    at, noise = np.arange(100.0), np.random.default_rng(0).normal(0.0, 1.0, 100)
    grows, flat = rooms["gauges"].slope(at, 0.5 * at + noise), rooms["gauges"].slope(at, noise)
    assert grows["interval"][0] < 0.5 < grows["interval"][1]
    assert grows["interval"][0] > 0.4
    assert flat["interval"][0] < 0.0 < flat["interval"][1]


def test_memory_that_is_written_is_private_and_counted(rooms: dict[str, ModuleType]) -> None:
    before = rooms["gauges"].private_mb()
    kept = np.ones(200_000_000, np.uint8)
    assert 150.0 < rooms["gauges"].private_mb() - before < 250.0
    assert kept[-1]


def test_tables_and_plots_are_written_beside_the_figures(rooms: dict[str, ModuleType], tmp_path: Path) -> None:
    curve = {"rows": [row("1", 1.0), row("2", 0.9), row("1 again", 0.97)], "rounds": 3, "machine_load": [1.0, 2.0]}
    series = rooms["swaps"].SERIES
    line = {"slope": 0.0, "interval": [-0.1, 0.1], "middle": 1.0}
    times = {"median_ms": 1.0, "p99_ms": 2.0}
    swaps = {
        "swaps": 200,
        "runs": 3,
        "items": 400,
        "wrong": 0,
        "block": 100,
        "machine_load": [1.0, 2.0],
        "times": dict.fromkeys(series, times),
    }
    swaps["machine_load"] = [1.0, 2.0]
    found = {
        "cliff": {**SAID, "items": 400, "zipf": 1.0, "callers": 2, "goal": 0.8, "curves": {"lists": curve}},
        "swaps": {**SAID, **swaps, "blocks": {key: [1.0, 2.0] for key in series}, "lines": dict.fromkeys(series, line)},
    }
    out = tmp_path / "tenants.json"
    out.write_text(json.dumps(found), encoding="utf-8")
    rooms["tenants"].BENCHMARK.draw(found, out)
    text = out.with_suffix(".md").read_text(encoding="utf-8")
    assert "| 2 | 1,000 | 0.900 (0.890 to 0.910) |" in text
    assert "2026-01-01; a processor, 2 cores" in text
    assert {path.name for path in tmp_path.glob("*.png")} == {"tenants-cliff.png", "tenants-swaps.png"}


@pytest.mark.trains
def test_a_derived_run_is_another_version_and_answers(
    rooms: dict[str, ModuleType], tiny_run: Path, tmp_path: Path
) -> None:
    from llmrec_peft.run.recommender import Recommender

    rooms["crowd"].derive(tiny_run, tmp_path / "derived", 1)
    runs = [Recommender.from_pretrained(run, device="cpu") for run in (tiny_run, tmp_path / "derived")]
    assert runs[0].manifest.digest != runs[1].manifest.digest
    user = runs[0].vocabulary.users[0]
    scores = [[item.score for item in run.recommend([user], k=3)[0].items] for run in runs]
    assert scores[0] != scores[1]
    assert scores[0] == pytest.approx(scores[1], abs=0.3)
