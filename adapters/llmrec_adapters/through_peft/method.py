"""PeftMethod: what every method that PEFT has shares; a method's own file says its configuration alone."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from llmrec_adapters.targets import adapted_layers, layers_refusal, rank_refusal
from llmrec_adapters.through_peft.files import attach_peft, load_peft, quiet_peft, save_peft, whole_or_bare
from llmrec_peft.backbone.adapter import AdapterMethod
from llmrec_peft.backbone.facts import BackboneFacts
from llmrec_peft.options import Options

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import nn

    from llmrec_peft.backbone.load import Backbone

C = TypeVar("C", bound=Options)


class PeftMethod(AdapterMethod[C]):
    """A method through PEFT: attached, saved, loaded and merged by it.

    A subclass names its `peft_type` and gives `peft_config`. Options named ``layers`` and ``rank`` are checked
    against the model before it is loaded.
    """

    peft_type: ClassVar[str]
    """PEFT's name of the method, as ``adapter_config.json`` has it."""
    loads: ClassVar[tuple[str, ...]] = ()
    """Further values of ``peft_type`` that `load` takes."""
    rank_within_width: ClassVar[bool] = True
    """Whether a rank above the model's width is a mistake."""
    conv1d: ClassVar[bool] = True
    """Whether PEFT has the method for GPT-2's ``Conv1D`` layers."""

    @abstractmethod
    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """PEFT's configuration for this model."""

    def attach(self, backbone: Backbone) -> nn.Module:
        """Attach through PEFT."""
        with whole_or_bare(backbone):
            return attach_peft(backbone.model, self.peft_config(backbone))

    def lowest_layer(self, backbone: Backbone) -> int | None:
        """The lowest of the adapted layers."""
        return min(adapted_layers(getattr(self.config, "layers", "all"), backbone.depth))

    def save(self, model: nn.Module, backbone: Backbone, folder: Path) -> None:
        """Save as PEFT does, with the base named by hash."""
        save_peft(cast(Any, model), backbone, folder)

    def load(self, backbone: Backbone, folder: Path) -> nn.Module:
        """Load as PEFT does, every field and tensor checked."""
        return load_peft(backbone, folder, (self.peft_type, *self.loads))

    def merge(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Merge through PEFT, which checks the merged weights for NaN."""
        if not self.capabilities.merges(backbone.identity.quantization):
            return super().merge(model, backbone)
        with quiet_peft():
            merged: nn.Module = cast(Any, model).merge_and_unload(safe_merge=True)
        return merged

    def refusal(self, facts: BackboneFacts, quantization: str) -> str | None:
        """Layers that the model has not, a rank above its width, GPT-2's layers where PEFT has nothing for them."""
        if facts.model_type == "gpt2" and not self.conv1d:
            return "PEFT has this method for linear layers, not for GPT-2's Conv1D"
        said = layers_refusal(getattr(self.config, "layers", "all"), facts)
        rank = getattr(self.config, "rank", None)
        if said is None and isinstance(rank, int) and self.rank_within_width:
            said = rank_refusal(rank, facts)
        return said
