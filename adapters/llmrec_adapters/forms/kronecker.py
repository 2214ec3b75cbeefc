"""Kronecker products in a mixed batch: each row's adapter adds (C ⊗ B A) x to a linear layer's output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from llmrec_peft.plugins import BatchedForm, SavedTensors, Slot, low_rank_tensors, saved_by_site

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.plugins import Backbone


class KroneckerRows(BatchedForm):
    """y + vec(C X (B A)ᵀ) with X the input as a matrix [m_in, in / m_in] and C [m_out, m_in].

    A second factor that was trained whole is written as its product with the identity on its shorter side, so that
    it is stacked with those of low rank. The product itself is never made: a token takes
    rank · m_in · (in / m_in + out / m_out) + m_in · out multiply-adds, and not in · out.
    """

    ragged: ClassVar[frozenset[str]] = frozenset({"down", "up"})
    by_token: ClassVar[bool] = True

    def __init__(self, factor: int, scale: float) -> None:
        """Set the side of the smaller factor, as in the options, and what the product is multiplied by."""
        self._factor, self._scale = factor, scale

    @property
    def key(self) -> tuple[object, ...]:
        """The form's name and the side that a layer's factors follow from."""
        return ("kronecker", self._factor)

    def slots(self, saved: SavedTensors, backbone: Backbone) -> dict[str, Slot]:
        """Return ``small`` C [m_out, m_in], ``down`` A [rank, in / m_in] and ``up`` s Bᵀ [rank, out / m_out]."""
        import torch

        slots = {}
        for site, (b, a, small) in saved_by_site(saved, "lokr_w2_a", "lokr_w2_b", "lokr_w1").items():
            slots[site] = self._slot(small, a, b)
        for site, (large, small) in saved_by_site(saved, "lokr_w2", "lokr_w1").items():
            outputs, inputs = large.shape
            a, b = (large, torch.eye(outputs)) if outputs <= inputs else (torch.eye(inputs), large)
            slots[site] = self._slot(small, a, b)
        return slots

    def _slot(self, small: Tensor, a: Tensor, b: Tensor) -> Slot:
        return Slot({"small": small.float(), **low_rank_tensors(a, self._scale * b)})

    def behind(self, inputs: Tensor, output: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        """Return the output by the formula of the class."""
        small, down, up = slot["small"], slot["down"], slot["up"]
        rows, tokens, _ = inputs.shape
        folded = inputs.to(down.dtype).reshape(rows, -1, down.shape[2])  # [rows, tokens · m_in, in / m_in]
        inner = (folded @ down.transpose(1, 2) @ up).view(rows, tokens, small.shape[2], up.shape[2])
        return (output + (small[:, None] @ inner).flatten(2)).to(output.dtype)
