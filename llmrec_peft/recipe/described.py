"""A registered recipe in one row: domain, data, heads, signals, language model, and what it reached on real data."""

from __future__ import annotations

from typing import Any

from llmrec_peft import registry
from llmrec_peft.recipe.measurements import measurements_of
from llmrec_peft.recipe.recipe import load_recipe
from llmrec_peft.recipe.registered import registered_recipe


def described(name: str) -> dict[str, Any]:
    """Describe a registered recipe by plain values.

    Returns:
        ``summary``, ``reader``, ``category`` (as `RegisteredRecipe` has them); ``domain`` (the name under which the
        recipe's folder is registered); ``data`` (what its reader reads); ``heads`` and ``signals`` (names, the
        primary head first); ``adapter`` (method), ``base`` and ``quantization`` of the language model, None where no
        text is read; ``split``; ``measured``, a list of what it reached, as in ``figures.json``.

    Raises:
        InputError: When there is no such recipe, or its file or its ``figures.json`` is not valid.
    """
    about, recipe = registered_recipe(name), load_recipe(name)
    reads_text = recipe.reads.language_model or recipe.reads.user_text
    return {
        "summary": about.summary,
        "reader": about.reader,
        "category": about.category,
        "domain": registry.plugins("recipes")[name].entry_point.name,
        "data": str(getattr(registry.get("readers", about.reader), "summary", "")),
        "heads": list(recipe.reads.heads),
        "signals": list(recipe.signals.active),
        "adapter": recipe.adapter.method,
        "base": recipe.backbone.name if reads_text else None,
        "quantization": recipe.backbone.quantization if reads_text else None,
        "split": recipe.data.split,
        "measured": [{**one.model_dump(mode="json"), "command": one.command} for one in measurements_of(name)],
    }
