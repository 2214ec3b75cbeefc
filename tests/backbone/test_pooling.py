"""Pooling against a loop over texts and tokens."""

from __future__ import annotations

import pytest
import torch

from llmrec_peft.backbone.pooling import pool


def _naive(states: torch.Tensor, lengths: list[int], kind: str) -> torch.Tensor:
    rows = []
    for own, length in zip(states.float(), lengths, strict=True):
        if kind == "mean":
            rows.append(torch.stack([own[place] for place in range(length)]).sum(0) / length)
        else:
            rows.append(own[0 if kind == "cls" else length - 1])
    return torch.stack(rows)


@pytest.mark.parametrize("kind", ["mean", "cls", "last-token"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pooling_reads_tokens_and_never_padding(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    lengths = [5, 1, 7, 3]
    states = torch.randn(4, 7, 6).to(dtype)
    mask = (torch.arange(7) < torch.tensor(lengths).unsqueeze(1)).long()
    pooled = pool(states, mask, kind)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, _naive(states, lengths, kind), rtol=1e-5, atol=1e-6)
    spoiled = torch.where(mask.bool().unsqueeze(-1), states, torch.full_like(states, 1e3))
    torch.testing.assert_close(pool(spoiled, mask, kind), pooled)


def test_text_without_tokens_pools_to_zero_instead_of_nan() -> None:
    assert pool(torch.ones(1, 3, 2), torch.zeros(1, 3, dtype=torch.long), "mean").tolist() == [[0.0, 0.0]]


def test_hidden_tokens_move_neither_the_first_nor_the_last_one() -> None:
    states = torch.arange(10.0).reshape(1, 5, 2)
    mask = torch.tensor([[0, 1, 0, 1, 0]])  # a prompt's token before, a dropped word inside, padding after
    assert pool(states, mask, "cls").tolist() == [[2.0, 3.0]]
    assert pool(states, mask, "last-token").tolist() == [[6.0, 7.0]]
    assert pool(states, mask, "max").tolist() == [[6.0, 7.0]]
    assert pool(states, mask, "mean").tolist() == [[4.0, 5.0]]
    later = torch.tensor([[(2 * 2 + 4 * 6) / 6, (2 * 3 + 4 * 7) / 6]])
    torch.testing.assert_close(pool(states, mask, "weighted-mean"), later)
    torch.testing.assert_close(pool(states, mask, "mean-sqrt"), torch.tensor([[8.0, 10.0]]) / 2**0.5)
    with pytest.raises(ValueError, match="attention"):
        pool(states, mask, "attention")
