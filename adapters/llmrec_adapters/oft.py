"""OFT: weights turned by block-diagonal orthogonal matrices, through PEFT."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from llmrec_peft.plugins import (
    BackboneFacts,
    Capabilities,
    InputError,
    Options,
    PeftMethod,
    TargetOptions,
    pattern,
    target_linears,
)

if TYPE_CHECKING:
    from peft import PeftConfig

    from llmrec_peft.plugins import Backbone, BatchedForm, ModelShapes, ModuleShape


class OftOptions(TargetOptions):
    """Options of OFT."""

    block_size: int = Field(default=32, ge=2, le=1024)
    """Side of a rotation block; it has to divide the width of every adapted layer's input."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of rotation blocks that are left out in a step."""
    terms: int = Field(default=5, ge=1, le=64)
    """Number of terms of the Neumann series that approximates the rotation."""


class Oft(PeftMethod[OftOptions]):
    """W R x with R block-diagonal, each block the Cayley transform of a skew-symmetric matrix.

    Parameters: in / block_size · block_size · (block_size - 1) / 2 for each adapted layer.

    References:
        Qiu et al., Controlling Text-to-Image Diffusion by Orthogonal Finetuning, NeurIPS 2023, section 3;
        Qiu et al., Orthogonal Finetuning Made Scalable, 2025 (the input-centric form that is computed).
    """

    summary: ClassVar[str] = "inputs turned by block-diagonal rotations"
    paper: ClassVar[str] = "https://arxiv.org/abs/2306.07280"
    Config: ClassVar[type[Options]] = OftOptions
    capabilities: ClassVar[Capabilities] = Capabilities(encoder=True, decoder=True, int8=True, nf4=True, mergeable=True)
    peft_type: ClassVar[str] = "OFT"
    conv1d: ClassVar[bool] = False

    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """Return PEFT's configuration."""
        from peft import OFTConfig

        return OFTConfig(
            task_type="FEATURE_EXTRACTION",
            r=0,
            oft_block_size=self.config.block_size,
            module_dropout=self.config.dropout,
            num_cayley_neumann_terms=self.config.terms,
            target_modules=pattern(self._modules(backbone.shapes)),
        )

    def parameter_count(self, shapes: ModelShapes) -> int:
        """Return in · (block_size - 1) / 2 for each adapted layer."""
        return sum(module.inputs * (self.config.block_size - 1) // 2 for module in self._modules(shapes))

    def refusal(self, facts: BackboneFacts, quantization: str) -> str | None:
        """Refuse layers that the model does not have, and blocks that do not divide its width."""
        said = super().refusal(facts, quantization)
        if said is None and facts.width % self.config.block_size:
            said = f"adapter.block_size: {self.config.block_size} does not divide the model's width {facts.width}"
        return said

    def batched(self, backbone: Backbone) -> BatchedForm:
        """Return rotations by rows; only block sizes have to agree."""
        from llmrec_adapters.forms.rotation import Rotations

        return Rotations(self.config.block_size, self.config.terms)

    def _modules(self, shapes: ModelShapes) -> list[ModuleShape]:
        modules = target_linears(shapes, self.config.targets or "query-value", self.config.layers)
        for module in modules:
            if module.inputs % self.config.block_size:
                raise InputError(
                    f"adapter.block_size: {self.config.block_size} does not divide the input of"
                    f" {module.name} ({module.inputs})"
                )
        return modules
