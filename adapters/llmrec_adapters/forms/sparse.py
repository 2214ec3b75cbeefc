"""Sparse rows of a mixed batch: each row's adapter adds S x to a linear layer's output, few entries of S not zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch

from llmrec_adapters.forms.sparse_product import sparse_product
from llmrec_peft.plugins import BatchedForm, InputError, SavedTensors, Slot, saved_by_site

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.plugins import Backbone


class SparseRows(BatchedForm):
    """y + S x with y the layer's output and S rounded to the format of x, as `SparseLinear` computes it.

    Slot: ``values`` and ``places`` (output · in + input) of S, each [rank, in + out], since rank · (in + out) entries
    are trained. Zeros behind an adapter's own add nothing. A token takes as many multiplications as S has entries.
    """

    ragged: ClassVar[frozenset[str]] = frozenset({"values", "places"})

    @property
    def key(self) -> tuple[object, ...]:
        """All sparse rows are computed together."""
        return ("sparse",)

    def slots(self, saved: SavedTensors, backbone: Backbone) -> dict[str, Slot]:
        """Return values and places; the file has rows and columns of the weight, int32 [2, n], ascending."""
        sizes = {module.name: (module.outputs, module.inputs) for module in backbone.shapes.linears}
        slots = {}
        for site, (indices, values) in saved_by_site(saved, "shira_indices", "shira_weight").items():
            if site not in sizes:
                raise InputError(f"the base has no linear layer {site}")
            outputs, inputs = sizes[site]
            places = indices[0].long() * inputs + indices[1]
            if outputs * inputs <= torch.iinfo(torch.int32).max:
                places = places.int()
            by_rank = (-1, inputs + outputs)
            slots[site] = Slot({"values": values.float().reshape(by_rank), "places": places.reshape(by_rank)})
        return slots

    def behind(self, inputs: Tensor, output: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        """Return y + S x in the format of `output`."""
        values, places = slot["values"].flatten(1), slot["places"].flatten(1)
        return output + sparse_product(inputs, values, places, output.shape[-1]).to(output.dtype)
