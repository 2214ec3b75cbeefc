"""Metrics by impression against scikit-learn and MIND's definitions, list by list, and their resampling by users."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import ndcg_score, roc_auc_score

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.impression_metrics import IMPRESSION_METRICS, by_impression
from llmrec_peft.evaluation.intervals import paired_interval
from llmrec_peft.evaluation.measures import ClickMeasure

LISTS = 40


def shown(seed: int, steps: int = 10**6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, labels and impressions of 2 to 15 items, in no order; the last impression has no click."""
    rng = np.random.default_rng(seed)
    impression = np.repeat(rng.permutation(LISTS) * 7, rng.integers(2, 16, LISTS))
    label = (rng.random(len(impression)) < 0.3).astype(np.float64)
    for one in np.unique(impression):
        first, second = np.flatnonzero(impression == one)[:2]
        label[first], label[second] = 1, 0
    label[impression == impression[0]] = 0
    score = (rng.integers(0, steps, len(impression)) + 300_000 * label * steps / 10**6) / steps
    order = rng.permutation(len(impression))
    return score[order], label[order], impression[order]


def official_mrr(label: np.ndarray, score: np.ndarray) -> float:
    """As MIND's script defines it: the mean of 1 / place over all clicked items."""
    places = 1 + np.argsort(np.argsort(-score))
    return float(np.mean(1.0 / places[label == 1]))


def official_ndcg(label: np.ndarray, score: np.ndarray, k: int) -> float:
    """As MIND's script defines it: gains 2^y - 1 over log2(place + 1), divided by the best there could be."""

    def dcg(by: np.ndarray) -> float:
        best = label[np.argsort(-by, kind="stable")][:k]
        return float(np.sum((2**best - 1) / np.log2(np.arange(len(best)) + 2)))

    return dcg(score) / dcg(label)


@pytest.mark.parametrize("seed", range(3))
def test_each_impression_has_the_figures_of_the_official_definitions(seed: int) -> None:
    score, label, impression = shown(seed)
    found = by_impression(score, label, impression)
    assert (len(found), found.left_out) == (LISTS - 1, 1)
    for at, first in enumerate(found.first):
        rows = impression == impression[first]
        own, said = label[rows], score[rows]
        expected = {
            "impression_auc": roc_auc_score(own, said),
            "impression_mrr": official_mrr(own, said),
            "impression_ndcg@5": official_ndcg(own, said, 5),
            "impression_ndcg@10": official_ndcg(own, said, 10),
        }
        assert {name: found.values[name][at] for name in expected} == pytest.approx(expected, abs=1e-12)
        for k in (5, 10):
            assert found.values[f"impression_ndcg@{k}"][at] == pytest.approx(ndcg_score([own], [said], k=k), abs=1e-12)
    means = {name: np.mean(values) for name, values in found.values.items()}
    assert found.report() == pytest.approx({**means, "impression_left_out": 1})


@pytest.mark.parametrize("seed", range(2))
def test_items_of_one_score_share_their_places_whatever_their_order(seed: int) -> None:
    score, label, impression = shown(seed, steps=3)
    found = by_impression(score, label, impression)
    for at, first in enumerate(found.first):
        rows = impression == impression[first]
        for k in (5, 10):  # scikit-learn takes the mean over all orders of ties, too
            expected = ndcg_score([label[rows]], [score[rows]], k=k)
            assert found.values[f"impression_ndcg@{k}"][at] == pytest.approx(expected, abs=1e-12)
        orders = [np.random.default_rng(draw).random(rows.sum()) * 1e-9 for draw in range(2000)]
        if at < 3:
            drawn = np.mean([official_mrr(label[rows], score[rows] + order) for order in orders])
            assert found.values["impression_mrr"][at] == pytest.approx(drawn, abs=0.02)
    order = np.random.default_rng(seed).permutation(len(score))
    again = by_impression(score[order], label[order], impression[order])
    assert again.report() == pytest.approx(found.report(), abs=1e-13)


def test_lists_of_one_class_alone_have_no_figures() -> None:
    found = by_impression(np.array([0.1, 0.2, 0.3]), np.array([1, 1, 0]), np.array([0, 0, 1]))
    assert found.report() == {"impression_left_out": 2}


def part(seed: int) -> tuple[np.ndarray, Interactions]:
    score, label, impression = shown(seed)
    user = impression // 7 % 9 + 1
    rows = np.arange(len(label), dtype=np.int64)
    found = Interactions(user, rows % 11 + 1, label.astype(np.float32), rows, impression=impression)
    return score, found


def test_click_measure_reports_impressions_only_where_they_are_known() -> None:
    score, examples = part(0)
    score = score / 2
    report = ClickMeasure(np.asarray).report(score, examples)
    assert set(IMPRESSION_METRICS) < set(report)
    bare = ClickMeasure(np.asarray).report(score, replace(examples, impression=None))
    assert bare == {name: value for name, value in report.items() if not name.startswith("impression_")}
    with pytest.raises(ValueError, match="do not say which items were shown together"):
        ClickMeasure(np.asarray).weighted("impression_mrr", score, replace(examples, impression=None))


@pytest.mark.parametrize("metric", IMPRESSION_METRICS)
def test_intervals_draw_whole_users_with_all_their_impressions(metric: str) -> None:
    score, examples = part(1)
    measure = ClickMeasure(np.asarray)
    assert list(measure.clusters(metric, examples)) == ["by_user"]
    figure = measure.weighted(metric, score, examples)
    times = np.random.default_rng(0).integers(0, 4, 10)[examples.user]
    copies = np.concatenate([np.arange(count) for count in times])
    repeated = np.repeat(np.arange(len(score)), times)
    expected = by_impression(
        score[repeated], examples.label[repeated], np.repeat(examples.impression, times) * 10 + copies
    )
    assert figure(times.astype(float)) == pytest.approx(expected.report()[metric], abs=1e-12)
    found = paired_interval(figure, measure.weighted(metric, -score, examples), examples.user, 100)
    assert found.low > 0.0
    assert found.clusters == 9
    with pytest.raises(ValueError, match="a mean by impression is resampled by whole impressions"):
        figure(np.arange(len(score), dtype=float))
