"""Bottleneck adapters: small two-layer networks behind or beside attention and feed-forward blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from llmrec_peft.plugins import Capabilities, Layers, Options, PeftMethod, adapted_layers, pattern, sublayers

if TYPE_CHECKING:
    from peft import PeftConfig

    from llmrec_peft.plugins import Backbone, BatchedForm, ModelShapes, ModuleShape


class BottleneckOptions(Options):
    """Options of bottleneck adapters."""

    placement: Literal["pfeiffer", "houlsby"] = "pfeiffer"
    """`pfeiffer`: at the feed-forward block; `houlsby`: at the attention and at the feed-forward block."""
    mode: Literal["sequential", "parallel"] = "sequential"
    """`sequential`: the network reads the block's output; `parallel`: the block's input."""
    size: int = Field(default=32, ge=1, le=16_384)
    """Inner width of the network."""
    activation: Literal["gelu", "relu", "silu", "tanh"] = "gelu"
    """Its activation."""
    scale: float = Field(default=1.0, gt=0.0, le=64.0)
    """Factor on its output; 4 in the paper for parallel networks."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on its input."""
    layers: Layers = "all"
    """`all`, `top-N`, or a list of layer numbers from 0; layers below the lowest one are computed once."""


class Bottleneck(PeftMethod[BottleneckOptions]):
    """h + s · W_up f(W_down x), before the residual sum, with W_up and its bias zero at the start.

    Parameters: 2 · size · width + size + width for each network; one (`pfeiffer`) or two (`houlsby`) a layer.
    PEFT has no such method; it is saved in PEFT's layout under ``peft_type`` BOTTLENECK.

    References:
        Houlsby et al., Parameter-Efficient Transfer Learning for NLP, ICML 2019, section 2.1;
        Pfeiffer et al., MAD-X, EMNLP 2020, section 5.1 (`pfeiffer`);
        He et al., Towards a Unified View of Parameter-Efficient Transfer Learning, ICLR 2022 (`parallel`).
    """

    summary: ClassVar[str] = "two-layer networks at attention and feed-forward blocks"
    paper: ClassVar[str] = "https://arxiv.org/abs/1902.00751"
    Config: ClassVar[type[Options]] = BottleneckOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        encoder=True, decoder=True, int8=True, nf4=True, mergeable=False
    )
    peft_type: ClassVar[str] = "BOTTLENECK"

    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """Return our tuner's configuration."""
        from llmrec_adapters.tuners.bottleneck import BottleneckConfig

        self.register_with_peft()
        blocks = self._blocks(backbone.shapes)
        inputs = {last.inside: first.inside for first, last in blocks} if self.config.mode == "parallel" else {}
        return BottleneckConfig(
            task_type="FEATURE_EXTRACTION",
            target_modules=pattern([last for _, last in blocks]),
            size=self.config.size,
            activation=self.config.activation,
            scale=self.config.scale,
            dropout=self.config.dropout,
            inputs=inputs,
        )

    def parameter_count(self, shapes: ModelShapes) -> int:
        """Return 2 · size · width + size + width for each network."""
        size, width = self.config.size, shapes.width
        return len(self._blocks(shapes)) * (2 * size * width + size + width)

    def batched(self, backbone: Backbone) -> BatchedForm:
        """Return networks by rows; inner widths may differ, activation and mode may not."""
        from llmrec_adapters.forms.network import Networks

        beside = self.config.mode == "parallel"
        reads = {last.name: first.name for first, last in self._blocks(backbone.shapes)} if beside else {}
        return Networks(self.config.activation, self.config.scale, reads)

    def _blocks(self, shapes: ModelShapes) -> list[tuple[ModuleShape, ModuleShape]]:
        """Return the first and the last linear layer of every block that gets a network."""
        names = ("attention", "mlp") if self.config.placement == "houlsby" else ("mlp",)
        layers = adapted_layers(self.config.layers, shapes.depth)
        return [sublayers(shapes, layer)[name] for layer in layers for name in names]

    @classmethod
    def register_with_peft(cls) -> None:
        """Register the tuner, so that stock PEFT loads the networks."""
        from llmrec_adapters.through_peft.types import register
        from llmrec_adapters.tuners.bottleneck import BottleneckConfig, BottleneckModel

        register("bottleneck", BottleneckConfig, BottleneckModel, BottleneckModel.prefix)
