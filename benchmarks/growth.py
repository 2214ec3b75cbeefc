"""Seconds and memory of every stage of a run as interactions grow, from the files to the recommendations.

    python benchmarks/growth.py                  # 20 k to 1.28 M interactions: ratings, clicks, implicit feedback
    python benchmarks/growth.py --large          # 10 M ratings of 10,000 items
    python benchmarks/growth.py --items          # a million items

A million items are read by the first layer of MiniLM alone, since time there is that of encoding otherwise.

Each run is a process of its own: it trains for one epoch on made-up files (`made_up.py`) as `llmrec train` does, loads
the run, recommends to users and scores pairs. A stage's seconds are those of the processor, which other work on the
machine changes little, without the stages inside it; its memory is the highest resident memory while it ran. Exponents
are slopes of log(seconds) over log(interactions), by least squares over the sizes at which the stage took more than
`SHORTEST` seconds. A bound that does not hold ends the script with 1.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml

RESULT = Path(__file__).parent / "results" / "growth.json"
SIZES = (20_000, 80_000, 320_000, 1_280_000)
TASKS = ("rating", "click", "ranking")
LARGE = {"task": "rating", "interactions": 10_000_000, "items": 10_000}
MANY_ITEMS = {"task": "ranking", "interactions": 300_000, "items": 1_000_000, "users": 300}
ONE_LAYER_FROM = 500_000
"""Items from which on the first layer of the language model reads them alone."""
PER_USER = 40
"""Interactions of a user on average."""
ITEMS = 2_000
"""Items of the runs that grow in interactions."""
STEEPEST = 1.2
"""Largest exponent of a stage's seconds."""
SHORTEST = 0.25
"""Seconds below which a stage is too short for its growth to be told from noise."""
MOST_GIB = 8.0
"""Largest resident memory of the run over 10 M ratings."""
USERS, PAIRS = 500, 20_000
"""Users who get recommendations, and pairs that are scored."""
EVERY = 0.02
"""Seconds between two looks at the resident memory."""


class Stages:
    """What each stage took, in seconds of the processor without the stages inside it, and its peak memory."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peak: dict[str, int] = {}
        self._open: list[list[Any]] = []
        self._process = psutil.Process()
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens inside the block for a stage."""
        self._open.append([name, 0.0])
        started = time.process_time()
        self._look()
        try:
            yield
        finally:
            self._look()
            took = time.process_time() - started
            inside = self._open.pop()[1]
            self.seconds[name] = self.seconds.get(name, 0.0) + took - inside
            if self._open:
                self._open[-1][1] += took

    def wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose calls are counted for a stage."""

        @functools.wraps(call)
        def counted(*arguments: Any, **named: Any) -> Any:
            with self.stage(name):
                return call(*arguments, **named)

        return counted

    def _look(self) -> None:
        rss = self._process.memory_info().rss
        for name, _ in tuple(self._open):
            self.peak[name] = max(self.peak.get(name, 0), rss)

    def _watch(self) -> None:
        while True:
            self._look()
            time.sleep(EVERY)

    def plain(self) -> dict[str, dict[str, float]]:
        """Return seconds and MiB of each stage."""
        return {
            name: {"seconds": round(seconds, 3), "peak_mib": round(self.peak[name] / 2**20, 1)}
            for name, seconds in self.seconds.items()
        }


def main() -> int:
    """Measure what was asked for, write it, and say which bounds do not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N", help="interactions of each run")
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--large", action="store_true", help="the run over 10 M ratings instead")
    parser.add_argument("--items", action="store_true", help="the run over a million items instead")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(_measured(**given.child)))
        return 0
    report = json.loads(given.out.read_text(encoding="utf-8")) if given.out.is_file() else {}
    if given.large or given.items:
        for name, asked, chosen in (("large", LARGE, given.large), ("many_items", MANY_ITEMS, given.items)):
            if chosen:
                report[name] = _run(**asked)
                _write(given.out, report)
    else:
        for task in given.tasks:
            runs = [_run(task, size, ITEMS) for size in given.sizes]
            report[task] = {"runs": runs, "exponents": _exponents(runs)}
            _write(given.out, report)
    broken = _broken(report)
    for line in broken:
        print(f"NOT HELD: {line}")
    return 1 if broken else 0


