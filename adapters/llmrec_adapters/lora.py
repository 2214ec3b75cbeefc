"""LoRA: a low-rank update beside chosen linear layers, through PEFT."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from llmrec_peft.plugins import (
    Capabilities,
    InputError,
    LowRank,
    Options,
    PeftMethod,
    TargetOptions,
    pattern,
    saved_by_site,
    target_linears,
    transposed,
)

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor, nn

    from llmrec_peft.plugins import Backbone, BatchedForm, Combination, ModelShapes, SavedAdapter, SavedTensors


class LoraOptions(TargetOptions):
    """Options of LoRA."""

    rank: int = Field(default=8, ge=1, le=1024)
    """Rank of the update."""
    alpha: float = Field(default=16.0, gt=0.0, le=4096.0)
    """Scale: the update is multiplied by alpha / rank, or by alpha / √rank with `rslora`."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on the update's input."""
    rslora: bool = False
    """Rank-stabilized scale alpha / √rank, so that higher ranks learn as fast as low ones."""
    start: Literal["zero", "pissa", "olora"] = "zero"
    """`zero`: A random, B zero; `pissa`: the principal singular vectors of W; `olora`: the first columns of
    W's QR decomposition. With the latter two the start is taken off again, so that the model begins as it was."""
    rate_ratio: float = Field(default=1.0, ge=1.0, le=256.0)
    """LoRA+: how many times faster B learns than A; 1 for plain LoRA, 16 in the paper."""

    @model_validator(mode="after")
    def _no_dropout_on_a_start(self) -> LoraOptions:
        if self.start != "zero" and self.dropout > 0.0:
            raise ValueError(f"dropout blurs what start={self.start} takes off again; set dropout to 0")
        return self


class Lora(PeftMethod[LoraOptions]):
    """W x + s B A x with A [rank, in], B [out, rank], W frozen and s = alpha / rank.

    Parameters: rank · (in + out) for each adapted layer.

    References:
        Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, section 4.
        Kalajdzievski, A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA, 2023 (`rslora`).
        Meng et al., PiSSA, NeurIPS 2024; Büyükakyüz, OLoRA, 2024 (`start`).
        Hayou et al., LoRA+: Efficient Low Rank Adaptation of Large Models, ICML 2024 (`rate_ratio`).
    """

    summary: ClassVar[str] = "low-rank updates beside the attention's projections"
    paper: ClassVar[str] = "https://arxiv.org/abs/2106.09685"
    Config: ClassVar[type[Options]] = LoraOptions
    capabilities: ClassVar[Capabilities] = Capabilities(encoder=True, decoder=True, int8=True, nf4=True, mergeable=True)
    peft_type: ClassVar[str] = "LORA"

    def peft_config(self, backbone: Backbone) -> PeftConfig:
        """Return PEFT's configuration."""
        from peft import LoraConfig

        modules = target_linears(backbone.shapes, self.config.targets or "query-value", self.config.layers)
        return LoraConfig(
            task_type="FEATURE_EXTRACTION",
            r=self.config.rank,
            lora_alpha=self.config.alpha,
            lora_dropout=self.config.dropout,
            use_rslora=self.config.rslora,
            target_modules=pattern(modules),
            fan_in_fan_out=transposed(modules),
        )

    def saved_config(self, backbone: Backbone) -> PeftConfig:
        """Return PEFT's configuration; with a start other than zero, that of a plain LoRA of twice the rank."""
        if self.config.start == "zero":
            return self.peft_config(backbone)
        from llmrec_adapters.through_peft.lora_start import of_difference

        return of_difference(self.peft_config(backbone))

    def attach(self, backbone: Backbone) -> nn.Module:
        """Attach through PEFT; a start other than zero fills A and B and is subtracted from the layer's output."""
        model = super().attach(backbone)
        if self.config.start != "zero":
            from llmrec_adapters.through_peft.lora_start import lay_in

            lay_in(model, self.config.start)
        return model

    def save(self, model: nn.Module, backbone: Backbone, folder: Path) -> None:
        """Save as PEFT does; with a start other than zero, as a plain LoRA of twice the rank."""
        from llmrec_adapters.through_peft.lora_start import is_laid_in, save_difference

        if is_laid_in(model):
            save_difference(model, backbone, folder)
        else:
            super().save(model, backbone, folder)

    def merge(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Merge through PEFT; with a start other than zero, the subtracted start is merged too."""
        from llmrec_adapters.through_peft.lora_start import fold_in, is_laid_in

        if is_laid_in(model):
            fold_in(model)
        return super().merge(model, backbone)

    def parameter_count(self, shapes: ModelShapes) -> int:
        """Return rank · (in + out) for each adapted layer."""
        modules = target_linears(shapes, self.config.targets or "query-value", self.config.layers)
        return sum(self.config.rank * (module.inputs + module.outputs) for module in modules)

    def batched(self, backbone: Backbone) -> BatchedForm:
        """Return the low-rank form with s A and B; a start other than zero is saved as a LoRA of twice the rank."""
        return LowRank(self._factors, rounded=backbone.identity.quantization != "none")

    def _factors(self, saved: SavedTensors, backbone: Backbone) -> dict[str, tuple[Tensor, Tensor]]:
        rank = self.config.rank
        scale = self.config.alpha / (math.sqrt(rank) if self.config.rslora else rank)
        layers = saved_by_site(saved, "lora_A.weight", "lora_B.weight")
        return {site: (scale * a, b) for site, (a, b) in layers.items()}

    def combined_options(self, others: Sequence[Lora], rank: int | None, backbone: Backbone) -> LoraOptions:
        """Return a plain LoRA of scale 1 on the same layers; without `rank` it has all ranks together."""
        from llmrec_adapters.through_peft.lora_combined import rank_of_all

        rank = rank_of_all([self, *others], backbone, rank)
        plain = {"rank": rank, "alpha": float(rank), "rslora": False, "start": "zero"}
        return LoraOptions.model_validate({**self.config.model_dump(), **plain})

    def combine(
        self, parts: Sequence[SavedAdapter], combination: Combination, backbone: Backbone, folder: Path
    ) -> None:
        """Combine through PEFT's `add_weighted_adapter`; all adapters have to change the same layers."""
        from llmrec_adapters.through_peft.lora_combined import write_combined

        if self.config.start != "zero":
            raise InputError(f"adapter.start: {self.config.start} begins with the base's own weights; take zero")
        write_combined(self, parts, combination, backbone, folder)

    def learning_rate_factor(self, parameter: str) -> float:
        """Return `rate_ratio` for parameters of B, else 1."""
        return self.config.rate_ratio if ".lora_B." in parameter else 1.0
