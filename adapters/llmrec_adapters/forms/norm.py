"""Norms: a scale and a shift a row in place of a norm's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from llmrec_adapters.forms.sites import tensors_by_site
from llmrec_peft.plugins import BatchedForm, SavedTensors, Slot

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmrec_peft.plugins import Backbone

_LAYERS = "ln_tuning_layers"
_CLOSE = 1e-5


@dataclass(frozen=True)
class NormKind:
    """How a norm computes.

    Attributes:
        centred: Whether the mean is subtracted: LayerNorm; else RMSNorm.
        epsilon: What is added to the variance, or to the mean square.
        offset: What is added to the weight: 1 in Gemma, where a weight of 0 leaves a state as it is.
    """

    centred: bool
    epsilon: float
    offset: float

    def normalized(self, states: Tensor) -> Tensor:
        """Return states [..., width] before they are scaled and shifted."""
        if self.centred:
            return F.layer_norm(states, states.shape[-1:], eps=self.epsilon)
        return states * torch.rsqrt(states.pow(2).mean(-1, keepdim=True) + self.epsilon)


class Norms(BatchedForm):
    """w ⊙ n(x) + b in fp32, with n the norm without its own scale and shift.

    The norm's own output is not used: where its weight is 0, nothing of the state would be left in it.

    Slot: ``weight`` [width], the kind's offset included, and ``bias`` [width] where the norm has one.
    """

    def __init__(self, kind: NormKind) -> None:
        """Set how the base's norms compute."""
        self._kind = kind

    @property
    def key(self) -> tuple[object, ...]:
        """How the base's norms compute."""
        return "norm", self._kind

    def slots(self, saved: SavedTensors, backbone: Backbone) -> dict[str, Slot]:
        """Return the trained scales and shifts."""
        slots = {}
        for site, found in tensors_by_site(saved, f"{_LAYERS}.weight", f"{_LAYERS}.bias").items():
            tensors = {name.removeprefix(f"{_LAYERS}."): tensor for name, tensor in found.items()}
            slots[site] = Slot({**tensors, "weight": tensors["weight"] + self._kind.offset})
        return slots

    def behind(self, inputs: Tensor, output: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        """Compute the norm anew from its inputs, with each row's scale and shift."""
        weight = slot["weight"]
        states = self._kind.normalized(inputs.to(weight.dtype)) * weight.unsqueeze(1)
        if "bias" in slot:
            states = states + slot["bias"].unsqueeze(1)
        return states.to(output.dtype)


def norm_kind(norms: Sequence[nn.Module]) -> NormKind | None:
    """Find out how norms compute, by trying on each what the known kinds would give.

    Returns:
        The kind of all of them; None if they differ, or one of them is of no known kind.
    """
    kinds = {_kind(norm) for norm in norms}
    return kinds.pop() if len(kinds) == 1 else None


@torch.no_grad()
def _kind(norm: nn.Module) -> NormKind | None:
    module: Any = norm
    epsilon = next((getattr(module, name) for name in ("eps", "variance_epsilon") if hasattr(module, name)), None)
    own = dict(module.named_parameters())
    if not isinstance(epsilon, float) or "weight" not in own or own.keys() - {"weight", "bias"}:
        return None
    generator = torch.Generator("cpu").manual_seed(0)
    width = len(own["weight"])
    tried = {name: torch.randn(width, generator=generator).to(own["weight"].device) for name in own}
    states = 0.01 * torch.randn(4, width, generator=generator).to(own["weight"].device) + 0.01  # small: epsilon counts
    expected = torch.func.functional_call(module, tried, (states,))
    for centred in (True, False):
        for offset in (0.0, 1.0):
            kind = NormKind(centred, epsilon, offset)
            found = kind.normalized(states) * (tried["weight"] + offset) + tried.get("bias", 0.0)
            if torch.allclose(found, expected, rtol=_CLOSE, atol=_CLOSE):
                return kind
    return None
