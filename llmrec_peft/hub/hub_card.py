"""Card of a published run: its README.md on the Hugging Face Hub, with the metadata that the Hub reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from jinja2 import TemplateError

from llmrec_peft.artifact.card import Code, rendered
from llmrec_peft.artifact.licences import OWN_DATA, licences_of
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.errors import InputError
from llmrec_peft.hub.card_facts import CardBase, heads_of, new_item, published_bytes, stock_class
from llmrec_peft.hub.card_results import TASKS, eval_results
from llmrec_peft.page.numbers import memory
from llmrec_peft.page.run_report import RunReport, read_run
from llmrec_peft.printable import quoted, shown
from llmrec_peft.recipe import DEMO, Recipe, load_recipe

_HERE = Path(__file__).parent / "cards"
_PURPOSES = {
    "rating": "predicting ratings of items",
    "click": "predicting which items are liked or clicked",
    "ranking": "ranking items for a user",
}


def hub_card(
    folder: Path,
    repo: str,
    includes_users: bool = False,
    includes_items: bool = True,
    licence: str | None = None,
    base_licence: str | None = None,
    signed: bool = False,
) -> ModelCard:
    """Make the card of a run folder that is to be published.

    Args:
        folder: Run folder with what is published; private files are not read.
        repo: Where it is published, ``OWNER/NAME``.
        includes_users: Whether ids and learned vectors of users are in it.
        includes_items: Whether titles and texts of items are in it.
        licence: Licence of the published model by the Hub's identifier, as its owner decides; by default what follows
            from base and data: ``apache-2.0`` where nothing limits it, ``other`` where something does, else
            ``unknown``.
        base_licence: Identifier of the base model's licence, where its card on the Hub was read.
        signed: Whether the files are signed once the card is among them.

    Returns:
        The card. Its ``data`` hold base model, licence, tags and results, its ``text`` everything else.

    Raises:
        InputError: If `folder` is no run folder of a recommender, a file is changed, or `repo` is no name of the Hub.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise InputError(f"{quoted(repo)} is no name of a repository: OWNER/NAME") from None
    facts, sealed = read_run(folder), SealedFolder.open(folder)
    report, raw = facts.report, sealed.report()
    recipe = load_recipe(str(folder / "recipe.yaml"))
    tasks = recipe.reads.tasks
    if not set(tasks.values()) <= set(TASKS):
        raise InputError(f"{shown(folder)} is a writer of explanations, which has a card of its own")
    licences = licences_of(recipe, raw, base_licence)
    base, heads = CardBase.of(raw["base"]), heads_of(report)
    stock = stock_class(folder, recipe) if base.on_hub else None
    values: dict[str, Any] = {
        "title": repo.rpartition("/")[2],
        "repo": Code.literal(repo),
        "plain_repo": Code(repo),
        "base": base,
        "digest": facts.digest,
        "signals": ", ".join(recipe.signals.active) or "none",
        "head_names": ", ".join(tasks),
        "task": ", ".join(TASKS[task][1] for task in dict.fromkeys(tasks.values())),
        "purpose": " and ".join(_PURPOSES[task] for task in dict.fromkeys(tasks.values())),
        "heads": heads,
        "worse": _worse([head.name for head in heads if head.worse], len(heads)),
        "made_up": recipe.data.path == DEMO,
        "repeatable": recipe.data.reader not in OWN_DATA and report.before not in ("run", "unmerged"),
        "users": includes_users,
        "items": includes_items,
        "size": published_bytes(folder),
        "memory": _memory(report),
        "signed": signed,
        "new_item": new_item(folder, recipe),
        "stock": stock,
        "licences": licences,
        "licence_notes": licences.notes(includes_items),
    }
    try:
        body = rendered("hub.md.jinja", recipe, raw, values, _HERE)
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        raise InputError(f"{shown(folder)}: metrics.json is not what a run writes ({error})") from None
    data = _data(repo, recipe, report, base, raw["data"].get("digest"), stock is not None)
    data.license = licence or licences.identifier
    if data.license == "other":
        data.license_name, data.license_link = "terms-of-base-and-data", f"https://huggingface.co/{repo}#licences"
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def _memory(report: RunReport) -> str | None:
    """Say how much memory training took at most; None where it was not measured."""
    host, gpu = report.peak_memory_mb.get("rss"), report.peak_memory_mb.get("cuda")
    if host is None:
        return None
    return memory(host) if gpu is None else f"{memory(host)} and {memory(gpu)} of the GPU"


def _worse(names: Sequence[str], heads: int) -> str:
    """Say which heads are no better than their best baseline; empty where none is."""
    if not names:
        return ""
    return "This model is" if heads == 1 else f"By {', '.join(names)}, this model is"


def _data(
    repo: str, recipe: Recipe, report: RunReport, base: CardBase, digest: str | None, stock: bool
) -> ModelCardData:
    """Return the metadata that the Hub reads, without the licence."""
    tasks = recipe.reads.tasks
    results = eval_results(report, tasks, digest)
    tags = ["recommender-system", "recommendation", "llmrec-peft", recipe.adapter.method]
    tags += [TASKS[task][0] for task in dict.fromkeys(tasks.values())]
    return ModelCardData(
        base_model=base.name if base.on_hub else None,
        base_model_relation="adapter" if base.on_hub else None,
        base_model_revision=base.revision,
        library_name="peft" if stock else "llmrec-peft",
        pipeline_tag="feature-extraction" if recipe.reads.item_text else None,
        tags=tags,
        model_name=repo.rpartition("/")[2] if results else None,
        eval_results=results or None,
        metrics=list(dict.fromkeys(one.metric_type for one in results)) or None,
    )
