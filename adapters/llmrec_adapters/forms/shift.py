"""Shifts: a vector a row, added to what comes out of a module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmrec_adapters.forms.sites import tensors_by_site
from llmrec_peft.plugins import BatchedForm, SavedTensors, Slot

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.plugins import Backbone


class Shifts(BatchedForm):
    """f(x) + δ with δ the trained difference to the module's bias. Slot: ``bias`` [out]."""

    @property
    def key(self) -> tuple[object, ...]:
        """All shifts are computed together."""
        return ("shift",)

    def slots(self, saved: SavedTensors, backbone: Backbone) -> dict[str, Slot]:
        """Return the differences of biases."""
        found = tensors_by_site(saved, "delta_bias")
        return {site: Slot({"bias": tensors["delta_bias"]}) for site, tensors in found.items()}

    def behind(self, inputs: Tensor, output: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        """Add each row's differences."""
        return output + slot["bias"].unsqueeze(1).to(output.dtype)
