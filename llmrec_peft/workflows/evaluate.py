"""Evaluate: score a run's test part again and hold the figures against the stored ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.rating_metrics import rating_report
from llmrec_peft.recommender import Recommender
from llmrec_peft.workflows.prepare import prepare

TOLERANCE = 1e-4
"""Largest difference that still counts as the same figure: other processors round differently."""


def evaluate(run: Path, data: str | None = None) -> dict[str, Any]:
    """Repeat a run's figures on its test part.

    Args:
        run: Run folder.
        data: Where the data lies now; by default where the run found it.

    Returns:
        ``test.after`` computed now, the ``stored`` figures, and whether the former ``repeats`` the latter.

    Raises:
        InputError: When the folder is no run, or the data is not what the run was trained on.
    """
    recommender = Recommender.from_pretrained(run)
    try:
        stored = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        figures, digest = stored["test"]["after"], stored["data"]["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{run}: metrics.json is missing or not what a run writes") from None
    recipe = recommender.recipe if data is None else recommender.recipe.changed({"data.path": data})
    _, prepared = prepare(recipe)
    if prepared.digest != digest:
        raise InputError(f"the data at {recipe.data.path} is not what {run} was trained on: its digest differs")
    scores = recommender.score(*prepared.ids(prepared.test))
    now = rating_report(scores, prepared.test.label)
    repeats = all(abs(now[name] - figures[name]) <= TOLERANCE for name in now)
    return {"test": {"after": now}, "stored": figures, "repeats": repeats}
