"""No adapter: the language model stays frozen; only signals, fusion and head are trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from llmrec_peft.plugins import AdapterMethod, Capabilities, Options, read_adapter, write_adapter

if TYPE_CHECKING:
    from torch import nn

    from llmrec_peft.plugins import Backbone, BatchedForm, ModelShapes

_CONFIG = {"peft_type": "NONE", "task_type": "FEATURE_EXTRACTION", "inference_mode": True}


class NoOptions(Options):
    """There is nothing to choose."""


class NoAdapter(AdapterMethod[NoOptions]):
    """The reference every adapter is measured against: frozen text, trained head."""

    summary: ClassVar[str] = "the frozen model as it is; only head and tables are trained"
    Config: ClassVar[type[Options]] = NoOptions
    capabilities: ClassVar[Capabilities] = Capabilities(encoder=True, decoder=True, int8=True, nf4=True, mergeable=True)

    def attach(self, backbone: Backbone) -> nn.Module:
        """Return the model untouched."""
        return backbone.model

    def lowest_layer(self, backbone: Backbone) -> int | None:
        """Return None: no layer is adapted."""
        return None

    def save(self, model: nn.Module, backbone: Backbone, folder: Path) -> None:
        """Write the two files of an adapter without tensors, so that the folder says what it is."""
        write_adapter(folder, backbone, _CONFIG, {})

    def load(self, backbone: Backbone, folder: Path) -> nn.Module:
        """Return the model untouched, after checking that the folder is one of this method."""
        read_adapter(folder, backbone, _CONFIG, {})
        return backbone.model

    def merge(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Return the model untouched."""
        return backbone.model

    def parameter_count(self, shapes: ModelShapes) -> int:
        """Return 0."""
        return 0

    def batched(self, backbone: Backbone) -> BatchedForm:
        """Return rows of the base as it is."""
        from llmrec_adapters.forms.unchanged import Unchanged

        return Unchanged()

    @classmethod
    def register_with_peft(cls) -> None:
        """Register the tuner, so that stock PEFT opens the folder; it adds nothing."""
        from llmrec_adapters.through_peft.types import register
        from llmrec_adapters.tuners.none import NoneConfig, NoneModel

        register("none", NoneConfig, NoneModel, NoneModel.prefix)
