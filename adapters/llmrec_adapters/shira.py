"""SHiRA: a few entries of each weight, drawn at random, are trained; the update is sparse and of high rank."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from llmrec_peft.plugins import Capabilities, InputError, Options, PeftMethod, TargetOptions, pattern, target_linears

if TYPE_CHECKING:
    from collections.abc import Mapping

    from peft import PeftConfig
    from torch import Tensor, nn

    from llmrec_peft.plugins import Backbone, BatchedForm, ModelShapes, ModuleShape


class ShiraOptions(TargetOptions):
    """Options of SHiRA."""

    rank: int = Field(default=8, ge=1, le=1024)
    """Sets how many entries of a weight are trained: rank · (in + out), as many as LoRA of this rank has."""


class Shira(PeftMethod[ShiraOptions]):
    """W x + S x with rank · (in + out) entries of S [out, in] trained from zero and all others zero.

    Where they lie is drawn once, by the recipe's seed, and saved with their values.

    Parameters: rank · (in + out) for each adapted layer.

    References:
        Bhardwaj et al., Sparse High Rank Adapters, NeurIPS 2024, section 3 (SHiRA-Rand).
    """

    summary: ClassVar[str] = "a few entries of each weight, drawn at random: sparse and of high rank"
    paper: ClassVar[str] = "https://arxiv.org/abs/2406.13175"
    Config: ClassVar[type[Options]] = ShiraOptions
    capabilities: ClassVar[Capabilities] = Capabilities(encoder=True, decoder=True, int8=True, nf4=True, mergeable=True)
    peft_type: ClassVar[str] = "SHIRA"
    conv1d: ClassVar[bool] = False
    indices: ClassVar[str | None] = "shira_indices"

    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """Return PEFT's configuration, without a mask: `attach_config` draws the entries."""
        from peft import ShiraConfig

        config = ShiraConfig(
            task_type="FEATURE_EXTRACTION",
            r=self.config.rank,
            target_modules=pattern(self._modules(backbone.shapes)),
        )
        config.mask_fn = None
        return config

    def attach_config(self, model: nn.Module, config: PeftConfig) -> nn.Module:
        """Attach through PEFT, with layers that compute the update beside the weight."""
        from llmrec_adapters.through_peft.sparse_layer import with_sparse_layers

        return with_sparse_layers(super().attach_config(model, config))

    def state(self, model: nn.Module) -> dict[str, Tensor]:
        """Return where the entries lie."""
        from llmrec_adapters.through_peft.sparse_layer import indices_of

        return indices_of(model)

    def load_state(self, model: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Put the entries where they lay."""
        from llmrec_adapters.through_peft.sparse_layer import set_indices

        set_indices(model, state)

    def parameter_count(self, shapes: ModelShapes) -> int:
        """Return rank · (in + out) for each adapted layer."""
        return sum(self.config.rank * (module.inputs + module.outputs) for module in self._modules(shapes))

    def batched(self, backbone: Backbone) -> BatchedForm:
        """Return sparse products by rows."""
        from llmrec_adapters.forms.sparse import SparseRows

        return SparseRows()

    def _modules(self, shapes: ModelShapes) -> list[ModuleShape]:
        modules = target_linears(shapes, self.config.targets or "query-value", self.config.layers)
        for module in modules:
            if self.config.rank * (module.inputs + module.outputs) > module.inputs * module.outputs:
                raise InputError(
                    f"adapter.rank: {self.config.rank} means {self.config.rank * (module.inputs + module.outputs):,}"
                    f" entries, and {module.name} has {module.inputs * module.outputs:,}"
                )
        return modules
