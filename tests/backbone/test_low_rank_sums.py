"""Low-rank sums: written into the output, whole or in blocks, they are those of the formula."""

from __future__ import annotations

import pytest
import torch

from llmrec_peft.backbone import low_rank
from llmrec_peft.backbone.low_rank import plus_low_rank


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("block", [1 << 21, 2048, 64])
def test_sums_in_place_and_in_blocks_equal_those_of_the_formula(
    block: int, dtype: torch.dtype, rounded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks hold all, some rows, or some tokens of a row: 5 rows of 7 tokens, 12 and 20 wide."""
    monkeypatch.setattr(low_rank, "_BLOCK", block)
    torch.manual_seed(0)
    inputs, output = torch.randn(5, 7, 12).to(dtype), torch.randn(5, 7, 20).to(dtype)
    slot = {"down": torch.randn(5, 3, 12), "up": torch.randn(5, 3, 20)}
    before = output.clone()
    expected = plus_low_rank(inputs, output, slot, rounded)
    assert torch.equal(output, before), "gradients are recorded: nothing is written into it"
    with torch.no_grad():
        found = plus_low_rank(inputs, output, slot, rounded)
    assert found.data_ptr() == output.data_ptr()
    assert not torch.equal(found, before)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
