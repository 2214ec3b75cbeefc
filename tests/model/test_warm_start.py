"""A larger model begins with what a smaller one had learned: each row where it belongs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from llmrec_peft import registry
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.heads.contract import HeadContext
from llmrec_peft.model import RecModel
from llmrec_peft.model.warm_start import Grown, begin_with, trained_tensors
from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal, SignalContext

USER, ITEM = "signal_parts.collaborative.user.weight", "signal_parts.collaborative.item.weight"


class Shelves(Signal[Options]):
    """A table with a row for each shelf."""

    Config = Options

    def __init__(self, shelves: list[str]) -> None:
        super().__init__(Options())
        self.shelves = shelves

    def build(self, context: SignalContext) -> nn.ModuleDict:
        return nn.ModuleDict({"table": nn.Embedding(len(self.shelves) + 1, context.dim)})

    def names(self) -> dict[str, list[str]]:
        return {"shelves": self.shelves}


def model_of(users: int, items: int, shelves: list[str], seed: int) -> RecModel:
    torch.manual_seed(seed)
    index = np.arange(1, min(users, items))
    train = Interactions(index, index, np.linspace(1, 5, len(index), dtype=np.float32), index)
    context = SignalContext(users, items, 2, train, None, None)
    collaborative = registry.get("signals", "collaborative")
    signals: dict[str, Any] = {"collaborative": collaborative(collaborative.Config()), "shelves": Shelves(shelves)}
    for signal in signals.values():
        signal.parts = signal.build(context)
    head = registry.get("heads", "rating")
    head = head(head.Config())
    head.parts = head.build(HeadContext(dim=2, label_mean=float(seed), label_range=(1.0, 5.0)))
    return RecModel(signals, {"rating": head})


def test_old_rows_keep_their_index_and_new_ones_their_own_values() -> None:
    small, large = model_of(5, 7, ["a"], seed=1), model_of(8, 9, ["a"], seed=2)
    fresh = {name: tensor.clone() for name, tensor in large.trained_state().items()}
    notes = begin_with(large, trained_tensors(small), Grown((5, 8), (7, 9), {"shelves": {"shelves": ["a"]}}))
    before, now = small.trained_state(), large.trained_state()
    assert notes == []
    for name, rows in ((USER, 5), (ITEM, 7)):
        assert torch.equal(now[name][:rows], before[name])
        assert torch.equal(now[name][rows:], fresh[name][rows:])
    mean = "head_parts.rating.scale.mean"
    assert now[mean] == before[mean] == 1.0, "what the head was fitted around stays"


def test_named_rows_are_found_by_name() -> None:
    small, large = model_of(5, 7, ["novels", "poems"], seed=1), model_of(5, 7, ["crime", "poems", "novels"], seed=2)
    name = "signal_parts.shelves.table.weight"
    fresh = large.trained_state()[name].clone()
    begin_with(large, trained_tensors(small), Grown((5, 5), (7, 7), {"shelves": {"shelves": ["novels", "poems"]}}))
    before, now = small.trained_state()[name], large.trained_state()[name]
    assert torch.equal(now, torch.stack([before[0], fresh[1], before[2], before[1]]))


def test_rows_that_could_be_two_kinds_begin_anew_and_are_named() -> None:
    five, six = ["a", "b", "c", "d"], ["b", "a", "c", "d", "e"]
    small, large = model_of(5, 7, five, seed=1), model_of(6, 9, six, seed=2)
    name = "signal_parts.shelves.table.weight"
    fresh = large.trained_state()[name].clone()
    notes = begin_with(large, trained_tensors(small), Grown((5, 6), (7, 9), {"shelves": {"shelves": five}}))
    assert torch.equal(large.trained_state()[name], fresh)
    assert [note.split()[0] for note in notes] == [name]


def test_interactions_are_not_among_what_is_kept() -> None:
    kept = trained_tensors(model_of(5, 7, ["a"], seed=1))
    assert USER in kept
    assert not [name for name in kept if "history" in name.split(".")]


@pytest.mark.parametrize("wrong", [torch.zeros(5, 3), torch.zeros(5), torch.zeros(5, 2, dtype=torch.float64)])
def test_tensor_of_another_width_or_type_is_left_out(wrong: torch.Tensor) -> None:
    small, large = model_of(5, 7, ["a"], seed=1), model_of(8, 9, ["a"], seed=2)
    fresh = large.trained_state()[USER].clone()
    grown = Grown((5, 8), (7, 9), {})
    notes = begin_with(large, {**trained_tensors(small), USER: wrong}, grown)
    assert torch.equal(large.trained_state()[USER], fresh)
    assert any(USER in note for note in notes)
