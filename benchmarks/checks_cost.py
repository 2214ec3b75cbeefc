"""Processor time of what checks its inputs, now and at an earlier commit that checked less, in one run.

    python benchmarks/checks_cost.py --before f010f6d --data data

`llmrec train movies --data demo` as a whole (every epoch, evaluation and the start of the process), and in processes
that have imported everything: loading that run, loading it and its base to encode one text, one `recommend`, `score`
of 64 pairs, and `prepare` of MovieLens-100K (`--data`). The earlier commit runs from a temporary git worktree with the
same packages; each commit loads the run that it trained itself. Both take turns, so that a busy machine slows both.
The earlier commit hashed the base twice for each load; this one remembers its digest. In half precision evaluation
also pads texts to passes of one shape (`llmrec_peft/backbone/chunks.py`), which the earlier commit did not; the
training in fp32 has nothing of that, and what it takes longer are checks.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving_speed import environment, register

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "checks_cost.json"
TRAIN = "llmrec train movies --data demo"
FP32 = f"{TRAIN}, fp32"
PREPARE = "prepare, MovieLens-100K"
REQUESTS = {
    "load": "loading the run",
    "encode": "loading run and base, encoding one text",
    "recommend": "recommend, one user",
    "score": "score, 64 pairs",
    "prepare": PREPARE,
}
LIMITS = {
    TRAIN: 1.03,
    FP32: 1.03,
    **{REQUESTS[name] + own: 1.10 for name in ("load", "encode") for own in ("", ", fp32")},
}
"""How many times the processor time of before is allowed."""
CHILD = """
import gc, itertools, json, sys, time
import torch
torch.set_num_threads(1)
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.recipe import load_recipe
from llmrec_peft.run.recommender import Recommender

run, data = sys.argv[1:]
recommender = Recommender.from_pretrained(run)
users, items = list(recommender.vocabulary.users), list(recommender.vocabulary.items)
pairs = [(users[at % len(users)], items[at % len(items)]) for at in range(64)]
turn = itertools.count()

def encode():
    loaded = Recommender.from_pretrained(run)
    loaded.add_items([{"item_id": "new", "title": "New", "year": 2001, "description": "A quiet film about a ship."}])

requests = {
    "load": lambda: Recommender.from_pretrained(run),
    "encode": encode,
    "recommend": lambda: recommender.recommend([users[next(turn) % len(users)]], k=10),
    "score": lambda: recommender.score(*map(list, zip(*pairs))),
    "prepare": lambda: prepare(load_recipe("movies", changes={"data.path": data})),
}
for line in sys.stdin:
    name, times = line.split()
    gc.collect()
    started = time.process_time()
    for _ in range(int(times)):
        requests[name]()
    print(json.dumps((time.process_time() - started) / int(times)), flush=True)
"""
TIMES = {"recommend": 50, "score": 50}
"""Calls that are measured together, where one takes less than a clock's tick tells well."""


def main() -> None:
    """Train with both commits, ask both in turns, print and keep the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--before", default="f010f6d", help="commit that is compared with the working tree")
    parser.add_argument("--trainings", type=int, default=3, help="trainings by each commit")
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each request")
    parser.add_argument("--data", type=Path, help=f"folder that holds ml-100k, for {PREPARE!r}")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="changes of the training")
    parser.add_argument("--no-result", action="store_true", help="print only")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmrec-checks-cost-") as work:
        before = Path(work) / "before"
        subprocess.run(["git", "worktree", "add", "-q", "--detach", str(before), asked.before], cwd=ROOT, check=True)
        register(before)
        sides = {"before": before, "now": ROOT}
        try:
            cases = {TRAIN: trainings(TRAIN, sides, Path(work), asked.trainings, asked.set)}
            cases |= requests(sides, Path(work), asked.rounds, asked.data)
            keep(asked, cases)
            changes = [*asked.set, "backbone.precision=fp32"]
            cases[FP32] = trainings(FP32, sides, Path(work), asked.trainings, changes)
            cases |= requests(sides, Path(work), asked.rounds, None, ("load", "encode"), ", fp32")
            keep(asked, cases)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(before)], cwd=ROOT, check=True)


def trainings(title: str, sides: dict[str, Path], work: Path, repeats: int, changes: list[str]) -> dict[str, Any]:
    """Train a run by each commit in turns, as often as asked; the last one of each stays."""
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    words = [word for change in changes for word in ("--set", change)]
    for at in range(repeats):
        for side in sorted(sides, reverse=bool(at % 2)):  # neither is always the first
            out = ["--out", str(run_of(work, side)), "--overwrite", "--quiet"]
            command = [sys.executable, "-m", "llmrec_peft.cli.main", "train", "movies", "--data", "demo", *out, *words]
            seconds[side].append(processor_seconds(command, sides[side]))
    return compared(title, seconds, min)


def run_of(work: Path, side: str) -> Path:
    """Where a commit's run lies, beside the checkout."""
    return work / f"run-{side}"


