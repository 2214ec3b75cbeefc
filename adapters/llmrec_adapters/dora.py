"""DoRA: LoRA on the direction of a weight, with its magnitude trained apart, through PEFT."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from llmrec_peft.plugins import Capabilities, Options, PeftMethod, TargetOptions, pattern, target_linears, transposed

if TYPE_CHECKING:
    from peft import PeftConfig

    from llmrec_peft.plugins import Backbone, ModelShapes


class DoraOptions(TargetOptions):
    """Options of DoRA."""

    rank: int = Field(default=8, ge=1, le=1024)
    """Rank of the update."""
    alpha: float = Field(default=16.0, gt=0.0, le=4096.0)
    """Scale: the update is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on the update's input."""


class Dora(PeftMethod[DoraOptions]):
    """m · (W + s B A) / ‖W + s B A‖ with the magnitude m [out] trained and the norm taken by output.

    Parameters: rank · (in + out) + out for each adapted layer. On 8-bit weights PEFT 0.21 loses the layer's
    scales when it takes the norm, and the next step fails, so int8 is refused.

    References:
        Liu et al., DoRA: Weight-Decomposed Low-Rank Adaptation, ICML 2024, section 4.
    """

    summary: ClassVar[str] = "LoRA on a weight's direction, its magnitude trained apart"
    paper: ClassVar[str] = "https://arxiv.org/abs/2402.09353"
    Config: ClassVar[type[Options]] = DoraOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        encoder=True, decoder=True, int8=False, nf4=True, mergeable=True
    )
    peft_type: ClassVar[str] = "LORA"

    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """Return PEFT's configuration."""
        from peft import LoraConfig

        modules = target_linears(backbone.shapes, self.config.targets or "query-value", self.config.layers)
        return LoraConfig(
            task_type="FEATURE_EXTRACTION",
            r=self.config.rank,
            lora_alpha=self.config.alpha,
            lora_dropout=self.config.dropout,
            use_dora=True,
            target_modules=pattern(modules),
            fan_in_fan_out=transposed(modules),
        )

    def parameter_count(self, shapes: ModelShapes) -> int:
        """Return rank · (in + out) + out for each adapted layer."""
        modules = target_linears(shapes, self.config.targets or "query-value", self.config.layers)
        return sum(self.config.rank * (module.inputs + module.outputs) + module.outputs for module in modules)
