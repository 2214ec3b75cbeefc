"""BitFit: biases alone are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from llmrec_peft.plugins import (
    BackboneFacts,
    Capabilities,
    InputError,
    Layers,
    Options,
    PeftMethod,
    adapted_layers,
    pattern,
)

if TYPE_CHECKING:
    from peft import PeftConfig

    from llmrec_peft.plugins import Backbone, BatchedForm, ModelShapes, ModuleShape


class BitFitOptions(Options):
    """Options of BitFit."""

    layers: Layers = "all"
    """`all`, `top-N`, or a list of layer numbers from 0; layers below the lowest one are computed once."""


class BitFit(PeftMethod[BitFitOptions]):
    """W x + b + δ with δ trained for every bias of linear layers and norms inside the layers.

    Parameters: one for each bias entry. Llama-shaped models have none and are refused.

    References:
        Ben Zaken et al., BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked
        Language-models, ACL 2022.
    """

    summary: ClassVar[str] = "the biases alone"
    paper: ClassVar[str] = "https://arxiv.org/abs/2106.10199"
    Config: ClassVar[type[Options]] = BitFitOptions
    capabilities: ClassVar[Capabilities] = Capabilities(encoder=True, decoder=True, int8=True, nf4=True, mergeable=True)
    peft_type: ClassVar[str] = "BITFIT"

    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """Return our tuner's configuration."""
        from llmrec_adapters.tuners.delta import BitFitConfig

        self.register_with_peft()
        modules = self._modules(backbone.shapes)
        return BitFitConfig(task_type="FEATURE_EXTRACTION", target_modules=pattern(modules))

    def parameter_count(self, shapes: ModelShapes) -> int:
        """Return the number of entries of all biases in the chosen layers."""
        return sum(module.outputs for module in self._modules(shapes))

    def refusal(self, facts: BackboneFacts, quantization: str) -> str | None:
        """Refuse models without biases."""
        if not facts.biased:
            return f"a {facts.model_type} of this configuration has no biases to tune"
        return super().refusal(facts, quantization)

    def batched(self, backbone: Backbone) -> BatchedForm:
        """Return differences of biases by rows."""
        from llmrec_adapters.forms.shift import Shifts

        return Shifts()

    def _modules(self, shapes: ModelShapes) -> list[ModuleShape]:
        chosen = set(adapted_layers(self.config.layers, shapes.depth))
        modules = [m for m in shapes.modules if m.layer in chosen and m.bias and m.kind != "other"]
        if not modules:
            raise InputError(f"adapter: this {shapes.model_type} has no biases in layers {self.config.layers}")
        return modules

    @classmethod
    def register_with_peft(cls) -> None:
        """Register the tuner, so that stock PEFT loads the deltas."""
        from llmrec_adapters.through_peft.types import register
        from llmrec_adapters.tuners.delta import BitFitConfig, BitFitModel

        register("bitfit", BitFitConfig, BitFitModel, BitFitModel.prefix)
