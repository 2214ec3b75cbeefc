"""Evaluate: score a run's test part again and hold the figures against the stored ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from llmrec_peft.data.batches import Batch
from llmrec_peft.data.histories import Histories
from llmrec_peft.data.interactions import Interactions
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.protocol import outcome_of
from llmrec_peft.experiment.prepare import Prepared, prepare
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
    try:
        stored = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        digest, further = stored["data"]["digest"], stored.get("heads", {})
        figures = {name: report["test"]["after"] for name, report in {"": stored, **further}.items()}
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{run}: metrics.json is missing or not what a run writes") from None
    recipe = recommender.recipe if data is None else recommender.recipe.changed({"data.path": data})
    prepared = prepare(recipe)
    if prepared.digest != digest:
        raise InputError(f"the data at {recipe.data.path} is not what {run} was trained on: its digest differs")
    test, protocol, measured = prepared.test, prepared.protocol, prepared.measures
    take_texts(recommender, prepared, test)
    found, repeats = {}, True
    for name, told in figures.items():
        head = name or recipe.head.name
        outcome = outcome_of(recommender.model, head, test, protocol, protocol.learned, protocol.sampled)
        now = measured[head].report(outcome, test)
        repeats = repeats and all(abs(now[metric] - told.get(metric, float("inf"))) <= TOLERANCE for metric in now)
        found[name] = {"test": {"after": now}, "stored": told}
    heads = {name: report for name, report in found.items() if name}
    return {**found[""], **({"heads": heads} if heads else {}), "repeats": repeats}


def take_texts(recommender: Recommender, prepared: Prepared, part: Interactions) -> None:
    """Give a loaded model the vectors of every text that scoring a part reads, at the keys where it looks for them.

    Items' and users' vectors are those that the run stored; prompts, and users' texts that tell a history, are
    encoded anew.
    """
    model, plan, vectors = recommender.model, recommender.model.plan, recommender.catalogue.vectors
    if not plan.any:
        return
    num_items, examples = prepared.vocabulary.num_items, len(prepared.interactions)
    shape = vectors if vectors is not None else recommender.encode([""])
    items = torch.zeros(num_items, shape.shape[1], device=model.device)
    if vectors is not None:
        items[1:] = vectors[: num_items - 1]
    table = [items]
    if plan.user is not None:
        stored = recommender.tenant.user_vectors
        if plan.user_by_example or stored is None:
            table.append(_encoded(recommender, "user", part, examples, None))
        else:
            table.append(stored)
    if plan.prompt is not None:
        with torch.no_grad():
            inserted = model.inserted(Batch(torch.from_numpy(part.user), torch.from_numpy(part.item)).to(model.device))
        table.append(_encoded(recommender, "prompt", part, examples, inserted))
    model.text_table = torch.cat(table)


def _encoded(
    recommender: Recommender, view: str, part: Interactions, examples: int, inserted: torch.Tensor | None
) -> torch.Tensor:
    """Vectors of a part's texts at the rows of its examples, zero elsewhere, [examples, width]."""
    told = Histories.empty(len(part)) if part.history is None else part.history
    vectors = recommender.encode_examples(view, part.user.tolist(), (part.item - 1).tolist(), told, inserted)
    table = torch.zeros(examples, vectors.shape[1], device=recommender.device)
    table[torch.from_numpy(part.rows).to(table.device)] = vectors.to(table.device)
    return table
