"""Merge: the adapters of several runs become one, inside the first run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.artifact.folder import require_free, whole_folder
from llmrec_peft.artifact.lineage import Merged
from llmrec_peft.backbone.combination import Combination
from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.merging import write_with_adapter
from llmrec_peft.experiment.run_adapters import AdapterOfRun, read_adapters, require_like, saved_adapters
from llmrec_peft.progress import Progress
from llmrec_peft.run.other_adapter import require_encodable
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows.merged_report import MergedRun, data_of, made_here, merged_metrics, outcomes_of, write_report

if TYPE_CHECKING:
    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.recipe import Recipe


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
            made, parameters = made_here(backbone, recipe), method.parameter_count(backbone.shapes)
        merged = write_with_adapter(folder, first, tenant, recipe, first.manifest.base)
        prepared = data_of(first, recipe, asked.data, dataset, progress)
        told = Merged(
            runs=tuple(parent.manifest.digest for parent in parents),
            weights=how.weights,
            how=how.how,
            density=None if how.how == "linear" else how.density,
            seed=how.seed if how.how.startswith("dare") else None,
            rank=int(recipe.adapter.config.rank),  # type: ignore[attr-defined] # low-rank methods alone are combined
        )
        heads = None if prepared is None else outcomes_of(prepared, tenant, merged, parents)
        made["seconds"] = {"train": 0.0, "total": round(time.monotonic() - started, 3)}
        run = MergedRun(first, recipe, told, first.manifest.base)
        metrics = merged_metrics(run, heads, made, parameters)
        write_report(folder, run, metrics, heads, prepared)
    return metrics


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
