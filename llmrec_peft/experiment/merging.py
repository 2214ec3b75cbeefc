"""Merging: runs whose adapters become one inside the first of them, and that run's files with the new adapter."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft.artifact.catalogue_file import FILE as CATALOGUE
from llmrec_peft.artifact.catalogue_file import read_vocabulary
from llmrec_peft.artifact.manifest import HISTORIES, is_there, limit_of, make_manifest
from llmrec_peft.artifact.seen import read_learned
from llmrec_peft.backbone.tensor_files import write_tensors
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.parent import SEEN, lineage_of
from llmrec_peft.identity import __version__
from llmrec_peft.model.warm_start import FILE as TRAINED
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe.variants import served
from llmrec_peft.run.canary import FILE as CANARY
from llmrec_peft.run.canary import evaluating, write_scores
from llmrec_peft.run.item_matrix import FILE as ITEM_MATRIX
from llmrec_peft.run.language_model import FILES, TenantAdapter
from llmrec_peft.run.other_adapter import with_adapter
from llmrec_peft.run.read_tenant import VECTORS
from llmrec_peft.run.signal_files import SIGNAL_NAMES
from llmrec_peft.run.trained_file import read_trained
from llmrec_peft.run.vector_precision import write_vectors

if TYPE_CHECKING:
    from llmrec_peft.artifact.lineage import Lineage
    from llmrec_peft.experiment.run_adapters import AdapterOfRun
    from llmrec_peft.run.tenant import LoadedTenant

_INSIDE = "encoder."
"""Before the names of an adapter's parameters among a model's trained parts."""


def lineage_of_run(run: AdapterOfRun) -> Lineage:
    """Return where a run comes from; its own step is the last one."""
    vocabulary = read_vocabulary(run.folder / CATALOGUE, run.sealed.content(CATALOGUE))
    learned = read_learned(run.folder / SEEN, run.sealed.private(SEEN))
    return lineage_of(run.sealed, run.recipe.name, vocabulary, 0 if learned is None else len(learned))


def write_with_adapter(
    folder: Path, first: AdapterOfRun, tenant: LoadedTenant, recipe: Recipe, base: dict[str, str | None]
) -> LoadedTenant:
    """Write the first run's files around another adapter, which lies in the folder already.

    Args:
        folder: Folder with the adapter's two files.
        first: The first run.
        tenant: The same run in memory, on the base that the adapter is for.
        recipe: Its whole recipe with the new adapter's options.
        base: Identity of that base.

    Returns:
        The new run in memory; its vectors of texts are those that were written.

    Raises:
        InputError: If a file is not what the run wrote, or the adapter's vectors are not finite or do not fit the head.
    """
    sealed, manifest = first.sealed, first.manifest
    made = {*FILES, "recipe.yaml", VECTORS, ITEM_MATRIX, CANARY}
    kept = [name for name in manifest.files if name not in made]
    kept += [name for name in HISTORIES if name in manifest.private and is_there(sealed.folder / name)]
    for name in kept:
        sealed.copy(name, folder / name, limit_of(name))
    (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    sealed_now = make_manifest(folder, base, __version__)
    merged = replace(with_adapter(tenant, TenantAdapter(folder, sealed_now, served(recipe))), recipe=recipe)
    with evaluating(merged.model):
        merged = write_vectors(folder / VECTORS, merged)
    write_scores(folder, merged)
    _write_trained(folder / TRAINED, first, merged)
    return merged


def _write_trained(path: Path, first: AdapterOfRun, merged: LoadedTenant) -> None:
    """Write what a later training begins with: the first run's, with the new adapter; nothing if that was not there."""
    if not is_there(first.folder / TRAINED) or TRAINED not in first.manifest.private:
        return
    tensors, names = read_trained(first.folder / TRAINED, first.sealed.content(TRAINED))
    if merged.adapter.recipe.adapter.method == "none":  # the base has what the adapter learned
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(_INSIDE)}
    with merged.base.inside(merged.adapter) as (_, encoder):
        own = {f"{_INSIDE}{name}": tensor.detach().cpu() for name, tensor in encoder.named_parameters()}
        for name in tensors:
            if name.startswith(_INSIDE):
                if name not in own:
                    raise InputError(f"{first.folder / TRAINED}: {name} is no tensor of the run's adapter")
                tensors[name] = own[name].to(tensors[name].dtype).clone()
    write_tensors(path, tensors, {SIGNAL_NAMES: json.dumps(names, ensure_ascii=False)})
