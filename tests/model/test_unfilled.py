"""Parameters that a file's numbers replace are not filled with random ones first, in one thread alone."""

from __future__ import annotations

import threading

import torch
from torch import nn

from llmrec_peft.model.unfilled import Unfilled


def test_random_initializations_are_left_out_and_all_others_are_done() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    with Unfilled():
        table = nn.Embedding(7, 3)
        kept = torch.full((2, 2), 5.0)
        for fill in (nn.init.normal_, nn.init.uniform_, nn.init.xavier_uniform_, nn.init.kaiming_normal_):
            assert fill(kept) is kept
        kept.normal_()
        layer = nn.Linear(3, 2)
        nn.init.zeros_(layer.bias)
        zeros, drawn = torch.zeros(3), nn.init.constant_(torch.empty(2), 4.0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(kept, torch.full((2, 2), 5.0))
    assert (layer.bias.tolist(), zeros.tolist(), drawn.tolist()) == ([0.0, 0.0], [0.0] * 3, [4.0, 4.0])
    assert tuple(table.weight.shape) == (7, 3)


def test_another_thread_fills_its_parameters_meanwhile() -> None:
    found: list[float] = []
    with Unfilled():
        thread = threading.Thread(target=lambda: found.append(float(nn.init.normal_(torch.zeros(100)).abs().sum())))
        thread.start()
        thread.join()
    assert found[0] > 0
