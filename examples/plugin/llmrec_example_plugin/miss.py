"""MiSS: one small matrix a layer, added to every block of the weight's columns, through PEFT."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from llmrec_peft.plugins import (
    Capabilities,
    InputError,
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


class MissOptions(TargetOptions):
    """Options of MiSS."""

    rank: int = Field(default=8, ge=1, le=1024)
    """Rows of the shared matrix."""


class Miss(PeftMethod[MissOptions]):
    """W x + D S(x) with D [out, rank] from zero and S(x) the sum of the blocks of `rank` inputs.

    Parameters: rank · out for each adapted layer.

    References:
        Kang and Yin, MiSS: Revisiting the Trade-off in LoRA with an Efficient Shard-Sharing Structure, 2024.
    """

    summary: ClassVar[str] = "one small matrix a layer, shared by blocks of its inputs"
    paper: ClassVar[str] = "https://arxiv.org/abs/2409.15371"
    Config: ClassVar[type[Options]] = MissOptions
    capabilities: ClassVar[Capabilities] = Capabilities(encoder=True, decoder=True, int8=True, nf4=True, mergeable=True)
    peft_type: ClassVar[str] = "MISS"

    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """PEFT's configuration: all that a method which PEFT has needs to say."""
        from peft import MissConfig

        found = target_linears(backbone.shapes, self.config.targets or "query-value", self.config.layers)
        return MissConfig(task_type="FEATURE_EXTRACTION", r=self.config.rank, target_modules=pattern(found))

    def parameter_count(self, shapes: ModelShapes) -> int:
        """rank · out for each adapted layer."""
        found = target_linears(shapes, self.config.targets or "query-value", self.config.layers)
        return sum(self.config.rank * module.outputs for module in found)

    def batched(self, backbone: Backbone) -> BatchedForm:
        """The low-rank form, which makes rows of this method share a pass with rows of others: S is a matrix too."""
        return LowRank(_factors)


def _factors(saved: SavedTensors, backbone: Backbone) -> dict[str, tuple[Tensor, Tensor]]:
    """Return S [rank, in], in which every block of `rank` inputs has an identity, and D [out, rank] of each layer."""
    import torch

    widths = {module.name: module.inputs for module in backbone.shapes.linears}
    found = {}
    for site, (block,) in saved_by_site(saved, "miss_block").items():
        if site not in widths:
            raise InputError(f"the base has no linear layer {site}")
        rank = len(block)
        found[site] = torch.eye(rank).repeat(1, -(-widths[site] // rank))[:, : widths[site]], block.T
    return found
