"""Parts described: what a recipe trains on, how much of each part is new to training, leaks, and what is cut."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.experiment.prepared import Prepared
from llmrec_peft.overview.interactions import spread
from llmrec_peft.recipe import Recipe


def describe_parts(prepared: Prepared) -> dict[str, Any]:
    """Describe training, validation and test: their sizes, and how many examples are of new users and items.

    A user or an item of validation is new (cold) where no training interaction has it; one of test, where nothing has
    it that the final model learns from: training, and validation where the recipe refits.
    """
    vocabulary = prepared.vocabulary
    sizes = {"users": vocabulary.num_users, "items": vocabulary.num_items}
    learned = {"valid": prepared.train, "test": prepared.learned(prepared.recipe.refits)}
    report: dict[str, Any] = {}
    for name in ("train", "valid", "test"):
        part = getattr(prepared, name)
        numbers = {"users": part.user, "items": part.item}
        there = {what: np.bincount(values, minlength=sizes[what]) > 0 for what, values in numbers.items()}
        report[name] = {"interactions": len(part), **{what: int(found.sum()) for what, found in there.items()}}
        if name in learned:
            known = {"users": learned[name].user, "items": learned[name].item}
            for what, values in numbers.items():
                fresh = np.bincount(known[what], minlength=sizes[what]) == 0
                report[name][f"cold_{what}"] = int((there[what] & fresh).sum())
                report[name][f"share_of_cold_{what}"] = round(float(fresh[values].mean()), 4)
    return report


def describe_cuts(before: RecDataset, prepared: Prepared) -> dict[str, Any]:
    """Describe what the recipe leaves out: duplicates, items beyond ``data.max_items``, old history entries.

    Args:
        before: The dataset as its reader gave it.
        prepared: The same, prepared by the recipe.
    """
    recipe, kept = prepared.recipe, prepared.dataset
    report: dict[str, Any] = {
        "items": {"there": len(before.items), "kept": len(kept.items), "max_items": recipe.data.max_items},
        "interactions": {
            "there": len(before.interactions),
            "kept": len(kept.interactions),
            "in_a_part": len(prepared.used_rows),
        },
    }
    history = prepared.interactions.history
    if history is not None and recipe.reads.prepares_history:
        length = recipe.data.history_length
        lengths = history.lengths
        report["histories"] = {
            "entries": spread(lengths),
            "history_length": length,
            "cut": int((lengths > length).sum()),
            "empty": int((lengths == 0).sum()),
        }
    return report


def describe_recipe(recipe: Recipe) -> dict[str, Any]:
    """Describe what a recipe would do: which parts it makes, what it trains, and which question is answered."""
    data, training = recipe.data, recipe.training
    return {
        "name": recipe.name,
        "reader": data.reader,
        "heads": {name: str(head.task) for name, head in recipe.reads.heads.items()},
        "split": data.split,
        "protocol": data.protocol,
        "history": data.history if recipe.reads.prepares_history else "not read",
        "item_text": recipe.views.item.template,
        "backbone": recipe.backbone.name,
        "adapter": recipe.adapter.method,
        "signals": list(recipe.signals.active),
        "epochs": training.epochs,
        "refit": training.refit,
    }
