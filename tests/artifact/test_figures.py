"""Rows of figures and the model card: one mark, and a legend that says what it means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.artifact.card import model_card
from llmrec_peft.artifact.figures import NO_BETTER, figure_rows, legend
from llmrec_peft.recipe import load_recipe


@pytest.fixture
def report() -> dict[str, Any]:
    """A head's part of a made-up metrics.json: the tuned model is better than the best baseline, the frozen is not."""
    part = {
        "baselines": {"global_mean": {"rmse": 1.2}, "bias": {"rmse": 1.0}},
        "before": {"rmse": 1.1},
        "after": {"rmse": 0.9},
        "blend": {"rmse": 0.88},
        "ablations": {"without_adapter": {"rmse": 1.05}},
    }
    return {
        "primary_metric": "rmse",
        "best_baseline": "bias",
        "no_better_than_best_baseline": ["global_mean", "before", "without_adapter"],
        "blend_share_of_best_baseline": 0.25,
        "valid": part,
        "test": part,
        "comparisons": {},
    }


def test_rows_name_every_model_and_mark_those_that_are_no_better(report: dict[str, Any]) -> None:
    assert [(row.key, row.label) for row in figure_rows(report)] == [
        ("global_mean", "global mean ▼"),
        ("bias", "bias"),
        ("before", "before: frozen text ▼"),
        ("after", "after: tuned"),
        ("blend", "after: blended"),
        ("without_adapter", "without adapter ▼"),
    ]


def test_legend_names_the_best_baseline_its_figure_and_its_share(report: dict[str, Any]) -> None:
    assert legend(report) == [
        f"{NO_BETTER} no better than the best baseline, bias (rmse 1.0000)",
        "blended: with the best baseline, bias; its share, chosen on validation: 0.25",
    ]


def test_mark_is_not_explained_where_nothing_bears_it(report: dict[str, Any]) -> None:
    report |= {"no_better_than_best_baseline": [], "blend_share_of_best_baseline": None}
    assert legend(report) == []
    assert not [row for row in figure_rows(report) if NO_BETTER in row.label]


def test_report_without_baselines_has_no_legend(report: dict[str, Any]) -> None:
    assert legend(report | {"best_baseline": None}) == []


def test_model_card_marks_the_same_rows_under_the_same_legend(tiny_run: Path) -> None:
    metrics = json.loads((tiny_run / "metrics.json").read_text(encoding="utf-8"))
    metrics |= {"best_baseline": "bias", "no_better_than_best_baseline": ["after"], "blend_share_of_best_baseline": 0.5}
    card = model_card(load_recipe(str(tiny_run / "recipe.yaml")), metrics)
    table = [line for line in card.splitlines() if line.startswith("| ") and "rmse" not in line.lower()]
    figures = metrics["test"]["after"]
    assert f"| after: tuned ▼ | {figures['rmse']:.4f} | {figures['mae']:.4f} |" in table
    assert sum(NO_BETTER in line for line in table) == 1
    for line in legend(metrics):
        assert f"\n- {line}\n" in card
