"""Losses against other items: torch's own, masks, and what the correction for sampling promises."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from llmrec_peft.losses import loss

bpr, softmax, info_nce = loss("bpr"), loss("softmax"), loss("info_nce")
ROWS, COLUMNS = 40, 12


def scored(seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Scores [B, C] that ask for a gradient, and targets [B]."""
    torch.manual_seed(seed)
    return (2 * torch.randn(ROWS, COLUMNS, dtype=dtype)).requires_grad_(), torch.randint(0, COLUMNS, (ROWS,))


def same_value_and_gradient(value: Tensor, reference: Tensor, at: Tensor) -> None:
    torch.testing.assert_close(value, reference)
    pair = [torch.autograd.grad(one, at)[0] for one in (value, reference)]
    torch.testing.assert_close(*pair)


# ---- bpr ----


def test_bpr_is_the_mean_over_pairs() -> None:
    negative, _ = scored()
    positive = torch.randn(ROWS, dtype=torch.float64)
    pairs = [-F.logsigmoid(p - n) for p, row in zip(positive, negative, strict=True) for n in row]
    same_value_and_gradient(bpr(positive, negative), torch.stack(pairs).mean(), negative)


def test_bpr_counts_the_pairs_of_the_mask_alone() -> None:
    negative, _ = scored()
    positive, mask = torch.randn(ROWS, dtype=torch.float64), torch.rand(ROWS, COLUMNS) < 0.4
    mask[3] = False
    value = bpr(positive, negative, mask)
    same_value_and_gradient(value, -F.logsigmoid((positive[:, None] - negative)[mask]).mean(), negative)
    (gradient,) = torch.autograd.grad(bpr(positive, negative, mask), negative)
    assert torch.equal(gradient != 0, mask)
    poisoned = torch.where(mask, negative.detach(), torch.inf).requires_grad_()
    torch.testing.assert_close(bpr(positive, poisoned, mask), value)
    assert torch.autograd.grad(bpr(positive, poisoned, mask), poisoned)[0].isfinite().all()
    full = torch.ones_like(mask)
    torch.testing.assert_close(bpr(positive, negative, full), bpr(positive, negative))


def test_bpr_without_a_pair_is_zero_with_a_zero_gradient() -> None:
    negative, _ = scored()
    value = bpr(torch.zeros(ROWS), negative, torch.zeros(ROWS, COLUMNS, dtype=torch.bool))
    assert value.item() == 0.0
    assert not torch.autograd.grad(value, negative)[0].any()


# ---- softmax and info_nce ----


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_softmax_is_torch_cross_entropy(smoothing: float) -> None:
    scores, target = scored()
    reference = F.cross_entropy(scores, target, label_smoothing=smoothing)
    same_value_and_gradient(softmax(scores, target, label_smoothing=smoothing), reference, scores)


def test_log_q_is_taken_from_every_score_up_to_a_constant() -> None:
    scores, target = scored()
    log_q = torch.randn(COLUMNS, dtype=torch.float64)
    for constant in (0.0, 7.0):
        reference = F.cross_entropy(scores - log_q, target)
        same_value_and_gradient(softmax(scores, target, log_q + constant), reference, scores)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_softmax_sees_the_candidates_of_the_mask_and_the_target_alone(smoothing: float) -> None:
    scores, target = scored()
    log_q = torch.randn(COLUMNS, dtype=torch.float64)
    mask = torch.rand(ROWS, COLUMNS) < 0.5
    mask[torch.arange(ROWS), target] = torch.rand(ROWS) < 0.5  # whatever it says of the target
    mask[0] = False
    given = mask.clone()
    value = softmax(scores, target, log_q, smoothing, mask)
    assert torch.equal(mask, given), "the caller's mask is left as it was"
    rows = []
    for row, at in enumerate(target):
        kept = mask[row].clone()
        kept[at] = True
        place = kept[:at].sum()[None]
        rows.append(F.cross_entropy((scores[row] - log_q)[kept][None], place, label_smoothing=smoothing))
    same_value_and_gradient(value, torch.stack(rows).mean(), scores)
    assert rows[0].item() == 0.0, "a target alone is certain"
    poisoned = torch.where(mask.scatter(1, target[:, None], True), scores.detach(), torch.nan).requires_grad_()
    torch.testing.assert_close(softmax(poisoned, target, log_q, smoothing, mask), value)
    full = torch.ones_like(mask)
    torch.testing.assert_close(
        softmax(scores, target, log_q, smoothing, full), softmax(scores, target, log_q, smoothing)
    )


