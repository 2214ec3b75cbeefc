"""Losses of logits against torch's own, against probabilities spelled out, and at their minima."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from llmrec_peft.losses import CLICK_LOSSES, loss

bce, focal = loss("bce"), loss("focal")
WEIGHTS, GAMMAS = (1.0, 0.3, 4.0), (0.0, 0.5, 1.0, 2.0, 5.0)


def examples(soft: bool = False, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits that ask for a gradient, and labels."""
    torch.manual_seed(seed)
    logits = (4 * torch.randn(300, dtype=torch.float64)).requires_grad_()
    label = torch.rand(300, dtype=torch.float64)
    return logits, label if soft else label.round()


def spelled_out(logits: Tensor, observed: Tensor, weight: float, gamma: float) -> Tensor:
    """The paper's formula, by probabilities; a soft label is the mixture of its two hard ones."""
    p = torch.sigmoid(logits)
    return (-weight * observed * (1 - p) ** gamma * p.log() - (1 - observed) * p**gamma * (1 - p).log()).mean()


def same_value_and_gradient(value: Tensor, reference: Tensor, at: Tensor) -> None:
    torch.testing.assert_close(value, reference)
    pair = [torch.autograd.grad(one, at)[0] for one in (value, reference)]
    torch.testing.assert_close(*pair)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("weight", WEIGHTS)
def test_bce_is_that_of_torch(weight: float, soft: bool) -> None:
    logits, label = examples(soft)
    reference = F.binary_cross_entropy_with_logits(logits, label, pos_weight=torch.tensor(weight))
    same_value_and_gradient(bce(logits, label, weight), reference, logits)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_focal_is_the_formula_of_the_paper(weight: float, gamma: float, soft: bool) -> None:
    logits, label = examples(soft)
    same_value_and_gradient(focal(logits, label, weight, gamma), spelled_out(logits, label, weight, gamma), logits)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_focal_at_gamma_0_is_bce(weight: float) -> None:
    logits, label = examples(soft=True)
    same_value_and_gradient(focal(logits, label, weight, 0.0), bce(logits, label, weight), logits)


def test_focal_leaves_easy_examples_little_weight() -> None:
    logit, label = torch.tensor([0.9]).logit(), torch.ones(1)
    assert (focal(logit, label) / bce(logit, label)).item() == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize("name", CLICK_LOSSES)
@pytest.mark.parametrize("size", [30.0, 200.0, 1e4])
def test_extreme_logits_have_finite_losses_and_gradients(name: str, size: float) -> None:
    for label in (0.0, 0.5, 1.0):
        for options in ({}, {"gamma": 0.5}, {"gamma": 5.0}) if name == "focal" else ({},):
            logits = torch.tensor([-size, size], requires_grad=True)
            value = loss(name)(logits, torch.full((2,), label), **options)
            (gradient,) = torch.autograd.grad(value, logits)
            assert value.isfinite(), options
            assert gradient.isfinite().all(), options


@pytest.mark.parametrize("name", CLICK_LOSSES)
def test_gradients_pass_the_numeric_check(name: str) -> None:
    logits, label = examples(soft=True)
    assert torch.autograd.gradcheck(lambda x: loss(name)(x, label[:20], 2.0), logits[:20].detach().requires_grad_())


def minimum(name: str, share: float, weight: float) -> float:
    """Probability that minimises the loss where a share of examples is positive."""
    logits = torch.linspace(-6, 6, 2_401, dtype=torch.float64)
    values = torch.stack([loss(name)(x[None], torch.tensor([share], dtype=torch.float64), weight) for x in logits])
    return torch.sigmoid(logits[values.argmin()]).item()


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_minimum_of_bce_is_the_probability_and_its_odds_times_the_weight(share: float) -> None:
    assert minimum("bce", share, 1.0) == pytest.approx(share, abs=2e-3)
    odds = 3.0 * share / (1 - share)
    assert minimum("bce", share, 3.0) == pytest.approx(odds / (1 + odds), abs=2e-3)


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_minimum_of_focal_lies_nearer_to_one_half(share: float) -> None:
    assert share + 0.01 < minimum("focal", share, 1.0) < 0.5
