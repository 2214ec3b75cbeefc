"""Tasks from a recipe to figures: clicks, rankings, retrieval; their lines beside them, and every figure repeated."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resealed import resealed
from sklearn.metrics import log_loss

from llmrec_peft.artifact.predictions import NAME, read_predictions
from llmrec_peft.evaluation.measures import better
from llmrec_peft.workflows.evaluate import evaluate

Command = Callable[..., subprocess.CompletedProcess[str]]
PROMPT = "{% for x in history if x.liked %}{{ x.title }}; {% endfor %}{{ item.title }}?"
RECORDS = {"data.expand_histories": False}
CLICKS = ("global_rate", "user_rate", "item_rate", "user_and_item_rates", "popularity")
READING = ("neighbour_counts", "text_cosine", "rates_neighbours_and_text")
RANKINGS = ("popularity", "neighbour_counts", "text_cosine", "counts_and_text", "transitions_and_words")
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "click, pairs, encoder": (
        "collm-ml-1m",
        {
            "data.train_size": 300,
            "adapter": {"method": "lora"},
            "signals": {"text": {}, "collaborative": {}},
            "training.refit": True,
        },
    ),
    "click, pairs, decoder": (
        "tallrec-movie",
        {**RECORDS, "adapter": {"method": "lora"}, "signals": {"text": {}, "history": {}}},
    ),
    "click, prompts, encoder": (
        "tallrec-movie",
        {"head.feed": "prompt", "views.prompt.template": PROMPT, "signals": {"history": {"entries": "ids"}}},
    ),
    "click, prompts, decoder": (
        "tallrec-movie",
        {
            **RECORDS,
            "head.feed": "prompt",
            "views.prompt.template": PROMPT,
            "adapter": {"method": "lora"},
            "signals": {"collaborative": {}},
        },
    ),
    "click, soft tokens, decoder": (
        "tallrec-movie",
        {
            **RECORDS,
            "head.feed": "prompt",
            "views.prompt.template": PROMPT,
            "signals": {"soft_tokens": {"dim_collaborative": 8}},
        },
    ),
    "click, prequential": (
        "collm-ml-1m",
        {
            "data.protocol": "prequential",
            "data.max_items": 60,
            "signals": {"taste": {"text": False}, "collaborative": {}},
            "training.refit": True,
        },
    ),
    "ranking, sampled too": (
        "amazon-scientific",
        {"fusion.dim": 32, "evaluation.sampled": 20, "training.refit": "recount"},
    ),
    "ranking, without own items": ("amazon-scientific", {"fusion.dim": 32, "evaluation.own_items": False}),
    "retrieval": (
        "amazon-scientific",
        {"head": {"name": "retrieval"}, "signals": {"history": {}, "collaborative": {}}, "fusion.dim": 8},
    ),
}
ALONE = set(CASES) - {"click, soft tokens, decoder"}
"""Cases in which something is left once no text is read."""


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def run(case: str, quick_run: Callable[..., Path], speaking_decoder: Path) -> Path:
    recipe, changes = CASES[case]
    if "decoder" in case:
        changes = {**changes, "backbone.name": str(speaking_decoder), "backbone.pooling": "last-token"}
    return quick_run(recipe, changes)


def read(run: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return metrics


def rows(report: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Figures of every model of a part, by name."""
    named = {name: report[name] for name in ("before", "after", "blend", "recommended") if name in report}
    return {**named, **report["baselines"]}


def answering(metrics: dict[str, Any]) -> dict[str, float]:
    """Figures of what the run serves."""
    found: dict[str, float] = metrics["test"].get("recommended", metrics["test"]["after"])
    return found


def auc(label: np.ndarray[Any, Any], score: np.ndarray[Any, Any]) -> float:
    """Share of pairs of a positive and a negative that are in order, ties counted half."""
    above = score[label == 1][:, None] - score[label == 0][None, :]
    return float((above > 0).mean() + 0.5 * (above == 0).mean())


def test_report_has_the_tasks_metrics_for_every_model_beside_its_lines(case: str, run: Path) -> None:
    metrics = read(run)
    task = "click" if case.startswith("click") else "ranking"
    expected = CLICKS + READING if task == "click" else RANKINGS
    known = (*expected, "collaborative_only") if case in ALONE else expected
    figures = {
        "click": {"auc", "log_loss", "ece", "uauc_users_left_out"},
        "ranking": {"hr@10", "ndcg@10", "mrr", "recall@10", "coverage@10", "novelty@10"},
    }[task]
    if case in ("click, pairs, encoder", "click, prequential"):  # elsewhere each record is a user of its own
        figures |= {"uauc"}
    for part in ("test", "valid"):
        assert tuple(metrics[part]["baselines"]) == known
        for name, row in rows(metrics[part]).items():
            assert figures <= set(row), (part, name)
            assert all(np.isfinite(value) for value in row.values())
    assert metrics["primary_metric"] == {"click": "auc", "ranking": "ndcg@10"}[task] or case == "retrieval"
    assert set(metrics["baseline_settings"]) == set(expected)


