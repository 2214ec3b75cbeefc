"""MiSS: one small matrix a layer, added to every block of the weight's columns, through PEFT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from llmrec_peft.plugins import (
    BatchedForm,
    Capabilities,
    Options,
    PeftMethod,
    SavedTensors,
    Slot,
    TargetOptions,
    pattern,
    target_linears,
)

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor

    from llmrec_peft.plugins import Backbone, ModelShapes


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
    capabilities: ClassVar[Capabilities] = Capabilities(
        encoder=True, decoder=True, int8=True, nf4=True, mergeable=True, batchable=False
    )
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
        """Rows of many tenants' adapters in one pass."""
        return MissRows(self.config.rank)


class MissRows(BatchedForm):
    """W x + D S(x), each row by its own adapter. Slot: ``shared`` D [rank, out]."""

    def __init__(self, rank: int) -> None:
        self._rank = rank

    @property
    def key(self) -> tuple[object, ...]:
        """Blocks are as long as the rank: adapters of unlike ranks sum their inputs differently."""
        return "miss", self._rank

    def slots(self, saved: SavedTensors, backbone: Backbone) -> dict[str, Slot]:
        """Tensors of the file by the module that they belong to, in fp32, in which PEFT computes."""
        before, after = "base_model.model.", ".miss_block"
        names = [name for name in saved if name.startswith(before) and name.endswith(after)]
        return {name[len(before) : -len(after)]: Slot({"shared": saved[name].float()}) for name in names}

    def behind(self, inputs: Tensor, output: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        """Add D S(x) to what comes out of the module."""
        from torch.nn.functional import pad

        blocks = pad(inputs.float(), (0, -inputs.shape[-1] % self._rank)).unflatten(-1, (-1, self._rank))
        return (output + blocks.sum(-2) @ slot["shared"]).to(output.dtype)
