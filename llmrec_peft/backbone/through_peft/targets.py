"""Targets: the modules of a transformer that an adapter changes, by name, by role and by layer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from llmrec_peft.errors import InputError
from llmrec_peft.options import Options

if TYPE_CHECKING:
    from llmrec_peft.backbone.facts import BackboneFacts
    from llmrec_peft.backbone.shapes import ModelShapes, ModuleShape

Role = Literal["query-value", "key-value", "attention", "mlp", "all-linear"]
Layers = Literal["all"] | str | tuple[int, ...]
"""Which transformer layers: ``all``, ``top-N``, or numbers from 0."""

_FUSED = ("Wqkv", "c_attn", "query_key_value", "qkv_proj")
_ATTENTION = re.compile(r"^(self_attn|self_attention|attention|attn)\b")
_OUTPUT = re.compile(r"(^|\.)(o_proj|out_lin|out_proj|Wo|c_proj|attention\.output\.dense|attention\.dense|dense)$")
_TOP = re.compile(r"^top-(\d+)$")
_PROJECTIONS = {
    "query": ("query", "q_proj", "q_lin"),
    "key": ("key", "k_proj", "k_lin"),
    "value": ("value", "v_proj", "v_lin"),
}
"""Names of the attention's separate projections in several architectures; a fused one stands for all three."""


class TargetOptions(Options):
    """Options for the layers that an adapter changes."""

    targets: Role | tuple[str, ...] | None = Field(default=None)
    """Adapted linear layers: `query-value`, `key-value`, `attention`, `mlp`, `all-linear`, or a list of names; null for
    the method's own default."""
    layers: Layers = "all"
    """Adapted transformer layers: `all`, `top-N`, or a list of numbers from 0; all layers below the lowest one are
    computed once."""


def adapted_layers(layers: str | tuple[int, ...], depth: int) -> list[int]:
    """List the numbers of the layers that ``all``, ``top-N`` or a list means in a model of `depth` layers.

    >>> adapted_layers("top-2", 6)
    [4, 5]

    Raises:
        InputError: For layers that the model does not have.
    """
    if layers == "all":
        return list(range(depth))
    if isinstance(layers, str):
        match = _TOP.match(layers)
        if not match or not 1 <= int(match[1]) <= depth:
            raise InputError(f"adapter.layers: {layers!r} is neither all, nor top-1 to top-{depth}, nor a list")
        return list(range(depth - int(match[1]), depth))
    if not layers or min(layers) < 0 or max(layers) >= depth:
        raise InputError(f"adapter.layers: {list(layers)} are not all layers 0 to {depth - 1} of this model")
    return sorted(set(layers))


def layers_refusal(layers: str | tuple[int, ...], facts: BackboneFacts) -> str | None:
    """Return what is wrong with `layers` in a model known by its configuration; None if nothing is."""
    try:
        adapted_layers(layers, facts.depth)
    except InputError as error:
        return str(error)
    return None


def rank_refusal(rank: int, facts: BackboneFacts, field: str = "rank") -> str | None:
    """Return an error for a rank above the model's width, which makes an update larger than the matrix; else None."""
    return None if rank <= facts.width else f"adapter.{field}: {rank} is above the model's width {facts.width}"


def target_linears(
    shapes: ModelShapes, targets: str | tuple[str, ...], layers: str | tuple[int, ...]
) -> list[ModuleShape]:
    """Find the linear layers that a role or a list of names means.

    Args:
        shapes: The model.
        targets: A role, or names: a last part (``query``), a dotted end (``output.dense``) or a whole name.
        layers: Which transformer layers: ``all``, ``top-N`` or numbers from 0.

    Returns:
        The layers in the model's order.

    Raises:
        InputError: If nothing matches, or one of the names matches nothing.
    """
    chosen = set(adapted_layers(layers, shapes.depth))
    linears = [module for module in shapes.linears if module.layer in chosen]
    if isinstance(targets, str):
        return _by_role(shapes, linears, targets)
    found: dict[str, ModuleShape] = {}
    for name in targets:
        matching = [m for m in linears if m.name == name or m.name.endswith(f".{name}")]
        if not matching:
            raise InputError(
                f"adapter.targets: nothing in layers {layers} of this {shapes.model_type} is called {name!r};"
                f" its linear layers are {_known(shapes)}"
            )
        found |= {module.name: module for module in matching}
    if not found:
        raise InputError(f"adapter.targets: the list is empty; the linear layers are {_known(shapes)}")
    return [module for module in linears if module.name in found]