def processor_seconds(command: list[str], checkout: Path) -> float:
    """Processor time of a process, from its start to its end.

    Raises:
        SystemExit: If it fails.
    """
    child = subprocess.Popen(command, env=environment(checkout), cwd=checkout, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{checkout}: {' '.join(command)} ended with {child.returncode}")
    return used.ru_utime + used.ru_stime


def requests(
    sides: dict[str, Path],
    work: Path,
    rounds: int,
    data: Path | None,
    names: Sequence[str] = tuple(REQUESTS),
    of_run: str = "",
) -> dict[str, Any]:
    """Ask a process of each commit in turns about the run that lies there; the first answer of each kind warms up."""
    folder = "" if data is None else str(data.resolve() / "ml-100k")
    children = {
        side: subprocess.Popen(
            [sys.executable, "-c", CHILD, str(run_of(work, side)), folder],
            env=environment(checkout),
            cwd=checkout,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for side, checkout in sides.items()
    }
    found: dict[str, Any] = {}
    for name in names:
        if name == "prepare" and data is None:
            continue
        title = REQUESTS[name] + of_run
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        for at in range(rounds + 1):
            for side in sorted(children, reverse=bool(at % 2)):
                seconds[side].append(answer(children[side], f"{name} {TIMES.get(name, 1)}"))
        found[title] = compared(title, {side: own[1:] for side, own in seconds.items()}, statistics.median)
    for child in children.values():
        child.communicate()
    return found


def answer(child: subprocess.Popen[str], request: str) -> float:
    """Ask a child once; the processor time that one call took."""
    assert child.stdin is not None and child.stdout is not None  # noqa: S101 - pipes were asked for
    child.stdin.write(f"{request}\n")
    child.stdin.flush()
    return float(json.loads(child.stdout.readline()))


def compared(title: str, seconds: dict[str, list[float]], of: Any) -> dict[str, Any]:
    """Both sides' seconds, by the minimum or the median of their measurements, and how many times those of before."""
    sides = {side: round(float(of(own)), 6) for side, own in seconds.items()}
    fastest = {side: round(min(own), 6) for side, own in seconds.items()}
    row = {**sides, "ratio": round(sides["now"] / sides["before"], 4), "fastest": fastest, "limit": LIMITS.get(title)}
    print(
        f"{title}: {1000 * sides['before']:.2f} ms before, {1000 * sides['now']:.2f} ms now, {row['ratio']:.3f} times"
        f" (fastest {1000 * fastest['before']:.2f}, {1000 * fastest['now']:.2f})",
        flush=True,
    )
    return row


def keep(asked: argparse.Namespace, cases: dict[str, Any]) -> None:
    """Write the figures with what they were measured on, if they are to be kept."""
    if asked.no_result:
        return
    from llmrec_peft.artifact.hardware import hardware, versions

    changes = [f"--set {change}" for change in asked.set]
    data = [] if asked.data is None else ["--data DIR"]
    counts = [f"--trainings {asked.trainings}", f"--rounds {asked.rounds}"]
    report = {
        "command": " ".join(["python benchmarks/checks_cost.py", f"--before {asked.before}", *data, *counts, *changes]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "before": asked.before,
        "hardware": hardware("cpu"),
        "versions": versions(),
        "cases": cases,
    }
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
