"""DoRA: LoRA on the direction of a weight, with its magnitude trained apart, through PEFT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from llmrec_peft.plugins import (
    BatchedForm,
    Capabilities,
    InputError,
    Options,
    PeftMethod,
    Slot,
    TargetOptions,
    low_rank_tensors,
    pattern,
    saved_by_site,
    target_linears,
    transposed,
)

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import Tensor

    from llmrec_peft.plugins import Backbone, ModelShapes, SavedTensors


class DoraOptions(TargetOptions):
    """Options of DoRA."""

    rank: int = Field(default=8, ge=1, le=1024)
    """Rank of the update."""
    alpha: float = Field(default=16.0, gt=0.0, le=4096.0)
    """Scale: the update is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on the update's input."""


class Dora(PeftMethod[DoraOptions]):
    """m · (W + s B A) / ‖W + s B A‖ with the magnitude m [out] trained and the norm taken by output.

    Parameters: rank · (in + out) + out for each adapted layer. On 8-bit weights PEFT 0.21 loses the layer's
    scales when it takes the norm, and the next step fails, so int8 is refused.

    References:
        Liu et al., DoRA: Weight-Decomposed Low-Rank Adaptation, ICML 2024, section 4.
    """

    summary: ClassVar[str] = "LoRA on a weight's direction, its magnitude trained apart"
    paper: ClassVar[str] = "https://arxiv.org/abs/2402.09353"
    Config: ClassVar[type[Options]] = DoraOptions
    capabilities: ClassVar[Capabilities] = Capabilities(
        encoder=True, decoder=True, int8=False, nf4=True, mergeable=True
    )
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
            use_dora=True,
            target_modules=pattern(modules),
            fan_in_fan_out=transposed(modules),
        )

    def parameter_count(self, shapes: ModelShapes) -> int:
        """Return rank · (in + out) + out for each adapted layer."""
        modules = target_linears(shapes, self.config.targets or "query-value", self.config.layers)
        return sum(self.config.rank * (module.inputs + module.outputs) + module.outputs for module in modules)

    def batched(self, backbone: Backbone) -> BatchedForm:
        """Return the low-rank form with a factor for each output."""
        return DoraRows(self.config.alpha / self.config.rank)


class DoraRows(BatchedForm):
    """y + ((g - 1) ⊙ (y - b) + g ⊙ B A x · s) with y the layer's output, b its bias and g = m / ‖W + s B A‖ by output.

    The norms are computed once, when a slot is filled, from the base's weights; quantized ones are dequantized for it
    as PEFT does in every pass. The sum is rounded where PEFT rounds it: in bf16 another order of the same terms moves
    vectors of SmolLM2 by a cosine of 0.00015.
    """

    ragged: ClassVar[frozenset[str]] = frozenset({"down", "up"})
    by_token: ClassVar[bool] = True

    def __init__(self, scale: float) -> None:
        self._scale = scale

    @property
    def key(self) -> tuple[object, ...]:
        """The form's name: the scale is in the tensors."""
        return ("low-rank with magnitudes",)

    def slots(self, saved: SavedTensors, backbone: Backbone) -> dict[str, Slot]:
        """Return ``down`` [rank, in], ``up`` [rank, out], ``gain`` g [out] and ``scale`` s [1] in fp32, and ``bias`` b.

        Raises:
            InputError: If a tensor's module is no linear layer of the base.
        """
        import torch

        kinds = {module.name: module.kind for module in backbone.shapes.linears}
        slots = {}
        for site, (a, b, magnitude) in saved_by_site(
            saved, "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"
        ).items():
            if site not in kinds:
                raise InputError(f"the base has no linear layer {site}")
            weight, bias = _of_base(backbone.model.get_submodule(site), kinds[site] == "conv1d")
            update = self._scale * b.float() @ a.float()
            gain = magnitude.float() / torch.linalg.norm(weight + update.to(weight.device), dim=1).to(a.device)
            own = {} if bias is None else {"bias": bias.to(a.device)}
            scale = torch.full((1,), self._scale, device=a.device)
            slots[site] = Slot({**low_rank_tensors(a, b), "gain": gain, "scale": scale, **own})
        return slots

    def behind(self, inputs: Tensor, output: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        """Return the output by the formula of the class; what is added is summed in fp32."""
        gain, scale = slot["gain"][:, None], slot["scale"][:, None]
        without = output - slot["bias"][:, None] if "bias" in slot else output
        product = inputs.to(gain.dtype) @ slot["down"].transpose(1, 2) @ slot["up"]
        return (output + ((gain - 1.0) * without + gain * product * scale)).to(output.dtype)


def _of_base(module: Any, conv1d: bool) -> tuple[Tensor, Tensor | None]:
    """Return a layer's weight [out, in], fp32, and its bias [out] in its own number format."""
    from peft.utils.integrations import dequantize_module_weight

    weight, bias = dequantize_module_weight(module).detach().float(), module.bias
    return weight.T if conv1d else weight, None if bias is None else bias.detach()
