"""What answers: who decides which model answers from a run folder, a baseline beside it or in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from llmrec_peft.errors import InputError
from llmrec_peft.experiment.pair_blend import PairBlend
from llmrec_peft.experiment.ranking_blend import RankingBlend
from llmrec_peft.model.served_baseline import NAME

if TYPE_CHECKING:
    from llmrec_peft.evaluation.baselines.baseline import Baseline
    from llmrec_peft.experiment.prepared import Prepared
    from llmrec_peft.experiment.served_blend import ServedBlend

Decider = Literal["folds", "pair blend", "ranking blend", "nobody"]
"""Who decides what answers.

- ``folds``: cross-validation chooses among the best baseline, frozen text, the model without text and the tuned model,
  each with its share of the baseline (`recommending.py`).
- ``pair blend``: the validation part decides with which share of which baseline the tuned model of ratings or clicks
  answers (`PairBlend`).
- ``ranking blend``: the same of a ranking (`RankingBlend`).
- ``nobody``: the tuned model answers, whatever the baselines do.
"""
ENOUGH_VALIDATION = 2000
"""Ratings or clicks of a validation part that tell models apart by themselves: RMSE then has a standard error of about
two per cent, and the differences of models, which are paired, a much smaller one."""
UNITS = {"rating": "stars", "click": "log-odds"}
"""Unit that a head's raw scores have to have, so that a baseline's can be added to them."""


def decider_of(prepared: Prepared, processes: int = 1) -> Decider:
    """Return who decides what answers.

    Args:
        prepared: Data and recipe.
        processes: Number of processes that train together.

    Raises:
        InputError: If the recipe asks for folds and they are not possible.
    """
    recipe, asked = prepared.recipe, prepared.recipe.training.choice
    if asked == "validation":
        return "nobody"
    no_tables = _no_tables(prepared)
    no_folds = "several processes train together" if no_tables is None and processes > 1 else no_tables
    if asked == "folds" and no_folds is not None:
        raise InputError(f"training.choice=folds: {no_folds}; set training.choice=validation")
    if no_folds is None and (asked == "folds" or len(prepared.valid) < ENOUGH_VALIDATION):
        return "folds"
    if not recipe.evaluation.blend or len(prepared.valid) == 0:
        return "nobody"
    if no_tables is None:
        return "pair blend"
    return "ranking blend" if _blends_rankings(prepared) else "nobody"


def served_blend(decider: Decider, head: str, prepared: Prepared, baselines: Sequence[Baseline]) -> ServedBlend | None:
    """Return what decides on validation; None where folds or nobody does.

    Args:
        decider: Result of `decider_of`.
        head: Name of the primary head.
        prepared: Data, and how the head is evaluated on it.
        baselines: The head's baselines in the report, of which a ranking may be blended with some.
    """
    if decider == "pair blend":
        return PairBlend(head, prepared)
    return RankingBlend(head, prepared, baselines) if decider == "ranking blend" else None


def _no_tables(prepared: Prepared) -> str | None:
    """Return why no baseline's tables can answer beside a model of this recipe's pairs, None if they can."""
    recipe, head = prepared.recipe, prepared.recipe.reads.primary
    for refused, why in (
        (head.task not in UNITS, "rankings of the whole catalogue are chosen on validation"),
        (len(recipe.reads.heads) > 1, "several heads are chosen on validation"),
        (recipe.reads.prompt or recipe.reads.inserts_tokens, "a prompt for each example is too long to read again"),
        (recipe.data.protocol == "prequential", "prequential rates change with time, a baseline's tables do not"),
        (recipe.data.expand_histories, "examples that were made of histories belong to no fold"),
        (recipe.fusion.kind == "late", "a late fusion's weights are chosen on validation"),
        (NAME in recipe.signals.active, f"a signal called {NAME} is in the way"),
        (head.unit != UNITS.get(head.task), f"head {recipe.head.name} scores in {head.unit}"),
    ):
        if refused:
            return why
    return None


def _blends_rankings(prepared: Prepared) -> bool:
    """Return whether a ranking can be blended: under any protocol, since its baselines' counts follow no outcomes."""
    recipe, reads = prepared.recipe, prepared.recipe.reads
    return (
        reads.primary.task == "ranking"
        and len(reads.heads) == 1
        and not (reads.prompt or reads.inserts_tokens or reads.user_text_by_example)
        and NAME not in recipe.signals.active
    )
