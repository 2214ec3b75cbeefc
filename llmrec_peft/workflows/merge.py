"""Merge: the adapters of several runs become one, inside the first run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.artifact.card import model_card
from llmrec_peft.artifact.folder import require_free, whole_folder
from llmrec_peft.artifact.hardware import hardware, versions
from llmrec_peft.artifact.lineage import FILE as LINEAGE
from llmrec_peft.artifact.lineage import Lineage, Merged, write_lineage
from llmrec_peft.artifact.manifest import make_manifest, write_json
from llmrec_peft.backbone.combination import Combination
from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.protocol import outcome_of
from llmrec_peft.experiment.about_run import protocol_of
from llmrec_peft.experiment.head_outcomes import HeadOutcomes
from llmrec_peft.experiment.keep_predictions import keep_predictions
from llmrec_peft.experiment.merging import lineage_of_run, write_with_adapter
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.experiment.run_adapters import AdapterOfRun, read_adapters, require_like, saved_adapters
from llmrec_peft.identity import __version__
from llmrec_peft.page.run_report import read_run
from llmrec_peft.progress import Progress
from llmrec_peft.run.language_model import TenantAdapter
from llmrec_peft.run.other_adapter import require_encodable, with_adapter
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.training.memory import peak_cuda_mb, peak_rss_mb

if TYPE_CHECKING:
    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.experiment.prepared import Prepared
    from llmrec_peft.recipe import Recipe
    from llmrec_peft.run.tenant import LoadedTenant


@dataclass(frozen=True)
class MergeAsked:
    """How runs are to be merged.

    Attributes:
        weights: Weight of each run's adapter; None for the defaults of `how`, see `Combination.checked`.
        how: Way to combine.
        density: Share of an update's numbers that TIES and DARE keep.
        seed: Seed of what DARE drops.
        rank: Rank of the merged adapter; None for the sum of the runs' ranks.
        data: Where the first run's data lies now; by default where the run found it.
        overwrite: Replace a run that is there.
        show: Whether to print notes on stderr.
    """

    weights: tuple[float, ...] | None = None
    how: str = "linear"
    density: float = 0.5
    seed: int = 1
    rank: int | None = None
    data: str | None = None
    overwrite: bool = False
    show: bool = True


PLAIN = MergeAsked()


def merge(
    runs: Sequence[Path], out: Path, asked: MergeAsked = PLAIN, dataset: RecDataset | None = None
) -> dict[str, Any]:
    """Combine the adapters of runs on one base, and write the first run with the combined adapter.

    Head, signals, users and items are the first run's; its texts are encoded anew. Nothing is trained. If the first
    run's data are there, its test part is scored with the merged adapter, with its own, and with each other run's.

    Args:
        runs: Finished runs, two or more.
        out: Folder of the merged run.
        asked: How they are merged.
        dataset: The first run's data, if it is in memory.

    Returns:
        The metrics, as in ``metrics.json``; ``merge`` in them says what was merged, and how.

    Raises:
        InputError: When anything that was given is not right; nothing is written then.
    """
    if len(runs) < 2:  # noqa: PLR2004 - what the word means
        raise InputError("merge: name two runs or more")
    how = Combination.checked(len(runs), asked.weights, asked.how, asked.density, asked.seed)
    require_free(out, asked.overwrite)
    started = time.monotonic()
    parents, progress = read_adapters(runs), Progress(asked.show)
    first = parents[0]
    for parent in parents:
        require_like(parent, first.manifest.base, first.recipe, str(first.folder))
    recommender = Recommender.from_pretrained(first.folder)
    tenant = recommender.loaded
    require_encodable(tenant)
    with whole_folder(out, asked.overwrite) as folder:
        with tenant.base.bare() as backbone, saved_adapters(parents, backbone) as saved:
            recipe, method = _recipe_of(parents, tenant.recipe, asked.rank, backbone)
            method.combine(saved, how, backbone, folder)
            made, parameters = _made(backbone, recipe), method.parameter_count(backbone.shapes)
        merged = write_with_adapter(folder, first, tenant, recipe)
        prepared = _data_of(first, recipe, asked.data, dataset, progress)
        told = Merged(
            runs=tuple(parent.manifest.digest for parent in parents),
            weights=how.weights,
            how=how.how,
            density=None if how.how == "linear" else how.density,
            seed=how.seed if how.how.startswith("dare") else None,
            rank=int(recipe.adapter.config.rank),  # type: ignore[attr-defined] # low-rank methods alone are combined
        )
        heads = None if prepared is None else _outcomes(prepared, tenant, merged, parents)
        made["seconds"] = {"train": 0.0, "total": round(time.monotonic() - started, 3)}
        metrics = _metrics(first, recipe, heads, told, made, parameters)
        if heads is not None and prepared is not None:
            keep_predictions(folder, heads, prepared)
        write_lineage(folder / LINEAGE, _lineage(first, told))
        write_json(folder / "metrics.json", metrics)
        manifest = make_manifest(folder, first.manifest.base, __version__)
        write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
        (folder / "README.md").write_text(model_card(recipe, metrics), encoding="utf-8")
    return metrics


def _lineage(first: AdapterOfRun, told: Merged) -> Lineage:
    """Return the lineage of the merged run: that of the first one, followed by it."""
    before = lineage_of_run(first)
    nothing = {"new": 0, "replayed": 0, "epochs": 0, "newest": None, "old": None, "forced": False, "started": None}
    step = before.steps[-1].model_copy(update={**nothing, "digest": None, "merged": told})
    return before.followed_by(first.manifest.digest, step)


def _made(backbone: Backbone, recipe: Recipe) -> dict[str, Any]:
    """Return what ``metrics.json`` says of the base and of this machine."""
    return {
        "base": backbone.identity.plain(),
        "texts": backbone.reads(recipe.backbone).plain(),
        "versions": versions(),
        "hardware": {**hardware(str(backbone.device)), "processes": 1},
        "peak_memory_mb": {"rss": round(peak_rss_mb(), 1), "cuda": peak_cuda_mb()},
    }


def _recipe_of(
    parents: Sequence[AdapterOfRun], recipe: Recipe, rank: int | None, backbone: Backbone
) -> tuple[Recipe, Any]:
    """Return the first run's recipe with the options of the merged adapter, and its method.

    Raises:
        InputError: If adapters of the method cannot be combined, or not with this rank.
    """
    methods = [parent.method for parent in parents]
    name = recipe.adapter.method
    options = methods[0].combined_options(methods[1:], rank, backbone)
    if options is None:
        raise InputError(f"adapter.method: {name} adapters cannot be merged; PEFT combines low-rank ones (lora)")
    changed = recipe.changed({"adapter": {"method": name, **options.model_dump(mode="json")}})
    return changed, type(methods[0])(options)


def _data_of(
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


def _outcomes(
    prepared: Prepared, tenant: LoadedTenant, merged: LoadedTenant, parents: Sequence[AdapterOfRun]
) -> dict[str, HeadOutcomes]:
    """Predict the test part by the first run with its own adapter, with the merged one, and with each other run's."""
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


def _metrics(
    first: AdapterOfRun,
    recipe: Recipe,
    heads: Mapping[str, HeadOutcomes] | None,
    told: Merged,
    made: Mapping[str, Any],
    parameters: int,
) -> dict[str, Any]:
    """Report a merge in the layout of a training's ``metrics.json``.

    Args:
        first: The first run, whose report may be a stranger's.
        recipe: Recipe of the merged run.
        heads: What was predicted; None where its data are not there.
        told: What was merged.
        made: Fields that are of this machine and base.
        parameters: Parameters of the merged adapter.

    Raises:
        InputError: If the first run's report is not what a run writes.
    """
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
        "merge": told.model_dump(mode="json"),
        **made,
    }


def _head_report(recipe: Recipe, name: str, heads: Mapping[str, HeadOutcomes] | None) -> dict[str, Any]:
    """Return one head's part of the report; without data, its metric alone."""
    if heads is None:
        metric = str(recipe.reads.heads[name].metric)
        nothing: dict[str, Any] = {"after": {}, "baselines": {}}
        return {"primary_metric": metric, "test": nothing, "valid": nothing, "before": "unmerged"}
    return {**heads[name].report(), "before": "unmerged"}
