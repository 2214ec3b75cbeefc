"""Joint: many tenants tuned in one process against one process a tenant, by time; and their shared passes.

    PYTHONPATH=benchmarks python -m serving.joint [--data ../shared/data] [--tenants 16 4] [--alone 2 1] [--out FILE]

Data are MovieLens-100K, divided into shops in two ways. `own`: each shop has its own films and its own users.
`shared`: each has its own users, and all sell all films. The recipe is `movies` as registered. Alone is `llmrec train`
in a process of its own; of it, as many tenants are measured as `--alone` says, half of them before and half after all
together, and the mean counts for the others. Of the first kind, the first is measured once more at the end: how far it
is from its first figure is what the ratios resolve. A start is a process that imports what training imports and loads
the base. Time is the processor's (user and system), since other work on the machine moves the clock on the wall and
hardly this; the clock's stands beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.joint_steps import steps

TENANTS = {"own": 16, "shared": 4}
"""Tenants that are trained together; a shop that sells all films takes about as long as three with their own."""
ALONE = {"own": 2, "shared": 1}
"""How many of them are also trained alone."""
STEPPING = 8
"""Tenants whose single steps are compared."""
SHARES = 16
"""Shops into which the users are divided, however many of them are trained."""
TARGET = 0.3
RECIPE = "movies"
SHOPS = ("own", "shared")
START = """
import peft, torch
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.recipe import load_recipe
from llmrec_peft.workflows import train_tenants
load_backbone(load_recipe("{recipe}").backbone, torch.device("cpu"))
"""
"""What every training begins with, whatever its data."""


def measure(
    small: bool = False,
    data: Path | None = None,
    tenants: Mapping[str, int] = TENANTS,
    alone: Mapping[str, int] = ALONE,
    chosen: Sequence[str] = SHOPS,
) -> dict[str, Any]:
    """Train tenants jointly and alone, and compare steps.

    Args:
        small: Whether a few made-up tenants do, to see that it runs.
        data: Folder of the data sets; by default what ``LLMREC_DATA`` names.
        tenants: Tenants that are trained together, for each of `chosen`.
        alone: How many of them are also trained each in a process of its own, likewise.
        chosen: Which of `SHOPS`.
    """
    where = data or Path(os.environ.get("LLMREC_DATA", "../shared/data"))
    if small:
        tenants, alone = dict.fromkeys(SHOPS, 2), dict.fromkeys(SHOPS, 1)
    with tempfile.TemporaryDirectory() as folder:
        kinds = {}
        for kind in chosen[:1] if small else chosen:
            shops = divided(where / "ml-100k", Path(folder) / kind, SHARES, kind)
            for shop in sorted(shops.iterdir())[tenants[kind] :]:
                shutil.rmtree(shop)
            kinds[kind] = one_kind(shops, Path(folder) / f"{kind}-runs", alone[kind], small, again=kind == chosen[0])
    together = min(STEPPING, max(tenants[kind] for kind in kinds))
    return {"tenants": together, "recipe": RECIPE, "kinds": kinds, "steps": steps(RECIPE, together, small)}


def divided(source: Path, target: Path, tenants: int, kind: str) -> Path:
    """Write each shop's part of MovieLens-100K in its owner's files."""
    draw = random.Random(0)  # noqa: S311
    rows = {name: (source / name).read_text(encoding="latin-1").splitlines() for name in ("u.user", "u.item")}
    of: dict[str, dict[str, int]] = {}
    for name, lines in rows.items():
        ids = [line.split("|")[0] for line in lines]
        draw.shuffle(ids)
        of[name] = {one: at % tenants for at, one in enumerate(ids)}
    for shop in range(tenants):
        folder = target / f"shop{shop:02d}"
        folder.mkdir(parents=True)
        (folder / "u.genre").write_bytes((source / "u.genre").read_bytes())
        for name, lines in rows.items():
            keep = [line for line in lines if _has(of[name], line.split("|")[0], shop, name, kind)]
            (folder / name).write_text("\n".join(keep) + "\n", encoding="latin-1")
        for name in ("u1.base", "u1.test"):
            ratings = (source / name).read_text(encoding="utf-8").splitlines()
            chosen = [
                line
                for line in ratings
                if _has(of["u.user"], line.split("\t")[0], shop, "u.user", kind)
                and _has(of["u.item"], line.split("\t")[1], shop, "u.item", kind)
            ]
            (folder / name).write_text("\n".join(chosen) + "\n", encoding="utf-8")
    return target


def _has(of: dict[str, int], one: str, shop: int, name: str, kind: str) -> bool:
    return of[one] == shop or (kind == "shared" and name == "u.item")


def one_kind(shops: Path, runs: Path, alone: int, small: bool, again: bool) -> dict[str, Any]:
    """Train all shops jointly, and some alone, and hold times and figures against each other."""
    fields = ["--set", "training.epochs=2"] if small else []
    names = [shop.name for shop in sorted(shops.iterdir())]
    apart: dict[str, dict[str, float]] = {}

    def one_alone(name: str, turn: str) -> dict[str, float]:
        run = runs / turn / name
        run.parent.mkdir(parents=True, exist_ok=True)
        return processor(train("train", RECIPE, "--data", str(shops / name), "--out", str(run), "--quiet", *fields))

    processor(["-c", START.format(recipe=RECIPE)])  # files are in the system's cache from here on
    start = processor(["-c", START.format(recipe=RECIPE)])
    before = names[: (alone + 1) // 2]
    for name in before:
        apart[name] = one_alone(name, "alone")
    out = runs / "together"
    command = train("train-tenants", RECIPE, "--data", f"{shops}/*/", "--out", str(out), "--quiet", "--json", *fields)
    joint = processor(command)
    for name in names[len(before) : alone]:
        apart[name] = one_alone(name, "alone")
    control = one_alone(names[0], "again") if again else None
    told = json.loads((out / "tenants.json").read_text(encoding="utf-8"))["tenants"]
    figures = {tenant["name"]: tenant["after"] for tenant in told}
    differences = [abs(_figure(runs / "alone" / name) - figures[name]) for name in apart]
    return {
        "rows": [tenant["rows"] for tenant in told],
        "failed": sum(tenant["status"] == "failed" for tenant in told),
        "joint": joint,
        "alone": list(apart.values()),
        "again": control,
        "start": start,
        "largest_difference": max(differences),
    }


def _figure(run: Path) -> float:
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["test"]
    figure: float = metrics.get("recommended", metrics["after"])["rmse"]
    return figure


def ratio(one: dict[str, Any], clock: str, started: bool = True) -> float:
    """Return the time of all together against that of each alone.

    Args:
        one: What was measured of one kind of shops.
        clock: ``processor`` or ``wall``.
        started: Whether starting processes and loading the base counts.
    """
    start = 0.0 if started else one["start"][clock]
    each = float(np.mean([time[clock] for time in one["alone"]]))
    return (one["joint"][clock] - start) / ((each - start) * len(one["rows"]))


def train(*arguments: str) -> list[str]:
    """Return what python is called with to run a command of llmrec."""
    return ["-m", "llmrec_peft.cli.main", *arguments]


def processor(arguments: list[str]) -> dict[str, float]:
    """Run python in a process of its own and return its seconds, of the processor and on the wall."""
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, *arguments]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"processor": round(used, 2), "wall": round(time.monotonic() - clock, 2)}


NAMES = {"own": "own films, own users", "shared": "all films, own users"}


def table(found: dict[str, Any]) -> str:
    """Return what was measured as Markdown."""
    lines = [
        f"Tenants tuned together by `{found['recipe']}`, against one `llmrec train` each, of which some are"
        " measured. Seconds of the processor, and what is said of the clock. A start imports what training imports and"
        " loads the base: once for all together, and once for each alone. Alone again is the first tenant's second"
        " training against its first: what the ratios resolve.",
        "",
        "| shops | tenants | of them alone | ratings a shop | together, s | alone, s each | of it a start, s | ratio |"
        " target | ratio by the clock | without starts | alone again | largest difference of RMSE |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind, one in found["kinds"].items():
        rows, each = one["rows"], [time["processor"] for time in one["alone"]]
        whole, again = ratio(one, "processor"), one["again"]
        control = f"{again['processor'] / each[0]:.2f}" if again else "not measured"
        lines.append(
            f"| {NAMES[kind]} | {len(rows)} | {len(each)} | {min(rows):,}-{max(rows):,} |"
            f" {one['joint']['processor']:.0f} | {min(each):.1f}-{max(each):.1f} |"
            f" {one['start']['processor']:.1f} | {whole:.2f} |"
            f" ≤ {TARGET} {'met' if whole <= TARGET else 'not met'} | {ratio(one, 'wall'):.2f} |"
            f" {ratio(one, 'processor', started=False):.2f} | {control} | {one['largest_difference']:.1e} |"
        )
    lines += [
        "",
        f"One step (forward and backward) of {found['tenants']} tenants, LoRA in the two top layers:",
        "",
        "| texts of a tenant | shared passes, ms | passes of their own, ms | ratio |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one['rows']} | {one['shared_ms']:.1f} | {one['apart_ms']:.1f} | {one['ratio']:.2f} |"
        for one in found["steps"]
    ]
    return "\n".join(lines)


def plot(found: dict[str, Any], target: Path) -> None:
    """Draw both comparisons."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4))
    kinds = found["kinds"]
    for at, (label, started) in enumerate((("with starts", True), ("without starts", False))):
        heights = [ratio(one, "processor", started) for one in kinds.values()]
        left.bar(np.arange(len(kinds)) + 0.4 * at - 0.2, heights, width=0.36, label=label)
    left.set_xticks(range(len(kinds)), [f"{NAMES[kind]}\n{len(one['rows'])} tenants" for kind, one in kinds.items()])
    left.axhline(TARGET, color="black", linestyle="--", linewidth=1, label=f"target {TARGET}")
    left.axhline(1.0, color="grey", linewidth=1, label="one after another")
    left.set_ylabel("processor time, together / alone")
    left.legend()
    right.plot([one["rows"] for one in found["steps"]], [one["ratio"] for one in found["steps"]], marker="o")
    right.axhline(1.0, color="grey", linewidth=1)
    right.set_xscale("log", base=2)
    right.set_xlabel("texts of a tenant in a step")
    right.set_ylabel("a step, shared passes / own")
    figure.tight_layout()
    figure.savefig(target, dpi=130)
    pyplot.close(figure)


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets")
    parser.add_argument("--tenants", type=int, nargs=2, default=list(TENANTS.values()), help="of each kind of shops")
    parser.add_argument("--alone", type=int, nargs=2, default=list(ALONE.values()), help="of them, also trained alone")
    parser.add_argument("--shops", nargs="+", default=list(SHOPS), choices=SHOPS, help="both by default")
    parser.add_argument("--small", action="store_true", help="two tenants and epochs: whether it runs")
    parser.add_argument("--out", type=Path, default=None, help="JSON file to write")
    given = parser.parse_args()
    tenants, alone = (dict(zip(SHOPS, counts, strict=True)) for counts in (given.tenants, given.alone))
    found = measure(given.small, given.data, tenants, alone, given.shops)
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
