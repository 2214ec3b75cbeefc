"""Shapes: the linear layers, norms and tables of a transformer by name and size, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModuleShape:
    """One module that has parameters.

    Attributes:
        name: Dotted name inside the bare transformer.
        kind: ``linear`` (weight [outputs, inputs]), ``conv1d`` (GPT-2's linear, weight [inputs, outputs]),
            ``norm``, ``embedding`` (inputs rows of outputs columns) or ``other``.
        inputs: Input features; rows of a table.
        outputs: Output features; columns of a table.
        bias: Whether it has a bias.
        parameters: Number of parameters, the bias included.
        layer: Number of the transformer layer it lies in; None outside of them.
    """

    name: str
    kind: Literal["linear", "conv1d", "norm", "embedding", "other"]
    inputs: int
    outputs: int
    bias: bool
    parameters: int
    layer: int | None

    @property
    def leaf(self) -> str:
        """Last part of the name."""
        return self.name.rsplit(".", 1)[-1]

    @property
    def inside(self) -> str:
        """Name inside its layer, such as ``attention.self.query``; outside the layers the whole name."""
        return self.name if self.layer is None else self.name.split(f".{self.layer}.", 1)[1]


@dataclass(frozen=True)
class ModelShapes:
    """A bare transformer as plain data.

    Attributes:
        model_type: Name of the architecture.
        width: Size of a token's state.
        depth: Number of layers.
        heads: Attention heads.
        kv_heads: Heads of keys and values (fewer with grouped queries).
        head_dim: Size of one head.
        stack: Dotted name of the stack of layers, such as ``encoder.layer``.
        modules: Every module that has parameters, in the model's order.
    """

    model_type: str
    width: int
    depth: int
    heads: int
    kv_heads: int
    head_dim: int
    stack: str
    modules: tuple[ModuleShape, ...]

    @cached_property
    def linears(self) -> tuple[ModuleShape, ...]:
        """Linear layers inside the transformer layers."""
        return tuple(m for m in self.modules if m.layer is not None and m.kind in ("linear", "conv1d"))

    @cached_property
    def norms(self) -> tuple[ModuleShape, ...]:
        """Norms inside the transformer layers."""
        return tuple(m for m in self.modules if m.layer is not None and m.kind == "norm")

    @property
    def parameters(self) -> int:
        """Number of parameters of the whole model."""
        return sum(module.parameters for module in self.modules)


def shapes_of(model: nn.Module) -> ModelShapes:
    """Read the shapes of a bare transformer, on any device (``meta`` included), quantized or not."""
    from llmrec_peft.backbone.trunk import transformer_layers

    config: Any = model.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    stack = transformer_layers(model)
    name = next(name for name, module in model.named_modules() if module is stack)
    modules = tuple(
        _shape(path, module, name)
        for path, module in model.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    )
    heads = int(text.num_attention_heads)
    width = int(text.hidden_size)
    return ModelShapes(
        model_type=str(config.model_type),
        width=width,
        depth=len(stack),
        heads=heads,
        kv_heads=int(getattr(text, "num_key_value_heads", None) or heads),
        head_dim=int(getattr(text, "head_dim", None) or width // heads),
        stack=name,
        modules=modules,
    )


def _shape(path: str, module: Any, stack: str) -> ModuleShape:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    layer = int(path[len(stack) + 1 :].split(".", maxsplit=1)[0]) if path.startswith(f"{stack}.") else None
    bias = getattr(module, "bias", None) is not None
    kind: Literal["linear", "conv1d", "norm", "embedding", "other"]
    if isinstance(module, nn.Linear):  # bitsandbytes' layers are subclasses and keep the sizes of the whole matrix
        kind, inputs, outputs = "linear", module.in_features, module.out_features
        parameters = inputs * outputs + (outputs if bias else 0)
    else:
        parameters = sum(p.numel() for p in module.parameters(recurse=False))
        weight = getattr(module, "weight", None)
        if isinstance(module, Conv1D):
            kind, (inputs, outputs) = "conv1d", weight.shape  # type: ignore[union-attr]
        elif isinstance(module, nn.Embedding):
            kind, inputs, outputs = "embedding", module.num_embeddings, module.embedding_dim
        elif weight is not None and weight.ndim == 1:
            kind, inputs, outputs = "norm", weight.shape[0], weight.shape[0]
        else:
            kind, inputs, outputs = "other", 0, 0
    return ModuleShape(path, kind, int(inputs), int(outputs), bias, parameters, layer)
