"""Figures of a run that was never trained, as a run writes them."""

from __future__ import annotations

from typing import Any


def interval(difference: float, low: float, high: float) -> dict[str, Any]:
    """A difference with an interval over users, as a run reports it."""
    one = {"difference": difference, "low": low, "high": high, "clusters": 50, "excludes_zero": low > 0 or high < 0}
    return {"by_user": one, "by_item": {**one, "low": low - 0.001, "high": high + 0.001}}


def made_up_report() -> dict[str, Any]:
    """Figures of a rating run: tuning helps, the graph hurts, the adapter makes no difference."""
    part = {
        "before": {"rmse": 0.95, "mae": 0.75},
        "after": {"rmse": 0.90, "mae": 0.70},
        "blend": {"rmse": 0.89, "mae": 0.69},
        "baselines": {"bias": {"rmse": 0.94, "mae": 0.74}, "biased_mf": {"rmse": 0.88, "mae": 0.68}},
        "ablations": {"without_graph": {"rmse": 0.89, "mae": 0.69}, "without_adapter": {"rmse": 0.91, "mae": 0.71}},
    }
    return {
        "recipe": "movies",
        "head": "rating",
        "seed": 1,
        "protocol": {"split": "official", "own_items": True},
        "primary_metric": "rmse",
        "best_baseline": "bias",
        "valid": part,
        "test": part,
        "no_better_than_best_baseline": ["before"],
        "blend_share_of_best_baseline": 0.25,
        "comparisons": {
            "after_minus_before": interval(-0.05, -0.07, -0.03),
            "after_minus_bias": interval(-0.04, -0.06, -0.02),
            "after_minus_biased_mf": interval(0.02, 0.01, 0.03),
            "after_minus_without_graph": interval(0.01, 0.005, 0.015),
            "after_minus_without_adapter": interval(-0.01, -0.03, 0.01),
            "blend_minus_after": interval(-0.01, -0.02, -0.005),
        },
        "slices": {"items_with_0_ratings": {"n": 3, **part}, "items_with_over_5_ratings": {"n": 0}},
        "training": {"epochs": 3, "history": [0.97, 0.93, 0.91, 0.92], "refit": True},
        "parameters": {"total": 1000, "trainable": 100, "adapter": 60},
        "seconds": {"train": 61.0, "total": 100.0},
        "peak_memory_mb": {"rss": 2048.0, "cuda": None},
        "data": {
            "name": "MovieLens",
            "users": 10,
            "items": 20,
            "train": 100,
            "valid": 10,
            "test": 30,
            "licence": "research",
            "notes": ["3 duplicates"],
            "leaks": [],
        },
        "base": {"name": "minilm", "weights_sha256": "0" * 64, "compute": "fp32", "quantization": "none"},
        "versions": {"python": "3.11"},
        "hardware": {"processor": "x", "cuda": None},
    }
