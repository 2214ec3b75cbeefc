"""LayerNorm tuning: copies of the norms are trained, through PEFT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from llmrec_peft.plugins import Capabilities, Layers, Options, PeftMethod, norms_of, pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peft import PeftConfig
    from torch import Tensor, nn

    from llmrec_peft.plugins import Backbone, BatchedForm, ModelShapes


class LayerNormOptions(Options):
    """Options of LayerNorm tuning."""

    layers: Layers = "all"
    """`all`, `top-N`, or a list of layer numbers from 0; layers below the lowest one are computed once."""


class LayerNorm(PeftMethod[LayerNormOptions]):
    """Scale and shift of the norms inside the layers.

    PEFT trains copies in the base's own number format. In bf16 a weight near 1 is next to 0.996 and 1.008, so
    that a step of 0.001 is rounded away; the copies are therefore stored and computed in fp32.

    Parameters: those of the norms (width, and width again where they have a bias).

    References:
        Zhao et al., Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning, ICLR 2024.
    """

    summary: ClassVar[str] = "the norms alone"
    paper: ClassVar[str] = "https://arxiv.org/abs/2312.11420"
    Config: ClassVar[type[Options]] = LayerNormOptions
    capabilities: ClassVar[Capabilities] = Capabilities(encoder=True, decoder=True, int8=True, nf4=True, mergeable=True)
    peft_type: ClassVar[str] = "LN_TUNING"
    grouped_because: ClassVar[str] = "the base's norms are neither LayerNorm nor RMSNorm"

    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """Return PEFT's configuration."""
        from peft import LNTuningConfig

        modules = norms_of(backbone.shapes, self.config.layers)
        return LNTuningConfig(task_type="FEATURE_EXTRACTION", target_modules=pattern(modules))

    def attach_config(self, model: nn.Module, config: PeftConfig) -> nn.Module:
        """Attach through PEFT, with the copies in fp32."""
        return _in_fp32(super().attach_config(model, config))

    def merge(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Replace the base's norms with the trained ones, in the base's number format."""
        for layer in _layers(model):
            layer.widening.remove()
            layer.ln_tuning_layers["default"].to(next(layer.base_layer.parameters()).dtype)
        return super().merge(model, backbone)

    def parameter_count(self, shapes: ModelShapes) -> int:
        """Return the number of the norms' parameters."""
        return sum(module.parameters for module in norms_of(shapes, self.config.layers))

    def batched(self, backbone: Backbone) -> BatchedForm | None:
        """Return scales and shifts by rows; None where the base's norms are no LayerNorm or RMSNorm."""
        from llmrec_adapters.forms.norm import Norms, norm_kind

        modules = norms_of(backbone.shapes, self.config.layers)
        kind = norm_kind([backbone.model.get_submodule(module.name) for module in modules])
        return None if kind is None else Norms(kind)


def _layers(model: nn.Module) -> Iterator[Any]:
    from peft.tuners.ln_tuning.layer import LNTuningLayer

    return (module for module in model.modules() if isinstance(module, LNTuningLayer))


def _in_fp32(model: nn.Module) -> nn.Module:
    for layer in _layers(model):
        copy: nn.Module = cast(Any, layer).ln_tuning_layers["default"]
        copy.float()
        layer.widening = copy.register_forward_pre_hook(_widen)
        layer.register_forward_hook(_narrow)
    return model


def _widen(_module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(arg.float() for arg in args)


def _narrow(layer: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.to(args[0].dtype)
