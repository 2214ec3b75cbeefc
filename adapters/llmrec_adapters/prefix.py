"""Prefix tuning: trained keys and values stand before every text in each layer's attention, through PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from llmrec_adapters.through_peft.virtual_method import VirtualTokenMethod, VirtualTokenOptions
from llmrec_peft.plugins import BackboneFacts, Capabilities, Options, save_peft

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import nn

    from llmrec_peft.plugins import Backbone, BatchedForm, ModelShapes

_CACHING_ENCODERS = frozenset("bert camembert electra ernie roberta xlm-roberta".split())
"""Encoders whose layers take cached keys and values; the others have nowhere to put a prefix."""


class PrefixOptions(VirtualTokenOptions):
    """Options of prefix tuning."""

    projection: bool = False
    """Train the prefix through a two-layer network, as the paper does; its output is saved as a plain prefix."""
    hidden: int = Field(default=128, ge=1, le=65_536)
    """Width of that network."""


class Prefix(VirtualTokenMethod[PrefixOptions]):
    """Attention over [P_k; K] and [P_v; V] with trained P_k, P_v [num_virtual_tokens, kv width] in each layer.

    A prefix takes a share of the attention from the start, so a fresh one is not the identity. It cannot be
    trained with recomputed activations, which the cache it lives in does not stand.

    Parameters: num_virtual_tokens · 2 · layers · kv width; with `projection`, num_virtual_tokens · kv width
    and the network's two matrices and biases.

    References:
        Li and Liang, Prefix-Tuning: Optimizing Continuous Prompts for Generation, ACL 2021, section 4.
    """

    summary: ClassVar[str] = "trained keys and values before every text in each layer"
    paper: ClassVar[str] = "https://arxiv.org/abs/2101.00190"
    Config: ClassVar[type[Options]] = PrefixOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        encoder=True,
        decoder=True,
        int8=True,
        nf4=True,
        mergeable=False,
        starts_as_identity=False,
        gradient_checkpointing=False,
    )
    peft_type: ClassVar[str] = "PREFIX_TUNING"
    in_sequence: ClassVar[bool] = False

    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """Return PEFT's configuration; PEFT itself computes the width of grouped keys and values."""
        from peft import PrefixTuningConfig

        return PrefixTuningConfig(
            task_type="FEATURE_EXTRACTION",
            num_virtual_tokens=self.config.num_virtual_tokens,
            prefix_projection=self.config.projection,
            encoder_hidden_size=self.config.hidden,
            num_layers=backbone.depth,
        )

    def saved_config(self, backbone: Backbone) -> PeftConfig:
        """Return the configuration of a plain prefix: that of a projection is what the projection computes."""
        config: Any = super().saved_config(backbone)
        config.prefix_projection = False
        return cast("PeftConfig", config)

    def save(self, model: nn.Module, backbone: Backbone, folder: Path) -> None:
        """Save as PEFT does; of a projection, the prefix that it computes."""
        save_peft(cast(Any, model).peft_model, backbone, folder, prefix_projection=False)

    def parameter_count(self, shapes: ModelShapes) -> int:
        """Count the parameters by the formula of the class."""
        tokens, width = self.config.num_virtual_tokens, shapes.kv_heads * shapes.head_dim
        whole = 2 * shapes.depth * width
        if not self.config.projection:
            return tokens * whole
        hidden = self.config.hidden
        return tokens * width + (width + 1) * hidden + (hidden + 1) * whole

    def refusal(self, facts: BackboneFacts, quantization: str) -> str | None:
        """Refuse encoders whose layers take no cached keys."""
        if facts.kind == "encoder" and facts.model_type not in _CACHING_ENCODERS:
            return f"the layers of {facts.model_type} take no cached keys, so a prefix has no place in it"
        return None

    def batched(self, backbone: Backbone) -> BatchedForm:
        """Return the form whose keys and values stand before each row's text."""
        from llmrec_adapters.through_peft.virtual_form import KeysBefore

        return KeysBefore(self._sizes)

    def _sizes(self, backbone: Backbone) -> tuple[int, int, int]:
        """Return layers, heads of keys and values, and width of a head, by which PEFT divides a prefix."""
        config: Any = self.saved_config(backbone)
        return config.num_layers, config.num_attention_heads, config.token_dim // config.num_attention_heads
