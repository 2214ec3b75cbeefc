"""LoRA: a low-rank update beside chosen linear layers, through PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from llmrec_adapters.peft_files import attach_peft, load_peft, save_peft
from llmrec_adapters.targets import adapted_layers, layer_stack_name, query_and_value
from llmrec_peft.backbone.adapter import AdapterMethod, Capabilities
from llmrec_peft.options import Options

if TYPE_CHECKING:
    from torch import nn

    from llmrec_peft.backbone.load import Backbone


class LoraOptions(Options):
    """Options of LoRA."""

    rank: int = Field(default=8, ge=1, le=1024)
    """Rank of the update."""
    alpha: float = Field(default=16.0, gt=0.0)
    """Scale: the update is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on the update's input."""
    targets: tuple[str, ...] | None = None
    """Names of linear layers to adapt; null for the attention's query and value."""
    layers: Literal["all"] | str | tuple[int, ...] = "all"
    """`all`, `top-N`, or a list of layer numbers from 0; layers below the lowest are computed once."""


class Lora(AdapterMethod[LoraOptions]):
    """W x + (alpha / rank) B A x with A [rank, in] random and B [out, rank] zero, W frozen.

    References:
        Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, section 4.
    """

    summary: ClassVar[str] = "low-rank updates beside the attention's projections"
    Config: ClassVar[type[Options]] = LoraOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        encoder=True, decoder=True, int8=True, nf4=True, mergeable=True, batchable=True
    )

    def attach(self, backbone: Backbone) -> nn.Module:
        """Attach through PEFT."""
        from peft import LoraConfig

        restricted: dict[str, Any] = {}
        layers = adapted_layers(self.config.layers, backbone.depth)
        if len(layers) < backbone.depth:
            restricted = {"layers_to_transform": layers, "layers_pattern": layer_stack_name(backbone.model)}
        config = LoraConfig(
            task_type="FEATURE_EXTRACTION",
            r=self.config.rank,
            lora_alpha=self.config.alpha,
            lora_dropout=self.config.dropout,
            target_modules=list(self.config.targets or query_and_value(backbone.model)),
            **restricted,
        )
        return attach_peft(backbone.model, config)

    def lowest_layer(self, backbone: Backbone) -> int | None:
        """The lowest of the adapted layers."""
        return min(adapted_layers(self.config.layers, backbone.depth))

    def save(self, model: nn.Module, backbone: Backbone, folder: Path) -> None:
        """Save as PEFT does."""
        save_peft(model, backbone, folder)

    def load(self, backbone: Backbone, folder: Path) -> nn.Module:
        """Load as PEFT does, every tensor checked."""
        return load_peft(backbone, folder)
