"""(IA)³: learned vectors that scale keys, values and the inner state of the feed-forward block, through PEFT."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from llmrec_peft.plugins import (
    Capabilities,
    Options,
    PeftMethod,
    TargetOptions,
    adapted_layers,
    pattern,
    sublayers,
    target_linears,
    transposed,
)

if TYPE_CHECKING:
    from peft import PeftConfig

    from llmrec_peft.plugins import Backbone, BatchedForm, ModelShapes, ModuleShape


class Ia3Options(TargetOptions):
    """Options of (IA)³."""

    feedforward: bool = True
    """Whether the input of each feed-forward block's last layer is scaled too."""


class Ia3(PeftMethod[Ia3Options]):
    """l ⊙ (W x) for keys and values, W (l ⊙ x) for the last layer of the feed-forward block; l starts at 1.

    Parameters: out for each key and value layer, in for each feed-forward layer.

    References:
        Liu et al., Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning,
        NeurIPS 2022, section 3.3.
    """

    summary: ClassVar[str] = "vectors that scale keys, values and feed-forward states"
    paper: ClassVar[str] = "https://arxiv.org/abs/2205.05638"
    Config: ClassVar[type[Options]] = Ia3Options
    capabilities: ClassVar[Capabilities] = Capabilities(
        encoder=True,
        decoder=True,
        int8=True,
        nf4=True,
        mergeable=True,
        mergeable_quantized=False,
    )
    peft_type: ClassVar[str] = "IA3"

    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """Return PEFT's configuration."""
        from peft import IA3Config

        scaled, feedforward = self._modules(backbone.shapes)
        return IA3Config(
            task_type="FEATURE_EXTRACTION",
            target_modules=pattern_of(scaled, feedforward),
            feedforward_modules=pattern(feedforward) if feedforward else [],
            fan_in_fan_out=transposed([*scaled, *feedforward]),
        )

    def parameter_count(self, shapes: ModelShapes) -> int:
        """Return out for each key and value layer, in for each feed-forward layer."""
        scaled, feedforward = self._modules(shapes)
        return sum(module.outputs for module in scaled) + sum(module.inputs for module in feedforward)

    def batched(self, backbone: Backbone) -> BatchedForm:
        """Return vectors by rows."""
        from llmrec_adapters.forms.scaling import Scalings

        return Scalings(self.config.feedforward)

    def _modules(self, shapes: ModelShapes) -> tuple[list[ModuleShape], list[ModuleShape]]:
        scaled = target_linears(shapes, self.config.targets or "key-value", self.config.layers)
        if not self.config.feedforward:
            return scaled, []
        layers = adapted_layers(self.config.layers, shapes.depth)
        feedforward = [sublayers(shapes, layer)["mlp"][1] for layer in layers]
        return [module for module in scaled if module not in feedforward], feedforward


def pattern_of(*groups: list[ModuleShape]) -> str:
    """Join the patterns of several groups of modules into one regular expression."""
    return "|".join(f"(?:{pattern(group)})" for group in groups if group)
