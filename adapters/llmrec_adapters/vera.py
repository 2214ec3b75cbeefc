"""VeRA: one pair of random matrices for all layers, with trained scaling vectors in each, through PEFT."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from llmrec_peft.plugins import Capabilities, Options, PeftMethod, TargetOptions, pattern, target_linears, transposed

if TYPE_CHECKING:
    from peft import PeftConfig

    from llmrec_peft.plugins import Backbone, BatchedForm, ModelShapes, ModuleShape


class VeraOptions(TargetOptions):
    """Options of VeRA."""

    rank: int = Field(default=64, ge=1, le=4096)
    """Rank of the shared random matrices; higher costs few parameters, since only vectors are trained."""
    initial: float = Field(default=0.1, gt=0.0, le=64.0)
    """Initial value of the vector d that scales the ranks."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on the update's input."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the shared random matrices."""
    save_projection: bool = True
    """Save the random matrices too: random generators differ between versions and devices."""


class Vera(PeftMethod[VeraOptions]):
    """W x + b ⊙ B (d ⊙ A x) with random A, B frozen and shared, d [rank] and b [out] trained.

    Parameters: rank + out for each adapted layer.

    References:
        Kopiczko et al., VeRA: Vector-based Random Matrix Adaptation, ICLR 2024, section 3.
    """

    summary: ClassVar[str] = "scaling vectors around random matrices that all layers share"
    paper: ClassVar[str] = "https://arxiv.org/abs/2310.11454"
    Config: ClassVar[type[Options]] = VeraOptions
    capabilities: ClassVar[Capabilities] = Capabilities(encoder=True, decoder=True, int8=True, nf4=True, mergeable=True)
    peft_type: ClassVar[str] = "VERA"
    rank_within_width: ClassVar[bool] = False  # the random matrices may be wider than the model

    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """Return PEFT's configuration."""
        from peft import VeraConfig

        modules = self._modules(backbone.shapes)
        return VeraConfig(
            task_type="FEATURE_EXTRACTION",
            r=self.config.rank,
            vera_dropout=self.config.dropout,
            d_initial=self.config.initial,
            projection_prng_key=self.config.seed,
            save_projection=self.config.save_projection,
            target_modules=pattern(modules),
            fan_in_fan_out=transposed(modules),
        )

    def parameter_count(self, shapes: ModelShapes) -> int:
        """Return rank + out for each adapted layer."""
        return sum(self.config.rank + module.outputs for module in self._modules(shapes))

    def batched(self, backbone: Backbone) -> BatchedForm:
        """Return vectors by rows around the random matrices of all rows that have the same ones."""
        from llmrec_adapters.forms.projections import SharedProjections

        return SharedProjections(self.config.rank, self.config.seed, self._modules(backbone.shapes))

    def _modules(self, shapes: ModelShapes) -> list[ModuleShape]:
        return target_linears(shapes, self.config.targets or "query-value", self.config.layers)
