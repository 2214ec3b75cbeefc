"""Merged model: a run's language model with the adapter folded into its weights, which are dequantized first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from llmrec_peft import registry
from llmrec_peft.artifact.manifest import Manifest
from llmrec_peft.backbone.base import require_base
from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.backbone.quiet import quiet_transformers
from llmrec_peft.errors import InputError
from llmrec_peft.recipe import Recipe
from llmrec_peft.run.language_model import load_adapter

if TYPE_CHECKING:
    from torch import nn

    from llmrec_peft.recipe.sections import BackboneSection

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class TunedWeights:
    """A run's language model for writing, apart from any base that is shared.

    Attributes:
        model: The transformer with the adapter in its weights, or attached where it cannot be merged.
        backbone: The base that it was made from, unquantized: tokenizer, files, and how texts are read.
        merged: Whether the adapter is in the weights.
    """

    model: nn.Module
    backbone: Backbone
    merged: bool


def require_mergeable(recipe: Recipe) -> None:
    """Refuse a run whose adapter cannot be folded into weights, by its method's declaration alone.

    Raises:
        InputError: Naming the method.
    """
    name = recipe.adapter.method
    if not registry.get("adapters", name).capabilities.mergeable:
        raise InputError(
            f"adapter.method: {name} adapters are no change of weights and cannot be merged into the base; serve the"
            " run as it is (llmrec list adapters shows which methods merge)"
        )


def require_own_code(section: BackboneSection) -> None:
    """Refuse a base that runs Python code of its own, which a folder of weights alone would lack.

    Raises:
        InputError: Naming the base.
    """
    if section.trust_remote_code:
        raise InputError(
            f"backbone.trust_remote_code: {section.name} runs Python code of its own, which is not written elsewhere:"
            " serve the run as it is"
        )


def tuned_weights(folder: Path, manifest: Manifest, recipe: Recipe, precision: str) -> TunedWeights:
    """Load a run's base for this call alone, bring it to plain numbers, and fold the adapter into its weights.

    The base is taken as the run computed with it: quantized weights are dequantized, others rounded to the run's number
    format. The sum of weights and adapter is made in fp32 and then brought to `precision`, so that it is rounded once;
    on the CPU, since a GPU that holds a model in 4 bits may not hold its eightfold.

    Args:
        folder: Run folder.
        manifest: Its manifest.
        recipe: The recipe of what answers.
        precision: Number format of the result, ``fp32`` or ``bf16``.

    Raises:
        InputError: If the base is not the recorded one, or the adapter does not fit.
    """
    choice = recipe.adapter
    method = registry.get("adapters", choice.method)
    computed = manifest.base.get("compute")
    section = recipe.backbone.model_copy(update={"precision": computed} if computed else {})
    base = load_backbone(section, torch.device("cpu"))
    require_base(base.identity.plain(), manifest.base, str(folder))
    plain = _unquantized(base)
    model = load_adapter(folder, manifest, recipe, plain)
    merged = method.capabilities.mergeable
    if merged:
        model = method(choice.config).merge(model, plain)
    model = model.to(_DTYPES[precision]).requires_grad_(False).eval()
    _require_finite(model, folder)
    return TunedWeights(model, plain, merged)


def _unquantized(base: Backbone) -> Backbone:
    """Return the base with plain weights in fp32; its model is changed."""
    model: Any = base.model
    with quiet_transformers():
        if base.identity.quantization != "none":
            model = model.dequantize(torch.float32)
            for mark in ("is_loaded_in_4bit", "is_loaded_in_8bit"):  # they stay, and PEFT's (IA)³ would not merge
                setattr(model, mark, False)
        model = model.to(torch.float32).requires_grad_(False).eval()
    return replace(base, model=model, identity=replace(base.identity, quantization="none", compute="fp32"))


def _require_finite(model: nn.Module, folder: Path) -> None:
    for name, tensor in model.named_parameters():
        if not bool(tensor.isfinite().all()):
            raise InputError(f"{folder}: with its adapter, {name[:200]} holds NaN or infinity")
