"""Evaluate: score a run's test part again and hold the figures against the stored ones."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.protocol import outcome_of
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.run.recommender import Recommender

TOLERANCE = 1e-4
"""Largest difference that still counts as the same figure: other processors round differently."""

_LARGEST = 1 << 62


def evaluate(run: Path, data: str | None = None, dataset: RecDataset | None = None) -> dict[str, Any]:
    """Repeat a run's figures on its test part.

    Args:
        run: Run folder.
        data: Where the data lies now; by default where the run found it.
        dataset: The data, if it is in memory.

    Returns:
        ``test.after`` computed now by the first head of the model that answers, its ``stored`` figures, for further
        heads the same under ``heads``, and whether all of them ``repeats`` what is stored.

    Raises:
        InputError: When the folder is no run, was updated, or the data is not what the run was trained on.
    """
    recommender = Recommender.from_pretrained(run)
    report = recommender.loaded.sealed.report()
    if "update" in report:
        raise InputError(
            f"{run} was updated: its test part is the newest window of the data that it was updated with, of which no"
            " recipe tells; llmrec lineage shows its figures, llmrec compare reads its predictions"
        )
    if "merge" in report and isinstance(report.get("test"), dict) and not report["test"].get("after"):
        raise InputError(f"{run} stores no figures: its data were not there when it was merged")
    digest, figures = _told(report, recommender.model.heads, run)
    recipe = recommender.recipe if data is None else recommender.recipe.changed({"data.path": data})
    prepared = prepare(recipe, dataset)
    if prepared.digest != digest:
        where = "handed over" if dataset is not None else f"at {recipe.data.path}"
        raise InputError(f"the data {where} is not what {run} was trained on: its digest differs")
    test, protocol, measured = prepared.test, prepared.protocol, prepared.measures
    found, repeats = {}, True
    for head, told in figures.items():
        outcome = outcome_of(recommender.model, head, test, protocol, protocol.learned, protocol.sampled)
        now = measured[head].report(outcome, test)
        repeats = repeats and all(_near(value, told.get(metric)) for metric, value in now.items())
        found[head] = {"test": {"after": now}, "stored": told}
    first = found.pop(recipe.head.name)
    return {**first, **({"heads": found} if found else {}), "repeats": repeats}


def _told(report: dict[str, Any], heads: Iterable[str], run: Path) -> tuple[Any, dict[str, dict[str, Any]]]:
    """Return what a report says: the digest of the data, and the figures of each head, the first one's first.

    Raises:
        InputError: If it does not speak of these heads, or says something else than figures.
    """
    first, *others = heads
    try:
        further = dict(report.get("heads", {}))
        of_heads = {first: report, **{name: further[name] for name in others}}
        figures = {name: dict(one["test"].get("recommended", one["test"]["after"])) for name, one in of_heads.items()}
        digest = report["data"]["digest"]
    except (KeyError, TypeError, AttributeError, ValueError):
        raise InputError(f"{run}: metrics.json is not what a run writes") from None
    if len(further) != len(others):
        raise InputError(f"{run}: metrics.json is not what a run writes")
    return digest, figures


def _near(value: float, told: Any) -> bool:
    """Return whether a stored figure is one, and the same."""
    return type(told) in (int, float) and -_LARGEST < told < _LARGEST and abs(value - told) <= TOLERANCE
