"""Rotations: block-diagonal orthogonal matrices, one set a row, that turn what goes into a module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch

from llmrec_adapters.forms.sites import tensors_by_site
from llmrec_peft.plugins import BatchedForm, SavedTensors, Slot

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.plugins import Backbone


class Rotations(BatchedForm):
    """W R x with R block-diagonal, in fp32. Slot: ``rotation`` [blocks, side, side], made once from the file."""

    by_token: ClassVar[bool] = True

    def __init__(self, side: int, terms: int) -> None:
        """Set the side of a block and the number of terms by which its rotation is approximated."""
        self._side, self._terms = side, terms

    @property
    def key(self) -> tuple[object, ...]:
        """The side of a block; the rotations themselves are in the slots, so that their terms may differ."""
        return "rotation", self._side

    def slots(self, saved: SavedTensors, backbone: Backbone) -> dict[str, Slot]:
        """Return the rotations of the skew-symmetric matrices in the file."""
        found = tensors_by_site(saved, "oft_R.weight")
        return {
            site: Slot({"rotation": neumann_rotations(tensors["oft_R.weight"], self._side, self._terms)})
            for site, tensors in found.items()
        }

    def before(self, inputs: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        """Turn each block of each row's inputs."""
        rotation = slot["rotation"]
        blocks = inputs.to(rotation.dtype).reshape(*inputs.shape[:2], rotation.shape[1], self._side)
        return torch.einsum("rtbi,rbij->rtbj", blocks, rotation).flatten(-2).to(inputs.dtype)


def neumann_rotations(entries: Tensor, side: int, terms: int) -> Tensor:
    """Return I + 2 Q + 2 Q² + … + Qⁿ, which approximates (I + Q)(I − Q)⁻¹ as PEFT does.

    Args:
        entries: Entries of each Q above the diagonal, [blocks, side · (side − 1) / 2].
        side: Rows and columns of Q.
        terms: Number of terms as PEFT counts them: 1 is I, 2 is I + 2 Q; 3 and 4 are both I + 2 Q + 2 Q² + Q³.

    Returns:
        [blocks, side, side].
    """
    skew = entries.new_zeros(len(entries), side, side)
    above = torch.triu_indices(side, side, 1)
    skew[:, above[0], above[1]] = entries
    skew = skew - skew.transpose(1, 2)
    rotation = torch.eye(side, dtype=skew.dtype, device=skew.device).repeat(len(entries), 1, 1)
    if terms == 1:
        return rotation
    rotation += 2.0 * skew
    if terms == 2:  # noqa: PLR2004
        return rotation
    power = skew @ skew
    rotation += 2.0 * power
    for _ in range(3, terms - 1):
        power = power @ skew
        rotation += 2.0 * power
    return rotation + power @ skew
