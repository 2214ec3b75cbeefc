"""Augmentations: which changes to training examples a recipe must not ask for, and which would do nothing."""

from __future__ import annotations

from llmrec_peft.errors import InputError
from llmrec_peft.recipe import Recipe

_OF_HISTORIES = ("history_mask", "history_crop", "history_empty", "history_stale")


def require_mixable(recipe: Recipe) -> None:
    """Refuse mixup where it would change what labels mean, or where nothing is mixed.

    Raises:
        InputError: Naming the head that stands against it.
    """
    if recipe.training.augment.mixup == 0.0:
        return
    heads = recipe.reads.heads
    for head in heads.values():
        why = head.mixing_refusal()
        if why is not None:
            raise InputError(f"training.augment.mixup with {why}; set training.augment.mixup=0")
    if all(head.listwise for head in heads.values()):
        raise InputError(
            f"training.augment.mixup: head {', '.join(heads)} ranks candidates, of which none is mixed; it is for"
            " ratings and clicks: set training.augment.mixup=0"
        )


def idle_augmentations(recipe: Recipe) -> list[str]:
    """What a recipe asks for that cannot do anything in it, one line each."""
    idle = [*_idle_wordings(recipe), *_idle_histories(recipe)]
    return [f"{', '.join(fields)} will do nothing: {why}" for fields, why in idle]


def _idle_wordings(recipe: Recipe) -> list[tuple[list[str], str]]:
    """Fields that change items' texts, where none is encoded while training."""
    asked = ["training.augment.word_dropout"] if recipe.training.augment.word_dropout > 0.0 else []
    asked += ["views.item.variants"] if recipe.views.item.variants else []
    if not asked:
        return []
    if not recipe.reads.item_text:
        return [(asked, "no signal reads texts of items")]
    if recipe.adapter.method == "none" and not recipe.reads.inserts_tokens:
        return [(asked, "with adapter none each text is encoded once, before training")]
    if recipe.training.adapter_epochs == 0:
        return [(asked, "with training.adapter_epochs=0 each text is encoded once, before training")]
    return []


def _idle_histories(recipe: Recipe) -> list[tuple[list[str], str]]:
    """Fields that hide entries of histories, where no signal reads them: texts that tell them are written whole."""
    augment = recipe.training.augment
    asked = [f"training.augment.{name}" for name in _OF_HISTORIES if getattr(augment, name) > 0.0]
    if not asked or recipe.reads.history_of_signals:
        return []
    if recipe.reads.history:
        return [(asked, "texts that tell histories are written before training, and no signal reads them")]
    return [(asked, "no signal and no text reads histories")]
