"""Merge into the base: a run's adapter becomes part of the language model's weights, and the run reads that model."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmrec_peft import registry
from llmrec_peft.artifact.folder import require_free, whole_folder
from llmrec_peft.artifact.lineage import INTO_BASE, Merged
from llmrec_peft.artifact.manifest import MERGED_BASE
from llmrec_peft.backbone.base import BaseIdentity, public_name
from llmrec_peft.backbone.locate import locate
from llmrec_peft.backbone.model_folder import write_model_folder, write_reading
from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.experiment.merging import write_with_adapter
from llmrec_peft.experiment.run_adapters import AdapterOfRun
from llmrec_peft.printable import for_markdown
from llmrec_peft.progress import Progress
from llmrec_peft.recipe.sections import BackboneSection
from llmrec_peft.run.language_model import LanguageModel
from llmrec_peft.run.merged_model import require_mergeable, require_own_code, tuned_weights
from llmrec_peft.run.other_adapter import require_encodable
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows.answer_change import change_of_answers
from llmrec_peft.workflows.merged_report import (
    MergedRun,
    data_of,
    made_here,
    merged_metrics,
    outcomes_of,
    write_report,
)


@dataclass(frozen=True)
class IntoBase:
    """How a run's adapter is to be merged into its base.

    Attributes:
        precision: Number format of the merged weights, ``fp32`` or ``bf16``; None for the one that the run computes in.
        data: Where the run's data lies now; by default where the run found it.
        overwrite: Replace a run that is there.
        show: Whether to print notes on stderr.
    """

    precision: str | None = None
    data: str | None = None
    overwrite: bool = False
    show: bool = True


PLAIN = IntoBase()


def merge_into_base(run: Path, out: Path, asked: IntoBase = PLAIN, dataset: RecDataset | None = None) -> dict[str, Any]:
    """Fold a run's adapter into its base, and write the run that reads the merged base.

    ``OUT/base`` is a plain folder of the merged language model, for any library; quantized weights are dequantized
    first. All texts are encoded anew by the model as it was written, and what that changes is measured. Nothing is
    trained.

    Args:
        run: Run folder.
        out: Folder of the merged run.
        asked: How it is merged.
        dataset: The run's data, if it is in memory.

    Returns:
        The metrics, as in ``metrics.json``; ``change`` in them is what `change_of_answers` found.

    Raises:
        InputError: If the run has no adapter or one that cannot be merged, its texts cannot be encoded anew, or a
            number is not finite; nothing is written then.
    """
    started, progress = time.monotonic(), Progress(asked.show)
    first = AdapterOfRun.read(run)
    require_mergeable(first.recipe)
    require_own_code(first.recipe.backbone)
    require_free(out, asked.overwrite)
    recommender = Recommender.from_pretrained(run)
    tenant = recommender.loaded
    require_encodable(tenant)
    with whole_folder(out, asked.overwrite) as folder:
        place = folder / MERGED_BASE
        section = _write_base(place, first, asked.precision)
        base = _identity(place, section, out)
        lasting = section.model_copy(update={"name": str(base["name"])}).model_dump(mode="json")
        recipe = tenant.recipe.changed({"adapter": {"method": "none"}, "backbone": lasting})
        language_model = LanguageModel(section, base, recommender.device)
        method = registry.get("adapters", "none")(recipe.adapter.config)
        with language_model.bare() as backbone:
            named = replace(backbone, identity=replace(backbone.identity, name=recipe.backbone.name))
            method.save(backbone.model, named, folder)
            made = {**made_here(named, recipe), "base": base}
        merged = write_with_adapter(folder, first, replace(tenant, base=language_model), recipe, base)
        change = change_of_answers(tenant, merged)
        prepared = data_of(first, tenant.recipe, asked.data, dataset, progress)
        heads = None if prepared is None else outcomes_of(prepared, tenant, merged, [first])
        told = Merged(runs=(first.manifest.digest,), weights=(1.0,), how=INTO_BASE)
        made["seconds"] = {"train": 0.0, "total": round(time.monotonic() - started, 3)}
        whole = MergedRun(first, recipe, told, base)
        metrics = {**merged_metrics(whole, heads, made, 0), "change": change}
        write_report(folder, whole, metrics, heads, prepared, card_of_change(change))
    return metrics


def _write_base(place: Path, first: AdapterOfRun, precision: str | None) -> BackboneSection:
    """Write the merged language model, and return how a recipe reads texts by it as the run did."""
    asked = precision or ("bf16" if first.manifest.base.get("compute") == "bf16" else "fp32")
    tuned = tuned_weights(first.folder, first.manifest, first.recipe, asked)
    backbone, reader = tuned.backbone, tuned.backbone.reads(first.recipe.backbone)
    place.mkdir()
    write_model_folder(place, tuned.model, backbone)
    if backbone.embedding_model is not None or backbone.kind == "encoder":
        write_reading(place, backbone, reader, None)  # with these files a decoder would not use its chat format
    (place / "README.md").write_text(_about(first), encoding="utf-8")
    section = BackboneSection.model_validate(
        {
            "name": str(place),
            "precision": asked,
            "pooling": reader.pooling,
            "normalize": reader.normalize,
            "prompts": dict(reader.prompts),
        }
    )
    del tuned, backbone, reader
    gc.collect()  # a model of several gigabytes, before it is read again
    return section


def _identity(place: Path, section: BackboneSection, out: Path) -> dict[str, str | None]:
    """Return the identity of the base that was written, under the name that it will have."""
    found, name = locate(section.name), str(out.absolute() / MERGED_BASE)
    return BaseIdentity(name, None, found.weights_sha256, "none", section.precision, found.files).plain()


def _about(first: AdapterOfRun) -> str:
    """Return the README of the merged base."""
    base, method = first.manifest.base, first.recipe.adapter.method
    held = "" if base.get("quantization") == "none" else f", dequantized from {for_markdown(base.get('quantization'))}"
    return (
        "# Merged language model\n\n"
        f"{for_markdown(public_name(base))}, revision {for_markdown(base.get('revision') or 'unknown')}, weights"
        f" `{str(base.get('weights_sha256'))[:16]}`{held}, with the {for_markdown(method)} adapter of run"
        f" `{first.manifest.digest[:16]}` in its weights.\n\n"
        "The licence of the model that it was made from holds for these weights too.\n"
    )


def card_of_change(change: Mapping[str, Any]) -> str:
    """Return what merging changed, as Markdown for the end of a card.

    Args:
        change: What `change_of_answers` returned.
    """
    rows = [f"| {label} | {value} |" for label, value in change_rows(change)]
    return "\n".join(
        [
            "",
            "## What merging changed",
            "",
            "The adapter is part of the base model's weights in `base/`. Answers were compared with those of the run"
            " before:",
            "",
            "| change | value |",
            "| --- | ---: |",
            *rows,
            "",
        ]
    )


def change_rows(change: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is said of a change, as pairs of a name and a figure.

    Args:
        change: What `change_of_answers` returned.
    """
    rows, scores = [], change["scores"]
    if (vectors := change.get("vectors")) is not None:
        of = f"vectors of {vectors['number']} items"
        rows.append((f"cosine distance, {of}: median", f"{vectors['cosine_distance_median']:.2e}"))
        rows.append((f"cosine distance, {of}: largest", f"{vectors['cosine_distance_max']:.2e}"))
    of = f"{change['users']} users, {change['items']} items"
    rows.append((f"score, {of}: median", f"{scores['median']:.2e}"))
    rows.append((f"score, {of}: largest", f"{scores['max']:.2e}"))
    rows.append(("ten best items kept", f"{change['top_10_kept']:.1%}"))
    return rows
