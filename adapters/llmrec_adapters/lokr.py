"""LoKr: the update is a Kronecker product of a small and a low-rank matrix, through PEFT."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from llmrec_adapters.forms.kronecker import KroneckerRows
from llmrec_peft.plugins import Capabilities, Options, PeftMethod, TargetOptions, pattern, target_linears

if TYPE_CHECKING:
    from peft import PeftConfig

    from llmrec_peft.plugins import Backbone, BatchedForm, ModelShapes, ModuleShape


class LokrOptions(TargetOptions):
    """Options of LoKr."""

    rank: int = Field(default=8, ge=1, le=1024)
    """Rank of the larger factor; where it is not below half its sides, the factor is trained whole."""
    alpha: float = Field(default=16.0, gt=0.0, le=4096.0)
    """Scale: the update is multiplied by alpha / rank."""
    factor: int = Field(default=-1, ge=-1, le=4096)
    """Side of the smaller factor where it divides a layer's sides; -1 for the divisor nearest their root."""
    rank_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of output rows whose update is dropped in a step."""


class Lokr(PeftMethod[LokrOptions]):
    """W + s C ⊗ (B A) with C [m_out, m_in] and B A [out / m_out, in / m_in].

    Parameters: m_out · m_in + rank · (out / m_out + in / m_in) for each adapted layer; where the rank reaches
    half of the second factor's sides, out · in / (m_out · m_in) stand for the product.

    References:
        Yeh et al., Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model Evaluation,
        ICLR 2024, section 3.
    """

    summary: ClassVar[str] = "Kronecker product of a small and a low-rank matrix"
    paper: ClassVar[str] = "https://arxiv.org/abs/2309.14859"
    Config: ClassVar[type[Options]] = LokrOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        encoder=True,
        decoder=True,
        int8=True,
        nf4=False,
        mergeable=True,
        mergeable_quantized=False,
    )
    peft_type: ClassVar[str] = "LOKR"
    conv1d: ClassVar[bool] = False

    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """Return PEFT's configuration."""
        from peft import LoKrConfig

        modules = target_linears(backbone.shapes, self.config.targets or "query-value", self.config.layers)
        return LoKrConfig(
            task_type="FEATURE_EXTRACTION",
            r=self.config.rank,
            alpha=self.config.alpha,
            decompose_factor=self.config.factor,
            rank_dropout=self.config.rank_dropout,
            target_modules=pattern(modules),
        )

    def parameter_count(self, shapes: ModelShapes) -> int:
        """Count the parameters by the formula of the class."""
        modules = target_linears(shapes, self.config.targets or "query-value", self.config.layers)
        return sum(self._of_one(module) for module in modules)

    def _of_one(self, module: ModuleShape) -> int:
        small_in, large_in = factors(module.inputs, self.config.factor)
        small_out, large_out = factors(module.outputs, self.config.factor)
        rank = self.config.rank
        whole = rank >= max(large_in, large_out) / 2
        return small_in * small_out + (large_in * large_out if whole else rank * (large_in + large_out))

    def batched(self, backbone: Backbone) -> BatchedForm:
        """Return the Kronecker form with C, B and A; a factor that is trained whole is a product with the identity."""
        return KroneckerRows(self.config.factor, self.config.alpha / self.config.rank)


def factors(side: int, factor: int) -> tuple[int, int]:
    """The two factors of a matrix' side, the smaller first.

    >>> factors(384, -1)
    (16, 24)
    >>> factors(384, 8)
    (8, 48)
    """
    if factor > 0 and side % factor == 0:
        return factor, side // factor
    limit = side if factor == -1 else factor
    small = max(m for m in range(1, int(side**0.5) + 1) if side % m == 0 and m <= limit)
    return small, side // small
