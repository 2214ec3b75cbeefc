"""What a signal adds by itself: for pairs, and for users and candidates apart."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from llmrec_peft.data.batches import Batch
from llmrec_peft.options import Options
from llmrec_peft.signals.contract import Signal


class NoOptions(Options):
    """There is nothing to choose."""


class Numbers(Signal[NoOptions]):
    """The numbers of a user and an item, and 100 where both are the same."""

    summary = "numbers"
    Config = NoOptions

    def build(self, context: Any) -> Any:
        return torch.nn.ModuleDict()

    def user_offset(self, batch: Batch) -> Any:
        return batch.user.float()

    def item_offset(self, batch: Batch) -> Any:
        return 10.0 * batch.item.float()

    def cross(self, batch: Batch, candidates: torch.Tensor) -> Any:
        return 100.0 * (batch.user[:, None] == candidates).float()


def test_offset_of_pairs_is_the_sum_of_the_users_the_items_and_what_both_have_together() -> None:
    batch = Batch(user=torch.tensor([1, 2, 3]), item=torch.tensor([1, 5, 3]))
    assert Numbers(NoOptions()).offset(batch).tolist() == [111.0, 52.0, 133.0]  # type: ignore[union-attr]


def test_signal_that_adds_nothing_has_no_offset() -> None:
    class Silent(Numbers):
        """Says nothing."""

        def user_offset(self, batch: Batch) -> Any:
            return None

        def item_offset(self, batch: Batch) -> Any:
            return None

        def cross(self, batch: Batch, candidates: torch.Tensor) -> Any:
            return None

    assert Silent(NoOptions()).offset(Batch(torch.tensor([1]), torch.tensor([1]))) is None


def test_signal_with_an_offset_of_pairs_alone_is_refused_when_it_is_defined() -> None:
    with pytest.raises(
        TypeError, match="PairsAlone has an offset of pairs alone: give user_offset, item_offset or cross"
    ):

        class PairsAlone(Signal[NoOptions]):
            """Would be counted in pairs and be missing among candidates."""

            summary = "pairs alone"
            Config = NoOptions

            def build(self, context: Any) -> Any:
                return torch.nn.ModuleDict()

            def offset(self, batch: Batch) -> Any:
                return batch.item.float()
