"""PeftMethod: base class of the methods that `peft` implements; a method's own file makes PEFT's configuration."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from llmrec_peft.backbone.adapter import AdapterMethod
from llmrec_peft.backbone.facts import BackboneFacts
from llmrec_peft.backbone.through_peft.attach import (
    RANK_FIELDS,
    attach_peft,
    load_peft,
    quiet_peft,
    save_peft,
    whole_or_bare,
)
from llmrec_peft.backbone.through_peft.targets import adapted_layers, layers_refusal, rank_refusal
from llmrec_peft.options import Options

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import nn

    from llmrec_peft.backbone.load import Backbone

C = TypeVar("C", bound=Options)


class PeftMethod(AdapterMethod[C]):
    """An adapter method that `peft` attaches, saves, loads and merges.

    A subclass sets `peft_type` and implements `peft_config`. Options named ``layers`` and ``rank`` are checked against
    the model before it is loaded.
    """

    peft_type: ClassVar[str]
    """PEFT's name of the method, as in ``adapter_config.json``."""
    loads: ClassVar[tuple[str, ...]] = ()
    """Further values of ``peft_type`` that `load` accepts."""
    rank_within_width: ClassVar[bool] = True
    """Whether a rank above the model's width is refused."""
    conv1d: ClassVar[bool] = True
    """Whether PEFT supports the method for GPT-2's ``Conv1D`` layers."""
    rank_fields: ClassVar[tuple[str, ...]] = RANK_FIELDS
    """Fields of PEFT's configuration that contain ranks, which `load` checks against the model's width."""

    @abstractmethod
    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """Make PEFT's configuration of the method for this model."""

    def attach(self, backbone: Backbone) -> nn.Module:
        """Attach fresh modules by PEFT; a failure leaves the base unchanged."""
        with whole_or_bare(backbone):
            return attach_peft(backbone.model, self.peft_config(backbone))

    def lowest_layer(self, backbone: Backbone) -> int | None:
        """Return the lowest adapted layer, as the option ``layers`` says; 0 without that option."""
        return min(adapted_layers(getattr(self.config, "layers", "all"), backbone.depth))

    def save(self, model: nn.Module, backbone: Backbone, folder: Path) -> None:
        """Write PEFT's two files, with the base named by hash."""
        save_peft(cast(Any, model), backbone, folder)

    def load(self, backbone: Backbone, folder: Path) -> nn.Module:
        """Load PEFT's two files, every field and tensor checked."""
        return load_peft(backbone, folder, (self.peft_type, *self.loads), self.rank_fields)

    def merge(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Merge by PEFT, which checks the merged weights for NaN."""
        if not self.capabilities.merges(backbone.identity.quantization):
            return super().merge(model, backbone)
        with quiet_peft():
            merged: nn.Module = cast(Any, model).merge_and_unload(safe_merge=True)
        return merged

    def refusal(self, facts: BackboneFacts, quantization: str) -> str | None:
        """Refuse layers that the model lacks, ranks above its width, and GPT-2's Conv1D if PEFT lacks it."""
        if facts.model_type == "gpt2" and not self.conv1d:
            return "PEFT has this method for linear layers, not for GPT-2's Conv1D"
        said = layers_refusal(getattr(self.config, "layers", "all"), facts)
        rank = getattr(self.config, "rank", None)
        if said is None and isinstance(rank, int) and self.rank_within_width:
            said = rank_refusal(rank, facts)
        return said
