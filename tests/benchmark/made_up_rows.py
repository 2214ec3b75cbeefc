"""Rows of a benchmark as cells write them, with figures that a test chooses."""

from __future__ import annotations

from typing import Any

from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.identity import values_digest

MATRIX = Matrix.from_plain(
    {
        "name": "tiny",
        "recipes": [{"recipe": "movies", "label": "films"}],
        "adapters": ["none", "lora", "full"],
        "seeds": [1, 2],
    },
    "m.yaml",
)
MACHINE = {"cuda": None, "processor": "A chip", "cores": 2, "threads": 2, "memory_gb": 8.0}
VERSIONS = {"llmrec-peft": "0", "torch": "2", "transformers": "5", "peft": "0"}
TRAINABLE = {"none": 1_000, "lora": 5_000, "full": 900_000}


def made_up_row(adapter: str, seed: int, test: float, **changes: Any) -> dict[str, Any]:
    """Return a measured cell of the films, lower figures better, with a baseline of 0.95.

    Args:
        adapter: Its method, and its name.
        seed: Its seed.
        test: RMSE of the tuned model on test; on validation it is 0.01 less.
        changes: Blocks of the row in place of these.
    """
    axes = changes.pop("axes", {"recipe": "films", "adapter": adapter, "seed": seed})
    figures = {"before": 1.0, "user_mean": 1.1, "bias": 0.95, "biased_mf": 0.93}
    trained = TRAINABLE.get(adapter, 2_000)
    latency = {"p50": 2.0, "p95": 2.2, "p99": 2.3, "n": 20}
    return {
        "axes": axes,
        "key": values_digest([axes, adapter])[:16],
        "status": "ok",
        "reason": None,
        "date": "2026-01-02",
        "code": "ab" * 32,
        "recipe": {"seed": seed, "adapter": {"method": adapter}},
        "accuracy": {
            "metric": "rmse",
            "lower_is_better": True,
            "slice": None,
            "n": 100,
            "baselines": ["user_mean", "bias", "biased_mf"],
            "best_baseline": "bias",
            "valid": {**{name: {"rmse": one} for name, one in figures.items()}, "after": {"rmse": test - 0.01}},
            "test": {**{name: {"rmse": one} for name, one in figures.items()}, "after": {"rmse": test, "mae": 0.7}},
            "slices": {},
            "comparisons": {},
        },
        "parameters": {"total": 1_000_000 + trained, "trainable": trained, "adapter": trained - 1_000},
        "adapter_bytes": 4 * trained,
        "data": {"name": "Films", "fingerprint": "cd" * 32, "users": 10, "items": 20, "valid": 50, "test": 100},
        "training": {"epochs": 2, "history": [1.0, test - 0.01]},
        "peak_memory_mb": {"rss": 500.0 + trained / 1_000, "cuda": None, "cuda_reserved": None},
        "latency_ms": {
            "candidates": 100,
            "recommend_32": None,
            "score_1": latency,
            "new_item_1": {**latency, "p95": 2.2 + trained / 1e6},
        },
        "seconds": {"train": 3.0, "cell": 5.0},
        "hardware": MACHINE,
        "versions": VERSIONS,
        **changes,
    }


def rows_of(figures: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Return a row for each test figure of each method, seeds from 1."""
    return [made_up_row(name, seed, one) for name, own in figures.items() for seed, one in enumerate(own, 1)]
