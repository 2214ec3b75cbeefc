"""Figures of a benchmark's cells beside measurements that know nothing of the benchmark.

    python benchmarks/outside_measures.py

Each cell is measured as `llmrec bench` does it, under ``/usr/bin/time -v``. Compared are the peak of main memory with
what ``time`` says of the cell's process; the adapter's parameters with the count of stock `peft`, which loads the
adapter into a model of `transformers`; and the median latency of each kind of answer with a loop that is written here.
For latency, our own measurement and that loop take turns in one process: both see the same state of the machine.
Each figure is the median over the turns, so that turns in which the machine was busy elsewhere count little.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llmrec_peft.artifact.hardware import hardware, versions
from llmrec_peft.benchmark.cells import Cell, expand
from llmrec_peft.benchmark.matrix import Matrix

RESULTS = Path(__file__).parent / "results" / "outside_measures.json"
TIME = Path("/usr/bin/time")
ADAPTERS = ("lora", "ia3")
ROUNDS = 11
CALLS = 20
WARM = 3


def cells() -> list[Cell]:
    """One cell for each adapter on made-up films."""
    plain = {
        "name": "outside measures",
        "recipes": [{"recipe": "movies", "data": "demo"}],
        "backbones": ["minilm"],
        "adapters": [{"method": name, "layers": "top-2", "label": name} for name in ADAPTERS],
        "set": {"training.epochs": 2, "evaluation.ablations": []},
        "timing": {"seconds": 2, "repeats": 10, "calls": CALLS},
    }
    return expand(Matrix.from_plain(plain, "outside measures"), Path("outside.yaml"))


def measured(cell: Cell, folder: Path) -> tuple[dict[str, Any], float]:
    """Measure a cell; return its row, and the largest resident memory that ``time`` saw, in MiB."""
    spec, row, run = folder / "spec.json", folder / "row.json", folder / "run"
    spec.write_text(json.dumps(cell.spec()), encoding="utf-8")
    command = [str(TIME), "-v", sys.executable, "-m", "llmrec_peft.benchmark.cell", str(spec), str(row), str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = (line for line in done.stderr.splitlines() if "Maximum resident set size" in line)
    return json.loads(row.read_text(encoding="utf-8")), int(line.split()[-1]) / 1024


def peft_count(run: Path) -> int:
    """Return the trainable parameters of an adapter as stock `peft` counts them."""
    from peft import PeftModel
    from transformers import AutoModel

    from llmrec_peft.backbone.locate import locate

    base = AutoModel.from_pretrained(locate("minilm").folder, add_pooling_layer=False)
    model = PeftModel.from_pretrained(base, str(run), is_trainable=True)
    return int(model.get_nb_trainable_parameters()[0])


def by_hand(work: Callable[[int], object]) -> float:
    """Return the median time of some calls in milliseconds."""
    for at in range(WARM):
        work(at)
    taken = []
    for at in range(CALLS):
        started = time.perf_counter()
        work(at)
        taken.append(time.perf_counter() - started)
    return 1000 * statistics.median(taken)


def latencies(run: Path, timing: Any) -> dict[str, dict[str, float]]:
    """Return medians by kind of answer, ours and those of a loop by hand, in turns."""
    from llmrec_peft.benchmark.answers import Answers
    from llmrec_peft.run.recommender import Recommender

    recommender = Recommender.from_pretrained(run)
    texts = sorted(recommender.items.texts, key=lambda text: (len(text), text))[-timing.texts :]
    users, items = list(recommender.vocabulary.users)[:64], list(recommender.vocabulary.items)[: timing.candidates]
    loops: Mapping[str, Callable[[int], object]] = {
        "score_1": lambda at: recommender.score([users[at % len(users)]] * len(items), items),
        "new_item_1": lambda at: recommender.encode([texts[at % len(texts)]]),
        "recommend_1": lambda at: recommender.recommend([users[at % len(users)]], 10),
        "recommend_32": lambda at: recommender.recommend([users[(at + k) % len(users)] for k in range(32)], 10),
    }
    answers = Answers(recommender, texts, timing)
    answers.once()
    ours: dict[str, list[float]] = {name: [] for name in loops}
    hand: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(ROUNDS):
        timed = answers.latency_ms()
        for name, loop in loops.items():
            ours[name].append(timed[name]["p50"])
            hand[name].append(by_hand(loop))
    return {
        name: {
            "ours_p50_ms": round(statistics.median(ours[name]), 3),
            "by_hand_p50_ms": round(statistics.median(hand[name]), 3),
            "ours_over_by_hand": round(statistics.median(ours[name]) / statistics.median(hand[name]), 3),
        }
        for name in loops
    }


def main() -> None:
    """Measure every cell and write the comparison."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it, before torch is imported
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    found = []
    for cell in cells():
        with tempfile.TemporaryDirectory() as folder:
            row, peak = measured(cell, Path(folder))
            run = Path(folder) / "run"
            found.append(
                {
                    "cell": cell.title,
                    "peak_memory_mb": {
                        "ours": row["peak_memory_mb"]["rss"],
                        "time": round(peak, 1),
                        "ours_over_time": round(row["peak_memory_mb"]["rss"] / peak, 4),
                        "phases": {name: one["rss"] for name, one in row["peak_memory_mb"]["phases"].items()},
                    },
                    "adapter_parameters": {"ours": row["parameters"]["adapter"], "peft": peft_count(run)},
                    "latency": latencies(run, cell.timing),
                }
            )
        print(json.dumps(found[-1], indent=2), file=sys.stderr)
    report = {
        "hardware": hardware("cpu"),
        "versions": versions(),
        "load_average": round(os.getloadavg()[1], 2),
        "rounds": ROUNDS,
        "calls": CALLS,
        "cells": found,
    }
    out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
