"""Build the parts of a `RecModel` from a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmrec_peft import registry
from llmrec_peft.heads.contract import HeadContext, TaskHead
from llmrec_peft.model.augment import Augment
from llmrec_peft.model.fusion import Fusion
from llmrec_peft.model.rec_model import RecModel
from llmrec_peft.recipe.reads import bare_heads
from llmrec_peft.signals.contract import Signal, SignalContext

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.model.text_source import TextSource
    from llmrec_peft.recipe import Recipe


def build_model(
    recipe: Recipe,
    signals: dict[str, Signal[Any]],
    heads: dict[str, TaskHead[Any]],
    texts: TextSource | None = None,
) -> RecModel:
    """Join built signals and heads as a recipe says."""
    section, augment = recipe.fusion, recipe.training.augment
    fusion = Fusion(
        section.kind,
        [name for name, signal in signals.items() if not signal.inserts_tokens],
        dim=section.dim,
        hidden=section.hidden,
        dropout=section.dropout,
        signal_dropout=section.signal_dropout,
    )
    return RecModel(
        signals,
        heads,
        texts,
        fusion,
        {choice.name: choice.weight for choice in recipe.all_heads},
        Augment(
            augment.history_mask,
            augment.history_crop,
            augment.mixup,
            recipe.training.other_texts == "stored",
            augment.history_empty,
            augment.history_stale,
        ),
    )


def build_signals(recipe: Recipe, context: SignalContext) -> dict[str, Signal[Any]]:
    """Make the recipe's signals and their parts, in the recipe's order."""
    signals: dict[str, Signal[Any]] = {}
    for name, options in recipe.signals.active.items():
        signal = registry.get("signals", name)(options)
        signal.parts = signal.build(context)
        signals[name] = signal
    return signals


def build_heads(
    recipe: Recipe, context: HeadContext, saved: Mapping[str, Tensor] | None = None
) -> dict[str, TaskHead[Any]]:
    """Make the recipe's heads and their parts, the primary one first.

    Args:
        recipe: Which heads.
        context: What they may know.
        saved: Tensors of all trained heads, each under its name, where they are built to be loaded.
    """
    heads = bare_heads(recipe)
    for name, head in heads.items():
        if saved is not None:
            own = {key.removeprefix(f"{name}."): t for key, t in saved.items() if key.startswith(f"{name}.")}
            context = replace(context, saved=own)
        head.parts = head.build(context)
    return heads
