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
    run_folder,
)
from llmrec_peft.recipe.registered import RegisteredRecipe, reader_name, registered_recipe

__all__ = [
    "DEMO",
    "AdapterChoice",
    "HeadChoice",
    "Recipe",
    "RegisteredRecipe",
    "SignalChoices",
    "load_recipe",
    "reader_name",
    "recipe_path",
    "registered_recipe",
    "run_folder",
]
