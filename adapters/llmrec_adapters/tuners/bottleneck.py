"""Bottleneck adapters as a tuner that PEFT drives: small two-layer networks beside or behind a sublayer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils import PeftType
from torch import Tensor, nn

from llmrec_adapters.forms.network import ACTIVATIONS
from llmrec_adapters.through_peft.types import extend_peft_type

extend_peft_type("BOTTLENECK")


@dataclass
class BottleneckConfig(PeftConfig):  # type: ignore[misc]
    """The places and the shape of the networks."""

    target_modules: str | list[str] | None = None
    """Last linear layer of each sublayer, to whose output the network's output is added."""
    size: int = 64
    """Inner width."""
    activation: str = "gelu"
    """Name in `ACTIVATIONS`."""
    scale: float = 1.0
    """Factor on the network's output."""
    dropout: float = 0.0
    """Dropout on its input."""
    inputs: dict[str, str] = field(default_factory=dict)
    """For parallel networks: name of each target in its layer, and of the linear layer whose input it reads."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType("BOTTLENECK")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r} is none of {', '.join(ACTIVATIONS)}")
        if self.size < 1:
            raise ValueError(f"size {self.size} is below 1")


class BottleneckLayer(nn.Module, BaseTunerLayer):  # type: ignore[misc]
    """h + s · up(f(down(x))) with h the linear layer's output and x that output or the sublayer's input."""

    adapter_layer_names = ("bottleneck_down", "bottleneck_up")
    set_adapter: Any
    active_adapters: Any
    _move_adapter_to_device_of_base_layer: Any

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: BottleneckConfig, source: Any) -> None:
        """Wrap the last linear layer of a sublayer.

        Args:
            base_layer: That layer.
            adapter_name: PEFT's name of the adapter.
            config: What to add.
            source: Linear layer whose input a parallel network reads; None for a sequential one.
        """
        super().__init__()
        self.base_layer: Any = base_layer
        self.bottleneck_down: Any = nn.ModuleDict({})
        self.bottleneck_up: Any = nn.ModuleDict({})
        self.bottleneck_dropout: Any = nn.ModuleDict({})
        self._configs: dict[str, BottleneckConfig] = {}
        self._disable_adapters = False
        self._active_adapter = adapter_name
        self.merged_adapters: list[str] = []
        self._caught: Tensor | None = None
        self._parallel = source is not None
        if source is not None:
            source.register_forward_pre_hook(self._catch)
        self.update_layer(adapter_name, config)

    def update_layer(self, adapter_name: str, config: BottleneckConfig) -> None:
        """Add a network whose output starts at zero."""
        layer: Any = self.base_layer
        width = layer.out_features if hasattr(layer, "out_features") else layer.nf
        down, up = nn.Linear(width, config.size), nn.Linear(config.size, width)
        nn.init.normal_(down.weight, std=width**-0.5)
        nn.init.zeros_(down.bias)
        nn.init.zeros_(up.weight)
        nn.init.zeros_(up.bias)
        self.bottleneck_down[adapter_name], self.bottleneck_up[adapter_name] = down, up
        self.bottleneck_dropout[adapter_name] = nn.Dropout(config.dropout)
        self._configs[adapter_name] = config
        self._move_adapter_to_device_of_base_layer(adapter_name)
        for part in (down, up):
            part.float()
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the linear layer and add the network's output."""
        output: Tensor = self.base_layer(x, *args, **kwargs)
        caught, self._caught = self._caught, None
        if self.disable_adapters:
            return output
        for adapter in self.active_adapters:
            if adapter not in self.bottleneck_down:
                continue
            config = self._configs[adapter]
            read = caught if self._parallel else output
            assert read is not None  # noqa: S101 - the sublayer's first layer ran before its last
            inner = self.bottleneck_down[adapter](self.bottleneck_dropout[adapter](read.float()))
            answer = self.bottleneck_up[adapter](ACTIVATIONS[config.activation](inner))
            output = output + (config.scale * answer).to(output.dtype)
        return output

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Refuse: the network is not linear."""
        raise ValueError("a bottleneck adapter is not linear and cannot be merged into weights")

    def unmerge(self) -> None:
        """Do nothing: such a layer cannot be merged."""

    def _catch(self, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
        self._caught = args[0]


class BottleneckModel(BaseTuner):  # type: ignore[misc]
    """PEFT tuner that wraps every target in a `BottleneckLayer`."""

    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckLayer
    target_module_mapping: dict[str, Any] = {}  # noqa: RUF012 - the base class' attribute

    def _create_and_replace(
        self,
        peft_config: BottleneckConfig,
        adapter_name: str,
        target: Any,
        target_name: str,
        parent: Any,
        current_key: str,
    ) -> None:
        if isinstance(target, BottleneckLayer):
            target.update_layer(adapter_name, peft_config)
            return
        layer = BottleneckLayer(target, adapter_name, peft_config, self._source(peft_config, current_key))
        self._replace_module(parent, target_name, layer, target)

    def _source(self, config: BottleneckConfig, key: str) -> Any:
        ends = [end for end in config.inputs if key == end or key.endswith(f".{end}")]
        if not ends:
            return None
        longest = max(ends, key=len)
        return self.model.get_submodule(key.removesuffix(longest) + config.inputs[longest])
