"""AdaLoRA: LoRA in singular-value form whose ranks are given out by importance during training, through PEFT."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

from pydantic import Field, StrictBool, StrictInt, model_validator

from llmrec_adapters.through_peft.adalora_ranks import (
    NAME,
    adalora_layers,
    alive_ranks,
    loaded_in_fp32,
    require_ranks,
    tuner_of,
    with_frozen_divisor,
)
from llmrec_peft.plugins import (
    BackboneFacts,
    Capabilities,
    LowRank,
    Options,
    PeftMethod,
    TargetOptions,
    load_peft,
    pattern,
    rank_refusal,
    save_peft,
    saved_by_site,
    target_linears,
    transposed,
    write_adapter,
)

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor, nn

    from llmrec_peft.plugins import Backbone, BatchedForm, ModelShapes, SavedTensors

_TINY = 1e-5
"""What PEFT adds to the divisor of the scale."""
_AVERAGES = ("ipt", "exp_avg_ipt", "exp_avg_unc")


class AdaLoraOptions(TargetOptions):
    """Options of AdaLoRA."""

    rank: int = Field(default=8, ge=1, le=1024)
    """Mean rank of a layer at the end: the budget is rank · layers."""
    initial_rank: int = Field(default=12, ge=1, le=1536)
    """Rank of every layer at the start."""
    alpha: float = Field(default=16.0, gt=0.0, le=4096.0)
    """Scale: the update is multiplied by alpha / initial_rank."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on the update's input."""
    warmup: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the adapter's steps, at the start, in which all ranks are kept."""
    settled: float = Field(default=0.3, ge=0.0, lt=1.0)
    """Share of the adapter's steps, at the end, in which ranks are fixed."""
    interval: int = Field(default=1, ge=1)
    """Number of steps between two allocations of ranks."""
    smoothing: float = Field(default=0.85, gt=0.0, lt=1.0)
    """Decay of the moving averages of importance and of its uncertainty (β₁ = β₂)."""
    orthogonality: float = Field(default=0.5, ge=0.0)
    """Weight of the penalty that keeps singular vectors orthogonal."""
    save_as_lora: bool = False
    """Save as plain LoRA of the largest remaining rank, for servers that do not support AdaLoRA."""

    @model_validator(mode="after")
    def _room_to_fall(self) -> AdaLoraOptions:
        if self.rank > self.initial_rank:
            raise ValueError(f"rank {self.rank} is above initial_rank {self.initial_rank}, from which it falls")
        if self.warmup + self.settled >= 1.0:
            raise ValueError("warmup and settled leave no step in which ranks could fall")
        return self


class AdaLoraLearned(Options):
    """What a saved AdaLoRA says besides its options."""

    rank_pattern: dict[str, Annotated[list[StrictBool], Field(max_length=1536)]] = Field(max_length=65_536)
    """Which of the initial ranks each layer kept."""
    total_step: StrictInt = Field(ge=1, lt=1 << 40)
    """Steps of the training."""
    tinit: StrictInt = Field(ge=0, lt=1 << 40)
    """Steps before ranks fell."""
    tfinal: StrictInt = Field(ge=0, lt=1 << 40)
    """Steps after they did."""


class LoraLearned(Options):
    """What an AdaLoRA that is saved as plain LoRA says besides its options."""

    r: StrictInt = Field(ge=1, le=1536)
    """Largest rank that a layer kept."""
    lora_alpha: StrictInt
    """The same, so that the scale is 1."""

    @model_validator(mode="after")
    def _scale_of_one(self) -> LoraLearned:
        if self.lora_alpha != self.r:
            raise ValueError(f"lora_alpha is {self.lora_alpha}, not r ({self.r})")
        return self


