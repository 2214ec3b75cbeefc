"""What prompt and prefix tuning share: trained tokens in front, saved and loaded as PEFT does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from pydantic import Field

from llmrec_peft.plugins import Options, PeftMethod, attach_peft, load_peft, save_peft, whole_or_bare

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import nn

    from llmrec_peft.plugins import Backbone


class VirtualTokenOptions(Options):
    """Options of methods with virtual tokens."""

    num_virtual_tokens: int = Field(default=8, ge=1, le=512)
    """Trained tokens in front of every text."""


C = TypeVar("C", bound=VirtualTokenOptions)


class VirtualTokenMethod(PeftMethod[C]):
    """Base class of methods that wrap PEFT's model in a `VirtualTokens`."""

    in_sequence: ClassVar[bool]
    """Whether the virtual tokens are part of the sequence (prompt) or of the attention's cache (prefix)."""

    def attach(self, backbone: Backbone) -> nn.Module:
        """Attach through PEFT."""
        with whole_or_bare(backbone):
            return self._wrapped(attach_peft(backbone.model, self.peft_config(backbone)))

    def lowest_layer(self, backbone: Backbone) -> int | None:
        """Return 0: all layers see the virtual tokens."""
        return 0

    def save(self, model: nn.Module, backbone: Backbone, folder: Path) -> None:
        """Save as PEFT does."""
        save_peft(cast(Any, model).peft_model, backbone, folder)

    def load(self, backbone: Backbone, folder: Path) -> nn.Module:
        """Load as PEFT does."""
        self.require_possible(backbone)
        return self._wrapped(load_peft(backbone, folder, self.saved_config(backbone)))

    def saved_config(self, backbone: Backbone) -> PeftConfig:
        """Return PEFT's configuration with the model's sizes, which PEFT fills in when it attaches."""
        from peft.utils import _prepare_prompt_learning_config

        config: Any = _prepare_prompt_learning_config(self.peft_config(backbone), backbone.model.config)
        config.num_transformer_submodules = 1  # an encoder or a decoder, not both
        return cast("PeftConfig", config)

    def _wrapped(self, peft_model: nn.Module) -> nn.Module:
        from llmrec_adapters.through_peft.virtual_tokens import VirtualTokens

        return VirtualTokens(peft_model, self.config.num_virtual_tokens, self.in_sequence)
