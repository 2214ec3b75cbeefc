"""Variants of a recipe: the untuned reference, the collaborative part alone, the whole without one part, the served."""

from __future__ import annotations

from llmrec_peft.errors import InputError
from llmrec_peft.recipe import Recipe

UNTUNED_RATE = 0.01
"""Rate of a head over frozen text: on ML-100K's validation part it reached 0.938, at the whole's 0.001 only 0.942."""


def untuned(recipe: Recipe) -> Recipe:
    """`before`: adapter at zero, the head fitted on frozen text with biases; no U, I, R.

    A linear head alone stands faster steps than the whole does, and needs them to converge in as many epochs.
    """
    changes: dict[str, object] = {"adapter.method": "none"}
    head = recipe.reads.primary
    if head.task != "ranking":
        changes["training.head.learning_rate"] = max(recipe.training.head.learning_rate, UNTUNED_RATE)
    reading = [name for name, signal in recipe.reads.signals.items() if signal.uses_text()]
    for name in recipe.signals.active:
        if name not in reading and name != "collaborative":
            changes[f"signals.{name}"] = False
    if "collaborative" in recipe.signals.active or head.task == "rating":
        changes["signals.collaborative.factors"] = False
    if not reading and not recipe.reads.prompt:
        changes["signals.text"] = {}
    return recipe.changed(changes)


def collaborative_only(recipe: Recipe) -> Recipe | None:
    """The recipe without any text: what a language model has to beat. None where nothing would be left."""
    changes: dict[str, object] = {"adapter.method": "none"}
    left = False
    for name, signal in recipe.reads.signals.items():
        options = signal.without_text()
        changes[f"signals.{name}"] = False if options is None else options.model_dump()
        left = left or options is not None
    if recipe.reads.prompt:
        changes["head.feed"] = "pair"
        if recipe.heads:
            return None
    return recipe.changed(changes) if left else None


def without(recipe: Recipe, part: str) -> Recipe:
    """The recipe without one part: a signal, or the adapter.

    Raises:
        InputError: When the recipe does not have that part.
    """
    if part == "adapter":
        if recipe.adapter.method == "none":
            raise InputError("evaluation.ablations: adapter.method is none already, there is no adapter to leave out")
        return recipe.changed({"adapter.method": "none"})
    if part not in recipe.signals.active:
        raise InputError(f"evaluation.ablations: the recipe has no signal {part!r} to leave out")
    return recipe.changed({f"signals.{part}": False})


def served(recipe: Recipe) -> Recipe:
    """The variant whose parts a run of this recipe holds: the recipe itself unless its training chose another.

    Raises:
        InputError: When `served` names a variant that the recipe does not have.
    """
    variant = "tuned" if recipe.served is None else recipe.served.variant
    if variant == "tuned":
        return recipe
    found = untuned(recipe) if variant == "frozen" else collaborative_only(recipe)
    if found is None:
        raise InputError("served.variant: without texts nothing is left of the recipe, so this cannot be what answers")
    return found
