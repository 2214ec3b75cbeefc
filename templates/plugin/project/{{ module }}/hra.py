"""HRA: inputs reflected by a chain of trained Householder reflections, through PEFT; rows of it share mixed batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from llmrec_peft.plugins import (
    BatchedForm,
    Capabilities,
    Options,
    PeftMethod,
    SavedTensors,
    Slot,
    TargetOptions,
    pattern,
    saved_by_site,
    target_linears,
)
from pydantic import Field

if TYPE_CHECKING:
    from llmrec_peft.plugins import Backbone, ModelShapes
    from peft import PeftConfig
    from torch import Tensor


class HraOptions(TargetOptions):
    """Options of HRA."""

    rank: int = Field(default=8, ge=2, le=1024, multiple_of=2)
    """Number of reflections; even, since they start in pairs that undo each other."""


class Hra(PeftMethod[HraOptions]):
    """W H_1 … H_r x with H_i = I - 2 u_i u_iᵀ / ‖u_i‖². Parameters: rank · in for each adapted layer.

    References:
        Yuan et al., Bridging The Gap between Low-rank and Orthogonal Adaptation via Householder Reflection Adaptation,
        NeurIPS 2024.
    """

    summary: ClassVar[str] = "inputs reflected by trained Householder reflections"
    paper: ClassVar[str] = "https://arxiv.org/abs/2405.17484"
    Config: ClassVar[type[Options]] = HraOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        encoder=True, decoder=True, int8=False, nf4=False, mergeable=True
    )
    peft_type: ClassVar[str] = "HRA"
    conv1d: ClassVar[bool] = False

    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """PEFT's configuration: all that a method which PEFT has needs to say."""
        from peft import HRAConfig

        found = target_linears(backbone.shapes, self.config.targets or "query-value", self.config.layers)
        return HRAConfig(task_type="FEATURE_EXTRACTION", r=self.config.rank, target_modules=pattern(found))

    def parameter_count(self, shapes: ModelShapes) -> int:
        """rank · in for each adapted layer."""
        found = target_linears(shapes, self.config.targets or "query-value", self.config.layers)
        return sum(self.config.rank * module.inputs for module in found)

    def batched(self, backbone: Backbone) -> BatchedForm:
        """The form by which rows of this method share a pass with rows of others."""
        return Reflections()


class Reflections(BatchedForm):
    """W H_1 … H_r x, computed by reflecting x, in fp32. Slot: ``directions`` u / ‖u‖, [rank, in].

    Ranks may differ: a direction of zeros, which stands behind an adapter's own, reflects nothing.
    """

    ragged: ClassVar[frozenset[str]] = frozenset({"directions"})

    @property
    def key(self) -> tuple[object, ...]:
        """All such rows are computed together: what they differ in is in the slots."""
        return ("example reflections",)

    def slots(self, saved: SavedTensors, backbone: Backbone) -> dict[str, Slot]:
        """The directions of each layer; the file has u as [in, rank]."""
        found = saved_by_site(saved, "hra_u")
        return {site: Slot({"directions": (u / u.norm(dim=0)).T.float()}) for site, (u,) in found.items()}

    def before(self, inputs: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        """Reflect each row's inputs, the last direction first."""
        directions = slot["directions"]  # [rows, rank, in]
        states = inputs.to(directions.dtype)  # [rows, tokens, in]
        for at in reversed(range(directions.shape[1])):
            direction = directions[:, at].unsqueeze(2)  # [rows, in, 1]
            states = states - 2.0 * (states @ direction) @ direction.transpose(1, 2)
        return states.to(inputs.dtype)