class AdaLora(PeftMethod[AdaLoraOptions]):
    """W x + s B Λ A x with the diagonal Λ [initial_rank], whose least important entries are set to zero.

    Parameters: initial_rank · (in + out + 1) for each adapted layer while it is trained. The penalty
    mean ‖P Pᵀ - I‖_F over all A and B is ours to add, since PEFT adds it only to a loss of the model's own.

    References:
        Zhang et al., AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning, ICLR 2023.
    """

    summary: ClassVar[str] = "LoRA whose ranks are given to the layers where they matter"
    paper: ClassVar[str] = "https://arxiv.org/abs/2303.10512"
    Config: ClassVar[type[Options]] = AdaLoraOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        encoder=True,
        decoder=True,
        int8=True,
        nf4=True,
        mergeable=True,
        mergeable_quantized=False,
    )
    grouped_because: ClassVar[str] = (
        "on quantized weights PEFT rounds its product before it is scaled (save_as_lora: not)"
    )
    peft_type: ClassVar[str] = "ADALORA"
    learned: ClassVar[type[Options]] = AdaLoraLearned

    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """Return PEFT's configuration; the number of steps is set in the first step, when it is known."""
        from peft import AdaLoraConfig

        config = self.config
        modules = target_linears(backbone.shapes, config.targets or "query-value", config.layers)
        return AdaLoraConfig(
            task_type="FEATURE_EXTRACTION",
            target_r=config.rank,
            init_r=config.initial_rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            deltaT=config.interval,
            beta1=config.smoothing,
            beta2=config.smoothing,
            orth_reg_weight=config.orthogonality,
            total_step=1,
            target_modules=pattern(modules),
            fan_in_fan_out=transposed(modules),
        )

    def load(self, backbone: Backbone, folder: Path) -> nn.Module:
        """Load the ranks that are left, or the plain LoRA that `save_as_lora` wrote."""
        if not self.config.save_as_lora:
            return super().load(backbone, folder)
        self.require_possible(backbone)
        modules = target_linears(backbone.shapes, self.config.targets or "query-value", self.config.layers)
        plain = _plain_lora(1, pattern(modules), transposed(modules))
        return load_peft(backbone, folder, plain, LoraLearned, self._attach_lora)

    def attach_config(self, model: nn.Module, config: PeftConfig) -> nn.Module:
        """Attach through PEFT, after a look at the ranks that a file keeps, and freeze the divisor of the scale."""
        require_ranks(model, config)
        return with_frozen_divisor(loaded_in_fp32(super().attach_config(model, config)))

    def _attach_lora(self, model: nn.Module, config: Any) -> nn.Module:
        if config.r > self.config.initial_rank:
            raise ValueError(f"r is {config.r}, above the initial_rank {self.config.initial_rank}")
        return super().attach_config(model, config)

    def parameter_count(self, shapes: ModelShapes) -> int:
        """Return initial_rank · (in + out + 1) for each adapted layer."""
        modules = target_linears(shapes, self.config.targets or "query-value", self.config.layers)
        return sum(self.config.initial_rank * (module.inputs + module.outputs + 1) for module in modules)

    def refusal(self, facts: BackboneFacts, quantization: str) -> str | None:
        """Refuse layers that the model does not have, and an initial rank above its width."""
        return super().refusal(facts, quantization) or rank_refusal(self.config.initial_rank, facts, "initial_rank")

    def regularization(self, model: nn.Module) -> Tensor | None:
        """Compute orthogonality · mean ‖P Pᵀ - I‖_F over all A and B; None for an adapter loaded as plain LoRA."""
        import torch

        if self.config.orthogonality == 0.0 or not hasattr(tuner_of(model), "rankallocator"):
            return None
        norms = []
        for name, parameter in model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                gram = parameter @ parameter.T if "lora_A" in name else parameter.T @ parameter
                norms.append(torch.linalg.norm(gram - torch.eye(len(gram), device=gram.device, dtype=gram.dtype)))
        return self.config.orthogonality * torch.stack(norms).mean()

    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        """Allocate the ranks again."""
        tuner = tuner_of(model)
        if not hasattr(tuner, "rankallocator"):
            return  # loaded as plain LoRA: ranks stay
        config = tuner.peft_config[NAME]
        config.tinit, config.tfinal = int(self.config.warmup * total_steps), int(self.config.settled * total_steps)
        tuner.rankallocator.set_total_step(total_steps)
        tuner.update_and_allocate(step)

    def state(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the moving averages of importance, and which ranks are kept."""
        import torch

        tuner = tuner_of(model)
        if not hasattr(tuner, "rankallocator"):
            return {}
        averages = {
            f"{average}/{name}": tensor
            for average in _AVERAGES
            for name, tensor in getattr(tuner.rankallocator, average).items()
        }
        pattern_of = tuner.peft_config[NAME].rank_pattern or {}
        return averages | {f"rank_pattern/{name}": torch.tensor(kept).view(-1) for name, kept in pattern_of.items()}

    def load_state(self, model: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Restore the averages and the ranks."""
        self.reset(model)
        tuner = tuner_of(model)
        ranks = {}
        for key, tensor in state.items():
            kind, name = key.split("/", 1)
            if kind == "rank_pattern":
                ranks[name] = tensor.bool().tolist()
            else:
                getattr(tuner.rankallocator, kind)[name] = tensor.clone()
        tuner.peft_config[NAME].rank_pattern = ranks or None

    def reset(self, model: nn.Module) -> None:
        """Reset importances and ranks."""
        tuner = tuner_of(model)
        if hasattr(tuner, "rankallocator"):
            tuner.rankallocator.reset_ipt()
            tuner.peft_config[NAME].rank_pattern = None

    def save(self, model: nn.Module, backbone: Backbone, folder: Path) -> None:
        """Save the ranks that are left: those whose entry in Λ is not zero, so that what was trained is kept.

        The allocator's own pattern would not do: a moving average of weights, or a step after the last
        allocation, leaves entries alive that it counts as dropped.
        """
        tuner = tuner_of(model)
        if not hasattr(tuner, "rankallocator"):
            save_peft(cast(Any, model), backbone, folder)
            return
        if self.config.save_as_lora:
            _save_as_lora(model, backbone, folder)
            return
        config = tuner.peft_config[NAME]
        tensors, kept = {}, {}
        for name, layer in adalora_layers(model):
            alive = alive_ranks(layer)
            tensors[f"{name}.lora_A"] = layer.lora_A[NAME][alive]
            tensors[f"{name}.lora_E"] = layer.lora_E[NAME][alive]
            tensors[f"{name}.lora_B"] = layer.lora_B[NAME][:, alive]
            dropped = [False] * (config.init_r - len(alive))  # of an adapter that was loaded with fewer
            kept[f"{name.removeprefix('base_model.model.')}.lora_E"] = alive.tolist() + dropped
        plain = {**config.to_dict(), "inference_mode": True, "rank_pattern": kept}
        write_adapter(folder, backbone, plain, tensors)

    def batched(self, backbone: Backbone) -> BatchedForm | None:
        """Return the low-rank form with s Λ A and B of the ranks that are left, each layer having its own number.

        None on quantized weights, unless it is saved as LoRA: the scales are in the tensors.
        """
        quantized = backbone.identity.quantization != "none"
        if quantized and not self.config.save_as_lora:
            return None
        return LowRank(self._plain_factors if self.config.save_as_lora else self._factors, rounded=quantized)

    def _factors(self, saved: SavedTensors, backbone: Backbone) -> dict[str, tuple[Tensor, Tensor]]:
        scale = self.config.alpha / (self.config.initial_rank + _TINY)  # `ranknum` stays at the first rank in PEFT
        layers = saved_by_site(saved, "lora_A", "lora_E", "lora_B")
        return {site: (scale * e * a, b) for site, (a, e, b) in layers.items()}

    def _plain_factors(self, saved: SavedTensors, backbone: Backbone) -> dict[str, tuple[Tensor, Tensor]]:
        layers = saved_by_site(saved, "lora_A.weight", "lora_B.weight")
        return {site: (a, b) for site, (a, b) in layers.items()}


def _save_as_lora(model: nn.Module, backbone: Backbone, folder: Path) -> None:
    """Compute A' = A Λ s / (ranknum + 1e-5) and B' = B, zero-padded to the largest remaining rank."""
    import torch

    config = tuner_of(model).peft_config[NAME]
    kept = {name: alive_ranks(layer) for name, layer in adalora_layers(model)}
    rank = max(int(alive.sum()) for alive in kept.values())
    tensors = {}
    for name, layer in adalora_layers(model):
        alive, scale = kept[name], layer.scaling[NAME] / (float(layer.ranknum[NAME]) + _TINY)
        a = (layer.lora_A[NAME] * layer.lora_E[NAME] * scale).detach()[alive]
        b = layer.lora_B[NAME].detach()[:, alive]
        empty = rank - len(a)
        tensors[f"{name}.lora_A.weight"] = torch.cat([a, a.new_zeros(empty, a.shape[1])])
        tensors[f"{name}.lora_B.weight"] = torch.cat([b, b.new_zeros(b.shape[0], empty)], dim=1)
    plain = _plain_lora(rank, config.target_modules, config.fan_in_fan_out)
    write_adapter(folder, backbone, {**plain.to_dict(), "inference_mode": True}, tensors)


def _plain_lora(rank: int, targets: str, fan_in_fan_out: bool) -> PeftConfig:
    from peft import LoraConfig

    return LoraConfig(
        task_type="FEATURE_EXTRACTION",
        r=rank,
        lora_alpha=rank,
        target_modules=targets,
        fan_in_fan_out=fan_in_fan_out,
    )
