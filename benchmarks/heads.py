"""Clicks and rankings on published benchmarks: ours alone, blended, and the trivial line, over seeds, paired.

    python benchmarks/heads.py --data DIR [--only CELL ...]

Every run is one `llmrec train` in a process of its own; finished runs are kept in --runs and not trained again. A
cell's summary goes into benchmarks/results/heads.json as soon as it is complete.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from llmrec_peft.errors import InputError
from llmrec_peft.workflows.compare import compare

HERE = Path(__file__).parent
RESULT = HERE / "results" / "heads.json"
MATRIX = HERE / "matrices" / "heads.yaml"
METRICS = {"click": ("auc", "uauc", "log_loss"), "ranking": ("hr@10", "ndcg@10")}


def main() -> None:
    """Train the runs that are missing, and write what they reach."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder that holds the datasets")
    parser.add_argument("--runs", type=Path, default=Path("runs/heads"), help="where run folders are kept")
    parser.add_argument("--only", nargs="*", help="cells; default all")
    parser.add_argument("--table", action="store_true", help="print what is there as a Markdown table, train nothing")
    given = parser.parse_args()
    if given.table:
        print(_table(json.loads(RESULT.read_text(encoding="utf-8"))))
        return
    cells = yaml.safe_load(MATRIX.read_text(encoding="utf-8"))
    for name in given.only or cells:
        runs = [_trained(name, cells[name], seed, given) for seed in cells[name]["seeds"]]
        report = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
        report[name] = _summary(cells[name], runs)
        RESULT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        print(_rows(name, report[name]), flush=True)


def _trained(name: str, cell: dict[str, Any], seed: int, given: argparse.Namespace) -> Path:
    run: Path = given.runs / f"{name}-{seed}"
    if not (run / "metrics.json").exists():
        command = [str(Path(sys.executable).with_name("llmrec")), "train", cell["recipe"], "--quiet", "--resume"]
        command += ["--data", str(given.data / cell["data"]), "--out", str(run), "--set", f"seed={seed}"]
        subprocess.run([*command, *(word for change in cell.get("set", ()) for word in ("--set", change))], check=True)
    return run


def _summary(cell: dict[str, Any], runs: list[Path]) -> dict[str, Any]:
    told = [json.loads((run / "metrics.json").read_text(encoding="utf-8")) for run in runs]
    first = told[0]
    metrics = METRICS["ranking" if "hr@10" in first["test"]["after"] else "click"]
    models = ["before", "after", "blend", "collaborative_only", *first["test"]["baselines"]]
    figures: dict[str, Any] = {"line": _figures(told, None, metrics)}
    figures |= {model: found for model in dict.fromkeys(models) if (found := _figures(told, model, metrics))}
    return {
        "recipe": cell["recipe"], "set": cell.get("set", []), "seeds": cell["seeds"],
        "published": cell.get("published"), "date": datetime.now(UTC).date().isoformat(),
        "hardware": first["hardware"], "versions": first["versions"], "lines": [one["best_baseline"] for one in told],
        "figures": figures, "against_line": _against(runs, metrics),
        "blend_share_of_line": [one["blend_share_of_best_baseline"] for one in told],
        "seconds": [one["seconds"] for one in told], "peak_memory_mb": [one["peak_memory_mb"] for one in told],
        "parameters": first["parameters"], "slices": [one["slices"] for one in told],
    }  # fmt: skip


def _figures(told: list[dict[str, Any]], model: str | None, metrics: tuple[str, ...]) -> dict[str, Any]:
    """Mean, spread and each seed's figure of a model, or (None) of each run's own line; nothing where untold."""
    found: dict[str, Any] = {}
    for part in ("valid", "test"):
        rows = [_row(one[part], model or one["best_baseline"]) for one in told]
        for metric in metrics:
            if all(row is not None and metric in row for row in rows):
                values = [row[metric] for row in rows if row is not None]
                spread = statistics.stdev(values) if len(values) > 1 else None
                summed = {"mean": statistics.mean(values), "std": spread, "seeds": values}
                found.setdefault(part, {})[metric] = summed
    return found


