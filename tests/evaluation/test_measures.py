"""Measures: each task's report, the same figures by weights, and what cannot be resampled refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.click_metrics import click_report
from llmrec_peft.evaluation.measures import LOWER_IS_BETTER, ClickMeasure, Measure, RankingMeasure, better, measure_of
from llmrec_peft.evaluation.outcomes import Outcome, Ranks
from llmrec_peft.evaluation.ranking_metrics import hit_rate_at_k, ndcg_at_k, ranking_report, recall_at_k
from llmrec_peft.evaluation.rating_metrics import rating_report

ROWS, ITEMS = 200, 30
POPULARITY = np.random.default_rng(9).integers(0, 20, ITEMS)
WEIGHTED = {
    "rating": ("rmse", "mae"),
    "click": ("auc", "log_loss", "uauc"),
    "ranking": ("hr@10", "ndcg@10", "mrr", "recall@10"),
}
SEEDS = range(2)


def liked(label: np.ndarray) -> np.ndarray:
    return (label >= 4).astype(np.float32)


def case(task: str, seed: int) -> tuple[Measure, Any, Interactions]:
    """A measure, an outcome with ties, and stars whose users have unequally many examples."""
    rng = np.random.default_rng(seed)
    user = np.concatenate([np.repeat(np.arange(1, 6), 30), rng.integers(6, 25, 50)])
    part = Interactions(
        rng.permutation(user),
        rng.integers(1, ITEMS, ROWS),
        rng.integers(1, 6, ROWS).astype(np.float32),
        np.arange(ROWS),
    )
    if task == "ranking":
        top = np.argsort(rng.random((ROWS, ITEMS - 1)), axis=1)[:, :10] + 1
        outcome: Any = Ranks(rng.integers(2, 60, ROWS) / 2, top)
    else:
        outcome = rng.integers(0, 9, ROWS) / 8 if task == "click" else rng.uniform(1, 5, ROWS)
    return measure_of(task, liked if task == "click" else np.asarray, POPULARITY), outcome, part


@pytest.mark.parametrize("seed", SEEDS)
def test_reports_are_those_of_the_metrics(seed: int) -> None:
    measure, predicted, part = case("rating", seed)
    assert measure.report(predicted, part) == rating_report(predicted, part.label)
    measure, predicted, part = case("click", seed)
    assert measure.report(predicted, part) == click_report(predicted, liked(part.label), part.user)
    measure, ranks, part = case("ranking", seed)
    assert measure.report(ranks, part) == ranking_report(ranks.rank, ranks.top, part.user, POPULARITY, ITEMS)


@pytest.mark.parametrize("task", WEIGHTED)
def test_declared_metrics_are_in_every_report_and_their_direction_is_known(task: str) -> None:
    measure, outcome, part = case(task, 0)
    assert set(measure.metrics) <= set(measure.report(outcome, part))
    assert set(WEIGHTED[task]) <= set(measure.metrics)
    assert (
        LOWER_IS_BETTER & set(measure.metrics)
        == {
            "rating": {"rmse", "mae"},
            "click": {"log_loss", "ece"},
            "ranking": set(),
        }[task]
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("task", "metric"), [(task, metric) for task, found in WEIGHTED.items() for metric in found])
def test_figure_at_equal_weights_is_that_of_the_report(task: str, metric: str, seed: int) -> None:
    measure, outcome, part = case(task, seed)
    figure, expected = measure.weighted(metric, outcome, part), measure.report(outcome, part)[metric]
    assert figure(np.ones(ROWS)) == pytest.approx(expected, abs=1e-12)
    assert figure(np.full(ROWS, 3.0)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("task", "metric"), [(task, metric) for task, found in WEIGHTED.items() for metric in found])
def test_figure_at_whole_weights_of_users_is_that_of_repeated_users(task: str, metric: str, seed: int) -> None:
    """A user who is drawn twice is two users, in means over users as in means over examples."""
    measure, outcome, part = case(task, seed)
    times = np.random.default_rng(seed + 7).integers(0, 3, 25)[part.user]
    rows = np.repeat(np.arange(ROWS), times)
    copy = np.concatenate([np.arange(n) for n in times])
    again = part.take(rows)
    twice = Interactions(again.user * 10 + copy, again.item, again.label, again.timestamp)
    expected = measure.report(measure.take(outcome, rows), twice)[metric]
    figure = measure.weighted(metric, outcome, part)
    assert figure(times.astype(float)) == pytest.approx(expected, abs=1e-12)
    assert expected != pytest.approx(measure.report(outcome, part)[metric], abs=1e-9), "the weights count"


def test_recall_weighs_users_and_hit_rate_examples() -> None:
    rank = np.array([1.0] * 8 + [50.0, 50.0])
    part = Interactions(np.array([1] * 8 + [2, 2]), np.ones(10, np.int64), np.ones(10, np.float32), np.arange(10))
    ranks = Ranks(rank, np.ones((10, 10), np.int64))
    measure = RankingMeasure(POPULARITY)
    assert measure.weighted("hr@10", ranks, part)(np.ones(10)) == 0.8
    assert measure.weighted("recall@10", ranks, part)(np.ones(10)) == 0.5
    without = measure.weighted("recall@10", ranks, part)(np.array([0.0] * 8 + [1.0, 1.0]))
    assert without == 0.0
    assert np.isnan(measure.weighted("recall@10", ranks, part)(np.zeros(10)))


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ("click", "ece"),
        ("click", "rmse"),
        ("ranking", "coverage@10"),
        ("ranking", "novelty@10"),
        ("ranking", "hr@5"),
        ("rating", "auc"),
    ],
)
def test_metric_that_is_no_mean_or_not_known_cannot_be_resampled(task: str, metric: str) -> None:
    measure, outcome, part = case(task, 0)
    with pytest.raises(ValueError, match=f"{metric}.* resampled"):
        measure.weighted(metric, outcome, part)


def test_clusters_are_users_and_items_but_for_a_mean_over_users() -> None:
    for task, metric in (("rating", "rmse"), ("click", "auc"), ("ranking", "ndcg@10")):
        measure, _, part = case(task, 0)
        found = measure.clusters(metric, part)
        assert list(found) == ["by_user", "by_item"]
        assert np.array_equal(found["by_user"], part.user)
        assert np.array_equal(found["by_item"], part.item)
    measure, _, part = case("click", 0)
    assert list(measure.clusters("uauc", part)) == ["by_user"]


def test_records_of_one_person_are_resampled_together() -> None:
    measure, outcome, part = case("click", 0)
    part = replace(part, person=part.user // 4)
    assert np.array_equal(measure.clusters("auc", part)["by_person"], part.user // 4)
    assert list(measure.clusters("uauc", part)) == ["by_person"]
    figure = measure.weighted("uauc", outcome, part)
    assert np.isfinite(figure((part.person == 0).astype(np.float64))), "whole persons are whole users"
    assert np.array_equal(part.take(np.arange(3)).person, part.user[:3] // 4)


def test_figures_among_sampled_items_say_so_in_their_names() -> None:
    measure, ranks, part = case("ranking", 0)
    sampled = np.random.default_rng(0).integers(1, 20, ROWS).astype(float)
    report = measure.report(Ranks(ranks.rank, ranks.top, sampled), part)
    plain = measure.report(ranks, part)
    assert {name: report[name] for name in plain} == plain
    assert {name: value for name, value in report.items() if name not in plain} == {
        "sampled_hr@10": hit_rate_at_k(sampled, 10),
        "sampled_ndcg@10": ndcg_at_k(sampled, 10),
    }


@pytest.mark.parametrize("task", WEIGHTED)
def test_taken_outcomes_are_those_of_the_rows(task: str) -> None:
    measure, outcome, part = case(task, 1)
    rows = np.flatnonzero(part.user <= 5)
    found = measure.report(measure.take(outcome, rows), part.take(rows))
    assert found != measure.report(outcome, part)
    if task == "ranking":
        assert found["recall@10"] == recall_at_k(outcome.rank[rows], part.user[rows], 10)


def test_ranks_are_not_taken_for_scores_nor_scores_for_ranks() -> None:
    _, scores, part = case("rating", 0)
    ranks: Outcome = Ranks(np.ones(ROWS), np.ones((ROWS, 10), np.int64))
    for measure in (measure_of("rating", np.asarray, POPULARITY), ClickMeasure(liked)):
        with pytest.raises(TypeError, match="are not scores"):
            measure.report(ranks, part)
    with pytest.raises(TypeError, match="are not ranks"):
        RankingMeasure(POPULARITY).report(scores, part)


def test_better_knows_which_way_a_metric_points() -> None:
    for metric in LOWER_IS_BETTER:
        assert better(metric, 0.1, 0.2)
        assert not better(metric, 0.2, 0.1)
    for metric in ("auc", "uauc", "ndcg@10", "recall@10", "mrr"):
        assert better(metric, 0.2, 0.1)
        assert not better(metric, 0.2, 0.2)
