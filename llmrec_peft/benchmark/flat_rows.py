"""Flat rows: a cell's row as one record with one value per column, as CSV and Parquet want it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmrec_peft.benchmark.costs import at
from llmrec_peft.benchmark.grouping import Group
from llmrec_peft.benchmark.rows import Row

_QUANTILES = ("p50", "p95", "p99")
_MEMORY = ("rss", "cuda", "cuda_reserved")
_SECONDS = ("prepare", "train", "epoch", "best", "cell")


def flat_rows(rows: Sequence[Row]) -> list[Row]:
    """Return one record per cell, all with the same columns in the same order; None where a cell has no value."""
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    return [{name: row.get(name) for name in columns} for row in flat]


def _flat(row: Row) -> Row:
    costs = {
        **{f"seconds_{part}": _number(at(row, "seconds", part)) for part in _SECONDS},
        **{f"peak_{part}_mb": _number(at(row, "peak_memory_mb", part)) for part in _MEMORY},
    }
    flat = {**row["axes"], "status": row["status"], "reason": row.get("reason"), **costs}
    return flat if row["status"] != "ok" else {**flat, **_sizes(row), **_accuracy(row), **_speed(row)}


def _sizes(row: Row) -> Row:
    sizes = {f"{part}_parameters": _whole(at(row, "parameters", part)) for part in ("total", "trainable", "adapter")}
    data: Any = row.get("data") or {}
    return {
        **sizes,
        "adapter_bytes": _whole(at(row, "adapter_bytes")),
        "data_fingerprint": data.get("fingerprint", data.get("digest")),
        "code": row.get("code"),
        "at_a_time": _whole(at(row, "at_a_time")),
    }


def _accuracy(row: Row) -> Row:
    """Return the primary metric of every model, all metrics of the tuned model, and whether it beats its baseline."""
    accuracy = row["accuracy"]
    metric, best = accuracy["metric"], accuracy["best_baseline"]
    flat = {"metric": metric, "test_items": accuracy["slice"] or "all", "test_n": _whole(at(row, "accuracy", "n"))}
    for part in ("valid", "test"):
        of_models = {model: figures.get(metric) for model, figures in accuracy[part].items()}
        flat |= {f"{part}_{model}": _number(figure) for model, figure in of_models.items()}
        ours = accuracy[part].get("after", {})
        flat |= {f"{part}_{name}": _number(figure) for name, figure in ours.items() if name not in of_models}
    if best is not None:
        flat |= {"best_baseline": best, "beats_best_baseline": not Group({}, (row,)).loses("after", metric)}
        flat |= {"best_baseline_test": _number(accuracy["test"].get(best, {}).get(metric))}
    return flat


def _speed(row: Row) -> Row:
    """Return latencies, throughput and energy; of earlier reports, steps and answers."""
    flat: Row = {}
    for asked, measured in _inside(row, "latency_ms").items():
        if measured is None or isinstance(measured, Mapping):
            flat |= {f"{asked}_{part}_ms": _number(at(row, "latency_ms", asked, part)) for part in _QUANTILES}
    flat["candidates"] = _whole(at(row, "latency_ms", "candidates"))
    flat |= {name: _number(at(row, "throughput", name)) for name in _inside(row, "throughput")}
    flat |= {name: _number(at(row, name)) for name in ("tokens_per_s", "energy_j") if name in row}
    steps = _inside(row, "steps")
    answers = {} if row.get("latency_ms") else _inside(row, "answers")
    for part in ("forward", "step", "step_with_trunk"):
        flat |= {f"{part}_{key}": _number(value) for key, value in _inside(steps, part).items()}
    ratios = ("step_over_forward", "step_with_trunk_over_forward")
    flat |= {name: _number(steps[name]) for name in ratios if name in steps}
    for part in ("new_text", "known_pairs"):
        flat |= {f"{part}_{key}": _number(value) for key, value in _inside(answers, part).items()}
    return flat


def _inside(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a block of values; an empty one where there is none."""
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}


def _number(value: Any) -> float | None:
    """Return a measured number as a float, so that its column has one type whatever the cells measured."""
    return float(value) if isinstance(value, int | float) else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