def norms_of(shapes: ModelShapes, layers: str | tuple[int, ...]) -> list[ModuleShape]:
    """Find the norms inside the chosen layers.

    Raises:
        InputError: If there are none.
    """
    chosen = set(adapted_layers(layers, shapes.depth))
    norms = [module for module in shapes.norms if module.layer in chosen]
    if not norms:
        raise InputError(f"adapter.layers: this {shapes.model_type} has no norms in layers {layers}")
    return norms


def sublayers(shapes: ModelShapes, layer: int) -> dict[str, tuple[ModuleShape, ModuleShape]]:
    """Find the first and the last linear layer of a layer's ``attention`` and ``mlp`` blocks.

    Raises:
        InputError: If the layer does not consist of these two, such as a layer with experts.
    """
    inside = [module for module in shapes.linears if module.layer == layer]
    attention = [m for m in inside if _ATTENTION.match(m.inside)]
    mlp = [m for m in inside if m not in attention]
    ends = {}
    for name, parts in (("attention", attention), ("mlp", mlp)):
        last = next((m for m in reversed(parts) if name == "mlp" or _OUTPUT.search(m.inside)), None)
        first = next((m for m in parts if m.inputs == shapes.width and m is not last), None)
        if last is None or first is None or last.outputs != shapes.width or len(parts) > 6:  # noqa: PLR2004
            raise InputError(
                f"adapter: layer {layer} of this {shapes.model_type} has no {name} block that can be recognized"
                f" (linear layers: {', '.join(m.inside for m in inside)})"
            )
        ends[name] = (first, last)
    return ends


def pattern(modules: list[ModuleShape]) -> str:
    """Write a regular expression that matches exactly the full names of these modules, for PEFT's configurations.

    It matches whole names, so that `dense` does not also match ``pooler.dense``; a prefix is allowed, so that the
    same adapter fits the transformer inside a model with a task head.
    """
    layers = sorted({module.layer for module in modules if module.layer is not None})
    inside = list(dict.fromkeys(module.inside for module in modules))
    regular = len(modules) == len(layers) * len(inside) and all(m.layer is not None for m in modules)
    if regular:
        stack = modules[0].name.split(f".{modules[0].layer}.", 1)[0]
        numbers = "|".join(str(layer) for layer in layers)
        names = "|".join(re.escape(name) for name in inside)
        return rf"(?:.*\.)?{re.escape(stack)}\.(?:{numbers})\.(?:{names})"
    return rf"(?:.*\.)?(?:{'|'.join(re.escape(module.name) for module in modules)})"


def transposed(modules: list[ModuleShape]) -> bool:
    """Return whether weights are stored as [inputs, outputs] (GPT-2's ``Conv1D``), PEFT's ``fan_in_fan_out``."""
    return any(module.kind == "conv1d" for module in modules)


def _by_role(shapes: ModelShapes, linears: list[ModuleShape], role: str) -> list[ModuleShape]:
    attention = [m for m in linears if _ATTENTION.match(m.inside)]
    if role == "all-linear":
        return linears
    if role == "attention":
        chosen = attention
    elif role == "mlp":
        chosen = [m for m in linears if m not in attention]
    else:
        wanted = {leaf for part in role.split("-") for leaf in _PROJECTIONS[part]}
        chosen = [m for m in attention if m.leaf in wanted or m.leaf in _FUSED]
    if not chosen:
        raise InputError(
            f"adapter.targets: {shapes.model_type} names its {role} layers in an unknown way;"
            f" list the linear layers to adapt, of {_known(shapes)}"
        )
    return chosen


def _known(shapes: ModelShapes) -> str:
    return ", ".join(dict.fromkeys(module.inside for module in shapes.linears)) or "none"
