"""Click metrics against scikit-learn, torchmetrics and pairs counted by hand, on scores that tie."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score
from torchmetrics.classification import BinaryAUROC, BinaryCalibrationError

from llmrec_peft.evaluation.click_metrics import (
    CLICK_METRICS,
    auc,
    auc_by_user,
    click_report,
    ece,
    log_loss,
    user_auc,
)

SEEDS = range(3)


def clicks(seed: int, steps: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, labels of both classes, and users; few distinct probabilities for some seeds."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(20, 400))
    steps = steps or (3, 10, 10**6)[seed % 3]
    probability = rng.integers(0, steps, size) / steps
    label = (rng.random(size) < 0.3 + 0.4 * probability).astype(float)
    label[:2] = 0, 1
    return probability, label, rng.integers(5, 40, size) * 3


def counted(scores: np.ndarray, labels: np.ndarray) -> float:
    """AUC by its definition, pair by pair."""
    above = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    return float(np.mean((above > 0) + 0.5 * (above == 0)))


@pytest.mark.parametrize("seed", SEEDS)
def test_auc_is_that_of_the_pairs_of_scikit_learn_and_of_torchmetrics(seed: int) -> None:
    probability, label, _ = clicks(seed)
    found = auc(probability, label)
    assert found == pytest.approx(counted(probability, label), abs=1e-14)
    assert found == pytest.approx(roc_auc_score(label, probability), abs=1e-12)
    pair = torch.from_numpy(probability), torch.from_numpy(label).long()
    assert found == pytest.approx(BinaryAUROC()(*pair).item(), abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_auc_depends_on_the_order_alone(seed: int) -> None:
    probability, label, _ = clicks(seed)
    found = auc(probability, label)
    assert auc(1e6 * probability - 7, label) == found
    assert auc(-probability, label) == pytest.approx(1 - found, abs=1e-14)
    shuffled = np.random.default_rng(seed).permutation(len(label))
    assert auc(probability[shuffled], label[shuffled]) == found
    assert auc(np.zeros(len(label)), label) == 0.5


def test_infinite_scores_tie_with_each_other() -> None:
    assert auc(np.array([-np.inf, -np.inf, np.inf]), np.array([0, 1, 0])) == 0.25
    assert auc(np.array([np.inf, np.inf, -np.inf]), np.array([1, 0, 0])) == 0.75


@pytest.mark.parametrize("seed", SEEDS)
def test_log_loss_agrees_with_scikit_learn(seed: int) -> None:
    probability, label, _ = clicks(seed)
    for given in (probability, probability.astype(np.float32)):
        reference = sklearn_log_loss(label, np.clip(given, np.finfo(np.float32).eps, 1 - np.finfo(np.float32).eps))
        assert log_loss(given, label) == pytest.approx(reference, rel=1e-6)


def test_certain_and_wrong_costs_what_single_precision_can_tell_from_1() -> None:
    for dtype in (np.float32, np.float64):
        assert log_loss(np.ones(1, dtype), np.zeros(1)) == pytest.approx(15.9424, abs=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_user_auc_is_the_mean_of_scikit_learn_by_user(seed: int) -> None:
    probability, label, user = clicks(seed)
    label[user == user[0]] = 1  # at least one user with one class
    own = {
        u: roc_auc_score(label[user == u], probability[user == u])
        for u in np.unique(user)
        if len(np.unique(label[user == u])) > 1
    }
    found = user_auc(probability, label, user)
    assert found.value == pytest.approx(np.mean(list(own.values())), abs=1e-12)
    assert (found.users, found.left_out) == (len(own), len(np.unique(user)) - len(own))
    names, values = auc_by_user(probability, label, user)
    assert dict(zip(names.tolist(), values, strict=True)) == pytest.approx(own)
    one = user_auc(probability, clicks(seed)[1], np.zeros(len(user), int))
    assert one.value == auc(probability, clicks(seed)[1])


def test_users_weigh_the_same_however_much_they_saw() -> None:
    user = np.array([1] * 100 + [2, 2])
    label = np.array([1, 0] * 50 + [1, 0])
    scores = np.array([1.0, 0.0] * 50 + [0.0, 1.0])
    assert user_auc(scores, label, user).value == 0.5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bins", [1, 7, 10, 15])
def test_ece_agrees_with_torchmetrics(seed: int, bins: int) -> None:
    probability, label, _ = clicks(seed)
    probability = 0.98 * probability + 0.011  # away from the edges, where roundings of the edges would tell
    pair = torch.from_numpy(probability), torch.from_numpy(label).long()
    reference = BinaryCalibrationError(n_bins=bins, norm="l1")(*pair).item()
    assert ece(probability, label, bins) == pytest.approx(reference, abs=1e-6)


def test_a_bin_of_ece_holds_its_lower_edge() -> None:
    for at in range(1, 10):
        label = np.array([0, 1])
        apart, together = np.array([at / 10 - 0.05, at / 10]), np.array([at / 10, at / 10 + 0.05])
        assert ece(apart, label, 10) == pytest.approx((apart[0] + 1 - apart[1]) / 2)
        assert ece(together, label, 10) == pytest.approx(abs(1 - together.sum()) / 2)


def test_ece_counts_certainty_in_the_last_bin() -> None:
    assert ece(np.array([1.0, 0.96]), np.array([1, 0]), 10) == pytest.approx(abs(1 - 1.96) / 2)


def test_ece_is_small_for_true_probabilities_and_large_for_certain_ones() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(200_000)
    label = (rng.random(200_000) < probability).astype(float)
    assert ece(probability, label) < 0.01
    assert ece(np.round(probability), label) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("value", [0, 1])
def test_one_class_is_refused(value: int) -> None:
    labels = np.full(4, value)
    with pytest.raises(ValueError, match=f"needs both classes: all 4 labels are {value}"):
        auc(np.arange(4.0), labels)
    with pytest.raises(ValueError, match="needs a user with both classes"):
        user_auc(np.arange(4.0), np.array([0, 0, 1, 1]), np.array([1, 1, 2, 2]))


@pytest.mark.parametrize("name", CLICK_METRICS)
def test_what_is_no_probability_or_no_label_is_refused(name: str) -> None:
    metric, user, label = CLICK_METRICS[name], np.zeros(3, int), np.array([0, 1, 1])
    with pytest.raises(ValueError, match="1 of 3 scores are not numbers"):
        metric(np.array([0.1, np.nan, 0.2]), label, user)
    with pytest.raises(ValueError, match=r"0\.5 is neither"):
        metric(np.array([0.1, 0.3, 0.2]), np.array([0, 0.5, 1]), user)
    with pytest.raises(ValueError, match="no example"):
        metric(np.empty(0), np.empty(0), np.empty(0, int))
    with pytest.raises(ValueError, match="shapes"):
        metric(np.zeros((3, 1)), label, user)
    if name in ("log_loss", "ece"):
        with pytest.raises(ValueError, match=r"1\.5 does not"):
            metric(np.array([0.1, 1.5, 0.2]), label, user)


@pytest.mark.parametrize("seed", SEEDS)
def test_report_holds_every_metric(seed: int) -> None:
    probability, label, user = clicks(seed)
    whole = user_auc(probability, label, user)
    assert click_report(probability, label, user) == {
        "auc": auc(probability, label),
        "log_loss": log_loss(probability, label),
        "uauc": whole.value,
        "ece": ece(probability, label),
        "uauc_users_left_out": whole.left_out,
    }


def test_report_leaves_out_what_the_labels_leave_undefined() -> None:
    probability, user = np.array([0.2, 0.4, 0.9]), np.array([1, 1, 2])
    assert set(click_report(probability, np.zeros(3), user)) == {"log_loss", "ece", "uauc_users_left_out"}
    report = click_report(probability, np.array([0, 0, 1]), user)
    assert set(report) == {"auc", "log_loss", "ece", "uauc_users_left_out"}
    assert report["uauc_users_left_out"] == 2
