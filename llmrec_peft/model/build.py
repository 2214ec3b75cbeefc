"""Build the parts of a `RecModel` from a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmrec_peft import registry
from llmrec_peft.heads.contract import HeadContext, TaskHead
from llmrec_peft.model.augment import Augment
from llmrec_peft.model.fusion import Fusion
from llmrec_peft.model.rec_model import RecModel
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
    """Join built signals and heads to a model, as the recipe says."""
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


def build_signals(
    recipe: Recipe,
    context: SignalContext,
    saved: Mapping[str, Tensor] | None = None,
    names: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
) -> dict[str, Signal[Any]]:
    """Make the recipe's signals with their parts, in the recipe's order.

    Args:
        recipe: Recipe that names the signals.
        context: What they may read when they are built.
        saved: Tensors of all trained signals, each under its name, if they are built to be loaded.
        names: What `Signal.names` of the trained signals returned, by signal.

    Raises:
        KeyError: Naming a saved tensor that is missing.
    """
    signals: dict[str, Signal[Any]] = {}
    for name, options in recipe.signals.active.items():
        signal = registry.get("signals", name)(options)
        if saved is not None:
            context = replace(context, saved=own_tensors(saved, name), names=(names or {}).get(name))
        try:
            signal.parts = signal.build(context)
        except KeyError as error:
            if saved is None:
                raise
            raise KeyError(f"{name}.{error.args[0]}") from None
        signals[name] = signal
    return signals


def build_heads(
    recipe: Recipe, context: HeadContext, saved: Mapping[str, Tensor] | None = None
) -> dict[str, TaskHead[Any]]:
    """Make the recipe's heads with their parts, the primary one first.

    Args:
        recipe: Recipe that names the heads.
        context: What they may read when they are built.
        saved: Tensors of all trained heads, each under its name, if they are built to be loaded.

    Raises:
        KeyError: Naming a saved tensor that is missing.
    """
    heads: dict[str, TaskHead[Any]] = {}
    for choice in recipe.all_heads:
        head = registry.get("heads", choice.name)(choice.config)
        if saved is not None:
            context = replace(context, saved=own_tensors(saved, choice.name))
        head.parts = head.build(context)
        heads[choice.name] = head
    return heads


def own_tensors(saved: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the saved tensors of one part, with its name removed from theirs."""
    return {key.removeprefix(f"{name}."): tensor for key, tensor in saved.items() if key.startswith(f"{name}.")}
