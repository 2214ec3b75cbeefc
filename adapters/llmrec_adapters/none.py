"""No adapter: the frozen model as it is; only what stands on top of it is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from llmrec_peft.backbone.adapter import AdapterMethod, Capabilities
from llmrec_peft.options import Options

if TYPE_CHECKING:
    from torch import nn

    from llmrec_peft.backbone.load import Backbone


class NoOptions(Options):
    """There is nothing to choose."""


class NoAdapter(AdapterMethod[NoOptions]):
    """The reference every adapter is measured against: frozen text, trained head."""

    summary: ClassVar[str] = "the frozen model as it is; only head and tables are trained"
    Config: ClassVar[type[Options]] = NoOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        encoder=True, decoder=True, int8=True, nf4=True, mergeable=True, batchable=True
    )

    def attach(self, backbone: Backbone) -> nn.Module:
        """Return the model untouched."""
        return backbone.model

    def lowest_layer(self, backbone: Backbone) -> int | None:
        """Nothing changes."""
        return None

    def save(self, model: nn.Module, backbone: Backbone, folder: Path) -> None:
        """Write the two files of an adapter without tensors, so that the folder says what it is."""
        from safetensors.torch import save_file

        config = {
            "peft_type": "NONE",
            "base_model_name_or_path": backbone.identity.name,
            "revision": backbone.identity.revision,
            "task_type": "FEATURE_EXTRACTION",
        }
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        save_file({}, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    def load(self, backbone: Backbone, folder: Path) -> nn.Module:
        """Return the model untouched."""
        return backbone.model
