"""Rates of groups: categories and ages of items by hand, and settings that are chosen by impression."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logit

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.evaluation.baselines.baseline import Baseline
from llmrec_peft.evaluation.baselines.click import ITEM_SHRINK, ClickData, click_baselines
from llmrec_peft.evaluation.baselines.groups import groups_of
from llmrec_peft.evaluation.impression_metrics import by_impression

HOUR = 3600
ITEMS = {"category": ["a", None, "b", "a"], "first_seen": [0, None, HOUR, -HOUR], "title": ["", "", "", ""]}


def part(seed: int, rows: int = 300) -> Interactions:
    """Clicks that depend on the category and on the age; item 0 is unknown."""
    rng = np.random.default_rng(seed)
    item, time = rng.integers(0, 5, rows), rng.integers(0, 40 * HOUR, rows)
    odds = np.array([0.0, 1.5, 0.0, -1.5, 1.5])[item] - 0.05 * time / HOUR
    label = (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.float32)
    return Interactions(rng.integers(1, 9, rows), item, label, time, impression=np.arange(rows) // 6)


def test_groups_are_made_of_columns_that_are_there() -> None:
    groups = groups_of(ITEMS)
    examples = replace(part(0).take(np.arange(5)), item=np.arange(5), timestamp=np.full(5, 2 * HOUR))
    assert groups["category"](examples).tolist() == [0, 1, 0, 2, 1]
    assert groups["age"](examples).tolist() == [0, 2, 0, 2, 3]
    assert groups_of({"title": ["x"], "category": [3], "first_seen": [None]}) == {}


@pytest.mark.parametrize("metric", ["auc", "impression_auc"])
def test_rates_of_groups_are_those_of_their_training_labels(metric: str) -> None:
    train, valid, test = (part(seed) for seed in range(3))
    data = ClickData(train, valid, train, test, 5, None, False, metric, groups_of(ITEMS))
    found: dict[str, Baseline] = {baseline.name: baseline for baseline in click_baselines(data)}
    assert {"category_rate", "age_rate"} <= set(found)
    for name, group in data.groups.items():
        of_train, of_valid, of_test = (group(one) for one in (train, valid, test))
        mean = train.label.mean()

        def odds(asked: np.ndarray, shrink: float, known: np.ndarray = of_train, mean: float = mean) -> np.ndarray:
            own = [train.label[known == one] for one in asked]
            return np.array([logit((one.sum() + shrink * mean) / (len(one) + shrink)) for one in own])

        figures = [
            by_impression(odds(of_valid, shrink), valid.label, valid.impression).report()["impression_auc"]
            for shrink in ITEM_SHRINK
        ]
        shrink = found[f"{name}_rate"].settings["shrink"]
        if metric == "impression_auc":
            assert shrink == ITEM_SHRINK[int(np.argmax(figures))]
        score = np.asarray(found[f"{name}_rate"].test)
        assert np.array_equal(
            np.argsort(np.argsort(score.round(9))), np.argsort(np.argsort(odds(of_test, shrink).round(9)))
        ) or (np.corrcoef(logit(score), odds(of_test, shrink))[0, 1] == pytest.approx(1.0, abs=1e-6))


def test_a_sample_of_validation_keeps_impressions_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmrec_peft.evaluation.baselines import click

    monkeypatch.setattr(click, "SAMPLE", 60)
    valid = part(1)
    assert valid.impression is not None
    chooser = click._Chooser(valid.label, valid.impression)
    kept = valid.impression[chooser._rows]
    assert 30 < len(kept) < 90
    assert (np.unique(kept, return_counts=True)[1] == 6).all()
