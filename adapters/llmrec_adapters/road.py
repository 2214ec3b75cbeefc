"""RoAd: outputs turned and scaled in planes of two, through PEFT."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from llmrec_peft.plugins import Capabilities, InputError, Options, PeftMethod, TargetOptions, pattern, target_linears

if TYPE_CHECKING:
    from peft import PeftConfig

    from llmrec_peft.plugins import Backbone, BatchedForm, ModelShapes, ModuleShape


class RoadOptions(TargetOptions):
    """Options of RoAd."""

    variant: Literal[1, 2, 4] = 1
    """Angles and scales of each pair of outputs: RoAd₁, RoAd₂ or RoAd₄ of the paper."""
    group_size: int = Field(default=16, ge=2, le=1024, multiple_of=2)
    """Outputs of a group, whose first half is paired with its second; it has to divide the output of every adapted
    layer, and changes nothing else but speed."""


class Road(PeftMethod[RoadOptions]):
    """R (W x + b) with R turning and scaling each pair of outputs, angles from 0 and scales from 1.

    Parameters: variant · out for each adapted layer.

    References:
        Liao and Monz, 3-in-1: 2D Rotary Adaptation for Efficient Finetuning, Efficient Batching and Composability,
        NeurIPS 2024, section 3.
    """

    summary: ClassVar[str] = "outputs turned and scaled in pairs"
    paper: ClassVar[str] = "https://arxiv.org/abs/2409.00119"
    Config: ClassVar[type[Options]] = RoadOptions
    capabilities: ClassVar[Capabilities] = Capabilities(encoder=True, decoder=True, int8=True, nf4=True, mergeable=True)
    peft_type: ClassVar[str] = "ROAD"
    conv1d: ClassVar[bool] = False

    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """Return PEFT's configuration."""
        from peft import RoadConfig

        return RoadConfig(
            task_type="FEATURE_EXTRACTION",
            variant=f"road_{self.config.variant}",
            group_size=self.config.group_size,
            target_modules=pattern(self._modules(backbone.shapes)),
        )

    def parameter_count(self, shapes: ModelShapes) -> int:
        """Return variant · out for each adapted layer."""
        return sum(self.config.variant * module.outputs for module in self._modules(shapes))

    def batched(self, backbone: Backbone) -> BatchedForm:
        """Return turned and scaled pairs by rows; only group sizes have to agree."""
        from llmrec_adapters.forms.planes import Planes

        return Planes(self.config.variant, self.config.group_size)

    def _modules(self, shapes: ModelShapes) -> list[ModuleShape]:
        modules = target_linears(shapes, self.config.targets or "query-value", self.config.layers)
        for module in modules:
            if module.outputs % self.config.group_size:
                raise InputError(
                    f"adapter.group_size: {self.config.group_size} does not divide the output of"
                    f" {module.name} ({module.outputs})"
                )
        return modules
