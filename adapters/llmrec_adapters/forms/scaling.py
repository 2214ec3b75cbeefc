"""Scaling: a vector a row, multiplied into what comes out of a module or goes into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmrec_adapters.forms.sites import tensors_by_site
from llmrec_peft.plugins import BatchedForm, SavedTensors, Slot

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.plugins import Backbone


class Scalings(BatchedForm):
    """l ⊙ (W x) at most sites, W (l ⊙ x) where the input is scaled.

    Slot: ``behind`` [out], or ``before`` [in] at the sites whose input is scaled.
    """

    def __init__(self, scaled_inputs: bool) -> None:
        """Set whether the last layers of feed-forward blocks have their input scaled, and not their output.

        It is the same for all adapters of a key, so that a site's slots hold the same tensors.
        """
        self._scaled_inputs = scaled_inputs

    @property
    def key(self) -> tuple[object, ...]:
        """Whether inputs of feed-forward blocks' last layers are scaled."""
        return "scaling", self._scaled_inputs

    def slots(self, saved: SavedTensors, backbone: Backbone) -> dict[str, Slot]:
        """Return the vectors; the file has those of outputs as [out, 1] and those of inputs as [1, in]."""
        slots = {}
        for site, found in tensors_by_site(saved, "ia3_l").items():
            vector = found["ia3_l"]
            place = "before" if self._scaled_inputs and len(vector) == 1 else "behind"
            slots[site] = Slot({place: vector.flatten()})
        return slots

    def before(self, inputs: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        """Scale the input, where the slot does."""
        return _scaled(inputs, slot["before"]) if "before" in slot else inputs

    def behind(self, inputs: Tensor, output: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        """Scale the output, where the slot does."""
        return _scaled(output, slot["behind"]) if "behind" in slot else output


def _scaled(states: Tensor, vectors: Tensor) -> Tensor:
    """Return states [rows, tokens, width] times their rows' vectors [rows, width]."""
    return (states * vectors.unsqueeze(1)).to(states.dtype)
