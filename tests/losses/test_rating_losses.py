"""Losses against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from llmrec_peft.losses import RATING_LOSSES, loss

REFERENCES = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}


@pytest.mark.parametrize("name", RATING_LOSSES)
def test_loss_and_gradient_are_those_of_torch(name: str) -> None:
    torch.manual_seed(0)
    predicted, observed = (3 * torch.randn(200)).requires_grad_(), torch.randn(200)
    value = loss(name)(predicted, observed)
    (gradient,) = torch.autograd.grad(value, predicted)
    reference = REFERENCES[name](predicted, observed)
    (expected,) = torch.autograd.grad(reference, predicted)
    torch.testing.assert_close(value, reference)
    torch.testing.assert_close(gradient, expected)


def test_every_named_loss_is_another_function() -> None:
    predicted, observed = torch.tensor([0.0, 5.0]), torch.tensor([0.5, 1.0])
    assert len({round(loss(name)(predicted, observed).item(), 4) for name in RATING_LOSSES}) == len(RATING_LOSSES)
