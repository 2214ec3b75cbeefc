"""Full fine-tuning: every parameter is trained; the reference everyone asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from llmrec_peft.plugins import Capabilities, Layers, Options, PeftMethod, adapted_layers, pattern

if TYPE_CHECKING:
    from peft import PeftConfig

    from llmrec_peft.plugins import Backbone, ModelShapes, ModuleShape


class FullOptions(Options):
    """Options of full fine-tuning."""

    layers: Layers = "all"
    """`all` (embeddings and outer norms too), `top-N`, or a list of layer numbers from 0."""


class Full(PeftMethod[FullOptions]):
    """θ + δ with δ trained for every parameter θ, stored in fp32 beside the unchanged base.

    Parameters: all of the model, or of the chosen layers. Quantized weights cannot be trained.
    """

    summary: ClassVar[str] = "every parameter: the reference that adapters are compared with"
    Config: ClassVar[type[Options]] = FullOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        encoder=True, decoder=True, int8=False, nf4=False, mergeable=True
    )
    peft_type: ClassVar[str] = "FULL"
    grouped_because: ClassVar[str] = "every module has weights of its own, so that rows share no product with the base"

    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """Return our tuner's configuration."""
        from llmrec_adapters.tuners.delta import FullConfig

        self.register_with_peft()
        modules = self._modules(backbone.shapes)
        return FullConfig(task_type="FEATURE_EXTRACTION", target_modules=pattern(modules))

    def parameter_count(self, shapes: ModelShapes) -> int:
        """Return the number of all parameters of the chosen modules."""
        return sum(module.parameters for module in self._modules(shapes))

    def _modules(self, shapes: ModelShapes) -> list[ModuleShape]:
        if self.config.layers == "all":
            return list(shapes.modules)
        chosen = set(adapted_layers(self.config.layers, shapes.depth))
        return [module for module in shapes.modules if module.layer in chosen]

    @classmethod
    def register_with_peft(cls) -> None:
        """Register the tuner, so that stock PEFT loads the deltas."""
        from llmrec_adapters.through_peft.types import register
        from llmrec_adapters.tuners.delta import FullConfig, FullModel

        register("full", FullConfig, FullModel, FullModel.prefix)
