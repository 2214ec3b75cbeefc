"""DenseLayers: the linear layers of an embedding model between pooling and scaling, frozen, in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from llmrec_peft.backbone.tensor_files import load_into, read_tensors
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.backbone.embedding_model import DenseFacts


class DenseLayers(nn.Module):
    """Applies linear layers, each with its activation, to pooled vectors.

    They belong to the base: frozen, and part of its identity. They are computed in fp32 whatever the transformer's
    precision, since pooled vectors are.
    """

    def __init__(self, facts: Sequence[DenseFacts]) -> None:
        """Make the layers, still without weights.

        Args:
            facts: Sizes and activation of each.
        """
        super().__init__()
        self.linear = nn.ModuleList(nn.Linear(one.inputs, one.outputs, bias=one.bias) for one in facts)
        self.activation = nn.ModuleList(getattr(nn, one.activation)() for one in facts)
        self.width = facts[-1].outputs
        self.requires_grad_(False).eval()

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the vectors after all layers, float32 [n, width]."""
        for linear, activation in zip(self.linear, self.activation, strict=True):
            vectors = activation(linear(vectors))
        return vectors


def load_dense(folder: Path, facts: Sequence[DenseFacts], width: int) -> DenseLayers | None:
    """Load the linear layers of a folder; None if it has none.

    Args:
        folder: Folder of the embedding model.
        facts: What its files say of the layers.
        width: Width of pooled vectors.

    Raises:
        InputError: For widths that do not follow each other, and tensors that are missing, of another shape, not
            numbers with a fraction, or not finite.
    """
    if not facts:
        return None
    for one in facts:
        if one.inputs != width:
            raise InputError(
                f"{folder / one.folder}/config.json: in_features is {one.inputs}, but the vectors before it have"
                f" width {width}"
            )
        width = one.outputs
    layers = DenseLayers(facts)
    for one, linear in zip(facts, layers.linear, strict=True):
        path = folder / one.folder / "model.safetensors"
        tensors = {name.removeprefix("linear."): tensor for name, tensor in read_tensors(path).items()}
        for name, tensor in tensors.items():
            if not tensor.is_floating_point():
                raise InputError(f"{path}: {name} holds {tensor.dtype}, not numbers with a fraction")
        load_into(linear, {name: tensor.float() for name, tensor in tensors.items()}, path)
    return layers
