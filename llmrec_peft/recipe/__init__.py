"""Recipe: the validated description of a run; YAML in, YAML out."""

from __future__ import annotations

from llmrec_peft.recipe.recipe import (
    DEMO,
    AdapterChoice,
    HeadChoice,
    Recipe,
    SignalChoices,
    load_recipe,
    recipe_path,
)

__all__ = ["DEMO", "AdapterChoice", "HeadChoice", "Recipe", "SignalChoices", "load_recipe", "recipe_path"]
