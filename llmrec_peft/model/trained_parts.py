"""TrainedParts: the tensors of a model outside its frozen backbone, by name and by group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from llmrec_peft.model.fusion import Fusion

if TYPE_CHECKING:
    from llmrec_peft.backbone.encoder import TextEncoder


class TrainedParts(nn.Module):
    """A model with an encoder, and parts of signals, heads and fusion beside it."""

    encoder: TextEncoder | None
    signal_parts: nn.ModuleDict
    head_parts: nn.ModuleDict
    fusion: Fusion

    @property
    def device(self) -> torch.device:
        """Device of the trained parts."""
        device: torch.device = next(self.head_parts.parameters()).device
        return device

    def trained_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Return what is trained, by name, in the order of `named_parameters`; the frozen backbone is not walked."""
        found: dict[nn.Parameter, str] = {}
        for name, part in self.named_children():
            members = part.adapter.trained if part is self.encoder else part.named_parameters()
            for own, parameter in members:
                if parameter.requires_grad:
                    found.setdefault(parameter, f"{name}.{own}")
        return [(name, parameter) for parameter, name in found.items()]

    def trained_state(self) -> dict[str, Tensor]:
        """Return every tensor outside the frozen backbone: adapter, signals, fusion and heads, by name."""
        state = dict[str, Tensor](self.trained_parameters())
        for prefix in ("signal_parts", "head_parts", "fusion"):
            parts = getattr(self, prefix).state_dict(keep_vars=True)
            state |= {f"{prefix}.{name}": tensor for name, tensor in parts.items()}
        return {name: tensor.detach() for name, tensor in state.items()}

    @torch.no_grad()
    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Load the result of `trained_state`."""
        own = self.trained_state()
        if own.keys() != state.keys():
            raise KeyError(f"state differs in {sorted(own.keys() ^ state.keys())[:3]}")
        for name, tensor in own.items():
            tensor.copy_(state[name])

    def parameter_groups(self) -> dict[str, list[tuple[str, nn.Parameter]]]:
        """Return trainable parameters by group: ``adapter``, ``embeddings`` (tables) and ``head`` (the rest)."""
        beside = [part for part in self.children() if part is not self.encoder]
        tables = {id(module.weight) for part in beside for module in part.modules() if isinstance(module, nn.Embedding)}
        groups: dict[str, list[tuple[str, nn.Parameter]]] = {"adapter": [], "embeddings": [], "head": []}
        for name, parameter in self.trained_parameters():
            inside = name.startswith("encoder.")
            group = "adapter" if inside else "embeddings" if id(parameter) in tables else "head"
            groups[group].append((name, parameter))
        return groups
