"""Targets: which layers of a transformer an adapter goes into."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from torch import nn

_QUERY_VALUE = (
    ("query", "value"),
    ("q_proj", "v_proj"),
    ("q_lin", "v_lin"),
    ("Wqkv",),
    ("c_attn",),
    ("query_key_value",),
)
"""Names that families give to the attention's query and value projections, separate or fused."""
_TOP = re.compile(r"^top-(\d+)$")


def query_and_value(model: nn.Module) -> tuple[str, ...]:
    """Names of the query and value projections in this model.

    Raises:
        InputError: When none of the known names occurs.
    """
    names = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    for candidates in _QUERY_VALUE:
        if set(candidates) <= names:
            return candidates
    raise InputError(
        f"adapter.targets: {type(model).__name__} names its attention layers in an unknown way;"
        f" list the linear layers to adapt, such as [{', '.join(sorted(names)[:3])}]"
    )


def adapted_layers(layers: str | tuple[int, ...], depth: int) -> list[int]:
    """Numbers of the layers that ``all``, ``top-N`` or a list mean in a model of `depth` layers.

    >>> adapted_layers("top-2", 6)
    [4, 5]

    Raises:
        InputError: For layers that the model has not.
    """
    if layers == "all":
        return list(range(depth))
    if isinstance(layers, str):
        found = _TOP.match(layers)
        if not found or not 1 <= int(found[1]) <= depth:
            raise InputError(f"adapter.layers: {layers!r} is neither all, nor top-1 to top-{depth}, nor a list")
        return list(range(depth - int(found[1]), depth))
    if not layers or min(layers) < 0 or max(layers) >= depth:
        raise InputError(f"adapter.layers: {list(layers)} are not all layers 0 to {depth - 1} of this model")
    return sorted(set(layers))


def layer_stack_name(model: nn.Module) -> str:
    """Last part of the name of the stack of layers, which PEFT asks for beside layer numbers."""
    from llmrec_peft.backbone.trunk import transformer_layers

    stack = transformer_layers(model)
    name: str = next(name for name, module in model.named_modules() if module is stack)
    return name.rsplit(".", 1)[-1]