def test_line_is_the_trivial_baseline_that_validation_likes_best(case: str, run: Path) -> None:
    metrics = read(run)
    metric = metrics["primary_metric"]
    valid = {name: row[metric] for name, row in metrics["valid"]["baselines"].items() if name != "collaborative_only"}
    assert valid[metrics["best_baseline"]] == max(valid.values())
    assert 0.0 <= metrics["blend_share_of_best_baseline"] <= 1.0
    blended, alone = (
        metrics["valid"]["blend"][metric],
        (valid[metrics["best_baseline"]], metrics["valid"]["after"][metric]),
    )
    assert blended >= max(alone) - 1e-9
    if metrics["blend_share_of_best_baseline"] == 1.0:
        assert metrics["test"]["blend"][metric] == pytest.approx(
            metrics["test"]["baselines"][metrics["best_baseline"]][metric]
        )


def test_rows_that_are_no_better_than_their_line_are_marked_and_no_others(case: str, run: Path) -> None:
    metrics = read(run)
    metric, line = metrics["primary_metric"], metrics["best_baseline"]
    test = rows(metrics["test"])
    losing = {
        name for name, row in test.items() if name != line and not better(metric, row[metric], test[line][metric])
    }
    assert set(metrics["no_better_than_best_baseline"]) == losing
    assert losing, "an epoch inside a random backbone is not enough"


def test_figures_are_those_of_the_predictions_that_the_run_keeps(case: str, run: Path) -> None:
    metrics, said = read(run), read_predictions(run / NAME)
    (head,) = said.heads.values()
    test = rows(metrics["test"])
    assert set(head.models) == set(test)
    for name, values in head.models.items():
        if head.task == "click":
            found = {
                "auc": auc(head.observed, values),
                "log_loss": log_loss(head.observed, values.astype(np.float64)),
            }
            owns = [np.asarray(said.user) == user for user in sorted(set(said.user))]
            by_user = [auc(head.observed[own], values[own]) for own in owns if 0 < head.observed[own].mean() < 1]
            assert test[name]["uauc_users_left_out"] == len(owns) - len(by_user)
            found |= {"uauc": np.mean(by_user)} if by_user else {}
        else:
            near = values <= 10
            found = {
                "hr@10": near.mean(),
                "mrr": (1 / values).mean(),
                "ndcg@10": np.where(near, 1 / np.log2(1 + values), 0.0).mean(),
            }
        for metric, value in found.items():
            assert test[name][metric] == pytest.approx(value, abs=1e-6), (name, metric)


def test_evaluation_repeats_the_stored_figures_exactly(case: str, run: Path) -> None:
    found = evaluate(run)
    stored = answering(read(run))
    assert found["repeats"]
    assert found["stored"] == stored
    assert found["test"]["after"].keys() == stored.keys()
    for name, value in stored.items():
        assert found["test"]["after"][name] == pytest.approx(value, abs=1e-7), name


def stored_with(run: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a run whose metrics.json says otherwise."""
    shutil.copytree(run, folder)
    metrics = read(folder)
    change(metrics)
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    return resealed(folder)


@pytest.mark.parametrize("name", ["click, pairs, encoder", "retrieval"])
def test_figure_that_the_model_does_not_have_is_not_repeated(
    name: str, quick_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = quick_run(*CASES[name])
    metric = read(run)["primary_metric"]

    def raised(metrics: dict[str, Any]) -> None:
        metrics["test"]["after"][metric] += 2e-4

    found = evaluate(stored_with(run, tmp_path / "run", raised))
    assert not found["repeats"]


def test_sampled_figures_say_so_and_are_beside_those_of_the_whole_catalogue(quick_run: Callable[..., Path]) -> None:
    metrics = read(quick_run(*CASES["ranking, sampled too"]))
    whole = read(quick_run(*CASES["ranking, without own items"]))
    for name in ("before", "after"):
        row = metrics["test"][name]
        assert row["sampled_hr@10"] > row["hr@10"] + 0.2, "ten of 21 are easier to reach than ten of 198"
        assert row["sampled_ndcg@10"] > row["ndcg@10"]
        assert not [key for key in whole["test"][name] if "sampled" in key]
    assert metrics["primary_metric"] == "ndcg@10", "no choice is made by sampled figures"
    assert metrics["protocol"]["candidates"] == "whole catalogue"
    assert (metrics["protocol"]["own_items"], whole["protocol"]["own_items"]) == (True, False)


def test_protocols_are_written_beside_the_figures(quick_run: Callable[..., Path]) -> None:
    assert read(quick_run(*CASES["click, prequential"]))["protocol"] == {
        "split": "official",
        "labels_counted": "prequential",
    }


def test_own_items_are_left_out_when_figures_are_repeated_as_when_they_were_made(
    quick_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = shutil.copytree(quick_run(*CASES["ranking, without own items"]), tmp_path / "run")
    recipe = (run / "recipe.yaml").read_text(encoding="utf-8")
    (run / "recipe.yaml").write_text(recipe.replace("own_items: false", "own_items: true"), encoding="utf-8")
    resealed(run)
    assert not evaluate(run)["repeats"]


def test_command_repeats_the_figures_in_another_process(quick_run: Callable[..., Path], llmrec: Command) -> None:
    run = quick_run(*CASES["ranking, sampled too"])
    done = llmrec("evaluate", run, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["repeats"]
    assert found["stored"] == answering(read(run))
