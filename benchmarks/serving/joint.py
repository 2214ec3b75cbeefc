"""Joint: many tenants tuned in one process against one process a tenant, in processor time; and their shared passes.

    python benchmarks/serving/joint.py --data ../shared/data [--tenants 16] [--alone 4] [--out FILE]

Data are MovieLens-100K, divided into shops in two ways. `own`: each shop has its own films and its own users.
`shared`: each has its own users, and all sell all films. The recipe is `movies` as registered. Alone is `llmrec train`
in a process of its own; of it, as many tenants are measured as `--alone` says, and the mean counts for the others. Time
is the processor's (user and system), since other work on the machine moves the clock on the wall and hardly this.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

TENANTS, ALONE = 16, 4
ROWS = (2, 8, 32)
"""Texts of one tenant in a step, where steps are compared."""
TARGET = 0.3
RECIPE = "movies"
SHOPS = ("own", "shared")


def measure(
    small: bool = False,
    data: Path | None = None,
    tenants: int = TENANTS,
    alone: int = ALONE,
    chosen: Sequence[str] = SHOPS,
) -> dict[str, Any]:
    """Train tenants jointly and alone, and compare steps.

    Args:
        small: Whether a few made-up tenants do, to see that it runs.
        data: Folder of the data sets; by default what ``LLMREC_DATA`` names.
        tenants: Tenants that are trained together.
        alone: How many of them are also trained each in a process of its own.
        chosen: Which of `SHOPS`.
    """
    where = data or Path(os.environ.get("LLMREC_DATA", "../shared/data"))
    if small:
        tenants, alone = 2, 1
    with tempfile.TemporaryDirectory() as folder:
        kinds = {}
        for kind in chosen[:1] if small else chosen:
            shops = divided(where / "ml-100k", Path(folder) / kind, tenants, kind)
            kinds[kind] = one_kind(shops, Path(folder) / f"{kind}-runs", alone, small)
    return {"tenants": tenants, "alone": alone, "recipe": RECIPE, "kinds": kinds, "steps": steps(tenants, small)}


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


def one_kind(shops: Path, runs: Path, alone: int, small: bool) -> dict[str, Any]:
    """Train all shops jointly, and some alone, and hold the figures against each other."""
    fields = ["--set", "training.epochs=2"] if small else []
    out = runs / "together"
    joint = processor(
        ["train-tenants", RECIPE, "--data", f"{shops}/*/", "--out", str(out), "--quiet", "--json", *fields]
    )
    told = json.loads((out / "tenants.json").read_text(encoding="utf-8"))["tenants"]
    apart, differences = [], []
    for tenant in told[:alone]:
        name, run = tenant["name"], runs / "alone" / tenant["name"]
        run.parent.mkdir(parents=True, exist_ok=True)
        apart.append(processor(["train", RECIPE, "--data", str(shops / name), "--out", str(run), "--quiet", *fields]))
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["test"]
        answer = metrics.get("recommended", metrics["after"])
        differences.append(abs(answer["rmse"] - tenant["after"]))
    mean = float(np.mean([one["processor"] for one in apart]))
    return {
        "rows": [tenant["rows"] for tenant in told],
        "failed": sum(tenant["status"] == "failed" for tenant in told),
        "joint_seconds": joint["processor"],
        "joint_wall": joint["wall"],
        "alone_seconds": [one["processor"] for one in apart],
        "alone_wall": [one["wall"] for one in apart],
        "ratio": round(joint["processor"] / (mean * len(told)), 3),
        "largest_difference": max(differences),
    }


def processor(arguments: list[str]) -> dict[str, float]:
    """Run the command in a process of its own and return its seconds, of the processor and on the wall."""
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "llmrec_peft.cli.main", *arguments]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"processor": round(used, 2), "wall": round(time.monotonic() - clock, 2)}


def steps(tenants: int, small: bool) -> list[dict[str, float]]:
    """Compare a step of all tenants in shared passes with their steps one after the other."""
    import torch

    from llmrec_peft import registry
    from llmrec_peft.backbone.encoded_texts import EncodedTexts
    from llmrec_peft.backbone.load import load_backbone
    from llmrec_peft.backbone.mixed_training import MixedTraining
    from llmrec_peft.backbone.shared import view_of
    from llmrec_peft.backbone.text_reader import text_reader
    from llmrec_peft.recipe import load_recipe
    from llmrec_peft.training.accelerator import make_accelerator
    from llmrec_peft.training.coroutines import Coroutines, drawing_as

    section = load_recipe(RECIPE).backbone
    device = make_accelerator((), Path()).device
    base, method = load_backbone(section, device), registry.get("adapters", "lora")
    words = "silent window heat toy story drama crime film sea long night river old new".split()

    def turn(mixing: str, rows: int, repeats: int) -> float:
        jobs: Coroutines[None] = Coroutines()
        mixed = MixedTraining(jobs.wait, drawing_as, mixing)  # type: ignore[arg-type]

        def job(at: int) -> Callable[[], None]:
            own, adapter = view_of(base), method(method.Config(layers="top-2"))
            frozen, draw = list(own.model.modules()), random.Random(at)  # noqa: S311
            tuned = adapter.attach(own)
            texts = [" ".join(draw.choices(words, k=16)) for _ in range(rows)]
            reader = text_reader(own, section)
            encoder = reader.encoder(tuned, frozen).to(device)
            encoded = EncodedTexts(encoder, reader.tokenized(texts, 48), adapter.lowest_layer(own))
            encoded.store_trunk(64.0)
            mixed.take(encoder, own.model, base.model)
            encoded.mixed = mixed
            encoder.train()

            def run() -> None:
                for _ in range(repeats):
                    vectors = encoded(torch.arange(len(texts), device=device))
                    vectors.sum().backward()
                    encoded.finish_backward()

            return run

        chosen = [job(at) for at in range(tenants)]
        repeats = 1
        jobs.run(chosen, tenants, mixed.serve)  # proves that the host gives what each alone gives
        best = float("inf")
        for _ in range(1 if small else 3):
            if device.type == "cuda":
                torch.cuda.synchronize()
            began = time.monotonic() if device.type == "cuda" else time.process_time()
            jobs.run(chosen, tenants, mixed.serve)
            if device.type == "cuda":
                torch.cuda.synchronize()
            now = time.monotonic() if device.type == "cuda" else time.process_time()
            best = min(best, now - began)
        return best

    found = []
    for rows in ROWS[:2] if small else ROWS:
        shared, apart = turn("always", rows, 1), turn("never", rows, 1)
        found.append(
            {
                "rows": rows,
                "shared_ms": round(1000 * shared, 2),
                "apart_ms": round(1000 * apart, 2),
                "ratio": round(shared / apart, 3),
            }
        )
    return found


NAMES = {"own": "own films, own users", "shared": "all films, own users"}


def table(found: dict[str, Any]) -> str:
    """Return what was measured as Markdown."""
    lines = [
        f"{found['tenants']} tenants tuned together by `{found['recipe']}`, against one `llmrec train` each"
        f" ({found['alone']} of them measured; seconds of the processor).",
        "",
        "| shops | ratings a shop | together, s | alone, s each | ratio | target | largest difference of RMSE |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind, one in found["kinds"].items():
        rows, each = one["rows"], one["alone_seconds"]
        lines.append(
            f"| {NAMES[kind]} | {min(rows):,}-{max(rows):,} | {one['joint_seconds']:.0f} |"
            f" {min(each):.1f}-{max(each):.1f} | {one['ratio']:.2f} |"
            f" ≤ {TARGET} {'met' if one['ratio'] <= TARGET else 'not met'} | {one['largest_difference']:.1e} |"
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
    left.bar([NAMES[kind] for kind in kinds], [one["ratio"] for one in kinds.values()], width=0.5)
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
    parser.add_argument("--tenants", type=int, default=TENANTS)
    parser.add_argument("--alone", type=int, default=ALONE, help="tenants that are also trained alone")
    parser.add_argument("--shops", nargs="+", default=list(SHOPS), choices=SHOPS, help="both by default")
    parser.add_argument("--small", action="store_true", help="two tenants and epochs: whether it runs")
    parser.add_argument("--out", type=Path, default=None, help="JSON file to write")
    given = parser.parse_args()
    found = measure(given.small, given.data, given.tenants, given.alone, given.shops)
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
