"""Evaluate: score a run's test part again and hold the figures against the stored ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.protocol import outcome_of
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.run.recommender import Recommender

TOLERANCE = 1e-4
"""Largest difference that still counts as the same figure: other processors round differently."""


def evaluate(run: Path, data: str | None = None) -> dict[str, Any]:
    """Repeat a run's figures on its test part.

    Args:
        run: Run folder.
        data: Where the data lies now; by default where the run found it.

    Returns:
        ``test.after`` computed now by the first head, the ``stored`` figures, for further heads the same under
        ``heads``, and whether all of them ``repeats`` what is stored.

    Raises:
        InputError: When the folder is no run, or the data is not what the run was trained on.
    """
    recommender = Recommender.from_pretrained(run)
    stored = SealedFolder(run, recommender.loaded.manifest).report()
    try:
        digest, further = stored["data"]["digest"], stored.get("heads", {})
        figures = {name: report["test"]["after"] for name, report in {"": stored, **further}.items()}
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{run}: metrics.json is not what a run writes") from None
    recipe = recommender.recipe if data is None else recommender.recipe.changed({"data.path": data})
    prepared = prepare(recipe)
    if prepared.digest != digest:
        raise InputError(f"the data at {recipe.data.path} is not what {run} was trained on: its digest differs")
    test, protocol, measured = prepared.test, prepared.protocol, prepared.measures
    found, repeats = {}, True
    for name, told in figures.items():
        head = name or recipe.head.name
        outcome = outcome_of(recommender.model, head, test, protocol, protocol.learned, protocol.sampled)
        now = measured[head].report(outcome, test)
        repeats = repeats and all(abs(now[metric] - told.get(metric, float("inf"))) <= TOLERANCE for metric in now)
        found[name] = {"test": {"after": now}, "stored": told}
    heads = {name: report for name, report in found.items() if name}
    return {**found[""], **({"heads": heads} if heads else {}), "repeats": repeats}
