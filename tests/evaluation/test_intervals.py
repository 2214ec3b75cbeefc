"""Intervals: weighted figures are the metrics, intervals cover, and widen where errors are clustered."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from llmrec_peft.evaluation import weighted
from llmrec_peft.evaluation.click_metrics import auc, log_loss, user_auc
from llmrec_peft.evaluation.intervals import (
    GroupInterval,
    PairedInterval,
    group_interval,
    paired_interval,
    paired_intervals,
    paired_rmse_interval,
)
from llmrec_peft.evaluation.ranking_metrics import (
    gains_at_k,
    hit_rate_at_k,
    hits_at_k,
    mrr,
    ndcg_at_k,
    reciprocal_ranks,
)
from llmrec_peft.evaluation.rating_metrics import mae, rmse
from llmrec_peft.evaluation.weighted import (
    Figure,
    SumFigure,
    auc_figure,
    log_loss_figure,
    mae_figure,
    mean_figure,
    rmse_figure,
    user_auc_figure,
)


def clustered(seed: int, clusters: int = 40, size: int = 25, shared: float = 1.0) -> tuple[np.ndarray, ...]:
    """Predictions of two equally good models whose errors are partly shared within a cluster."""
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(clusters), size)
    observed = rng.integers(1, 6, clusters * size).astype(float)
    first, second = (
        observed + rng.normal(0, shared, clusters)[cluster] + rng.normal(0, 0.5, clusters * size) for _ in range(2)
    )
    return first, second, observed, cluster


def width(interval: PairedInterval) -> float:
    return interval.high - interval.low


def test_difference_is_that_of_the_two_figures() -> None:
    first, second, observed, cluster = clustered(0)
    found = paired_rmse_interval(first, second, observed, cluster, 200)
    assert found.difference == pytest.approx(rmse(first, observed) - rmse(second, observed))
    assert found.low < found.difference < found.high
    assert found.clusters == 40


def test_figures_of_all_draws_at_once_are_those_of_each_draw() -> None:
    first, second, observed, cluster = clustered(0)
    liked = observed > 3
    figures = {"sums": rmse_figure(first, observed), "mean": mean_figure(second), "order": auc_figure(first, liked)}
    rng, rows = np.random.default_rng(5), [np.flatnonzero(cluster == one) for one in range(40)]
    expected = []
    for _ in range(30):
        drawn = np.bincount(rng.integers(0, 40, 40), minlength=40)
        weights = np.empty(len(cluster))
        for one, times in zip(rows, drawn, strict=True):
            weights[one] = times
        expected.append([figure(weights) for figure in figures.values()])
    pairs = [("sums", "mean"), ("order", "mean")]
    found = paired_intervals(figures, pairs, cluster, 30, seed=5)
    sums, mean, order = np.array(expected).T
    for one, differences in zip(found, (sums - mean, order - mean), strict=True):
        assert (one.low, one.high) == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])), rel=1e-12)


def test_interval_is_antisymmetric_and_repeats_with_its_seed() -> None:
    first, second, observed, cluster = clustered(1)
    one = paired_rmse_interval(first, second, observed, cluster, 300, seed=5)
    other = paired_rmse_interval(second, first, observed, cluster, 300, seed=5)
    assert (one.difference, one.low, one.high) == pytest.approx((-other.difference, -other.high, -other.low))
    assert paired_rmse_interval(first, second, observed, cluster, 300, seed=5) == one
    assert paired_rmse_interval(first, second, observed, cluster, 300, seed=6) != one


def test_cluster_names_do_not_matter() -> None:
    first, second, observed, cluster = clustered(2)
    named = paired_rmse_interval(first, second, observed, cluster * 1000 + 7, 100)
    assert named == paired_rmse_interval(first, second, observed, cluster, 100)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    truth = 0.0  # both models have the same expected error
    hits = sum(
        found.low <= truth <= found.high
        for found in (paired_rmse_interval(*clustered(seed), 300, seed=seed) for seed in range(200))
    )
    assert 0.88 <= hits / 200 <= 0.99


def test_resampling_ratings_one_by_one_promises_too_much_where_errors_are_clustered() -> None:
    for seed in range(5):
        first, second, observed, cluster = clustered(seed)
        whole = paired_rmse_interval(first, second, observed, cluster, 400)
        single = paired_rmse_interval(first, second, observed, np.arange(len(cluster)), 400)
        assert width(whole) > 1.5 * width(single)
        first, second, observed, cluster = clustered(seed, shared=0.0)
        whole = paired_rmse_interval(first, second, observed, cluster, 400)
        single = paired_rmse_interval(first, second, observed, np.arange(len(cluster)), 400)
        assert width(whole) == pytest.approx(width(single), rel=0.5)


def test_pairing_narrows_the_interval_of_models_that_err_alike() -> None:
    first, other, observed, cluster = clustered(3)
    alike = first + 0.01
    assert width(paired_rmse_interval(first, alike, observed, cluster, 200)) < 0.2 * width(
        paired_rmse_interval(first, other, observed, cluster, 200)
    )


def test_interval_of_a_clearly_better_model_excludes_zero() -> None:
    first, _, observed, cluster = clustered(4)
    better = paired_rmse_interval(observed + 0.1, first, observed, cluster, 200)
    assert better.high < 0
    assert better.excludes_zero
    assert better.plain()["excludes_zero"] is True
    same = paired_rmse_interval(first, first, observed, cluster, 200)
    assert (same.difference, same.low, same.high) == (0.0, 0.0, 0.0)
    assert not same.excludes_zero


def as_before(
    first: np.ndarray, second: np.ndarray, observed: np.ndarray, cluster: np.ndarray, resamples: int, seed: int
) -> tuple[float, float, float]:
    """Difference and interval of RMSE from sums by cluster, with the draws that published figures come from."""
    _, place = np.unique(cluster, return_inverse=True)
    clusters = int(place.max()) + 1
    sums = [np.bincount(place, (model - observed) ** 2, clusters) for model in (first, second)]
    count = np.bincount(place, minlength=clusters).astype(float)
    rng, differences = np.random.default_rng(seed), []
    for _ in range(resamples):
        weight = np.bincount(rng.integers(0, clusters, clusters), minlength=clusters)
        differences.append(np.subtract(*(np.sqrt(weight @ s / (weight @ count)) for s in sums)))
    low, high = np.quantile(differences, [0.025, 0.975])
    return rmse(first, observed) - rmse(second, observed), low, high


@pytest.mark.parametrize("seed", range(2))
def test_a_seed_keeps_giving_the_interval_that_it_gave(seed: int) -> None:
    first, second, observed, cluster = clustered(seed)
    found = paired_rmse_interval(first, second, observed, cluster, 500, seed)
    expected = as_before(first, second, observed, cluster, 500, seed)
    assert (found.difference, found.low, found.high) == pytest.approx(expected, abs=1e-13)
    if seed == 0:  # written down from version 0.1.0
        written = 0.05002417974074436, -0.16205406892773405, 0.21556112985624498
        assert expected == pytest.approx(written, abs=1e-12)


# ---- weighted figures ----


def examples(seed: int, size: int = 200) -> dict[str, np.ndarray]:
    """Predictions of every kind; probabilities and ranks tie."""
    rng = np.random.default_rng(seed)
    return {
        "predicted": rng.uniform(1, 5, size).astype(np.float32),
        "observed": rng.integers(1, 6, size).astype(np.float32),
        "probability": rng.integers(0, 8, size) / 7,
        "label": np.r_[0, 1, rng.integers(0, 2, size - 2)],
        "rank": rng.integers(2, 60, size) / 2,
        "user": rng.integers(1, 30, size),
    }


FIGURES = {
    "rmse": (lambda e: rmse_figure(e["predicted"], e["observed"]), lambda e: rmse(e["predicted"], e["observed"])),
    "mae": (lambda e: mae_figure(e["predicted"], e["observed"]), lambda e: mae(e["predicted"], e["observed"])),
    "hr": (lambda e: mean_figure(hits_at_k(e["rank"], 10)), lambda e: hit_rate_at_k(e["rank"], 10)),
    "ndcg": (lambda e: mean_figure(gains_at_k(e["rank"], 10)), lambda e: ndcg_at_k(e["rank"], 10)),
    "mrr": (lambda e: mean_figure(reciprocal_ranks(e["rank"])), lambda e: mrr(e["rank"])),
    "auc": (lambda e: auc_figure(e["probability"], e["label"]), lambda e: auc(e["probability"], e["label"])),
    "log_loss": (
        lambda e: log_loss_figure(e["probability"], e["label"]),
        lambda e: log_loss(e["probability"], e["label"]),
    ),
    "uauc": (
        lambda e: user_auc_figure(e["probability"], e["label"], e["user"]),
        lambda e: user_auc(e["probability"], e["label"], e["user"]).value,
    ),
}
"""A weighted figure and the plain metric, of `examples`."""


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", FIGURES)
def test_figure_with_equal_weights_is_the_metric(name: str, seed: int) -> None:
    figure, metric = FIGURES[name]
    given = examples(seed)
    expected = metric(given)
    assert figure(given)(np.ones(200)) == pytest.approx(expected, abs=1e-13)
    assert figure(given)(np.full(200, 0.37)) == pytest.approx(expected, abs=1e-12)
    if name == "auc":
        assert figure(given)(np.ones(200)) == expected


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", FIGURES)
def test_figure_with_whole_weights_is_the_metric_of_repeated_examples(name: str, seed: int) -> None:
    figure, metric = FIGURES[name]
    given, rng = examples(seed), np.random.default_rng(seed)
    times = rng.integers(0, 4, 30)[given["user"]] if name == "uauc" else rng.integers(0, 4, 200)
    repeated = {column: np.repeat(values, times) for column, values in given.items()}
    if name == "uauc":  # a user who is there twice is two users
        copy = np.concatenate([np.arange(t) for t in times])
        repeated["user"] = repeated["user"] * 10 + copy
    expected = metric(repeated)
    found = figure(given)(times.astype(float))
    assert found == pytest.approx(expected, abs=1e-12)
    if name == "auc":
        assert found == expected, "exact, with ties"


def test_auc_by_user_refuses_to_part_a_user() -> None:
    given = examples(0)
    figure = user_auc_figure(given["probability"], given["label"], given["user"])
    item = np.random.default_rng(0).integers(0, 20, 200)
    with pytest.raises(ValueError, match="resampled by whole users"):
        paired_interval(figure, figure, item, 10)
    assert paired_interval(figure, figure, given["user"], 10).difference == 0.0


def test_resamples_without_both_classes_are_left_out() -> None:
    scores, label = np.array([0.9, 0.1, 0.2, 0.3]), np.array([1, 0, 0, 0])
    found = paired_interval(auc_figure(scores, label), auc_figure(-scores, label), np.arange(4), 400)
    assert (found.difference, found.low, found.high) == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="both classes"):
        paired_interval(auc_figure(scores, np.zeros(4)), auc_figure(-scores, np.zeros(4)), np.arange(4), 5)
    lone = user_auc_figure(scores, label, np.array([1, 1, 2, 3]))
    found = paired_interval(lone, lone, np.array([1, 1, 2, 3]), 200)
    assert (found.low, found.high) == (0.0, 0.0)
    with pytest.raises(ValueError, match="undefined"):
        paired_interval(lambda weights: math.nan, lone, np.array([1, 1, 2, 3]), 5)


def test_two_thousand_resamples_of_auc_take_seconds_at_most() -> None:
    rng = np.random.default_rng(0)
    label, user = rng.integers(0, 2, 7331), rng.integers(0, 900, 7331)
    started = time.monotonic()
    paired_interval(auc_figure(rng.random(7331), label), auc_figure(rng.random(7331), label), user, 2000)
    assert time.monotonic() - started < 5.0  # 0.3 s measured


# ---- resampled by sums of clusters ----


def by_weights(figure: Figure) -> Figure:
    """The same figure, of which only the function of weights is known."""

    def plain(weights: np.ndarray) -> float:
        return figure(weights)

    return plain


@pytest.mark.parametrize("by", ["user", "person", "one"])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", FIGURES)
def test_sums_of_clusters_give_the_draws_that_weights_of_examples_give(name: str, seed: int, by: str) -> None:
    figure, given, other = FIGURES[name][0], examples(seed), examples(seed + 5)
    other |= {column: given[column] for column in ("observed", "label", "user")}
    cluster = {"user": given["user"], "person": given["user"] // 3, "one": np.arange(200)}[by]
    if name == "uauc" and by == "one":
        return
    first, second = figure(given), figure(other)
    assert isinstance(first, SumFigure) is (name != "auc")
    found = paired_interval(first, second, cluster, 60, seed)
    plain = paired_interval(by_weights(first), by_weights(second), cluster, 60, seed)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=1e-12)
    assert found.difference == plain.difference
    sides = ([first, second], [second, first, second])
    groups = group_interval(*sides, cluster, 60, seed)
    plainly = group_interval(*([by_weights(one) for one in side] for side in sides), cluster, 60, seed)
    assert (groups.low, groups.high) == pytest.approx((plainly.low, plainly.high), abs=1e-12)


def test_examples_are_read_once_and_not_for_every_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only clusters are drawn and summed: weights of examples are never made."""
    given = examples(0)
    monkeypatch.setattr(SumFigure, "__call__", lambda figure, weights: 0.0 if weights.all() else 1 / 0)
    figures = {name: rmse_figure(given["predicted"] + at, given["observed"]) for at, name in enumerate("abc")}
    found = paired_intervals(figures, [("a", "b"), ("a", "c")], given["user"], 50)
    assert all(interval.low < interval.high for interval in found)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_linear_auc_has_the_intervals_of_the_exact_one(seed: int, ties: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    size, user = 6000, rng.integers(0, 400, 6000)
    label = rng.random(size) < 0.2 + 0.3 * rng.random(400)[user]
    shared = rng.normal(size=size)
    scores = [shared + rng.normal(size=size) + shift * label for shift in (1.0, 0.9)]
    scores = [one.round(0 if ties else 9) for one in scores]
    exact = [auc_figure(one, label) for one in scores]
    monkeypatch.setattr(weighted, "EXACT", 100)
    linear = [auc_figure(one, label) for one in scores]
    for one, figure in zip(scores, linear, strict=True):
        assert isinstance(figure, SumFigure)
        assert figure(np.ones(size)) == pytest.approx(auc(one, label), abs=1e-12)
    told, close = (paired_interval(*pair, user, 1000) for pair in (exact, linear))
    width_of_it = told.high - told.low
    assert close.low == pytest.approx(told.low, abs=0.02 * width_of_it)
    assert close.high == pytest.approx(told.high, abs=0.02 * width_of_it)
    assert np.isnan(linear[0](label.astype(float))), "one class alone"


# ---- coverage ----


def normal_share(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def two_scorers(seed: int) -> tuple[Figure, Figure, np.ndarray]:
    """AUC figures of two scorers whose true AUCs are known, on 300 examples."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, 300)
    shared = rng.normal(0, 0.6, 300)
    scores = [shared + rng.normal(0, 0.8, 300) + shift * label for shift in (1.0, 0.6)]
    return auc_figure(scores[0], label), auc_figure(scores[1], label), np.arange(300)


def test_interval_of_auc_covers_a_known_difference() -> None:
    truth = normal_share(1.0 / math.sqrt(2)) - normal_share(0.6 / math.sqrt(2))
    found = [paired_interval(*two_scorers(seed), 200, seed) for seed in range(300)]
    covered = np.mean([interval.low <= truth <= interval.high for interval in found])
    assert 0.90 <= covered <= 0.98
    assert np.mean([interval.difference for interval in found]) == pytest.approx(truth, abs=0.005)


def test_verdict_says_which_is_lower() -> None:
    assert PairedInterval(-1.0, -2.0, -0.5, 9).verdict == "first is lower"
    assert PairedInterval(1.0, 0.5, 2.0, 9).verdict == "first is higher"
    for bounds in ((-0.5, 0.5), (0.0, 1.0), (-1.0, 0.0)):
        assert PairedInterval(0.1, *bounds, 9).verdict == "no difference"


# ---- groups of seeds ----


def group(rng: np.random.Generator, cluster: np.ndarray, seeds: int, mean: float, spread: float) -> list[Figure]:
    """Models of one recipe: what the recipe does to each cluster, what a seed does, and noise."""
    own = rng.normal(0, 0.5, cluster.max() + 1)[cluster]
    return [mean_figure(mean + own + rng.normal(0, spread) + rng.normal(0, 1, len(cluster))) for _ in range(seeds)]


def groups(seed: int, mean: float = 0.0, seeds: int = 5, spread: float = 0.1) -> GroupInterval:
    rng, cluster = np.random.default_rng(seed), np.repeat(np.arange(60), 5)
    first, second = group(rng, cluster, seeds, mean, spread), group(rng, cluster, seeds, 0.0, spread)
    return group_interval(first, second, cluster, 200, seed)


def test_groups_of_one_distribution_mostly_show_no_difference() -> None:
    found = [groups(seed) for seed in range(200)]
    assert np.mean([interval.verdict == "no difference" for interval in found]) >= 0.90


def test_interval_of_groups_covers_a_known_difference() -> None:
    found = [groups(seed, mean=0.8) for seed in range(200)]
    assert np.mean([interval.low <= 0.8 <= interval.high for interval in found]) >= 0.90
    assert np.mean([interval.verdict == "first is higher" for interval in found]) >= 0.95
    assert found[0].plain() == {
        "difference": found[0].difference,
        "low": found[0].low,
        "high": found[0].high,
        "clusters": 60,
        "first_seeds": 5,
        "second_seeds": 5,
        "excludes_zero": True,
    }


def test_difference_of_groups_is_that_of_their_means() -> None:
    rng, cluster = np.random.default_rng(0), np.arange(100) // 4
    values = [rng.normal(size=100) for _ in range(5)]
    figures = [mean_figure(v) for v in values]
    found = group_interval(figures[:2], figures[2:], cluster, 300, seed=3)
    assert found.difference == pytest.approx(np.mean(values[:2]) - np.mean(values[2:]))
    assert (found.clusters, found.first_seeds, found.second_seeds) == (25, 2, 3)
    assert found == group_interval(figures[:2], figures[2:], cluster, 300, seed=3)
    assert found != group_interval(figures[:2], figures[2:], cluster, 300, seed=4)


def test_spread_of_seeds_widens_the_interval_that_examples_alone_would_give() -> None:
    cluster = np.arange(300) // 5
    noise = np.random.default_rng(0).normal(0, 1, (2, 300))
    shifts = np.array([-0.4, 0.0, 0.4])
    steady = [[mean_figure(row) for _ in shifts] for row in noise]
    moved = [[mean_figure(row + shift) for shift in shifts] for row in noise]
    alone = paired_interval(steady[0][0], steady[1][0], cluster, 1000)
    same = group_interval(*steady, cluster, 1000)
    assert width(same) == pytest.approx(width(alone), rel=0.1)
    variance = np.var(shifts, ddof=1) * 2 / 3  # of the difference of two means of three
    expected = math.hypot(width(same), 2 * 1.96 * math.sqrt(variance))
    assert width(group_interval(*moved, cluster, 2000)) == pytest.approx(expected, rel=0.1)


def test_one_seed_each_is_the_paired_interval() -> None:
    first, second, cluster = two_scorers(0)
    found, pair = group_interval([first], [second], cluster, 1000), paired_interval(first, second, cluster, 1000)
    assert found.difference == pair.difference
    assert (found.low, found.high) == pytest.approx((pair.low, pair.high), abs=0.01)
