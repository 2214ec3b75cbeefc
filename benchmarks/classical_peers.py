"""Collaborative models of other packages on the splits of our recipes: settings by validation, test once.

They are those of `implicit`, `cornac` and `myFM`. They learn from what the recipe's own model learns from, answer the
same test examples, and are measured by the same code: the split, the items that are left out as seen and the metrics
are the package's (`peers/tasks.py`). Settings are chosen on validation with the first seed. What is measured already is
kept; `--again` measures it again. With `--runs`, finished runs of the same recipes (`benchmarks/recipes.py` leaves
some) are paired with every peer. Needs the extra `classical`.

    python benchmarks/classical_peers.py --data DIR [--task Office] [--peer ALS EASE] [--runs runs/recipes/*]
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers.contract import Peer
from peers.cornac_models import BiasedFactors, Ease, SelfAttention
from peers.implicit_models import ItemNeighbours, LeastSquares, PersonalizedRanking
from peers.kept import Kept
from peers.measuring import measured
from peers.myfm_models import FactorizationMachine
from peers.ours import Ours, committed
from peers.report import as_markdown
from peers.tasks import TASKS, Arena

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.artifact.hardware import hardware, versions
from llmrec_peft.benchmark.runner import alone_in
from llmrec_peft.errors import InputError

RESULTS = Path(__file__).parent / "results" / "classical_peers.json"
PEERS: tuple[Peer, ...] = (
    ItemNeighbours(),
    LeastSquares(),
    PersonalizedRanking(),
    Ease(),
    SelfAttention(),
    BiasedFactors(),
    FactorizationMachine(),
)
SEEDS = (1, 2, 3)
HOW = (
    "Models that read ids alone, from PyPI, on the very splits of our recipes: `llmrec_peft.experiment.prepare` reads",
    "and divides, peers learn from what the recipe's model learns from (training to choose settings, training and",
    "validation for test), `llmrec_peft.evaluation` leaves out what was seen as the recipe says, ranks the whole",
    "catalogue and computes the metrics. Settings by validation with the first seed, test once a seed; models without",
    "randomness have one figure.",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, and write the result after every peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument("--task", default="", help="tasks whose name contains this")
    parser.add_argument("--peer", nargs="+", help="names of models; all by default")
    parser.add_argument("--runs", type=Path, nargs="+", default=[], help="finished runs to be paired with the peers")
    parser.add_argument("--kept", type=Path, default=Path("runs/classical"), help="folder of the peers' answers")
    parser.add_argument("--again", action="store_true", help="also what is measured already")
    parser.add_argument("--out", type=Path, default=RESULTS, help="result to write")
    given = parser.parse_args(arguments)
    with alone_in(given.kept):  # a second process would write its result over this one's
        _run(given)


def _run(given: argparse.Namespace) -> None:
    """Measure the tasks that were asked for."""
    report = _report(given.out)
    for task in TASKS:
        if given.task not in task.name or not (given.data / task.data).is_dir():
            continue
        arena = task.opened(given.data)
        entry = _entry(report, arena)
        _measure(arena, entry, given, report)
        ours = Ours.among(given.runs, arena)
        if ours is not None:
            _pair(arena, entry, ours, Kept(given.kept))
        _write(report, given.out)


def _report(file: Path) -> dict[str, Any]:
    """Return an earlier result, with today's date and machine, or a new one."""
    tasks = json.loads(file.read_text(encoding="utf-8"))["tasks"] if file.is_file() else []
    return {
        "name": "classical_peers",
        "date": datetime.date.today().isoformat(),
        "how": list(HOW),
        "hardware": hardware("cpu"),
        "versions": versions(),
        "tasks": tasks,
    }


def _entry(report: dict[str, Any], arena: Arena) -> dict[str, Any]:
    """Return a task's entry; one of other data is begun anew."""
    task, prepared = arena.task, arena.prepared
    known = {one["task"]: one for one in report["tasks"]}
    if known.get(task.name, {}).get("digest") != prepared.digest:
        known[task.name] = {
            "task": task.name,
            "recipe": task.recipe,
            "data": task.data,
            "set": dict(task.set),
            "digest": prepared.digest,
            "metric": arena.metric,
            "own_items": prepared.protocol.own_items,
            "sizes": {
                "users": prepared.vocabulary.num_users - 1,
                "items": prepared.vocabulary.num_items - 1,
                "training": len(arena.before.interactions),
                "validation": len(prepared.valid),
                "learned": len(arena.final.interactions),
                "test": len(prepared.test),
            },
            "published": task.published,
            "ours": None,
            "peers": [],
        }
    known[task.name]["ours"] = known[task.name]["ours"] or committed(task, arena.metric)
    names = [one.name for one in TASKS]
    report["tasks"] = sorted(known.values(), key=lambda one: names.index(one["task"]))
    return known[task.name]


def _measure(arena: Arena, entry: dict[str, Any], given: argparse.Namespace, report: dict[str, Any]) -> None:
    """Measure the peers of a task that have no row yet."""
    rows = {row["model"]: row for row in entry["peers"]}
    for peer in PEERS:
        wanted = peer.task == arena.kind and (given.peer is None or peer.name in given.peer)
        if not wanted or (peer.name in rows and not given.again):
            continue
        row, outcomes = measured(peer, arena, SEEDS)
        rows[peer.name] = row
        if outcomes:
            Kept(given.kept).write(entry["task"], entry["digest"], peer.name, outcomes)
        entry["peers"] = [rows[one.name] for one in PEERS if one.name in rows]
        print(f"{entry['task']}: {peer.name}: {json.dumps(row, ensure_ascii=False)}", flush=True)
        _write(report, given.out)


def _pair(arena: Arena, entry: dict[str, Any], ours: Ours, kept: Kept) -> None:
    """Put our runs' figures and the paired differences beside the peers."""
    entry["ours"] = ours.plain(arena)
    for row in entry["peers"]:
        outcomes = kept.read(entry["task"], entry["digest"], row["model"], arena.kind == "ranking")
        if outcomes is not None:
            row["ours_minus"] = ours.minus(outcomes, arena)


def _write(report: dict[str, Any], file: Path) -> None:
    with whole_file(file) as partial:
        partial.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with whole_file(file.with_suffix(".md")) as partial:
        partial.write_text(as_markdown(report), encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
