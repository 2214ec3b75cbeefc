"""Indices in an adapter's file: which entries of a weight an adapter changes, checked before they are used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.backbone.load import Backbone

DTYPE = "I32"
"""Format of indices in a file, as safetensors names it."""
_INSIDE = "base_model.model."


def are_indices(name: str, part: str | None) -> bool:
    """Tell whether a tensor of this name holds indices, where a method calls them `part`."""
    return part is not None and name.endswith(f".{part}")


def require_indices(folder: Path, backbone: Backbone, tensors: Mapping[str, Tensor], part: str) -> None:
    """Refuse indices that are no entries of their module's weight, name one twice, or are not in order.

    Args:
        folder: Folder of the file, for the message.
        backbone: The base; its shapes are those of the bare model.
        tensors: The adapter's tensors ``base_model.model.SITE.PART`` in PEFT's names, whose formats and shapes were
            found to be the method's own; indices are int32 [2, n]: output and input.
        part: How the method calls its indices.

    Raises:
        InputError: Naming the tensor.
    """
    weights = {module.name: (module.outputs, module.inputs) for module in backbone.shapes.linears}
    for name, indices in tensors.items():
        if not are_indices(name, part):
            continue
        site = name.removeprefix(_INSIDE).removesuffix(f".{part}")
        if site not in weights:
            raise InputError(f"{folder}: the base has no linear layer for the indices {name}")
        outputs, inputs = weights[site]
        rows, columns = indices.long()
        inside = (rows >= 0) & (rows < outputs) & (columns >= 0) & (columns < inputs)
        if not bool(inside.all()):
            raise InputError(f"{folder}: {name} points outside of the weight of {outputs} x {inputs}")
        steps = (rows * inputs + columns).diff()
        if not bool((steps > 0).all()):
            raise InputError(f"{folder}: {name} names an entry twice, or entries out of their order")
