"""LoHa: the update is a Hadamard product of two low-rank matrices, through PEFT."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from llmrec_peft.plugins import (
    Capabilities,
    LowRank,
    Options,
    PeftMethod,
    TargetOptions,
    pattern,
    saved_by_site,
    target_linears,
)

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor

    from llmrec_peft.plugins import Backbone, BatchedForm, ModelShapes, SavedTensors


class LohaOptions(TargetOptions):
    """Options of LoHa."""

    rank: int = Field(default=8, ge=1, le=1024)
    """Rank of each factor; the product's rank is up to its square."""
    alpha: float = Field(default=16.0, gt=0.0, le=4096.0)
    """Scale: the update is multiplied by alpha / rank."""
    rank_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of output rows whose update is dropped in a step."""


class Loha(PeftMethod[LohaOptions]):
    """W + s (B₁ A₁) ⊙ (B₂ A₂).

    Parameters: 2 · rank · (in + out) for each adapted layer.

    References:
        Hyeon-Woo et al., FedPara: Low-Rank Hadamard Product for Communication-Efficient Federated Learning,
        ICLR 2022, section 2.
    """

    summary: ClassVar[str] = "Hadamard product of two low-rank updates"
    paper: ClassVar[str] = "https://arxiv.org/abs/2108.06098"
    Config: ClassVar[type[Options]] = LohaOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        encoder=True,
        decoder=True,
        int8=True,
        nf4=False,
        mergeable=True,
        mergeable_quantized=False,
    )
    peft_type: ClassVar[str] = "LOHA"
    grouped_because: ClassVar[str] = "at this rank its exact low-rank form costs more than passes of its own"
    conv1d: ClassVar[bool] = False

    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """Return PEFT's configuration."""
        from peft import LoHaConfig

        modules = target_linears(backbone.shapes, self.config.targets or "query-value", self.config.layers)
        return LoHaConfig(
            task_type="FEATURE_EXTRACTION",
            r=self.config.rank,
            alpha=self.config.alpha,
            rank_dropout=self.config.rank_dropout,
            target_modules=pattern(modules),
        )

    def parameter_count(self, shapes: ModelShapes) -> int:
        """Return 2 · rank · (in + out) for each adapted layer."""
        modules = target_linears(shapes, self.config.targets or "query-value", self.config.layers)
        return sum(2 * self.config.rank * (module.inputs + module.outputs) for module in modules)

    def batched(self, backbone: Backbone) -> BatchedForm | None:
        """Return the low-rank form, or None for a rank at which a pass of its own takes fewer multiplications.

        The product of two updates of rank r has rank r² at most: its factors are all products of a column of B₁ with
        one of B₂, and of a row of A₁ with one of A₂. A token then takes r² · (in + out) multiplications a layer, and
        in · out by the update itself, which only a pass of one adapter can hold. On a square layer of width 384 ranks
        up to 13 are mixed. r² is below both sides wherever this holds.
        """
        modules = target_linears(backbone.shapes, self.config.targets or "query-value", self.config.layers)
        mixed = sum(self.config.rank**2 * (module.inputs + module.outputs) for module in modules)
        grouped = sum(module.inputs * module.outputs for module in modules)
        return LowRank(self._factors) if mixed <= grouped else None

    def _factors(self, saved: SavedTensors, backbone: Backbone) -> dict[str, tuple[Tensor, Tensor]]:
        scale = self.config.alpha / self.config.rank
        layers = saved_by_site(saved, "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
        return {
            site: (
                (a1[:, None] * a2[None]).flatten(0, 1) * scale,
                (b1[:, :, None] * b2[:, None]).flatten(1),
            )
            for site, (b1, a1, b2, a2) in layers.items()
        }