def _row(figures: dict[str, Any], model: str) -> dict[str, float] | None:
    found: dict[str, float] | None = figures.get(model) or figures["baselines"].get(model)
    return found


def _against(runs: list[Path], metrics: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for model in ("after", "blend"):
        for metric in metrics:
            try:
                told = compare(runs, ["baseline:line"], metric, model)
                found[f"{model} {metric}"] = {key: told[key] for key in ("difference", "intervals", "verdict")}
            except InputError as error:
                found[f"{model} {metric}"] = {"left out": str(error)}
    return found


def _rows(name: str, cell: dict[str, Any]) -> str:
    lines = []
    for model, parts in cell["figures"].items():
        shown = [
            f"{metric} {parts['valid'][metric]['mean']:.4f} / {found['mean']:.4f} ± {found['std'] or 0.0:.4f}"
            for metric, found in parts["test"].items()
            if metric in parts["valid"]
        ]
        lines.append(f"{name:22s} {model:20s} {'   '.join(shown)}")
    return "\n".join(lines)


def _table(report: dict[str, Any]) -> str:
    """The README's table: a row a cell, test figures, mean ± spread over seeds."""
    lines = [
        "| benchmark | trivial line | collaborative only | published | ours alone | minus the line | with the line |",
        "| --- | ---: | ---: | --- | ---: | --- | ---: |",
    ]
    order = yaml.safe_load(MATRIX.read_text(encoding="utf-8"))
    for name, cell in sorted(report.items(), key=lambda item: list(order).index(item[0])):
        metrics = [m for m in ("auc", "hr@10", "ndcg@10") if m in cell["figures"]["after"]["test"]]
        shown = {model: _shown(cell, model, metrics) for model in ("line", "collaborative_only", "after", "blend")}
        bounds = [cell["against_line"][f"after {metric}"]["intervals"]["by_user"] for metric in metrics]
        told = " / ".join(f"{one['difference']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}]" for one in bounds)
        row = [name, shown["line"], shown["collaborative_only"], cell["published"] or "–", f"**{shown['after']}**"]
        lines.append("| " + " | ".join([*row, told, shown["blend"]]) + " |")
        if "hr@10" in metrics:
            lines.append(_new_items(name, [told["items_with_0_ratings"] for told in cell["slices"]]))
    return "\n".join(lines)


def _new_items(name: str, told: list[dict[str, Any]]) -> str:
    """A row for the items that training never saw, beside the untuned texts' cosine."""
    models = ("text_cosine", "collaborative_only", "after", "blend")
    hits = {model: [row["hr@10"] for one in told if (row := _row(one, model))] for model in models}
    frozen = statistics.mean(hits["text_cosine"])
    found = {
        model: _spelled(own) + (" ▼" if model in ("after", "blend") and statistics.mean(own) <= frozen else "")
        for model, own in hits.items()
    }
    row = [f"{name}, the {told[0]['n']:,} cases of items never seen in training, HR@10"]
    row += [f"{found['text_cosine']} (frozen texts)", found["collaborative_only"], "–", f"**{found['after']}**"]
    return "| " + " | ".join([*row, "–", found["blend"]]) + " |"


def _shown(cell: dict[str, Any], model: str, metrics: list[str]) -> str:
    """A model's figures on test; ▼ behind what is no better than the line."""
    if model not in cell["figures"]:
        return "–"
    found = []
    for metric in metrics:
        apart = cell["against_line"].get(f"{model} {metric}")
        mark = " ▼" if apart is not None and apart["difference"] <= 0.0 else ""
        found.append(_spelled(cell["figures"][model]["test"][metric]["seeds"]) + mark)
    return " / ".join(found)


def _spelled(values: list[float]) -> str:
    """Mean ± deviation."""
    if not values:
        return "–"
    return f"{statistics.mean(values):.4f}" + (f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
