"""Deltas: trained differences to parameters of the base, as a tuner that PEFT drives; `full` and `bitfit` use it.

The base's own parameters are never written: a layer computes with W + δ where δ is stored in fp32, so that small steps
are not rounded away in bf16, the base keeps its hash, and taking the deltas off gives it back. In a checkpoint's
recomputation the sum is formed anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer, check_adapters_to_merge
from peft.utils import PeftType
from torch import Tensor, nn

from llmrec_adapters.through_peft.types import extend_peft_type

NAMES = ("weight", "bias")
for _name in ("FULL", "BITFIT"):
    extend_peft_type(_name)


@dataclass
class DeltaConfig(PeftConfig):  # type: ignore[misc]
    """The adapted modules, and which of their parameters are trained."""

    target_modules: str | list[str] | None = None
    """Modules, as PEFT's other configurations name them."""
    parameters: str = "all"
    """``all`` or ``bias``."""


@dataclass
class FullConfig(DeltaConfig):
    """Every parameter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType("FULL")


@dataclass
class BitFitConfig(DeltaConfig):
    """Biases."""

    parameters: str = "bias"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType("BITFIT")


class DeltaLayer(nn.Module, BaseTunerLayer):  # type: ignore[misc]
    """A module of the base with trained differences to its parameters."""

    adapter_layer_names = ("delta_weight", "delta_bias")
    set_adapter: Any
    active_adapters: Any

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: DeltaConfig) -> None:
        super().__init__()
        self.base_layer: Any = base_layer
        self.delta_weight = nn.ParameterDict({})
        self.delta_bias = nn.ParameterDict({})
        self._disable_adapters = False
        self._active_adapter = adapter_name
        self.merged_adapters: list[str] = []
        self.update_layer(adapter_name, config)

    def update_layer(self, adapter_name: str, config: DeltaConfig) -> None:
        """Add trained differences, which start at zero."""
        for name in NAMES if config.parameters == "all" else ("bias",):
            parameter = getattr(self.base_layer, name, None)
            if parameter is None:
                continue
            if not parameter.is_floating_point() or hasattr(parameter, "quant_state"):
                raise ValueError(f"{name} is held in {parameter.dtype}: quantized weights cannot be trained")
            zero = torch.zeros(parameter.shape, dtype=torch.float32, device=parameter.device)
            self._deltas(name)[adapter_name] = nn.Parameter(zero)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Compute with W + δ."""
        if self.disable_adapters and self.merged:
            self.unmerge()
        deltas = {} if self.disable_adapters or self.merged else self._active()
        if not deltas:
            output: Tensor = self.base_layer(*args, **kwargs)
            return output
        if set(deltas) == {"bias"}:  # added to the output, which leaves quantized layers their own forward
            output = self.base_layer(*args, **kwargs)
            return output + deltas["bias"].to(output.dtype)
        return torch.func.functional_call(self.base_layer, self._summed(deltas), args, kwargs)  # type: ignore[no-any-return]

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add δ to the base's weights."""
        for adapter in check_adapters_to_merge(self, adapter_names):
            self._add(adapter, 1.0)
            self.merged_adapters.append(adapter)

    def unmerge(self) -> None:
        """Subtract δ from the base again."""
        while self.merged_adapters:
            self._add(self.merged_adapters.pop(), -1.0)

    def _deltas(self, name: str) -> Any:
        return self.delta_weight if name == "weight" else self.delta_bias

    def _active(self) -> dict[str, Tensor]:
        adapter = self.active_adapters[0] if self.active_adapters else ""
        return {name: self._deltas(name)[adapter] for name in NAMES if adapter in self._deltas(name)}

    def _summed(self, deltas: dict[str, Tensor]) -> dict[str, Tensor]:
        own = {name: getattr(self.base_layer, name) for name in deltas}
        return {name: (own[name] + delta).to(own[name].dtype) for name, delta in deltas.items()}

    @torch.no_grad()
    def _add(self, adapter: str, sign: float) -> None:
        for name in NAMES:
            if adapter in self._deltas(name):
                parameter = getattr(self.base_layer, name)
                parameter.data = (parameter.data + sign * self._deltas(name)[adapter]).to(parameter.dtype)


class DeltaModel(BaseTuner):  # type: ignore[misc]
    """PEFT tuner that wraps every target in a `DeltaLayer`."""

    prefix = "delta_"
    tuner_layer_cls = DeltaLayer
    target_module_mapping: dict[str, Any] = {}  # noqa: RUF012 - the base class' attribute

    def _create_and_replace(
        self, peft_config: DeltaConfig, adapter_name: str, target: Any, target_name: str, parent: Any, current_key: str
    ) -> None:
        if isinstance(target, DeltaLayer):
            target.update_layer(adapter_name, peft_config)
        else:
            self._replace_module(parent, target_name, DeltaLayer(target, adapter_name, peft_config), target)


class FullModel(DeltaModel):
    """`DeltaModel` with a parameter prefix of its own, which PEFT requires of each method."""

    prefix = "delta_full_"


class BitFitModel(DeltaModel):
    """`DeltaModel` with a parameter prefix of its own, which PEFT requires of each method."""

    prefix = "delta_bitfit_"
