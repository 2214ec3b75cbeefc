"""Merged report: what a merged run says of itself: figures, if the first run's data are there, lineage and card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.artifact.card import model_card
from llmrec_peft.artifact.hardware import hardware, versions
from llmrec_peft.artifact.lineage import FILE as LINEAGE
from llmrec_peft.artifact.lineage import Lineage, Merged, write_lineage
from llmrec_peft.artifact.manifest import make_manifest, write_json
from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.protocol import outcome_of
from llmrec_peft.experiment.about_run import protocol_of
from llmrec_peft.experiment.head_outcomes import HeadOutcomes
from llmrec_peft.experiment.keep_predictions import keep_predictions
from llmrec_peft.experiment.merging import lineage_of_run
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.experiment.run_adapters import AdapterOfRun
from llmrec_peft.identity import __version__
from llmrec_peft.page.run_report import read_run
from llmrec_peft.progress import Progress
from llmrec_peft.run.language_model import TenantAdapter
from llmrec_peft.run.other_adapter import with_adapter
from llmrec_peft.training.memory import peak_cuda_mb, peak_rss_mb

if TYPE_CHECKING:
    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.experiment.prepared import Prepared
    from llmrec_peft.recipe import Recipe
    from llmrec_peft.run.tenant import LoadedTenant


@dataclass(frozen=True)
class MergedRun:
    """A run that was merged.

    Attributes:
        first: The run whose head, signals, users and items it has.
        recipe: Its recipe.
        told: What was merged, and how.
        base: Identity of its base.
    """

    first: AdapterOfRun
    recipe: Recipe
    told: Merged
    base: dict[str, str | None]


def made_here(backbone: Backbone, recipe: Recipe) -> dict[str, Any]:
    """Return what ``metrics.json`` says of the base and of this machine."""
    return {
        "base": backbone.identity.plain(),
        "texts": backbone.reads(recipe.backbone).plain(),
        "versions": versions(),
        "hardware": {**hardware(str(backbone.device)), "processes": 1},
        "peak_memory_mb": {"rss": round(peak_rss_mb(), 1), "cuda": peak_cuda_mb()},
    }


def data_of(
    first: AdapterOfRun, recipe: Recipe, data: str | None, dataset: RecDataset | None, progress: Progress
) -> Prepared | None:
    """Return the first run's data; None, with a note, where they are not there any more."""
    try:
        report = first.sealed.report()
        if "update" in report:
            raise InputError(
                f"{first.folder} was updated: its test part is the newest window, of which no recipe tells"
            )
        prepared = prepare(recipe if data is None else recipe.changed({"data.path": data}), dataset)
        told = report.get("data")
        if not isinstance(told, dict) or prepared.digest != told.get("digest"):
            raise InputError(f"the data are not what {first.folder} was trained on: their digest differs")
    except InputError as error:
        if data is not None:
            raise
        progress.note(f"no figures of the merged run: {error}")
        return None
    return prepared


def outcomes_of(
    prepared: Prepared, tenant: LoadedTenant, merged: LoadedTenant, parents: Sequence[AdapterOfRun]
) -> dict[str, HeadOutcomes]:
    """Predict the test part by the first run as it was, as the merged one, and with each other run's adapter."""
    heads = {name: HeadOutcomes(name, prepared, (), blends=False) for name in prepared.recipe.reads.heads}
    _predict(heads, "before", tenant, prepared)
    _predict(heads, "after", merged, prepared)
    for number, parent in enumerate(parents[1:], start=2):
        own = {"method": parent.recipe.adapter.method, **parent.recipe.adapter.config.model_dump(mode="json")}
        recipe = merged.adapter.recipe.changed({"adapter": own})
        other = with_adapter(tenant, TenantAdapter(parent.folder, parent.manifest, recipe))
        _predict(heads, f"adapter_of_run_{number}", other, prepared)
        tenant.base.drop(other.adapter)
    return heads


