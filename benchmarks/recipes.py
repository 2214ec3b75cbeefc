"""Figures of all recipes on real data, three seeds each, written into the ``figures.json`` beside each recipe.

    python benchmarks/recipes.py --data DIR [--only games] [--seeds 1 2 3] [--out runs/recipes] [--again]
    python benchmarks/recipes.py --runs runs/games-1 runs/games-2 runs/games-3     # of runs that are there already

What a recipe is measured on stands in its ``figures.json``: name of a folder below DIR, graph, further settings.
Each seed is trained by `llmrec train` in a process of its own and evaluated on test once. A run that is finished is not
trained again, one that was interrupted goes on; what has figures of as many seeds is left as it is without ``--again``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from recipe_figures import measurement_of, write_measurement

from llmrec_peft import registry
from llmrec_peft.recipe.measurements import Measurement, measurements_of


def every_measurement() -> Iterator[Measurement]:
    """Yield what each registered recipe is measured on, in the order of names."""
    for name in registry.plugins("recipes"):
        yield from measurements_of(name)


def trained(one: Measurement, seed: int, data: Path, out: Path) -> Path:
    """Train a seed, unless it is there, and return its run folder."""
    variant = "".join(f"-{field.rpartition('.')[2]}-{value}" for field, value in one.set.items() if field != "seed")
    run = out / f"{one.recipe}-{one.data}{variant}-seed{seed}".replace("/", "-").replace(" ", "")
    changes = {"seed": seed, **one.set, **({"data.graph": str(data / one.graph)} if one.graph else {})}
    words = [word for field, value in changes.items() for word in ("--set", f"{field}={json.dumps(value)}")]
    command = [sys.executable, "-m", "llmrec_peft.cli.main", "train", one.recipe, "--data", str(data / one.data)]
    subprocess.run([*command, *words, "--out", str(run), "--resume"], check=True)
    return run


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, and write each recipe's figures as soon as its seeds are there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder that holds the data sets")
    parser.add_argument("--only", default="", help="recipes whose name contains this")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("runs/recipes"), help="folder of the runs")
    parser.add_argument("--again", action="store_true", help="also what has figures already")
    parser.add_argument("--runs", type=Path, nargs="+", help="finished runs of one recipe; trains nothing")
    chosen = parser.parse_args(arguments)
    if chosen.runs:
        print(f"wrote {write_measurement(measurement_of(chosen.runs))}")
        return
    if chosen.data is None:
        parser.error("--data DIR or --runs RUN ... is needed")
    for one in every_measurement():
        if chosen.only not in one.recipe:
            continue
        done = one.result is not None and set(chosen.seeds) <= set(one.result.seeds) and not chosen.again
        if done or not (chosen.data / one.data).is_dir():
            print(f"{one.recipe} on {one.data}: {'has its figures' if done else 'the data is not there'}")
            continue
        runs = [trained(one, seed, chosen.data, chosen.out) for seed in chosen.seeds]
        print(f"wrote {write_measurement(measurement_of(runs))}")


if __name__ == "__main__":
    main()
