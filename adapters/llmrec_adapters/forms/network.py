"""Networks: a two-layer network a row, added to what comes out of a block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F

from llmrec_adapters.forms.sites import tensors_by_site
from llmrec_peft.plugins import BatchedForm, SavedTensors, Slot

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.plugins import Backbone

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}
"""Activations of a network by name; each is 0 at 0, so that an inner width may be padded by zeros."""
_DOWN, _UP = "bottleneck_down", "bottleneck_up"


class Networks(BatchedForm):
    """h + U f(D x + d) + u with the scale multiplied into U and u, in fp32.

    Slot: ``down`` [size, width], ``down_bias`` [size], ``up`` [size, width] (transposed), ``up_bias`` [width].
    """

    ragged: ClassVar[frozenset[str]] = frozenset({"down", "down_bias", "up"})
    by_token: ClassVar[bool] = True

    def __init__(self, activation: str, scale: float, reads: Mapping[str, str]) -> None:
        """Set what is no tensor.

        Args:
            activation: Name in `ACTIVATIONS`.
            scale: Factor on a network's output.
            reads: For networks beside a block: the module whose input each site's network reads. Empty for networks
                that read the site's output.
        """
        self._activation, self._scale, self._reads = activation, scale, dict(reads)

    @property
    def key(self) -> tuple[object, ...]:
        """The activation, and whether networks stand beside their blocks."""
        return "network", self._activation, bool(self._reads)

    def slots(self, saved: SavedTensors, backbone: Backbone) -> dict[str, Slot]:
        """Return the two layers of each network."""
        names = [f"{layer}.{part}" for layer in (_DOWN, _UP) for part in ("weight", "bias")]
        slots = {}
        for site, found in tensors_by_site(saved, *names).items():
            down, down_bias, up, up_bias = (found[name] for name in names)
            tensors = {
                "down": down,
                "down_bias": down_bias,
                "up": (self._scale * up).T.contiguous(),
                "up_bias": self._scale * up_bias,
            }
            slots[site] = Slot(tensors, self._reads.get(site))
        return slots

    def behind(self, inputs: Tensor, output: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        """Add what each row's network makes of the block's input or output."""
        read = (inputs if self._reads else output).to(slot["down"].dtype)
        inner = torch.baddbmm(slot["down_bias"].unsqueeze(1), read, slot["down"].transpose(1, 2))
        added = torch.baddbmm(slot["up_bias"].unsqueeze(1), ACTIVATIONS[self._activation](inner), slot["up"])
        return output + added.to(output.dtype)
