"""Tables of adapter methods and of number formats: what they cost, and how accurate they are on unseen items."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import committed_results as results
from figure_text import MARK, METRICS, MODELS, interval, mean_text, spread
from markdown_table import table_header, table_row

from llmrec_peft.evaluation.measures import better


def methods_on_films(backbone: str) -> list[str]:
    """All adapter methods on one backbone: costs, and accuracy on films that training never saw."""
    return _methods("methods.json", backbone, "rmse", timed=("step ÷ frozen forward", "… stored"))


def methods_on_products() -> list[str]:
    """All adapter methods on MiniLM: accuracy on products that training never saw."""
    return _methods("methods-cold-products.json", "minilm", "ndcg@10")


def _methods(name: str, backbone: str, metric: str, timed: Sequence[str] = ()) -> list[str]:
    rows = results.adapter_methods(name, backbone)
    apart = results.minus(name, "adapter", backbone, metric)
    done = [row for row in rows if row["status"] == "ok"]
    columns = ("adapter", "parameters", "file, KiB", *timed, "peak, MiB")
    label = METRICS[metric].split()[0]
    lines = table_header(*columns, f"validation {label}", f"test {label}", "minus `none`")
    first = {row["axes"]["seed"]: row for row in reversed(done)}
    for model, figures in _references([first[seed]["accuracy"] for seed in sorted(first)], metric):
        lines.append(table_row(model, *[""] * (len(columns) - 1), *figures, ""))
    for method in dict.fromkeys(row["axes"]["adapter"] for row in rows):
        cells = [row for row in done if row["axes"]["adapter"] == method]
        if not cells:
            reasons = [row["reason"] for row in rows if row["axes"]["adapter"] == method]
            lines.append(table_row(method, f"refused: {reasons[0]}", *[""] * (len(columns) + 1)))
            continue
        steps = _steps(cells) if timed else ()
        difference = interval(apart[method]) if method in apart else ""
        lines.append(table_row(method, *_costs(cells, steps), *_figures(cells, metric), difference))
    return lines


def number_formats() -> list[str]:
    """The same LoRA over weights in each number format: costs, and accuracy on films that training never saw."""
    costs = ("adapter", "step ÷ fp32's", "new text ÷ fp32's", "peak, MiB")
    lines = table_header("weights", "computed in", *costs, "validation RMSE", "test RMSE", "minus fp32")
    done = [row for row in results.load("precision.json")["rows"] if row["status"] == "ok"]
    for backbone in dict.fromkeys(row["axes"]["backbone"] for row in done):
        own = [row for row in done if row["axes"]["backbone"] == backbone]
        formats: dict[str, list[Any]] = {}
        for row in own:
            formats.setdefault(row["axes"]["precision"], []).append(row)
        for model, figures in _references([row["accuracy"] for row in formats["fp32"]], "rmse"):
            lines.append(table_row(f"{backbone}: {model}", *[""] * (len(costs) + 1), *figures, ""))
        apart = results.minus("precision.json", "precision", backbone, "rmse")
        for name, rows in formats.items():
            difference = interval(apart[name]) if name in apart else ""
            cells = [*_format_costs(rows, formats["fp32"]), *_figures(rows, "rmse"), difference]
            lines.append(table_row(f"{backbone}: {name}", *cells))
    return lines


def _format_costs(rows: list[Any], fp32: list[Any]) -> list[str]:
    """Format of computing, trained adapter parameters, time of a step and of a new text beside fp32, peak memory."""
    timed = (("steps", "step", "p50_ms"), ("latency_ms", "new_item_1", "p50"))
    ratios = [
        statistics.mean(row[part][what][p50] for row in rows) / statistics.mean(row[part][what][p50] for row in fp32)
        for part, what, p50 in timed
    ]
    peak = mean_text([row["peak_memory_mb"]["phases"]["train"]["rss"] for row in rows], ",.0f")
    adapter = f"{rows[0]['parameters']['adapter']:,}"
    return [rows[0]["base"]["compute"], adapter, *(f"{ratio:.2f}" for ratio in ratios), peak]


def _references(runs: list[Any], metric: str) -> list[tuple[str, list[str]]]:
    """Each baseline and the model before training, with validation and test figures over the runs' seeds."""
    shown = []
    for model in (*runs[0]["baselines"], "before"):
        best = " (best baseline)" if all(one["best_baseline"] == model for one in runs) else ""
        figures = [spread([one[part][model][metric] for one in runs]) for part in ("valid", "test")]
        shown.append((f"*{_reference(model)}*{best}", figures))
    return shown


def _reference(model: str) -> str:
    if model == "before":
        return "before: frozen text"
    return MODELS.get(model, model.replace("_", " "))


def _costs(rows: list[Any], steps: Sequence[str]) -> list[str]:
    size = statistics.mean(row["adapter_bytes"] for row in rows) / 1024
    peak = mean_text([row["peak_memory_mb"]["rss"] for row in rows], ",.0f")
    return [f"{rows[0]['parameters']['adapter']:,}", f"{size:,.1f}", *steps, peak]


def _steps(rows: list[Any]) -> list[str]:
    """An optimizer step, whole and above stored states, over the frozen forward pass that it took turns with."""
    ratios = ("step_over_forward", "step_with_trunk_over_forward")
    return [mean_text([row["steps"][name] for row in rows], ".2f") for name in ratios]


def _figures(rows: list[Any], metric: str) -> list[str]:
    """Validation and test figures, the latter with `MARK` where their mean does not beat the best baseline's."""
    accuracy = [row["accuracy"] for row in rows]
    tests = [one["test"]["after"][metric] for one in accuracy]
    best = statistics.mean(one["test"][one["best_baseline"]][metric] for one in accuracy)
    beats = better(metric, statistics.mean(tests), best)
    valid = spread([one["valid"]["after"][metric] for one in accuracy])
    return [valid, spread(tests) + ("" if beats else f" {MARK}")]
