"""Reads: what a recipe reads, asked of its plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmrec_peft import registry

if TYPE_CHECKING:
    from llmrec_peft.recipe.recipe import Recipe


def bare_heads(recipe: Recipe) -> dict[str, Any]:
    """The recipe's heads without parts, to ask what they read; the primary one first."""
    return {choice.name: registry.get("heads", choice.name)(choice.config) for choice in recipe.all_heads}


def bare_signals(recipe: Recipe) -> dict[str, Any]:
    """The recipe's signals without parts, to ask what they read."""
    return {name: registry.get("signals", name)(options) for name, options in recipe.signals.active.items()}


def reads_prompt(recipe: Recipe) -> bool:
    """Whether any head of the recipe reads history and candidate as one text."""
    return any(head.reads_prompt() for head in bare_heads(recipe).values())


def reads_text(recipe: Recipe) -> bool:
    """Whether anything in the recipe needs the language model."""
    signals = bare_signals(recipe).values()
    return any(signal.uses_text() for signal in signals) or reads_prompt(recipe)


def reads_history(recipe: Recipe) -> bool:
    """Whether anything in the recipe reads what a user met before."""
    reads = any(signal.reads_history for signal in bare_signals(recipe).values())
    return reads or reads_prompt(recipe) or user_tells_history(recipe)


def knows_history(recipe: Recipe) -> bool:
    """Whether histories are prepared: the model reads them, or the trivial lines of clicks and rankings do."""
    return reads_history(recipe) or any(head.task != "rating" for head in bare_heads(recipe).values())


def user_tells_history(recipe: Recipe) -> bool:
    """Whether the view of users tells histories, so that a text belongs to an example."""
    return recipe.views.user is not None and "history" in recipe.views.user.template