def test_info_nce_is_softmax_at_a_temperature_that_can_be_learned() -> None:
    similarity, target = scored()
    log_q = torch.randn(COLUMNS, dtype=torch.float64)
    mask = torch.rand(ROWS, COLUMNS) < 0.5
    reference = softmax(similarity / 0.05, target, log_q, mask=mask)
    same_value_and_gradient(info_nce(similarity, target, 0.05, log_q, mask), reference, similarity)
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: info_nce(similarity.detach(), target, t, log_q, mask), temperature)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_extreme_scores_have_finite_losses_and_gradients(size: float) -> None:
    scores = torch.tensor([[-size, size, 0.0], [size, -size, 0.0]], requires_grad=True)
    target, mask = torch.tensor([0, 0]), torch.tensor([[False, True, False], [True, False, True]])
    for value in (
        softmax(scores, target),
        softmax(scores, target, torch.tensor([-50.0, 50.0, 0.0]), 0.1, mask),
        info_nce(scores, target, 0.01),
        bpr(scores[:, 0], scores[:, 1:]),
        bpr(scores[:, 0], scores[:, 1:], mask[:, 1:]),
    ):
        assert value.isfinite()
        assert torch.autograd.grad(value, scores)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_scores_are_normalised_in_single(dtype: torch.dtype) -> None:
    scores, target = scored(dtype=torch.float32)
    half = scores.detach().to(dtype)
    assert softmax(half, target).dtype == torch.float32
    torch.testing.assert_close(softmax(half, target), softmax(half.float(), target))
    torch.testing.assert_close(info_nce(half, target, 0.07), info_nce(half.float(), target, 0.07))


# ---- what the correction promises ----

ITEMS = 6
LOG_P = torch.tensor([0.3, 0.25, 0.2, 0.1, 0.1, 0.05], dtype=torch.float64).log()
"""How often each item is the target."""
Q = torch.tensor([0.05, 0.1, 0.15, 0.2, 0.1, 0.4], dtype=torch.float64)
"""How often each item is drawn as a candidate."""


def at_columns(scores: Tensor, columns: Tensor, log_q: Tensor | None) -> Tensor:
    """Loss of one row whose candidates are these items, the target first."""
    return softmax(scores[columns][None], torch.zeros(1, dtype=torch.int64), None if log_q is None else log_q[columns])


def steepest(draws: int, log_q: Tensor | None, copies: str = "kept") -> float:
    """Largest entry of the gradient at the true scores of the loss expected over targets and draws, by enumeration."""
    scores, expected, certain = LOG_P.clone().requires_grad_(), torch.zeros(()), 0.0
    for target, *drawn in product(range(ITEMS), repeat=draws + 1):
        probability = (LOG_P[target].exp() * Q[drawn].prod()).item()
        seen = {
            "kept": drawn,
            "of the target masked": [item for item in drawn if item != target],
            "distinct": sorted(set(drawn) - {target}),
        }[copies]
        expected = expected + probability * at_columns(scores, torch.tensor([target, *seen]), log_q)
        certain += probability
    assert certain == pytest.approx(1.0)
    return float(torch.autograd.grad(expected, scores)[0].abs().max())


@pytest.mark.parametrize("draws", [1, 3])
def test_the_true_scores_are_a_stationary_point_of_the_corrected_loss_alone(draws: int) -> None:
    assert steepest(draws, Q.log()) < 1e-12
    assert steepest(draws, Q.log() + 5.0) < 1e-12
    assert steepest(draws, None) > 0.05


def test_correction_expects_copies_to_stay_or_candidates_to_be_distinct() -> None:
    draws, without = 3, steepest(3, None)
    assert steepest(draws, Q.log(), "of the target masked") > 0.02 * without
    among = (1 - (1 - Q) ** draws).log()
    assert steepest(draws, among, "distinct") < 0.05 * without
    assert steepest(draws, among, "distinct") < 0.5 * steepest(draws, Q.log(), "distinct")


def test_corrected_gradient_is_nearly_that_of_the_full_softmax() -> None:
    torch.manual_seed(0)
    scores = torch.randn(ITEMS, dtype=torch.float64).requires_grad_()  # far from the true ones
    rows = 1500
    target = torch.multinomial(LOG_P.exp(), rows, replacement=True)
    (full,) = torch.autograd.grad(softmax(scores.expand(rows, -1), target), scores)

    def distance(draws: int, corrected: bool) -> float:
        drawn = torch.multinomial(Q, rows * draws, replacement=True).reshape(rows, draws)
        log_q = Q.log() if corrected else None
        rows_of = [at_columns(scores, torch.cat([t[None], d]), log_q) for t, d in zip(target, drawn, strict=True)]
        (gradient,) = torch.autograd.grad(torch.stack(rows_of).mean(), scores)
        return ((gradient - full).norm() / full.norm()).item()

    assert distance(64, True) < 0.1
    assert distance(64, True) < 0.5 * distance(4, True), "the rest of the bias falls with the number of draws"
    assert distance(64, False) > 5 * distance(64, True)


def test_popular_candidates_of_a_batch_are_scored_down_without_the_correction() -> None:
    torch.manual_seed(0)
    popularity = torch.tensor([0.6, 0.25, 0.1, 0.05], dtype=torch.float64)  # the same for everyone
    found = {}
    for corrected in (True, False):
        scores = torch.zeros(4, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([scores], 0.05)
        for _ in range(400):
            target = torch.multinomial(popularity, 128, replacement=True)  # each row's target is a negative elsewhere
            log_q = popularity.log()[target] if corrected else None
            value = softmax(scores[target].expand(128, -1), torch.arange(128), log_q)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        found[corrected] = (scores - scores.mean()).detach()
    truth = popularity.log() - popularity.log().mean()
    assert (found[True] - truth).abs().max() < 0.3
    assert found[False].abs().max() < 0.3, "an item is as often a target as it is a negative: nothing is learned"
