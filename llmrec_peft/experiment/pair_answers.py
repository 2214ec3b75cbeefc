"""Pair answers: raw scores of pairs, what a head answers with for them, and a baseline's tables beside its model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.finite import require_finite
from llmrec_peft.model.served_baseline import ServedBaseline, with_baseline

if TYPE_CHECKING:
    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.evaluation.baselines.foldable import Foldable
    from llmrec_peft.experiment.prepared import Prepared
    from llmrec_peft.heads.contract import TaskHead
    from llmrec_peft.model import RecModel

Raw = NDArray[np.float64]
"""Scores before a head clamps or calibrates them, [n]: stars or log-odds."""
PAIRS = 8192
"""Pairs that are scored at once."""


def raw_scores(model: RecModel, part: Interactions, head: str) -> Raw:
    """Score pairs before the head clamps or calibrates, float64 [n]."""
    found = []
    with model.scoring(model.plan.keys(part)):
        for at in range(0, len(part), PAIRS):
            rows = np.arange(at, min(len(part), at + PAIRS))
            batch = replace(Batch.of(part, rows, model.device, model.plan.history_length), label=None)
            found.append(model.raw(model.with_texts(batch), head=head).double().cpu().numpy())
    scores = np.concatenate(found) if found else np.empty(0)
    require_finite(scores, "scores of validation")
    return scores


def uncalibrated(raw: Raw, prepared: Prepared, head: str) -> Raw:
    """Return stars inside the owner's scale, or probabilities without calibration, for raw scores, [n]."""
    if prepared.recipe.reads.heads[head].task == "rating":
        return np.clip(raw, *prepared.dataset.rating_range)
    from scipy.special import expit

    return np.asarray(expit(raw))


def calibrate(model: RecModel, prepared: Prepared, raw: Raw, asked: Interactions) -> None:
    """Fit the primary head's calibrator on raw scores of examples that were not learned from; ratings have none.

    Args:
        model: Model whose head is changed.
        prepared: Data.
        raw: Raw scores, [n].
        asked: The examples, the first n of which were scored.
    """
    if model.head.task == "click":
        observed = observed_labels(asked, prepared)[: len(raw)]
        model.head.calibrate(uncalibrated(raw, prepared, prepared.recipe.head.name), observed)


def calibrated(model: RecModel, prepared: Prepared, raw: Raw) -> Raw:
    """Return what the primary head, its calibrator fitted, answers with for raw scores, [n]."""
    import torch

    from llmrec_peft.heads.calibration import apply

    answers = uncalibrated(raw, prepared, prepared.recipe.head.name)
    parts, kind = model.head.parts, getattr(model.head.config, "calibration", None)
    if kind is None or "calibration" not in parts:
        return answers
    with torch.no_grad():
        return np.asarray(apply(kind, parts["calibration"], torch.from_numpy(raw).to(model.device)).cpu().numpy())


def observed_labels(part: Interactions, prepared: Prepared) -> NDArray[np.floating]:
    """Return labels as the primary head reads them, [n]."""
    observed: NDArray[np.floating] = prepared.recipe.reads.primary.observed(part.label, prepared.dataset.rating_range)
    return observed


def fit_arguments(part: Interactions, prepared: Prepared) -> tuple[Interactions, int, int]:
    """Return what `Foldable.fit` takes: interactions, labels as the head reads them, and the sizes of both tables."""
    learned = replace(part, label=observed_labels(part, prepared))
    return learned, prepared.vocabulary.num_users, prepared.vocabulary.num_items


def beside_baseline(
    model: RecModel, prepared: Prepared, baseline: Foldable, share: float, learned: Interactions | None = None
) -> RecModel:
    """Return the final model with a share of a baseline that is fitted to all that the final model learns from.

    Args:
        model: Final model.
        prepared: Data.
        baseline: The baseline.
        share: Its share of the raw score, above 0, at most 1.
        learned: What the baseline is fitted to, if that is something else.
    """
    learned = prepared.protocol.learned if learned is None else learned
    factors = baseline.fit(*fit_arguments(learned, prepared))
    return with_baseline(model, ServedBaseline.of(factors, share, _base_of(model.head)), share)


def _base_of(head: TaskHead[Any]) -> float:
    """Return what a head itself adds to every score."""
    import torch

    nobody = torch.zeros(1, dtype=torch.int64, device=next(iter(head.parts.parameters())).device)
    with torch.no_grad():
        return sum(float(term.sum()) for term in head.base(Batch(user=nobody, item=nobody)).values())
