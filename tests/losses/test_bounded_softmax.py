"""Bounded softmax: cross-entropy for a bound of 0, 1 − p for 1, and an example out of reach pulls hardly at all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from llmrec_peft.losses import loss

bounded, softmax = loss("bounded_softmax"), loss("softmax")
ROWS, COLUMNS = 30, 9


def scored(seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return (2 * torch.randn(ROWS, COLUMNS, dtype=dtype)).requires_grad_(), torch.randint(0, COLUMNS, (ROWS,))


def gradient(value: Tensor, at: Tensor) -> Tensor:
    return torch.autograd.grad(value, at)[0]


@pytest.mark.parametrize("seed", range(2))
def test_towards_a_bound_of_zero_it_is_cross_entropy(seed: int) -> None:
    scores, target = scored(seed)
    exact = F.cross_entropy(scores, target)
    near, nearer = bounded(scores, target, 1e-4), bounded(scores, target, 1e-6)
    torch.testing.assert_close(nearer, exact, rtol=1e-5, atol=1e-5)
    assert abs(nearer.item() - exact.item()) < abs(near.item() - exact.item()) < 1e-2
    torch.testing.assert_close(gradient(nearer, scores), gradient(exact, scores), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_at_a_bound_of_one_it_is_the_chance_of_being_wrong(seed: int) -> None:
    scores, target = scored(seed)
    p = F.softmax(scores, dim=1).gather(1, target[:, None])
    value, expected = bounded(scores, target, 1.0), (1 - p).mean()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient(value, scores), gradient(expected, scores))


@pytest.mark.parametrize("q", [0.1, 0.3, 0.7, 1.0])
def test_value_is_the_formula_of_the_paper_and_gradients_pass_the_numeric_check(q: float) -> None:
    scores, target = scored()
    p = F.softmax(scores, dim=1).gather(1, target[:, None])
    torch.testing.assert_close(bounded(scores, target, q), ((1 - p**q) / q).mean())
    assert torch.autograd.gradcheck(lambda s: bounded(s, target, q), scores.detach().requires_grad_())


@pytest.mark.parametrize("q", [0.1, 0.3, 1.0])
def test_gradient_is_that_of_cross_entropy_times_p_to_the_bound_so_what_is_out_of_reach_hardly_pulls(q: float) -> None:
    scores, target = scored()
    with torch.no_grad():
        scores[0, target[0]] = -40.0
    p = F.softmax(scores.detach(), dim=1).gather(1, target[:, None])
    pulls, plain = gradient(bounded(scores, target, q), scores), gradient(F.cross_entropy(scores, target), scores)
    torch.testing.assert_close(pulls, plain * p**q)
    assert plain[0].abs().max() > 0.02
    assert pulls[0].abs().max() < 0.02 * plain[0].abs().max()
    values = torch.stack([bounded(scores[row : row + 1], target[row : row + 1], q) for row in range(ROWS)])
    assert values.max() <= 1 / q
    assert values[0].item() == pytest.approx(1 / q, rel=0.02)


def test_correction_is_taken_from_every_score_before_the_bound() -> None:
    scores, target = scored()
    log_q = torch.randn(COLUMNS, dtype=torch.float64)
    torch.testing.assert_close(bounded(scores, target, 0.4, log_q), bounded(scores - log_q, target, 0.4))
    torch.testing.assert_close(bounded(scores, target, 0.4, log_q + 9.0), bounded(scores, target, 0.4, log_q))
    torch.testing.assert_close(bounded(scores, target, 1e-7, log_q), softmax(scores, target, log_q), rtol=1e-5, atol=0)


@pytest.mark.parametrize("q", [1e-3, 0.3, 1.0])
@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_extreme_scores_have_finite_losses_and_gradients(size: float, q: float) -> None:
    scores = torch.tensor([[-size, size, 0.0], [size, -size, 0.0]], requires_grad=True)
    for log_q in (None, torch.tensor([-50.0, 50.0, 0.0])):
        value = bounded(scores, torch.tensor([0, 0]), q, log_q)
        assert value.isfinite()
        assert gradient(value, scores).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_scores_are_normalised_in_single(dtype: torch.dtype) -> None:
    scores, target = scored(dtype=torch.float32)
    half = scores.detach().to(dtype)
    assert bounded(half, target).dtype == torch.float32
    torch.testing.assert_close(bounded(half, target), bounded(half.float(), target))


def test_noisy_examples_move_the_answer_less_than_under_cross_entropy() -> None:
    """A third of the labels is unpredictable: the others are still predicted, and with more confidence."""
    torch.manual_seed(0)
    kind = torch.randint(0, 3, (300,))
    target = torch.where(torch.rand(300) < 0.34, torch.randint(3, COLUMNS, (300,)), kind)
    found = {}
    for name, function in (("bounded", lambda s: bounded(s, target, 0.7)), ("plain", lambda s: softmax(s, target))):
        weight = torch.zeros(3, COLUMNS, requires_grad=True)
        optimizer = torch.optim.Adam([weight], lr=0.1)
        for _ in range(150):
            optimizer.zero_grad()
            function(weight[kind]).backward()
            optimizer.step()
        found[name] = float(F.softmax(weight.detach(), dim=1).diagonal().mean())
    assert found["bounded"] > 0.9 > found["plain"]