def _predict(heads: Mapping[str, HeadOutcomes], name: str, tenant: LoadedTenant, prepared: Prepared) -> None:
    """Predict test, and validation where the run did not learn from it."""
    protocol, recipe = prepared.protocol, prepared.recipe
    for head, outcomes in heads.items():
        learned, test, valid = protocol.learned, prepared.test, prepared.valid
        outcomes.test[name] = outcome_of(tenant.model, head, test, protocol, learned, protocol.sampled)
        if not recipe.refits and len(valid):
            outcomes.valid[name] = outcome_of(tenant.model, head, valid, protocol, learned)


def merged_metrics(
    run: MergedRun, heads: Mapping[str, HeadOutcomes] | None, made: Mapping[str, Any], parameters: int
) -> dict[str, Any]:
    """Report a merge in the layout of a training's ``metrics.json``.

    Args:
        run: What was merged; the first run's report may be a stranger's.
        heads: What was predicted; None where its data are not there.
        made: Fields that are of this machine and base.
        parameters: Parameters of the merged adapter.

    Raises:
        InputError: If the first run's report is not what a run writes.
    """
    first, recipe = run.first, run.recipe
    facts = read_run(first.folder).report
    digest = first.sealed.report()["data"].get("digest")  # a block of fields, or `read_run` had refused it
    before = {name: facts.parameters.get(name, 0) for name in ("total", "trainable", "adapter")}
    more = parameters - before["adapter"]
    counts = {name: max(0, count + more) for name, count in before.items()}
    of_heads = {name: _head_report(recipe, name, heads) for name in recipe.reads.heads}
    primary, *others = of_heads
    return {
        "recipe": recipe.name,
        "head": primary,
        "seed": recipe.seed,
        "protocol": protocol_of(recipe, str(recipe.reads.primary.task)),
        **of_heads[primary],
        **({"heads": {name: of_heads[name] for name in others}} if others else {}),
        "training": {"epochs": facts.training.epochs, "history": [], "refit": recipe.refits},
        "data": {**facts.data.model_dump(mode="json"), "digest": str(digest)[:128]},
        "parameters": {**facts.parameters, **counts},
        "merge": run.told.model_dump(mode="json"),
        **made,
    }


def write_report(
    folder: Path,
    run: MergedRun,
    metrics: dict[str, Any],
    heads: Mapping[str, HeadOutcomes] | None,
    prepared: Prepared | None,
    further: str = "",
) -> None:
    """Write figures, predictions, lineage, manifest and card of a merged run, whose other files are there.

    Args:
        folder: Run folder.
        run: What was merged.
        metrics: Its figures.
        heads: What was predicted; None where the first run's data are not there.
        prepared: These data.
        further: Markdown at the end of the card.
    """
    if heads is not None and prepared is not None:
        keep_predictions(folder, heads, prepared)
    write_lineage(folder / LINEAGE, _lineage(run))
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "manifest.json", make_manifest(folder, run.base, __version__).model_dump(mode="json"))
    (folder / "README.md").write_text(model_card(run.recipe, metrics) + further, encoding="utf-8")


def _lineage(run: MergedRun) -> Lineage:
    """Return the lineage of the merged run: that of the first one, followed by it."""
    before = lineage_of_run(run.first)
    nothing = {"new": 0, "replayed": 0, "epochs": 0, "newest": None, "old": None, "forced": False, "started": None}
    step = before.steps[-1].model_copy(update={**nothing, "digest": None, "merged": run.told})
    return before.followed_by(run.first.manifest.digest, step)


def _head_report(recipe: Recipe, name: str, heads: Mapping[str, HeadOutcomes] | None) -> dict[str, Any]:
    """Return one head's part of the report; without data, its metric alone."""
    if heads is None:
        metric = str(recipe.reads.heads[name].metric)
        nothing: dict[str, Any] = {"after": {}, "baselines": {}}
        return {"primary_metric": metric, "test": nothing, "valid": nothing, "before": "unmerged"}
    return {**heads[name].report(), "before": "unmerged"}
