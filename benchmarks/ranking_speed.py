"""Seconds and memory of ranking a whole catalogue for many users, and of finding its best items through each index.

    python benchmarks/ranking_speed.py
    python benchmarks/ranking_speed.py --run runs/scientific --data ../shared/data/iisan-scientific
    python benchmarks/ranking_speed.py --items 1000000 --users 1000 --ways rank_targets baselines exact

By default on made-up vectors in the size of IISAN's Scientific sequences: 20,825 items, 12,076 users, width 384. Every
way runs in a process of its own, whose highest resident memory is taken, and what of it was added to the vectors and
sequences that were there before. `rank_targets` is what evaluation computes: the rank of each user's item among all,
and the ten first; the indices find the ten first alone. `baselines` are all those of a ranking, on made-up sequences of
ten items a user: popularity, neighbour counts, texts and their blend, tuned on at most 3,000 users.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmrec_peft.artifact.hardware import hardware, versions
from llmrec_peft.data.histories import earlier
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines.ranking import RankingData, ranking_baselines
from llmrec_peft.evaluation.outcomes import Ranks, rank_targets
from llmrec_peft.evaluation.ranking_metrics import ndcg_at_k
from llmrec_peft.retrieval import KINDS, Index

RESULTS = Path(__file__).parent / "results" / "ranking_speed.json"
ITEMS = 20_825
TARGET = {"seconds": 60.0, "peak_rss_gb": 2.0}
"""What `rank_targets` should stay under on two cores."""
BEST = 10
DRAWN = 65_536
"""Vectors that are drawn at a time."""


def main() -> None:
    """Measure every way and write the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--users", type=int, default=12_076)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--run", type=Path, help="also rank a run's own test part")
    parser.add_argument("--data", help="where that run's data lies now")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--ways", nargs="+", choices=["rank_targets", "baselines", *KINDS])
    parser.add_argument("--way", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.way:
        print(json.dumps(_measured(given)))
        return
    ways = [*(given.ways or ["rank_targets", *KINDS]), *(["run"] if given.run else [])]
    rows = []
    for way in ways:
        done = subprocess.run([sys.executable, *sys.argv, "--way", way], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            rows.append({"way": way, "failed": done.stderr.strip().splitlines()[-1]})
        else:
            rows.append({"way": way, **json.loads(done.stdout.splitlines()[-1])})
        print(json.dumps(rows[-1]))
    report = {
        "command": f"python benchmarks/ranking_speed.py --items {given.items} --users {given.users}"
        f" --threads {given.threads}"
        + (f" --ways {' '.join(given.ways)}" if given.ways else "")
        + (" --run RUN" if given.run else ""),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "hardware": hardware("cpu"),
        "versions": versions(),
        "items": given.items,
        "users": given.users,
        "width": given.width,
        **({"target": TARGET} if given.items == ITEMS else {}),
        "rows": rows,
    }
    given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _measured(given: argparse.Namespace) -> dict[str, Any]:
    """One way, in this process."""
    if given.way == "run":
        return _of_run(given.run, given.data)
    users, items, target = _made_up(given.users, given.items, given.width)
    if given.way in ("rank_targets", "baselines"):
        return (_ranked if given.way == "rank_targets" else _baselines)(users, items, target)
    figures: dict[str, Any] = {}
    before = _resident()
    with _timed(figures, "build_seconds"):
        index = Index.build(items, given.way)
    with _timed(figures, "seconds"):
        _, rows = index.search(users, BEST)
    figures |= _memory(before)
    some = slice(0, 500)
    exact = Index.build(items).search(users[some], BEST)[1]
    shared = [len(set(a) & set(b)) / BEST for a, b in zip(rows[some], exact, strict=True)]
    return {**figures, f"recall@{BEST}": round(float(np.mean(shared)), 4)}


def _made_up(users: int, items: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors that vary in 32 directions around a common one, as texts of one shop do, and each user's item."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(32, width)).astype(np.float32) / width**0.5
    common = rng.normal(size=width).astype(np.float32) / width**0.5

    def drawn(last: np.ndarray) -> np.ndarray:
        whole = np.empty((len(last), width + 1), np.float32)
        whole[:, -1] = last
        for at in range(0, len(last), DRAWN):
            some = whole[at : at + DRAWN, :-1]
            some[:] = common + rng.normal(size=(len(some), 32)).astype(np.float32) @ directions
            some += 0.1 * rng.normal(size=some.shape).astype(np.float32) / width**0.5
        return whole

    made, asked = drawn(0.3 * rng.normal(size=items)), drawn(np.ones(users))
    _forget_peak()
    return asked, made, rng.integers(1, items + 1, users)


def _ranked(users: np.ndarray, items: np.ndarray, target: np.ndarray) -> dict[str, Any]:
    count = len(users)
    part = Interactions(
        np.arange(1, count + 1), target.astype(np.int64), np.ones(count, np.float32), np.zeros(count, np.int64)
    )
    asked, catalogue = torch.from_numpy(users), torch.from_numpy(items).T
    figures: dict[str, Any] = {}
    before = _resident()
    with _timed(figures, "seconds"), torch.no_grad():
        ranks = rank_targets(part, lambda rows: asked[torch.from_numpy(rows)] @ catalogue, len(items) + 1, BEST)
    return {**figures, **_memory(before), f"ndcg@{BEST}": round(ndcg_at_k(ranks.rank, BEST), 6)}


def _baselines(users: np.ndarray, items: np.ndarray, target: np.ndarray) -> dict[str, Any]:
    """All baselines of a ranking: each user met ten items in turn, of which the last two are validation and test."""
    count, length = len(users), 10
    user = np.repeat(np.arange(1, count + 1), length)
    item = (target[:, None] + np.random.default_rng(1).zipf(2.0, (count, length)).cumsum(1)) % len(items) + 1
    item, place = item.reshape(-1), np.tile(np.arange(length), count)
    label, rows = np.ones(len(user), np.float32), np.arange(len(user))
    whole = Interactions(user, item, label, place, earlier(user, item, label, place, rows, rows))
    train, fit = (whole.take(np.flatnonzero(place < length - last)) for last in (2, 1))
    valid, test = (whole.take(np.flatnonzero(place == length - last)) for last in (2, 1))
    vectors = torch.from_numpy(np.vstack([np.zeros((1, items.shape[1] - 1), np.float32), items[:, :-1]]))
    data = RankingData(train, valid, fit, test, len(items) + 1, vectors, own_items=False, metric="ndcg@10")
    figures: dict[str, Any] = {}
    before = _resident()
    with _timed(figures, "seconds"):
        found = {line.name: line.test for line in ranking_baselines(data)}
    gains = {name: round(ndcg_at_k(ranks.rank, BEST), 6) for name, ranks in found.items() if isinstance(ranks, Ranks)}
    return {**figures, **_memory(before), f"ndcg@{BEST}": gains}


def _of_run(run: Path, data: str | None) -> dict[str, Any]:
    """The same of a run's own test part, with everything that its signals read."""
    from llmrec_peft.experiment.prepare import prepare
    from llmrec_peft.run.recommender import Recommender

    recommender = Recommender.from_pretrained(run)
    recipe = recommender.recipe if data is None else recommender.recipe.changed({"data.path": data})
    prepared = prepare(recipe)
    test, model = prepared.test, recommender.model
    figures: dict[str, Any] = {
        "recipe": recipe.name,
        "head": recipe.head.name,
        "signals": list(recipe.signals.active),
        "examples": len(test),
        "items": prepared.vocabulary.num_items - 1,
    }
    with _timed(figures, "seconds"), model.ranking(test, prepared.vocabulary.num_items) as scores:
        ranks = rank_targets(test, scores, prepared.vocabulary.num_items, own_items=recipe.evaluation.own_items)
    return {**figures, "peak_rss_gb": _peak(), f"ndcg@{BEST}": round(ndcg_at_k(ranks.rank, BEST), 6)}


@contextmanager
def _timed(figures: dict[str, Any], name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    figures[name] = round(time.monotonic() - started, 3)


def _peak() -> float:
    """Highest resident memory of this process, in GiB; `getrusage` would count the parent's at the fork."""
    return _status("VmHWM")


def _memory(before: float) -> dict[str, float]:
    """The highest resident memory, and what of it was added to an earlier one, in GiB."""
    peak = _peak()
    return {"peak_rss_gb": peak, "added_gb": round(peak - before, 3)}


def _resident() -> float:
    """Resident memory of this process, in GiB."""
    return _status("VmRSS")


def _forget_peak() -> None:
    """Let the highest resident memory begin anew."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return round(int(next(line for line in lines if line.startswith(field)).split()[1]) / 2**20, 3)


if __name__ == "__main__":
    main()
