"""About a run: its protocol, sizes and data, as they stand in ``metrics.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmrec_peft.experiment.prepared import Prepared
    from llmrec_peft.experiment.texts import Texts
    from llmrec_peft.model import RecModel
    from llmrec_peft.recipe import Recipe


def protocol_of(recipe: Recipe, task: str) -> dict[str, Any]:
    """Return what decides how the figures of a task are to be read."""
    protocol: dict[str, Any] = {"split": recipe.data.split, "labels_counted": recipe.data.protocol}
    if task == "ranking":
        protocol |= {"candidates": "whole catalogue", "own_items": recipe.evaluation.own_items}
    return protocol


def parameter_counts(model: RecModel, texts: Texts) -> dict[str, int]:
    """Return numbers of parameters by group."""
    groups = model.parameter_groups()
    count = {name: sum(parameter.numel() for _, parameter in members) for name, members in groups.items()}
    adapters = {id(p) for _, p in groups["adapter"]}
    base = sum(p.numel() for p in texts.backbone.model.parameters() if id(p) not in adapters and not p.requires_grad)
    trainable = sum(count.values())
    return {"total": base + trainable, "trainable": trainable, **count}


def data_report(prepared: Prepared) -> dict[str, Any]:
    """Return what the run was trained on."""
    parts = prepared.split
    return {
        "name": prepared.dataset.name,
        "digest": prepared.digest,
        "users": len(prepared.vocabulary.users),
        "items": len(prepared.vocabulary.items),
        "train": len(parts.train),
        "valid": len(parts.valid),
        "test": len(parts.test),
        "licence": prepared.dataset.licence,
        "notes": list(prepared.dataset.notes),
        "leaks": [str(leak) for leak in prepared.leaks],
    }
