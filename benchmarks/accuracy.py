"""Accuracy of a recipe over seeds or splits: mean, spread, and paired intervals between variants.

    python benchmarks/accuracy.py benchmarks/matrices/movies-u1.yaml --data DIR

A matrix names a recipe, a dataset folder below DIR, what varies (`seed` or `data.split_seed`), and variants (lists of
overrides). Every cell is one `llmrec train`; finished cells are kept in --runs and not trained again. The test part of
each cell is scored once, by the settings that the matrix fixes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from llmrec_peft.evaluation.intervals import paired_rmse_interval
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.recipe import load_recipe
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows.train import train

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Train every cell of a matrix that is not there yet and write its summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("matrix", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder that holds the datasets")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmark"), help="where run folders are kept")
    given = parser.parse_args()
    matrix = yaml.safe_load(given.matrix.read_text(encoding="utf-8"))
    cells = [_cell(matrix, name, values, given) for name in matrix["variants"] for values in _values(matrix)]
    report = {
        "matrix": matrix,
        "hardware": cells[0]["metrics"]["hardware"],
        "versions": cells[0]["metrics"]["versions"],
        "rows": _rows(cells),
        "pooled": _pooled(cells, list(matrix["variants"])),
        "cells": [{key: cell[key] for key in ("variant", "values")} | _figures(cell["metrics"]) for cell in cells],
    }
    RESULTS.mkdir(exist_ok=True)
    target = RESULTS / f"{matrix['name']}.json"
    target.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for name, row in report["rows"].items():
        test = f"{row['test_mean']:.4f} ± {row['test_std']:.4f}"
        print(f"{name:40s} valid {row['valid_mean']:.4f}  test {test}  n {row['n']}")
    for name, row in report["pooled"].items():
        print(
            f"{name:40s} {row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}], {row['clusters']} clusters"
        )


def _values(matrix: dict[str, Any]) -> list[dict[str, Any]]:
    names, lists = matrix["vary"].keys(), matrix["vary"].values()
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*lists)]


def _cell(matrix: dict[str, Any], variant: str, values: dict[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """Train one cell, or take it from its run folder; its test predictions come from the run folder."""
    overrides = [*matrix["variants"][variant], *(f"{name}={value}" for name, value in values.items())]
    changes = {"data.path": str(given.data / matrix["data"])}
    if matrix.get("graph"):
        changes["data.graph"] = str(given.data / matrix["graph"])
    recipe = load_recipe(matrix["recipe"], overrides, changes)
    run = given.runs / "-".join([matrix["name"], variant, *(str(value) for value in values.values())])
    metrics = train(recipe, run, resume=True)
    recommender = Recommender.from_pretrained(run)
    prepared = prepare(recommender.recipe)
    scores = recommender.score(*prepared.ids(prepared.test))
    return {"variant": variant, "values": values, "metrics": metrics, "scores": scores, "test": prepared.test}


def _models(metrics: dict[str, Any], part: str) -> dict[str, float]:
    figures, primary = metrics[part], metrics["primary_metric"]
    rows = {"before": figures["before"], "after": figures["after"]}
    rows |= {f"baseline {name}": row for name, row in figures["baselines"].items()}
    rows |= {f"ablation {name}": row for name, row in figures.get("ablations", {}).items()}
    return {name: row[primary] for name, row in rows.items()}


def _figures(metrics: dict[str, Any]) -> dict[str, Any]:
    kept = ("seconds", "peak_memory_mb", "parameters", "training", "slices", "comparisons")
    return {"valid": _models(metrics, "valid"), "test": _models(metrics, "test")} | {key: metrics[key] for key in kept}


def _rows(cells: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    rows = {}
    for variant in dict.fromkeys(cell["variant"] for cell in cells):
        own = [cell["metrics"] for cell in cells if cell["variant"] == variant]
        for model in _models(own[0], "test"):
            valid = [_models(metrics, "valid")[model] for metrics in own]
            test = [_models(metrics, "test")[model] for metrics in own]
            rows[f"{variant}: {model}"] = {
                "valid_mean": statistics.mean(valid),
                "test_mean": statistics.mean(test),
                "test_std": statistics.stdev(test) if len(test) > 1 else 0.0,
                "n": len(test),
            }
    return rows


def _pooled(cells: list[dict[str, Any]], variants: list[str]) -> dict[str, Any]:
    """Paired intervals of the first variant against the others over all cells; an item of each split is a cluster."""
    report = {}
    first = [cell for cell in cells if cell["variant"] == variants[0]]
    for other in variants[1:]:
        second = [cell for cell in cells if cell["variant"] == other]
        for unit in ("item", "user"):
            offset = 10**6 if unit == "item" else 0
            cluster = np.concatenate([getattr(c["test"], unit) + at * offset for at, c in enumerate(first)])
            interval = paired_rmse_interval(
                np.concatenate([cell["scores"] for cell in first]),
                np.concatenate([cell["scores"] for cell in second]),
                np.concatenate([cell["test"].label for cell in first]),
                cluster,
                4000,
            )
            report[f"{variants[0]} minus {other}, by {unit}"] = interval.plain()
    return report


if __name__ == "__main__":
    main()
