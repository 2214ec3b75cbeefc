"""What a fit leaves behind: its optimizer is forgotten, and memory collected where it is much."""

from __future__ import annotations

import gc

import pytest
import torch
from accelerate import Accelerator

from llmrec_peft.training import accelerator as rules


@pytest.mark.parametrize(("limit", "collections"), [(64, 0), (63, 1)])
def test_optimizer_is_forgotten_and_only_a_large_fit_has_its_memory_collected(
    limit: int, collections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = torch.nn.Parameter(torch.zeros(4))  # 16 bytes, as many of its gradient and of each of two moments
    accelerator = Accelerator(cpu=True)
    optimizer = accelerator.prepare(torch.optim.AdamW([weight]))
    monkeypatch.setattr(rules, "SMALL_BYTES", limit)
    found: list[int] = []
    monkeypatch.setattr(gc, "collect", lambda *_: found.append(1) or 0)
    rules.let_go(accelerator, optimizer, [weight])
    assert len(found) == collections
    assert not accelerator._optimizers
