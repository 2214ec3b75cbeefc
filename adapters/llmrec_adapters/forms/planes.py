"""Planes: pairs of outputs, turned and scaled, each row by its own angles and scales."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from llmrec_adapters.forms.sites import tensors_by_site
from llmrec_peft.plugins import BatchedForm, SavedTensors, Slot

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.plugins import Backbone


class Planes(BatchedForm):
    """c ⊙ h + s ⊙ h' with h the module's output and h' with the halves of each group exchanged, in fp32.

    Slot: ``own`` c = α cos θ and ``other`` s = ∓ α sin θ, each [out]: minus in the first half of a group.
    """

    def __init__(self, variant: int, group_size: int) -> None:
        """Set the number of angles of a pair, 1, 2 or 4, and the outputs of a group."""
        self._variant, self._size = variant, group_size

    @property
    def key(self) -> tuple[object, ...]:
        """The outputs of a group; what the angles give is in the slots, so that their number may differ."""
        return "planes", self._size

    def slots(self, saved: SavedTensors, backbone: Backbone) -> dict[str, Slot]:
        """Return sines and cosines times scales."""
        slots = {}
        for site, found in tensors_by_site(saved, "road_theta", "road_alpha").items():
            angles, scales = (self._by_output(found[name]) for name in ("road_theta", "road_alpha"))
            sines = (scales[1] * angles[1].sin()).reshape(-1, 2, self._size // 2)
            other = torch.stack((-sines[:, 0], sines[:, 1]), 1).flatten()
            slots[site] = Slot({"own": scales[0] * angles[0].cos(), "other": other})
        return slots

    def behind(self, inputs: Tensor, output: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        """Turn and scale each row's outputs."""
        own, other = slot["own"].unsqueeze(1), slot["other"].unsqueeze(1)
        states = output.to(own.dtype)
        exchanged = states.reshape(*states.shape[:2], -1, 2, self._size // 2).flip(-2).reshape(states.shape)
        return (states * own + exchanged * other).to(output.dtype)

    def _by_output(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return a file's angles or scales, [out] for the outputs themselves and [out] for those beside them.

        Of one angle a pair, both halves of a group have the same; of four, those for the outputs beside them follow in
        each group.
        """
        if self._variant == 1:
            values = values.reshape(-1, self._size // 2).repeat_interleave(2, 0).flatten()
        if self._variant == 4:  # noqa: PLR2004
            pairs = values.reshape(-1, 2, self._size)
            return pairs[:, 0].flatten(), pairs[:, 1].flatten()
        return values, values