def _run(task: str, interactions: int, items: int, users: int | None = None) -> dict[str, Any]:
    """Make files up in one process and measure a run over them in another."""
    with tempfile.TemporaryDirectory() as folder:
        asked = {"task": task, "interactions": interactions, "items": items, "users": users, "folder": folder}
        for step in ("files", "run"):
            told = _child({**asked, "step": step})
    print(f"{task} {interactions} interactions, {told['items']} items: {told['seconds']} s, {told['peak_mib']} MiB")
    for name, stage in told["stages"].items():
        print(f"  {name:12s} {stage['seconds']:9.2f} s {stage['peak_mib']:9.0f} MiB")
    return told


def _child(asked: dict[str, Any]) -> dict[str, Any]:
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, __file__, "--child", json.dumps(asked)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _measured(
    step: str, task: str, interactions: int, items: int, folder: str, users: int | None = None
) -> dict[str, Any]:
    """Take one step of a run in this process."""
    if step == "files":
        return _files(task, interactions, items, users or max(2, interactions // PER_USER), Path(folder))
    return _trained(task, interactions, Path(folder))


def _files(task: str, interactions: int, items: int, users: int, folder: Path) -> dict[str, Any]:
    """Write interactions and items as CSV, and the recipe that reads them."""
    import pyarrow as pa
    from made_up import made_up
    from pyarrow import compute, csv

    from llmrec_peft.data.dataset import arrow

    dataset = made_up(interactions, users, items, seed=0)
    table = arrow(dataset.interactions)
    columns = {"user": table["user_id"], "item": table["item_id"], "time": table["timestamp"]}
    if task == "rating":
        columns["rating"] = table["rating"]
    elif task == "click":
        columns["click"] = compute.greater(table["rating"], 3.5).cast(pa.int8())
    csv.write_csv(pa.table(columns), folder / "interactions.csv")
    kept = arrow(dataset.items).select(["item_id", "title"])
    csv.write_csv(kept, folder / "items.csv")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(_recipe(task, folder, interactions, items)), encoding="utf-8")
    return {}


def _recipe(task: str, folder: Path, interactions: int, items: int) -> dict[str, Any]:
    """Return what `llmrec init custom` proposes for the files, shortened to one epoch."""
    from llmrec_peft.custom.propose import propose

    recipe = propose(folder / "interactions.csv", folder / "items.csv").recipe
    changes: dict[str, Any] = {
        "training.epochs": 1,
        "training.choice": "validation",
        "training.batch_size": 256 if interactions < LARGE["interactions"] else 2048,
        "training.batching": "random",
        "training.adapter_epochs": None,
        "training.refit": False,
        "adapter": {"method": "none"},
        "evaluation.ablations": [],
        "evaluation.collaborative_only": False,
    }
    if task == "ranking":
        changes["head.negative_count"] = 256
    if items >= ONE_LAYER_FROM:
        changes["backbone.name"] = str(_one_layer(folder / "base"))
    values: dict[str, Any] = recipe.changed(changes).plain()
    return values


def _one_layer(folder: Path) -> Path:
    """Write a base that is the first layer of MiniLM."""
    from transformers import AutoModel, AutoTokenizer

    from llmrec_peft.backbone.locate import locate

    source = locate("minilm", None).folder
    AutoModel.from_pretrained(source, num_hidden_layers=1, add_pooling_layer=False).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


_STAGES = (
    ("read", "llmrec_peft.experiment.prepare", "read_dataset"),
    ("prepare", "llmrec_peft.experiment.experiment", "prepare"),
    ("texts", "llmrec_peft.experiment.experiment", "Texts"),
    ("baselines", "llmrec_peft.workflows.train", "baselines_of"),
    ("fit", "llmrec_peft.workflows.train", "fit_variant"),
    ("epoch", "llmrec_peft.experiment.fitting", "fit"),
    ("validation", "llmrec_peft.experiment.fitting", "outcome_of"),
    ("test", "llmrec_peft.experiment.head_outcomes", "outcome_of"),
    ("report", "llmrec_peft.workflows.train", "_metrics"),
    ("save", "llmrec_peft.workflows.train", "stage"),
    ("predictions", "llmrec_peft.workflows.train", "keep_predictions"),
    ("publish", "llmrec_peft.workflows.train", "publish"),
)
"""Functions whose calls are counted, each by the module that looks it up."""


def _trained(task: str, interactions: int, folder: Path) -> dict[str, Any]:
    """Train, load, recommend and score, and return what each stage took."""
    import importlib

    from llmrec_peft.artifact.hardware import hardware
    from llmrec_peft.recipe import load_recipe
    from llmrec_peft.run.recommender import Recommender
    from llmrec_peft.workflows.train import train

    stages = Stages()
    for name, module, attribute in _STAGES:
        room = importlib.import_module(module)
        setattr(room, attribute, stages.wrapped(name, getattr(room, attribute)))
    started, clock = time.process_time(), time.monotonic()
    run = folder / "run"
    with stages.stage("rest"):
        metrics = train(load_recipe(str(folder / "recipe.yaml")), run, show=False)
    with stages.stage("load"):
        recommender = Recommender.from_pretrained(run)
    rng = np.random.default_rng(0)
    vocabulary = recommender.vocabulary
    users = [vocabulary.users[at] for at in rng.permutation(len(vocabulary.users))[:USERS]]
    with stages.stage("recommend"):
        recommender.recommend(users, k=10)
    asked = [vocabulary.users[at] for at in rng.integers(0, len(vocabulary.users), PAIRS)]
    others = [vocabulary.items[at] for at in rng.integers(0, len(vocabulary.items), PAIRS)]
    with stages.stage("score"):
        recommender.score(asked, others)
    return {
        "task": task,
        "interactions": interactions,
        "users": len(vocabulary.users),
        "items": len(vocabulary.items),
        "seconds": round(time.process_time() - started, 1),
        "wall_seconds": round(time.monotonic() - clock, 1),
        "peak_mib": round(max(stages.peak.values()) / 2**20, 1),
        "training_examples": metrics["data"]["train"],
        "stages": stages.plain(),
        "hardware": hardware("cpu"),
    }


def _exponents(runs: list[dict[str, Any]]) -> dict[str, float | None]:
    """Return the exponent of each stage; None where it is too short at all but one size."""
    found: dict[str, float | None] = {}
    for name in runs[-1]["stages"]:
        points = [
            (run["interactions"], run["stages"][name]["seconds"])
            for run in runs
            if run["stages"].get(name, {"seconds": 0.0})["seconds"] > SHORTEST
        ]
        if len(points) < 2:
            found[name] = None
            continue
        x, y = np.log(np.asarray(points, np.float64)).T
        found[name] = round(float(np.polyfit(x, y, 1)[0]), 2)
    return found


def _broken(report: dict[str, Any]) -> list[str]:
    """Return the bounds that do not hold."""
    lines = [
        f"{task}: {name} grows with exponent {exponent} (at most {STEEPEST})"
        for task in TASKS
        for name, exponent in report.get(task, {}).get("exponents", {}).items()
        if exponent is not None and exponent > STEEPEST
    ]
    large = report.get("large")
    if large is not None and large["peak_mib"] > MOST_GIB * 1024:
        lines.append(f"10 M ratings: {large['peak_mib']} MiB (at most {MOST_GIB} GiB)")
    return lines


def _write(path: Path, report: dict[str, Any]) -> None:
    from llmrec_peft.artifact.hardware import versions

    head = {"command": "python benchmarks/growth.py", "date": datetime.now(UTC).date().isoformat()}
    path.write_text(json.dumps({**report, **head, "versions": versions()}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
