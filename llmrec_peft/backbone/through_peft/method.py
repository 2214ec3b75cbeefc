"""PeftMethod: base class of the methods that `peft` implements; a method's own file makes PEFT's configuration."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from llmrec_peft.backbone.adapter import AdapterMethod
from llmrec_peft.backbone.facts import BackboneFacts
from llmrec_peft.backbone.through_peft.attach import attach_peft, load_peft, quiet_peft, save_peft, whole_or_bare
from llmrec_peft.backbone.through_peft.stored_config import Learned
from llmrec_peft.backbone.through_peft.targets import adapted_layers, layers_refusal, rank_refusal
from llmrec_peft.errors import InputError
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
    rank_within_width: ClassVar[bool] = True
    """Whether a rank above the model's width is refused."""
    conv1d: ClassVar[bool] = True
    """Whether PEFT supports the method for GPT-2's ``Conv1D`` layers."""
    learned: ClassVar[type[Options]] = Learned
    """Fields of PEFT's configuration that training decides and no option, typed and bounded: all that is taken from a
    file; every other field of it has to say what `saved_config` says."""

    indices: ClassVar[str | None] = None
    """End of the names of tensors that hold indices, such as ``shira_indices``: int32 [2, n], output and input of n
    entries of the module's weight, each once and in their order. All other tensors are floating numbers."""

    @abstractmethod
    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """Make PEFT's configuration of the method for this model."""

    def saved_config(self, backbone: Backbone) -> PeftConfig:
        """Make the configuration that `save` writes; a method overrides this if it attaches another one."""
        return self.peft_config(backbone)

    def attach_config(self, model: nn.Module, config: PeftConfig) -> nn.Module:
        """Put the modules of a configuration into a model by PEFT; a method overrides this to change them."""
        return attach_peft(model, config)

    def attach(self, backbone: Backbone) -> nn.Module:
        """Attach fresh modules by PEFT; a failure leaves the base unchanged."""
        with whole_or_bare(backbone):
            return self.attach_config(backbone.model, self.peft_config(backbone))

    def lowest_layer(self, backbone: Backbone) -> int | None:
        """Return the lowest adapted layer, as the option ``layers`` says; 0 without that option."""
        return min(adapted_layers(getattr(self.config, "layers", "all"), backbone.depth))

    def save(self, model: nn.Module, backbone: Backbone, folder: Path) -> None:
        """Write PEFT's two files, with the base named by hash."""
        save_peft(cast(Any, model), backbone, folder)

    def load(self, backbone: Backbone, folder: Path) -> nn.Module:
        """Load PEFT's two files, which have to say what this method saves for these options."""
        self.require_possible(backbone)
        config = self.saved_config(backbone)
        return load_peft(backbone, folder, config, self.learned, self.attach_config, self.indices)

    def require_possible(self, backbone: Backbone) -> None:
        """Refuse options that would not be trained in this base either: a recipe may come from a stranger too.

        Raises:
            InputError: With the reason of `refusal`.
        """
        said = self.refusal(backbone.facts, backbone.identity.quantization.removesuffix("-double"))
        if said is not None:
            raise InputError(said)

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
