"""Describe: what a recipe's data are like, and what the recipe would make of them; nothing is trained or refused."""

from __future__ import annotations

from typing import Any

from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.data.leakage import Leak
from llmrec_peft.data.rows import Rows
from llmrec_peft.data.soundness import sound
from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import prepare, read_source
from llmrec_peft.experiment.prepared import Prepared
from llmrec_peft.overview.columns import describe_columns
from llmrec_peft.overview.interactions import describe_interactions
from llmrec_peft.overview.parts import describe_cuts, describe_parts, describe_recipe
from llmrec_peft.overview.texts import describe_texts, describe_tokens
from llmrec_peft.progress import SILENT, Progress
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe.sections import DataSection


def describe(recipe: Recipe, dataset: RecDataset | None = None, progress: Progress = SILENT) -> dict[str, Any]:
    """Describe the data of a recipe as plain values.

    Data that give answers away are described like any others, and ``leaks`` lists what leaks. Data that the recipe
    would refuse to train on are described without parts, and ``refused`` says why.

    Args:
        recipe: Which data, and what is made of them.
        dataset: Data to describe in place of what the recipe's reader reads.
        progress: Where it is said what is being done.

    Returns:
        ``name``, ``licence``, ``notes``, the parts of `describe_interactions`, ``columns``, ``texts``, ``tokens``,
        ``graph``, ``recipe``; and ``parts``, ``cut`` and ``leaks``, or ``refused``.

    Raises:
        InputError: If the data cannot be read, or are no sound tables.
    """
    progress.note("reading the data")
    before = sound(read_source(recipe.data) if dataset is None else dataset)
    progress.note(f"counting {len(before.interactions):,} interactions")
    report: dict[str, Any] = {
        "name": before.name,
        "licence": before.licence,
        "notes": list(before.notes),
        **describe_interactions(before),
        "columns": {name: describe_columns(getattr(before, name)) for name in ("items", "users")},
        "graph": _graph(before),
    }
    progress.note("dividing the data as the recipe says")
    prepared, refused = _prepared(recipe, before)
    texts = list(prepared.texts[1:]) if prepared is not None else _rendered(recipe, before)
    progress.note(f"reading {len(texts):,} texts")
    report["texts"] = describe_texts(texts)
    report["tokens"] = describe_tokens(recipe, texts, progress)
    if prepared is None:
        return {**report, "recipe": describe_recipe(recipe), "refused": refused}
    return {
        **report,
        "notes": list(prepared.dataset.notes),
        "recipe": describe_recipe(prepared.recipe),
        "parts": describe_parts(prepared),
        "cut": describe_cuts(before, prepared),
        "leaks": [_leak(leak, recipe.data) for leak in prepared.leaks],
    }


def _leak(leak: Leak, section: DataSection) -> str:
    """Return a leak in one line, and whether a training would let it pass."""
    return f"{leak}{'; data.allow_leakage lets it pass' * section.lets_pass(leak.name)}"


def _prepared(recipe: Recipe, dataset: RecDataset) -> tuple[Prepared | None, str]:
    """Return the data as they would be trained on, leaks let pass; or why they would be refused."""
    try:
        return prepare(recipe.changed({"data.allow_leakage": True}), dataset), ""
    except InputError as error:
        return None, str(error)


def _rendered(recipe: Recipe, dataset: RecDataset) -> list[str]:
    """Return the text of each item of data that would be refused."""
    view = ViewTemplate(recipe.views.item.template, "views.item.template")
    return list(view.render_all(Rows(dataset.items).known()))


def _graph(dataset: RecDataset) -> dict[str, int] | None:
    """Count the knowledge graph: triples, and the items that are linked to it."""
    if dataset.graph is None:
        return None
    return {"triples": len(dataset.graph.triples), "links": len(dataset.graph.links)}
