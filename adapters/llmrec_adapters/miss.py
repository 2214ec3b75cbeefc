"""MiSS: one small matrix a layer, shared by all blocks of its inputs, through PEFT."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

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

    from llmrec_peft.plugins import Backbone, BatchedForm, ModelShapes, ModuleShape, SavedTensors


class MissOptions(TargetOptions):
    """Options of MiSS."""

    rank: int = Field(default=8, ge=1, le=1024)
    """Inputs of a block, and rows of the shared matrix."""
    variant: Literal["balance", "mini", "bat"] = "balance"
    """`balance`: the blocks' sum times a matrix [rank, out]; `mini`: times a matrix [rank, mini_rank] that is repeated
    along the output; `bat`: each block of the weight is changed in proportion to itself, by one matrix
    [rank, rank] for each block of outputs."""
    mini_rank: int = Field(default=1, ge=1, le=65536)
    """Columns of `mini`'s matrix; has to divide the output of every adapted layer."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on the update's input; not with `bat`, which has none."""

    @model_validator(mode="after")
    def _fields_of_the_variant(self) -> MissOptions:
        if self.variant == "bat" and self.dropout > 0.0:
            raise ValueError("variant=bat changes the weight itself and has no dropout; set dropout to 0")
        if self.variant != "mini" and self.mini_rank != 1:
            raise ValueError(f"mini_rank is read by variant=mini alone, not by {self.variant}")
        return self


class Miss(PeftMethod[MissOptions]):
    """W x + D S(x) with D [out, rank] from zero and S(x) the sum of the blocks of `rank` inputs.

    `mini` has D of `mini_rank` rows, repeated along the output. `bat` has W' = W + W_b M_o + M_o for each block W_b
    [rank, rank] of W and M_o [rank, rank] of its block o of outputs.

    Parameters for each adapted layer: rank · out (`balance` and `bat`), rank · mini_rank (`mini`).

    References:
        Kang and Yin, MiSS: Revisiting the Trade-off in LoRA with an Efficient Shard-Sharing Structure, 2024.
    """

    summary: ClassVar[str] = "one small matrix a layer, shared by blocks of its inputs"
    paper: ClassVar[str] = "https://arxiv.org/abs/2409.15371"
    Config: ClassVar[type[Options]] = MissOptions
    capabilities: ClassVar[Capabilities] = Capabilities(encoder=True, decoder=True, int8=True, nf4=True, mergeable=True)
    peft_type: ClassVar[str] = "MISS"
    conv1d: ClassVar[bool] = False
    grouped_because: ClassVar[str] = "the update of variant=bat depends on the weight and has its full rank"

    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """Return PEFT's configuration."""
        from peft import MissConfig

        return MissConfig(
            task_type="FEATURE_EXTRACTION",
            r=self.config.rank,
            mini_r=self.config.mini_rank,
            miss_dropout=self.config.dropout,
            init_weights=True if self.config.variant == "balance" else self.config.variant,
            target_modules=pattern(self._modules(backbone.shapes)),
        )

    def parameter_count(self, shapes: ModelShapes) -> int:
        """Return rank · out for each adapted layer, rank · mini_rank for the variant `mini`."""
        mini = self.config.variant == "mini"
        columns = (self.config.mini_rank if mini else module.outputs for module in self._modules(shapes))
        return sum(self.config.rank * count for count in columns)

    def batched(self, backbone: Backbone) -> BatchedForm | None:
        """Return the low-rank form, since S is a matrix too; None for the variant `bat`."""
        return None if self.config.variant == "bat" else LowRank(self._factors)

    def _factors(self, saved: SavedTensors, backbone: Backbone) -> dict[str, tuple[Tensor, Tensor]]:
        """Return S [rank, in], with an identity for every block of `rank` inputs, and D [out, rank] of each layer."""
        import torch

        sizes = {module.name: (module.inputs, module.outputs) for module in backbone.shapes.linears}
        found = {}
        for site, (block,) in saved_by_site(saved, "miss_block").items():
            if site not in sizes:
                raise InputError(f"the base has no linear layer {site}")
            inputs, outputs = sizes[site]
            rank, columns = block.shape
            shards = torch.eye(rank, device=block.device).repeat(1, -(-inputs // rank))[:, :inputs]
            found[site] = shards, block.repeat(1, outputs // columns).T
        return found

    def _modules(self, shapes: ModelShapes) -> list[ModuleShape]:
        modules = target_linears(shapes, self.config.targets or "query-value", self.config.layers)
        for module in modules:
            said = self._misfit(module)
            if said is not None:
                raise InputError(f"adapter.{said} of {module.name} ({module.inputs} to {module.outputs})")
        return modules

    def _misfit(self, module: ModuleShape) -> str | None:
        """Return the option that does not fit a layer, and how; None if all do."""
        rank, mini_rank = self.config.rank, self.config.mini_rank
        if rank > module.inputs:
            return f"rank: {rank} is above the input"
        if self.config.variant == "bat" and (module.inputs % rank or module.outputs % rank):
            return f"rank: {rank} does not divide input and output, as variant=bat needs it,"
        if self.config.variant == "mini" and module.outputs % mini_rank:
            return f"mini_rank: {mini_rank} does not divide the output"
        return None
